/* SPDX-License-Identifier: ISC */
/*
 * counters: the metrics of splitmilter (metrics.h), and the page that shows them. Any thread, no
 * lock. Unless metrics are on, the functions do nothing and read no clock.
 */
#ifndef MILTER_COUNTERS_H
#define MILTER_COUNTERS_H

#include "metrics/metrics.h"
#include "policy/policy.h"
#include "policy/snapshot.h"

#include <stdbool.h>

enum counters_fault {
    COUNTERS_LOOKUP,  /* a table failed for a recipient */
    COUNTERS_HEADERS, /* a table failed for a header */
    COUNTERS_CHANGES  /* the MTA did not accept the changes of a message */
};

/* Add a counter at 0 for each name in the configuration that has none yet. Called at start and
 * after each reload. */
void counters_declare(const struct config *config) __attribute__((nonnull));

/* Count that a connection of the MTA has begun to send mail, or that such a connection has
 * ended. */
void counters_mta_entered(void);
void counters_mta_left(void);

/* Count a decision about a recipient. reply: what the MTA gets; code 0 if the recipient was
 * accepted. begin_us: metrics_now_us() before the look-ups. */
void counters_decision(const struct policy_decision *d, const struct policy_reply *reply,
                       int64_t begin_us) __attribute__((nonnull));
/* Count a refused recipient, whatever the reason. */
void counters_refused(void);
/* Count a message at its end; count a failure. */
void counters_message(bool is_accepted);
void counters_failure(enum counters_fault fault);

/* Count a reload of the configuration. */
void counters_reloaded(bool is_ok);
/* Count the tables that were read again because their files had changed. failed: those that could
 * not be read and stay as they were. */
void counters_tables_reloaded(unsigned ok, unsigned failed);

/* The functions for metrics_http_options.page and is_ready. ctx: the struct snapshot_slot. */
void counters_page(void *ctx, struct buf *out) __attribute__((nonnull));
bool counters_is_ready(void *ctx, struct err *why) __attribute__((nonnull));
/* Set whether the MTA can connect, for counters_is_ready(). */
void counters_set_listening(bool is_listening);

#endif
