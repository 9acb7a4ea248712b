/* SPDX-License-Identifier: ISC */
/*
 * client_mail: the recipients of one copy on their way: each different address once, decided one
 * after the other, in as many transactions as it takes. Private to the files of the client.
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
    CLIENT_RCPT_POSTPONED, /* to the next transaction: the server had enough of them in this one */
    CLIENT_RCPT_DECIDED,   /* the outcome is set */
};

struct client_rcpt {
    const char *address;
    const struct queue_recipient *recipient; /* the first one with this address */
    bool is_shared;                          /* by recipients with different ORCPTs */
    struct outcome *outcome;                 /* in the report, of that first recipient */
    enum client_rcpt_state state;
};

/* rcpts [first, count) are not decided yet, between two transactions; those before are. */
struct client_mail {
    const struct queue_copy *copy;
    struct outcome_report *report;
    const char *sender;
    struct client_rcpt *rcpts;
    size_t first, count;
    size_t *same_as;   /* for each recipient of the copy: the one whose outcome it shares */
    bool *is_included; /* for each recipient of the copy: format_make() */
};

/* All pending recipients. copy, report and the client's configuration are borrowed. */
void client_mail_init(struct client_mail *m, const struct client *c, const struct queue_copy *copy,
                      struct outcome_report *report) __attribute__((nonnull));

/* Give those that share an address its outcome, and release what it owns. All are decided. */
void client_mail_finish(struct client_mail *m) __attribute__((nonnull));

void client_mail_decide(struct client_rcpt *r, const struct outcome *o) __attribute__((nonnull));

/* All that are not decided share this outcome. */
void client_mail_decide_rest(struct client_mail *m, const struct outcome *o)
    __attribute__((nonnull));

/* A transaction is over, or did not come to its end: what is not decided is undecided, and those
 * that were postponed come next. */
void client_mail_settle(struct client_mail *m) __attribute__((nonnull));

/*
 * Decide those that cannot be sent over the present connection. Returns whether SMTPUTF8 is needed
 * for the envelope of the next `max` that are left.
 */
bool client_mail_sort_out(struct client_mail *m, const struct client *c, size_t max)
    __attribute__((nonnull));

/* Have is_included say which recipients of the copy belong to those of rcpts [first, first + n)
 * that are in this state. */
void client_mail_include(struct client_mail *m, size_t n, enum client_rcpt_state state)
    __attribute__((nonnull));

#endif
