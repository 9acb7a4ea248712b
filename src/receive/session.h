/* SPDX-License-Identifier: ISC */
/*
 * session: one SMTP or LMTP conversation as a server (RFC 5321, 2033), which puts copies into the
 * queue. With a listener the session duplicates (duplicate.h). It uses the network only through the
 * stream and, with a listener, through the primary. Extensions: PIPELINING, SIZE, 8BITMIME,
 * SMTPUTF8, DSN, ENHANCEDSTATUSCODES, XFORWARD, STARTTLS, and with TLS REQUIRETLS.
 */
#ifndef SPLIT_SESSION_H
#define SPLIT_SESSION_H

#include "smtp/runtime.h"
#include "net/stream.h"
#include "receive/primary.h"
#include "queue/queue.h"

#include <stdatomic.h>
#include <stdbool.h>

/* State that a session and the server share. */
struct session_presence {
    /* A message is under way, from MAIL to its last reply. The session sets it and then looks at
     * is_stopping; the server sets is_stopping and then looks at is_in_message. So the server sees
     * each message that begins, or the session sees that the server stops. */
    atomic_bool is_in_message;
    /* While the session waits for its client: when the client last did something that leads to a
       message (task_now_ms()). 0: the session does not wait for the client. */
    atomic_llong idle_since_ms;
    /* Set by the server before it shuts down the stream to make room for another client. */
    atomic_bool is_evicted;
};

struct session_options {
    struct runtime *runtime; /* borrowed for the session */
    struct queue *queue;
    const struct config_listener *listener; /* NULL: relay.listen */
    const struct policy_copies *copies;     /* with a listener: the tables of its copy_maps */
    struct primary *primary;                /* with a listener */
    const char *client_addr;                /* for log lines and headers: "127.0.0.1", "unix" */
    bool is_unix;                           /* the client is at a unix socket */
    unsigned client_port;
    /* in trusted_networks, or at a unix socket. Others get 554 5.7.1 instead of a greeting, unless
     * they can still show a client certificate (session_is_welcome()) */
    bool is_trusted;
    /* if true, the session replies 421 instead of waiting for the next command */
    const atomic_bool *is_stopping;
    struct session_presence *presence;
    unsigned command_timeout_ms; /* for each command line and block of data: RFC 5321 4.5.3.2.7 */
};

/* Serve the client until QUIT, a fault or the end of the stream. The stream stays the caller's. */
void session_run(struct stream *stream, const struct session_options *options)
    __attribute__((nonnull));

#endif
