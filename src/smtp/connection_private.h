/* SPDX-License-Identifier: ISC */
/*
 * connection_private: what the files of the client share. client.c owns the object and the policy
 * of reuse, connection_reply.c reads what the server says, connection_connect.c brings a connection
 * to the point where mail can be sent, client_transaction.c sends one message, connection_content.c
 * its content; primary.c converses by hand. Not for anybody else.
 *
 * Whatever goes wrong with the connection itself is put into `fault`, a OUTCOME_RETRY outcome in
 * Postfix's words, and the connection is closed: whoever called applies it to all recipients that
 * have no outcome of their own.
 */
#ifndef SPLIT_CONNECTION_PRIVATE_H
#define SPLIT_CONNECTION_PRIVATE_H

#include "mail/smtp_reply.h"
#include "net/stream.h"
#include "smtp/client.h"
#include "smtp/client_auth.h"
#include "smtp/client_mail.h"
#include "smtp/client_origin.h"
#include "format/format.h"
#include "smtp/client_tls.h"

#include <pthread.h>
#include <stdatomic.h>

#define CLIENT_BLOCK_SIZE 65536 /* bytes of content read at a time */

/* What was being done; for messages, see step_names[] in client_reply.c. */
enum client_step {
    CLIENT_GREETING,
    CLIENT_EHLO,
    CLIENT_HELO,
    CLIENT_LHLO,
    CLIENT_STARTTLS,
    CLIENT_AUTH,
    CLIENT_XCLIENT,
    CLIENT_XFORWARD,
    CLIENT_RSET,
    CLIENT_MAIL,
    CLIENT_RCPT,
    CLIENT_DATA,
    CLIENT_BODY,
    CLIENT_DOT,
};

/* Extensions that the server offers. */
struct client_features {
    bool pipelining, eight_bit, smtputf8, dsn, size, xforward, starttls;
    bool requiretls; /* offered over TLS with a verified certificate (RFC 8689 section 4.2.1) */
    unsigned auth;   /* a set of enum client_auth */
    uint64_t size_limit_bytes;                        /* 0: none announced */
    unsigned xforward_attributes, xclient_attributes; /* client_origin_attributes() */
    bool has_our_name;                                /* as it calls itself */
};

struct client {
    const struct config_destination *destination;
    const char *hostname;
    const struct resolver *resolver; /* NULL: the system's */

    pthread_mutex_t lock; /* guards live_fd */
    int live_fd;          /* what client_interrupt() shuts down, -1 if there is none */
    atomic_bool is_interrupted;

    struct stream *stream;       /* NULL: not connected */
    char peer[512];              /* "host[ip]:port" of the present or last connection, "" if none */
    unsigned uses;               /* messages begun on this connection */
    int64_t opened_ms;           /* client_now_ms() */
    bool needs_rset;             /* a transaction may be open on the server's side */
    bool has_told;               /* the log has what the server does not offer and a copy needs */
    struct buf xclient;          /* the command, when it was said in this connection */
    unsigned xclient_attributes; /* that were offered before it */
    struct client_features features;
    struct client_tls tls;
    bool wants_requiretls; /* of each host: client_connect() goes on to the next one without it */
    bool lacks_requiretls; /* no connection, and that was the fault of one host at least */

    struct smtp_reply reply; /* the last one */
    struct buf line, command;
    char *block;          /* CLIENT_BLOCK_SIZE bytes, from the first content on */
    struct format format; /* of the present copy */
    struct outcome fault;
};

int64_t client_now_ms(void);

/* What makes a connection, apart from its client. */
struct client_connection {
    struct stream *stream;
    char peer[512];
    unsigned uses;
    int64_t opened_ms;
    bool needs_rset;
    struct client_features features;
};

/* Take the connection out of the client, which must have one; the caller owns it. */
struct client_connection *client_detach(struct client *c)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Take a connection over, which is released; the client must have none. -1 with `fault`: we were
 * interrupted, it is closed. */
int client_attach(struct client *c, struct client_connection *connection)
    __attribute__((nonnull, warn_unused_result));

/* QUIT and close. is_hurried: do not wait for the reply. */
void client_connection_close(struct client_connection *connection, bool is_hurried)
    __attribute__((nonnull));

/* QUIT, its reply waited for briefly, and close. */
void client_end(struct client *c) __attribute__((nonnull));

/* Close the connection without a word. */
void client_close(struct client *c) __attribute__((nonnull));

/* Publish the descriptor for client_interrupt(). -1 with `fault` if we were interrupted already. */
int client_set_live(struct client *c, int fd) __attribute__((nonnull, warn_unused_result));

/* Fill an outcome; reason as printf. dsn: "4.4.1". */
void client_outcome(struct outcome *o, enum outcome_result result, const char *dsn,
                    const char *reason, ...) __attribute__((format(printf, 4, 5), nonnull));

/* Fill an outcome from the present reply to `step`: 2xx OK, 5xx REFUSED, all other RETRY. */
void client_outcome_of_reply(struct client *c, enum client_step step, struct outcome *o)
    __attribute__((nonnull));

/* The connection failed at `step`: set `fault`, close. Always returns -1. */
int client_fail_io(struct client *c, enum client_step step, enum stream_status status)
    __attribute__((nonnull));

/* The present reply makes the connection useless (421, or a code that cannot be): set `fault` to
 * what was said (RETRY whatever the code), close. Always returns -1. */
int client_fail_reply(struct client *c, enum client_step step) __attribute__((nonnull));

/* Begin to wait for the answer to a command or to send a block. */
void client_begin_wait(struct client *c) __attribute__((nonnull));

/* Read one reply into c->reply. -1 with `fault`: lost, timed out, malformed, or 421. Text beyond
 * what is kept of a reply is read and thrown away, within the time for one reply. */
int client_read_reply(struct client *c, enum client_step step)
    __attribute__((nonnull, warn_unused_result));

/* After content could not be written: a server that refuses it in the middle says so, and closes.
 * Reads what is there, without waiting for more than its end. True: c->reply is 4xx or 5xx. The
 * connection stays for the caller to close. */
bool client_read_refusal(struct client *c) __attribute__((nonnull, warn_unused_result));

/* Send what was written, then client_read_reply(). */
int client_ask(struct client *c, enum client_step step)
    __attribute__((nonnull, warn_unused_result));

/*
 * Connect: relay_to in order, every address of each, up to the greeting and EHLO (HELO, LHLO). -1
 * with the last `fault`; `peer` is then the last host that took the connection, if any.
 */
int client_connect(struct client *c) __attribute__((nonnull, warn_unused_result));

/* EHLO (HELO, LHLO) with this name, and what the server then offers. -1 with `fault`. */
int client_introduce(struct client *c, const char *name)
    __attribute__((nonnull, warn_unused_result));

/* Send one message over the connection to the next recipients, at most recipient_limit; c->format
 * has begun. Decides each of them, or more, unless the connection or the content is lost. */
enum client_sent {
    CLIENT_SENT,        /* they are decided, or postponed; the connection is usable */
    CLIENT_LOST_EARLY,  /* the connection went away before content was sent */
    CLIENT_LOST_LATE,   /* while it was being sent, or before all replies to it were there */
    CLIENT_LOCAL_FAULT, /* the content could not be read; the connection is closed */
};
enum client_sent client_transaction(struct client *c, struct client_mail *m)
    __attribute__((nonnull, warn_unused_result));

/* The last two bytes sent, as far as they matter for CRLF "." and for the final CRLF. */
enum client_line_state { CLIENT_IN_LINE, CLIENT_AFTER_CR, CLIENT_AT_LINE_START };

/*
 * Write a part of the content with the dots at line starts doubled (RFC 5321 4.5.2). A line ends in
 * CRLF and in nothing else: a dot behind a bare LF or CR is content, and stays as it is. state is
 * CLIENT_AT_LINE_START before the first part.
 */
enum stream_status client_write_stuffed(struct stream *s, const char *data, size_t len,
                                        enum client_line_state *state)
    __attribute__((nonnull, warn_unused_result));

/* After 354: c->format's head, the content and the tail with dots stuffed, and the final dot;
 * flushed. */
enum client_content_status {
    CLIENT_CONTENT_SENT,
    CLIENT_CONTENT_LOST,   /* it could not be written: `step` and `status`; still connected */
    CLIENT_CONTENT_UNREAD, /* a local fault; `fault` is set, the connection closed */
};
struct client_content {
    enum client_step step;
    enum stream_status status;
    bool is_answered_early; /* the server said something before the final dot was sent: no 2xx of
                               this is about the message */
};
enum client_content_status client_send_content(struct client *c, struct client_content *out)
    __attribute__((nonnull, warn_unused_result));

/* The final dot, behind what is on its own line or not; flushed. */
enum stream_status client_write_dot(struct client *c, enum client_line_state state,
                                    bool *is_answered_early)
    __attribute__((nonnull, warn_unused_result));

/* 2xx was said before the whole message was sent: set `fault`, close. Always returns -1. */
int client_fail_early(struct client *c) __attribute__((nonnull));

#endif
