/* SPDX-License-Identifier: ISC */
/*
 * duplicate: how a session of a listener differs from a session of relay.listen. MAIL and RCPT are
 * passed to the primary (primary.h), and the primary's replies to the client. Recipients that the
 * primary accepts get their copies (transaction.h). The content goes to the primary and into the
 * queue. duplicate_receive() has all steps at the end of the content, in this order:
 *
 *     the content is written, with no copy in the queue yet    a crash: nothing is left of it
 *     the final dot goes to the primary, which answers         a crash: the client sends it again
 *     with 2xx: the copies are committed and synced            a crash: the client sends it again
 *     the client gets the primary's reply
 *
 * Because of PIPELINING the primary's replies to MAIL and RCPT are not read at once: they are due
 * until duplicate_settle() returns them, in the order of duplicate_mail() and duplicate_rcpt(). One
 * thread.
 */
#ifndef SPLIT_DUPLICATE_H
#define SPLIT_DUPLICATE_H

#include "policy/policy_copies.h"
#include "receive/primary.h"
#include "receive/transaction.h"

struct duplicate;

struct duplicate_options {
    const struct config_listener *listener;
    const struct policy_copies *copies; /* the copy_maps of the listener */
    struct primary *primary;
    struct transaction *transaction; /* the session's, initialised */
};

/* The options are borrowed for the object's life. */
struct duplicate *duplicate_new(const struct duplicate_options *options)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void duplicate_free(struct duplicate *d);

/*
 * At HELO, EHLO or LHLO (is_lmtp): connect to the primary, and return the extensions that it
 * offers. If the primary cannot be reached, MAIL will report that, and the result is what a primary
 * of this listener offered last. NULL with `reply`, "421 ...": that is not known either. Valid
 * until the next call.
 */
const struct smtp_features *duplicate_greet(struct duplicate *d, bool is_lmtp, struct err *reply)
    __attribute__((nonnull));

/* Forget the transaction, if there is one. No answer may be due, unless the session ends. */
void duplicate_reset(struct duplicate *d) __attribute__((nonnull));

/* Handle MAIL. 0: the transaction is open, and duplicate_settle() will return the primary's answer;
 * -1: refused with `reply`, also because of a parameter that needs an extension which the present
 * primary does not offer. x: the attributes of the client. */
int duplicate_mail(struct duplicate *d, const struct smtp_command *c, const struct xforward *x,
                   struct err *reply) __attribute__((nonnull, warn_unused_result));

/* Handle RCPT. 0: duplicate_settle() will return the answer; -1: refused with `reply`. */
int duplicate_rcpt(struct duplicate *d, const struct smtp_command *c, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* The number of answers that are due. The caller keeps it within PRIMARY_WINDOW. */
size_t duplicate_due(const struct duplicate *d) __attribute__((nonnull));

struct duplicate_answer {
    bool is_mail; /* the answer is to MAIL; false: to RCPT */
    /* accepted. After a refusal of MAIL the caller ends the transaction as soon as no answer is
     * due */
    bool is_yes;
    const char *to;    /* with RCPT: the path */
    const char *reply; /* all its lines with CRLF */
};

/* The next answer; false: none is due. Valid until the next call with d. */
bool duplicate_settle(struct duplicate *d, struct duplicate_answer *out) __attribute__((nonnull));

/* Handle DATA, after all answers were read. True: DATA is accepted. reply: the whole reply for the
 * client, with CRLF; "354 ..." if accepted. */
bool duplicate_data(struct duplicate *d, struct buf *reply)
    __attribute__((nonnull, warn_unused_result));

/* As transaction_receive(), but the primary gets the content, too, and the primary's replies
 * decide. TRANSACTION_FINISHED: the caller sends duplicate_replies() to the client. */
enum stream_status duplicate_receive(struct duplicate *d, const struct content_source *source,
                                     enum transaction_result *result_out, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* The replies to the content: one, or for an LMTP client one for each recipient, with CRLF. Valid
 * until the next call with d. */
const char *duplicate_replies(const struct duplicate *d) __attribute__((nonnull, returns_nonnull));

#endif
