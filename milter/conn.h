/* SPDX-License-Identifier: ISC */
/*
 * conn: the state of one connection of the MTA and of its present message. libmilter's private
 * pointer points to it. The callbacks of one connection run one after the other.
 */
#ifndef MILTER_CONN_H
#define MILTER_CONN_H

#include "headers.h"
#include "mta.h"
#include "policy/policy.h"
#include "policy/snapshot.h"

#include <libmilter/mfapi.h>

#include <stdbool.h>
#include <sys/socket.h>

/* What the MTA resolves recipients to (mta_target()). */
struct conn_targets {
    char **list; /* NULL entries: not known */
    size_t count, size;
};

struct conn {
    struct snapshot *snapshot;
    struct table_scratch *scratch;
    struct sockaddr_storage client; /* family 0: not known */
    bool has_complained;            /* an error about filter_method was logged */

    /* about the present message */
    struct policy_message message;
    struct headers headers;
    struct policy_decision *decisions; /* of the recipients that were accepted */
    size_t count, size;
    enum mta_kind mta;
    bool has_sender; /* MAIL was seen */
    /* The next two are set with MTA_POSTFIX_CLEANUP only. */
    bool is_intruder;             /* the sender or a recipient is in the tag domain */
    bool is_bounce;               /* the sender is <> */
    struct conn_targets accepted; /* by the index in `decisions`; Sendmail only */
    struct conn_targets refused;  /* Sendmail only */
    struct policy_reply sticky; /* code != 0: Sendmail would deliver to a refused recipient, so the
                                   message is refused with this reply */
};

/* The state of the connection. The first call makes it, with the present snapshot of `slot`. */
struct conn *conn_of(SMFICTX *ctx, struct snapshot_slot *slot)
    __attribute__((nonnull, returns_nonnull));

/* Free the state. NULL is legal: a connection that the MTA closes after the negotiation has no
 * state. */
void conn_close(struct conn *c);

/* Return the number of connections that have a state. */
unsigned conn_count(void);

/* Free the state of the message, at its end or abort. */
void conn_forget_message(struct conn *c) __attribute__((nonnull));

/* Add the decision about the recipient that is accepted now; the content of *d is taken over. */
void conn_keep(struct conn *c, const struct policy_decision *d, SMFICTX *ctx)
    __attribute__((nonnull));

/* Note that the present recipient is refused. */
void conn_note_refused(struct conn *c, SMFICTX *ctx) __attribute__((nonnull));

/* For log lines: the queue id, or "NOQUEUE" as long as the MTA has none. Valid during the
 * callback. */
const char *conn_queue_id(SMFICTX *ctx) __attribute__((nonnull, returns_nonnull));

#endif
