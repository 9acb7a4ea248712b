/* SPDX-License-Identifier: ISC */
/*
 * connection_private: what the files of connection.h share. connection.c has the object, close,
 * interrupt, detach and attach; connection_connect.c opens (addresses, greeting, EHLO);
 * connection_tls.c encrypts, connection_auth.c authenticates; connection_reply.c reads replies and
 * words faults; connection_content.c writes content; connection_origin.c has XFORWARD and XCLIENT.
 * Faults and return values are as in connection.h.
 */
#ifndef SPLIT_CONNECTION_PRIVATE_H
#define SPLIT_CONNECTION_PRIVATE_H

#include "net/stream.h"
#include "smtp/connection.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

struct connection_tls {
    enum config_tls_level level; /* NONE, MAY, ENCRYPT or VERIFY: for the present address */
    bool is_on;                  /* the connection is encrypted */
    bool is_verified;            /* the server's certificate is trusted, and is for its name */
    bool has_failed;             /* the handshake failed at this address */
    const char *host;            /* as in relay_to; "" with a unix socket */
};

/* The last two bytes of content that were sent, as far as they matter for CRLF "." and for the
 * final CRLF. */
enum connection_line_state { CONNECTION_IN_LINE, CONNECTION_AFTER_CR, CONNECTION_AT_LINE_START };

struct connection_content {
    enum connection_step step; /* CONNECTION_BODY, CONNECTION_DOT */
    enum connection_line_state line_state;
    enum stream_status status; /* not STREAM_OK: the content could not be written */
    /* a reply came before the final dot was sent; if it is 2xx, it is not about the message */
    bool is_answered_early;
};

/* The part of a connection that detach and attach hand on. */
struct connection_detached {
    struct stream *stream; /* NULL: closed */
    char peer[512];
    unsigned messages;
    int64_t opened_ms; /* task_now_ms() */
    bool needs_rset;
    struct smtp_features features;
};

struct connection {
    const struct config_destination *destination;
    const struct security_client *security; /* NULL: neither TLS nor AUTH is set up */
    const char *hostname;
    const struct resolver *resolver; /* NULL: the system's */

    pthread_mutex_t lock; /* guards live_fd and carries */
    int live_fd;          /* what connection_interrupt() shuts down; -1: none */
    bool carries;         /* a message was begun in this connection */
    atomic_bool is_interrupted;

    struct connection_detached link; /* the present or last connection */
    struct connection_tls tls;
    struct connection_content content;
    struct buf xclient;          /* the command that was sent in this connection; empty: none */
    unsigned xclient_attributes; /* offered before XCLIENT was sent */
    bool lacks_requiretls;

    struct smtp_reply reply; /* the last one that was read */
    struct buf line;
    struct outcome fault;
};

/* --- connection.c --- */

/* Publish the descriptor for connection_interrupt(); fd -1: there is none. -1: the connection was
 * interrupted before; the fault is set, and the caller closes the connection. */
int connection_set_live(struct connection *c, int fd) __attribute__((nonnull, warn_unused_result));

/* Set the fault to OUTCOME_RETRY, 4.3.2, "shutting down". */
void connection_set_interrupted(struct connection *c) __attribute__((nonnull));

/* --- connection_reply.c --- */

/* The connection failed at `step` with `status`: set the fault, and close. Returns -1. */
int connection_fail_io(struct connection *c, enum connection_step step, enum stream_status status)
    __attribute__((nonnull));

/* Start the time limit for one reply, or for one block to be sent. */
void connection_begin_wait(struct connection *c) __attribute__((nonnull));

/* --- connection_connect.c --- */

/* Send EHLO (HELO, LHLO) with this name, and note the features. */
int connection_introduce(struct connection *c, const char *name)
    __attribute__((nonnull, warn_unused_result));

/* --- connection_tls.c --- */

/* Before a connection to an address is made: decide the level of TLS for it. host is borrowed until
 * the next call. */
void connection_tls_reset(struct connection *c, const char *host, const struct sockaddr *sa)
    __attribute__((nonnull));

/* Right after connect(2): start TLS if the destination has tls_wrap. */
int connection_tls_wrap(struct connection *c) __attribute__((nonnull, warn_unused_result));

/* After EHLO: STARTTLS if it is wanted and offered. -1 also if STARTTLS is required and not
 * offered. */
int connection_tls_start(struct connection *c) __attribute__((nonnull, warn_unused_result));

/* Call after a connection that failed. True: TLS was the reason, and TLS is optional; the next
 * connection to this address is made without TLS. */
bool connection_tls_gives_up(struct connection *c) __attribute__((nonnull, warn_unused_result));

/* The connection does not offer REQUIRETLS over verified TLS: set the fault to the reason, send
 * QUIT. Returns -1. */
int connection_tls_lacks_requiretls(struct connection *c) __attribute__((nonnull));

/* --- connection_auth.c --- */

/* After EHLO and TLS: authenticate, if the destination has credentials (RFC 4954). */
int connection_authenticate(struct connection *c) __attribute__((nonnull, warn_unused_result));

#endif
