/* SPDX-License-Identifier: ISC */
/*
 * connection: one connection to an SMTP or LMTP server, as its client (RFC 5321, 2033): the search
 * for an address, the greeting, EHLO (HELO, LHLO), STARTTLS (RFC 3207), AUTH (RFC 4954), commands
 * and their replies, content with dots doubled. The caller makes the transaction, and decides what
 * is sent in which order and what follows from a reply: client.h delivers copies of the queue, and
 * receive/primary.h passes on the commands of a listener's client.
 *
 * Functions that return int return 0, or -1 when the connection cannot be used any more. The
 * connection is then closed, and connection_fault() has the reason: an outcome of OUTCOME_RETRY,
 * worded as by Postfix, for all recipients that have no outcome of their own. A function's comment
 * names the exceptions.
 *
 * The functions for commands, replies and content need an open connection; the functions for
 * closing, for faults and for what is known do not. One thread at a time, except for
 * connection_interrupt() and connection_interrupt_setup().
 */
#ifndef SPLIT_CONNECTION_H
#define SPLIT_CONNECTION_H

#include "config/config.h"
#include "mail/smtp_reply.h"
#include "mail/xforward.h"
#include "net/resolver.h"
#include "smtp/outcome.h"
#include "smtp/smtp_features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;
struct security_client;

/* A command, or another stage of the conversation: for the texts of faults and outcomes, "lost
 * connection with HOST while STEP", "host HOST said: REPLY (in reply to STEP)". */
enum connection_step {
    CONNECTION_GREETING,
    CONNECTION_EHLO,
    CONNECTION_HELO,
    CONNECTION_LHLO,
    CONNECTION_STARTTLS,
    CONNECTION_AUTH,
    CONNECTION_XCLIENT,
    CONNECTION_XFORWARD,
    CONNECTION_RSET,
    CONNECTION_MAIL,
    CONNECTION_RCPT,
    CONNECTION_DATA,
    CONNECTION_BODY, /* the content */
    CONNECTION_DOT,  /* the final dot */
};

/* --- the object --- */

/* Make the object. d (relay_to, TLS, AUTH, time limits), security (NULL: neither TLS nor AUTH is
 * set up), hostname (our name for EHLO) and resolver (NULL: the system's) are borrowed for the life
 * of the object. No I/O yet. */
struct connection *connection_new(const struct config_destination *d,
                                  const struct security_client *security, const char *hostname,
                                  const struct resolver *resolver)
    __attribute__((nonnull(1, 3), returns_nonnull, warn_unused_result));

/* Call connection_quit(), then release the object. NULL is legal. */
void connection_free(struct connection *c);

/* Make a call that blocks in another thread fail soon. Later calls fail, too. From any thread. */
void connection_interrupt(struct connection *c) __attribute__((nonnull));

/* As connection_interrupt(), unless a message was begun in the connection
 * (connection_begin_message()). */
void connection_interrupt_setup(struct connection *c) __attribute__((nonnull));

/* Was the connection interrupted? */
bool connection_is_interrupted(const struct connection *c) __attribute__((nonnull));

/* --- open and close --- */

/*
 * Connect and get to the point where mail can be sent: try relay_to in order, every address of
 * each, until one host accepts the connection and completes greeting, EHLO, TLS and AUTH. The
 * connection must be closed. -1: there was no such host; connection_peer() is the last host that
 * accepted the connection, "" if none did. needs_requiretls: hosts that do not offer REQUIRETLS
 * over verified TLS are passed over (RFC 8689 4.2.1).
 */
int connection_open(struct connection *c, bool needs_requiretls)
    __attribute__((nonnull, warn_unused_result));

/* Did the last connection_open() fail although a host works, because that host lacks REQUIRETLS? */
bool connection_lacks_requiretls(const struct connection *c) __attribute__((nonnull));

/* Is there a connection? */
bool connection_is_open(const struct connection *c) __attribute__((nonnull));

/* Has the server closed the connection, or sent something that was not asked for? Such a connection
 * cannot be used for another message. The connection must be open. */
bool connection_is_stale(struct connection *c) __attribute__((nonnull));

/* Has the connection carried as many messages as max_messages_per_connection allows? */
bool connection_is_worn_out(const struct connection *c) __attribute__((nonnull));

/* Send QUIT, wait briefly for the reply, and close the connection. A closed connection is
 * allowed. */
void connection_quit(struct connection *c) __attribute__((nonnull));

/* Close the connection without QUIT: a server drops a message that has no final dot yet. A closed
 * connection is allowed. */
void connection_close(struct connection *c) __attribute__((nonnull));

/* --- detach and attach: a connection that changes its owner, as in a pool --- */

/* The socket and what is known about it, without the struct connection around it. */
struct connection_detached;

/* Take the open connection out of c, which is closed afterwards. The caller owns the result. */
struct connection_detached *connection_detach(struct connection *c)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Let c, which is closed and was made for the same destination, take over a detached connection.
 * -1: c was interrupted, and the connection is closed. k is released in both cases. */
int connection_attach(struct connection *c, struct connection_detached *k)
    __attribute__((nonnull, warn_unused_result));

/* The time at which the connection was opened, as task_now_ms(). */
int64_t connection_detached_opened_ms(const struct connection_detached *k) __attribute__((nonnull));

/* Send QUIT, close the connection, and release k. is_hurried: do not wait for the reply. */
void connection_detached_quit(struct connection_detached *k, bool is_hurried)
    __attribute__((nonnull));

/* --- what is known --- */

/* What the server offers; when the connection is closed, what the last server offered. */
const struct smtp_features *connection_features(const struct connection *c)
    __attribute__((nonnull, returns_nonnull));

/* "host[ip]:port" of the present or last connection; "": there was none. Valid until
 * connection_open(). */
const char *connection_peer(const struct connection *c) __attribute__((nonnull, returns_nonnull));

/* Count one more message, and return its number on this connection, from 1. From now on
 * connection_interrupt_setup() has no effect, until the connection is closed. */
unsigned connection_begin_message(struct connection *c) __attribute__((nonnull));

/* Messages begun on this connection. */
unsigned connection_messages(const struct connection *c) __attribute__((nonnull));

/* May the server have a transaction open, which RSET must end before the next MAIL? */
bool connection_needs_rset(const struct connection *c) __attribute__((nonnull));

/* Set the answer of connection_needs_rset(). The caller keeps it up to date: true from MAIL on,
 * false after the reply to RSET or the dot. A new connection begins with false; detach and attach
 * preserve it. */
void connection_set_needs_rset(struct connection *c, bool needs_rset) __attribute__((nonnull));

/* --- faults --- */

/* Why the last call failed. Valid until the next call that can fail. */
const struct outcome *connection_fault(const struct connection *c)
    __attribute__((nonnull, returns_nonnull));

/* Set the fault to OUTCOME_RETRY with this dsn ("4.3.0") and reason, and close. Returns -1. */
int connection_fail(struct connection *c, const char *dsn, const char *reason, ...)
    __attribute__((format(printf, 3, 4), nonnull));

/* Close the connection because of the present reply, whose code the command cannot have. The fault
 * gets the text of the reply, and is OUTCOME_RETRY whatever the code is. Returns -1. */
int connection_fail_reply(struct connection *c, enum connection_step step) __attribute__((nonnull));

/* --- commands and replies --- */

/* Write bytes that a following connection_ask() flushes: one command with its CRLF, or more. */
int connection_send(struct connection *c, enum connection_step step, const char *data, size_t len)
    __attribute__((nonnull, warn_unused_result));

/* Write and flush commands. Returns 0 also when the server has closed the connection, because a
 * reply with the reason may still be there to be read. */
int connection_send_commands(struct connection *c, enum connection_step step, const char *data,
                             size_t len) __attribute__((nonnull, warn_unused_result));

/* Read one reply, within command_timeout. -1: the connection was lost, the time limit passed, or
 * the reply is malformed, is 421, or has lines with different codes. Text beyond
 * SMTP_REPLY_TEXT_MAX is read and dropped. */
int connection_read_reply(struct connection *c, enum connection_step step)
    __attribute__((nonnull, warn_unused_result));

/* Flush what was written, then read one reply as connection_read_reply(). */
int connection_ask(struct connection *c, enum connection_step step)
    __attribute__((nonnull, warn_unused_result));

/* The last reply that was read. */
const struct smtp_reply *connection_reply(const struct connection *c)
    __attribute__((nonnull, returns_nonnull));

/* Fill an outcome from the present reply to `step`: 2xx OK, 5xx REFUSED, all other codes RETRY. */
void connection_outcome_of_reply(struct connection *c, enum connection_step step, struct outcome *o)
    __attribute__((nonnull));

/* --- content, after 354 --- */

/* Begin the content. -1: the server has sent more than its reply to DATA; the surplus would be
 * taken for its reply to the content. */
int connection_begin_content(struct connection *c) __attribute__((nonnull, warn_unused_result));

/*
 * Write a part of the content, with dots at line starts doubled (RFC 5321 4.5.2). A line ends in
 * CRLF only: a dot after a bare LF or CR is content and stays as it is. A fault does not close the
 * connection: connection_is_cut_short() is true then, further parts are dropped, and
 * connection_read_refusal() has the reason.
 */
void connection_write_content(struct connection *c, const char *data, size_t len)
    __attribute__((nonnull));

/* Write the final dot, on a line of its own, and flush. A fault has the same effect as in
 * connection_write_content(). */
void connection_end_content(struct connection *c) __attribute__((nonnull));

/* Is the content incomplete, because of a fault while it was written? */
bool connection_is_cut_short(const struct connection *c) __attribute__((nonnull));

/* The step that the reply to the content answers: CONNECTION_BODY, or CONNECTION_DOT after
 * connection_end_content(). */
enum connection_step connection_content_step(const struct connection *c) __attribute__((nonnull));

/* Read one reply to the content (LMTP: there is one for each accepted recipient, RFC 2033 4.2). -1
 * also for a reply 3xx, and for a reply 2xx that the server sent before it had the final dot. */
int connection_read_result(struct connection *c) __attribute__((nonnull, warn_unused_result));

/* Read one reply after a content that was cut short: a server that refuses content half-way sends a
 * reply and closes the connection. Waits briefly. 0: there is a reply of 4xx or 5xx; the caller
 * closes the connection. */
int connection_read_refusal(struct connection *c) __attribute__((nonnull, warn_unused_result));

/* --- origin of a message: XFORWARD and XCLIENT --- */

/*
 * Send XFORWARD with the attributes that the server offers, for the server's log and filters, and
 * read the replies. RSET comes first if a transaction may be open. A refusal of XFORWARD is logged,
 * with `log_name` ("dest=NAME"), and is not a fault: mail is not lost because of it.
 */
int connection_xforward(struct connection *c, const struct xforward *x, const char *log_name)
    __attribute__((nonnull, warn_unused_result));

enum connection_xclient_result {
    /* or there is nothing to send: XCLIENT is not offered, or was sent before */
    CONNECTION_XCLIENT_OK,
    CONNECTION_XCLIENT_LOST, /* the connection is closed, with its fault */
    /* the server refused XCLIENT, or that client; the connection is closed, and its fault is about
     * this message alone */
    CONNECTION_XCLIENT_REFUSED,
};

/*
 * Send XCLIENT, after which the server treats the connection as if the client x had made it. Then
 * send EHLO with the name of that client; the reply to it replaces the features. A server accepts
 * XCLIENT from the real client only, so it is sent once in a connection.
 */
enum connection_xclient_result connection_xclient(struct connection *c, const struct xforward *x)
    __attribute__((nonnull, warn_unused_result));

/* False: XCLIENT was sent in this connection, about another client than x. */
bool connection_xclient_fits(const struct connection *c, const struct xforward *x)
    __attribute__((nonnull));

#endif
