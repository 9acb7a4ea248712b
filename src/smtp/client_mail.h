/* SPDX-License-Identifier: ISC */
/*
 * client_mail: the recipients of one copy while it is delivered: each different address once, in as
 * many transactions as it takes. Used by client*.c only.
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
    const char *address;
    const struct queue_recipient *recipient; /* the first one with this address */
    /* the address stands for several recipients with different ORCPTs or addresses: no ORCPT is
     * sent */
    bool is_shared;
    struct outcome *outcome; /* in the report: that of `recipient` */
    enum client_rcpt_state state;
};

/* Between two transactions rcpts [0, first) are decided, and rcpts [first, count) are not. */
struct client_mail {
    const struct queue_copy *copy;
    struct outcome_report *report;
    const char *sender;
    struct client_rcpt *rcpts;
    size_t first, count;
    size_t *same_as;   /* for each recipient of the copy: the one whose outcome it shares */
    bool *is_included; /* for each recipient of the copy: format_make() */
};

/* Begin with all pending recipients of the copy. copy, report and the client's configuration are
 * borrowed until client_mail_finish(). */
void client_mail_init(struct client_mail *m, const struct client *c, const struct queue_copy *copy,
                      struct outcome_report *report) __attribute__((nonnull));

/* Give all recipients that share an address the outcome of that address, and release what the
 * struct owns. All recipients must be decided. */
void client_mail_finish(struct client_mail *m) __attribute__((nonnull));

/* Set the outcome of one recipient. */
void client_mail_decide(struct client_rcpt *r, const struct outcome *o) __attribute__((nonnull));

/* Set the same outcome for all recipients that are not decided. */
void client_mail_decide_rest(struct client_mail *m, const struct outcome *o)
    __attribute__((nonnull));

/* After a transaction, complete or not: recipients that are not decided get the state
 * CLIENT_RCPT_UNDECIDED, and move behind the decided ones. */
void client_mail_settle(struct client_mail *m) __attribute__((nonnull));

/*
 * Decide the recipients that cannot be sent over the present connection: an address has a control
 * character, or needs SMTPUTF8, which the server does not offer. Returns whether MAIL gets the
 * parameter SMTPUTF8 for the next `max` undecided recipients.
 */
bool client_mail_sort_out(struct client_mail *m, const struct client *c, size_t max)
    __attribute__((nonnull));

/* Set is_included to true for the copy's recipients that belong to those of rcpts [first, first +
 * n) that are in this state, and to false for all others. */
void client_mail_include(struct client_mail *m, size_t n, enum client_rcpt_state state)
    __attribute__((nonnull));

#endif
