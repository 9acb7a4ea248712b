/* SPDX-License-Identifier: ISC */
/*
 * client_mail: the recipients of one copy while the copy is delivered. Each different address is
 * sent once, in as many transactions as are needed. In these comments `rcpts` are the different
 * addresses, and recipients are those of the copy. Used by client*.c only.
 */
#ifndef SPLIT_CLIENT_MAIL_H
#define SPLIT_CLIENT_MAIL_H

#include "smtp/outcome.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>

struct client;

enum client_rcpt_state {
    CLIENT_RCPT_UNDECIDED,
    CLIENT_RCPT_ACCEPTED,  /* in the present transaction */
    CLIENT_RCPT_POSTPONED, /* to the next transaction: the server accepts no more in this one */
    CLIENT_RCPT_DECIDED,   /* the outcome is set */
};

struct client_rcpt {
    char *address, *sender;
    const struct queue_recipient *recipient; /* the first one with this address */
    /* the address stands for several recipients with different ORCPTs or addresses: no ORCPT is
     * sent */
    bool is_shared;
    struct outcome *outcome; /* in the report: that of `recipient` */
    enum client_rcpt_state state;
};

/* Between two transactions rcpts [0, first) are decided, and rcpts [first, count) are not. Those
 * with the same sender stand together. */
struct client_mail {
    const struct queue_copy *copy;
    struct outcome_report *report;
    struct client_rcpt *rcpts; /* different pairs of sender and address */
    size_t first, count;
    size_t *same_as;   /* for each recipient of the copy: the one whose outcome it shares */
    bool *is_included; /* for each recipient of the copy: the argument of format_make() */
};

/* Begin with all pending recipients of the copy. A recipient of which the destination's templates
 * make no address is decided, and not among the rcpts. copy, report and the client's configuration
 * are borrowed until client_mail_finish(). */
void client_mail_init(struct client_mail *m, const struct client *c, const struct queue_copy *copy,
                      struct outcome_report *report) __attribute__((nonnull));

/* Give each pending recipient of the copy the outcome of its address, and release what the struct
 * owns. All rcpts must be decided. */
void client_mail_finish(struct client_mail *m) __attribute__((nonnull));

/* Set the outcome of one rcpt. */
void client_mail_decide(struct client_rcpt *r, const struct outcome *o) __attribute__((nonnull));

/* Set the same outcome for all rcpts that are not decided. */
void client_mail_decide_rest(struct client_mail *m, const struct outcome *o)
    __attribute__((nonnull));

/* Set the same outcome for all rcpts with this sender that are not decided. */
void client_mail_decide_sender(struct client_mail *m, const char *sender, const struct outcome *o)
    __attribute__((nonnull));

/* After a transaction, complete or not: rcpts that are not decided get the state
 * CLIENT_RCPT_UNDECIDED, and move behind the decided ones. */
void client_mail_settle(struct client_mail *m) __attribute__((nonnull));

/*
 * Decide the rcpts that cannot be sent over the present connection: an address has a control
 * character, or needs SMTPUTF8, which the server does not offer. Returns the number of undecided
 * rcpts for the next transaction: those from `first` on with the same sender, at most `max`. If the
 * destination's template gives recipients addresses of their own, and the content names recipients
 * (format), it is one, so that no address gets the recipients of another one.
 * *needs_utf8_out: whether MAIL gets the parameter SMTPUTF8.
 */
size_t client_mail_sort_out(struct client_mail *m, const struct client *c, size_t max,
                            bool *needs_utf8_out) __attribute__((nonnull, warn_unused_result));

/* Set is_included for each recipient of the copy: true if its address is one of rcpts [first, first
 * + n), and that rcpt is in this state. */
void client_mail_include(struct client_mail *m, size_t n, enum client_rcpt_state state)
    __attribute__((nonnull));

#endif
