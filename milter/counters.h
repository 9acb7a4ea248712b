/* SPDX-License-Identifier: ISC */
/*
 * counters: what splitmilter counts (metrics.h), and the page that shows it. Any thread, no lock;
 * nothing is done, and no clock read, unless metrics are on.
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

/* Zeros for all names of the configuration. At start and after each reload. */
void counters_declare(const struct config *config) __attribute__((nonnull));

/* A connection of the MTA that brings mail, and its end. */
void counters_mta_entered(void);
void counters_mta_left(void);

/* A recipient was decided about; reply: the answer, code 0 if he was accepted. begin_us:
 * metrics_now_us() before the look-ups. */
void counters_decision(const struct policy_decision *d, const struct policy_reply *reply,
                       int64_t begin_us) __attribute__((nonnull));
/* A recipient was refused, for whatever reason. */
void counters_refused(void);
/* End of message. */
void counters_message(bool is_accepted);
void counters_failure(enum counters_fault fault);

/* A reload of the configuration ended. */
void counters_reloaded(bool is_ok);
/* Tables whose files had changed; failed: those that stay as they were. */
void counters_tables_reloaded(unsigned ok, unsigned failed);

/* The page: metrics_http_options.page and is_ready; ctx is the struct snapshot_slot. */
void counters_page(void *ctx, struct buf *out) __attribute__((nonnull));
bool counters_is_ready(void *ctx, struct err *why) __attribute__((nonnull));
/* The MTA can connect, or can do so no longer. */
void counters_set_listening(bool is_listening);

#endif
