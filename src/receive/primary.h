/* SPDX-License-Identifier: ISC */
/*
 * primary: passes the commands of a listener's client to the primary, the server that gets the
 * original mail. Each command is passed by itself, so that the primary's reply to it can be passed
 * back. Commands are buffered until an answer is asked for (PIPELINING, where the primary offers
 * it). A session has one connection (smtp/connection.h) at a time, which is kept from message to
 * message, and then for other sessions (primary_pool.h). One thread at a time, except for
 * primary_interrupt().
 *
 * The order for one message: primary_mail, primary_rcpt ..., an answer for each of them,
 * primary_data, primary_write ..., primary_dot, one answer (LMTP: one for each recipient that was
 * accepted). primary_reset or primary_abandon may come at any time.
 */
#ifndef SPLIT_PRIMARY_H
#define SPLIT_PRIMARY_H

#include "base/buf.h"
#include "config/config.h"
#include "smtp/smtp_features.h"
#include "receive/primary_pool.h"
#include "mail/xforward.h"

#include <stdbool.h>

#define PRIMARY_WINDOW 60 /* commands that may wait for their answers */

struct primary;

enum primary_answer {
    PRIMARY_YES,  /* 2xx; to DATA 354 */
    PRIMARY_NO,   /* another reply */
    PRIMARY_LOST, /* there is no connection; all answers are this until primary_open() */
};

/* Make the object. listener: one of the runtime's; all are borrowed for the object's life. No I/O
 * yet. */
struct primary *primary_new(struct runtime *runtime, const struct config_listener *listener,
                            struct primary_pool *pool)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* Free the object. Its connection goes to the pool if it can be used again, if there was no refusal
 * on it, and if the pool has room. Otherwise QUIT is sent. NULL is legal. */
void primary_free(struct primary *p);
/* Interrupt the connection, as connection_interrupt(). */
void primary_interrupt(struct primary *p) __attribute__((nonnull));

/* Connect. A connection that was kept, here or in the pool, is used if it still works and has not
 * carried max_messages_per_connection. False: there is no connection, and all answers are
 * PRIMARY_LOST. */
bool primary_open(struct primary *p) __attribute__((nonnull));

/* Why primary_open() failed, as a reply "421 4.4.1 ..." without CRLF. */
void primary_fault(const struct primary *p, struct err *reply) __attribute__((nonnull));

/* What the primary offers; NULL when there is no connection. */
const struct smtp_features *primary_features(const struct primary *p) __attribute__((nonnull));

/* What the primary offers; without a connection, what this listener's primary offered last in any
 * session. False: neither is known. */
bool primary_features_known(const struct primary *p, struct smtp_features *out)
    __attribute__((nonnull, warn_unused_result));

/* How an ESMTP parameter of the client (word) is handled with a primary that offers f. */
enum primary_word {
    PRIMARY_WORD_PASSED,
    PRIMARY_WORD_LEFT_OUT, /* SIZE and BODY=7BIT: the message is the same without */
    PRIMARY_WORD_NO_8BITMIME,
    PRIMARY_WORD_NO_SMTPUTF8,
    PRIMARY_WORD_NO_DSN,
    PRIMARY_WORD_NO_REQUIRETLS, /* also if it is offered without verified TLS */
};
enum primary_word primary_classify_word(const struct smtp_features *f, const char *word)
    __attribute__((nonnull));

/*
 * Pass MAIL or RCPT to the primary. MAIL begins a message. path: with <>. words: the client's ESMTP
 * words, NULL-terminated; those that are PRIMARY_WORD_PASSED are passed on, and the caller handles
 * the others. x: the attributes for XFORWARD, which is sent if the listener has option xforward;
 * NULL: none are known.
 */
void primary_mail(struct primary *p, const char *path, const char *const *words,
                  const struct xforward *x) __attribute__((nonnull(1, 2, 3)));
void primary_rcpt(struct primary *p, const char *path, const char *const *words)
    __attribute__((nonnull));

/*
 * Read the answer to the oldest command that was not answered yet, after sending the commands that
 * are still buffered. Appends the reply for the client, all its lines with CRLF: the primary's own,
 * or "451 ..." with PRIMARY_LOST.
 */
enum primary_answer primary_answer(struct primary *p, struct buf *reply)
    __attribute__((nonnull, warn_unused_result));

/* Send DATA and read the answer; as primary_answer(). */
enum primary_answer primary_data(struct primary *p, struct buf *reply)
    __attribute__((nonnull, warn_unused_result));

/* Send a part of the content, whose dots are not doubled yet. A fault shows at primary_answer(), as
 * the primary's own reply if the primary sent one before it closed the connection. */
void primary_write(struct primary *p, const char *data, size_t len) __attribute__((nonnull));

/* Send the final dot. */
void primary_dot(struct primary *p) __attribute__((nonnull));

/* Forget the message, after all its answers were read. If the primary may have a transaction open,
 * RSET is sent before the next MAIL. */
void primary_reset(struct primary *p) __attribute__((nonnull));

/* Close the connection without QUIT: the primary drops content without its final dot. */
void primary_abandon(struct primary *p) __attribute__((nonnull));

/* For the log: the peer, "host[ip]:port" or "none". */
const char *primary_peer(const struct primary *p) __attribute__((nonnull, returns_nonnull));

/* For the log: the number of messages over this connection. */
unsigned primary_uses(const struct primary *p) __attribute__((nonnull));

/* For the log: the enhanced status code and the text of the last answer. Valid until the next
 * call. */
const char *primary_dsn(const struct primary *p) __attribute__((nonnull, returns_nonnull));
const char *primary_text(const struct primary *p) __attribute__((nonnull, returns_nonnull));

#endif
