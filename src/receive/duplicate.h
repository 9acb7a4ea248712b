/* SPDX-License-Identifier: ISC */
/*
 * duplicate: what a listener does differently from relay.listen. The client's MAIL and RCPT are
 * passed to the primary (primary.h), and its replies to the client; recipients that it accepted get
 * their copies (transaction.h); the content goes to both. duplicate_receive() has all steps at the
 * end of the content, in this order:
 *
 *     the spool file is synced, without a name in the queue    a crash: nothing is left of it
 *     the final dot goes to the primary, which answers         a crash: the client sends it again
 *     with 2xx: the copies are linked, directories synced      a crash: the client sends it again
 *     the client gets the primary's reply
 *
 * The primary's replies to MAIL and RCPT are read later, because of PIPELINING: duplicate_settle()
 * returns them in the order of duplicate_mail() and duplicate_rcpt(). One thread.
 */
#ifndef SPLIT_DUPLICATE_H
#define SPLIT_DUPLICATE_H

#include "policy/policy_copies.h"
#include "receive/primary.h"
#include "receive/transaction.h"

struct duplicate;

struct duplicate_options {
    const struct config_listener *listener;
    const struct policy_copies *copies; /* its copy_maps */
    struct primary *primary;
    struct transaction *transaction; /* initialised; the session's */
};

/* All of the options are borrowed for its life. */
struct duplicate *duplicate_new(const struct duplicate_options *options)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void duplicate_free(struct duplicate *d);

/* The client greets: connect, and say what may be offered. If the primary cannot be reached (MAIL
 * will say so) that is what one offered last; NULL if it is not known, with why as the reply to a
 * client that wants to know: "421 ...". Valid until the next. */
const struct smtp_features *duplicate_greet(struct duplicate *d, bool is_lmtp, struct err *reply)
    __attribute__((nonnull));

/* The transaction ended, or never was. Not with answers due. */
void duplicate_reset(struct duplicate *d) __attribute__((nonnull));

/* MAIL. 0: the transaction is open until the answer says otherwise; -1: refused with `reply`, also
 * for words about what the primary at hand does not offer. x: about the client. */
int duplicate_mail(struct duplicate *d, const struct smtp_command *c, const struct xforward *x,
                   struct err *reply) __attribute__((nonnull, warn_unused_result));

/* RCPT. 0: the answer will come; -1: refused with `reply`. */
int duplicate_rcpt(struct duplicate *d, const struct smtp_command *c, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* Answers that are due. No more than PRIMARY_WINDOW should be. */
size_t duplicate_due(const struct duplicate *d) __attribute__((nonnull));

struct duplicate_answer {
    bool is_mail;      /* else to RCPT */
    bool is_yes;       /* MAIL: or the transaction is to be ended, when no answers are due */
    const char *to;    /* RCPT: the path */
    const char *reply; /* all its lines with CRLF */
};

/* The next answer; false: none is due. Valid until the next call with d. */
bool duplicate_settle(struct duplicate *d, struct duplicate_answer *out) __attribute__((nonnull));

/* DATA, with all answers read. True: 354; reply is the whole reply, with CRLF. */
bool duplicate_data(struct duplicate *d, struct buf *reply)
    __attribute__((nonnull, warn_unused_result));

/* As transaction_receive(), but the primary gets the content, too, and its replies decide. With
 * TRANSACTION_FINISHED duplicate_replies() are for the client. */
enum stream_status duplicate_receive(struct duplicate *d, const struct content_source *source,
                                     enum transaction_result *result_out, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* One reply, or with LMTP one for each recipient, with CRLF. */
const char *duplicate_replies(const struct duplicate *d) __attribute__((nonnull, returns_nonnull));

#endif
