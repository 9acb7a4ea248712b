/* SPDX-License-Identifier: ISC */
/*
 * counters: what splitrelay counts (metrics.h), by the events of its modules. Any thread, no lock;
 * nothing is done unless metrics are on. Names of destinations are those of the configuration and
 * of the spool.
 */
#ifndef SPLIT_COUNTERS_H
#define SPLIT_COUNTERS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* A configuration was loaded. At start and after each reload, before counters_declare(). */
void counters_loaded(void);
/* Zeros for a destination of it. */
void counters_declare(const char *destination) __attribute__((nonnull));

/* --- what comes in --- */

/* A connection was accepted; it ended. */
void counters_client_entered(void);
void counters_client_left(void);

/* By the code and enhanced status code of our reply, "452 4.3.1 ...". */
void counters_refused(const char *reply) __attribute__((nonnull));
/* The primary of a listener refused. */
void counters_refused_by_primary(void);

/* A message whose copies are on stable storage; then for each copy of it. */
void counters_message(uint64_t size_bytes);
void counters_copy(const char *destination, uint64_t size_bytes) __attribute__((nonnull));
/* us: metrics_now_us() from the end of the content, without waiting for a primary */
void counters_to_disk(const char *destination, int64_t us) __attribute__((nonnull));
/* A primary got a message whose copies could not be stored. */
void counters_copies_missing(void);

/* --- what goes out --- */

enum counters_outcome { COUNTERS_SENT, COUNTERS_DEFERRED, COUNTERS_DEAD };

/* What an attempt was for a recipient. age_ms: since MAIL. */
void counters_outcome(const char *destination, enum counters_outcome outcome, int64_t age_ms)
    __attribute__((nonnull));
void counters_suspended(const char *destination, bool is_suspended) __attribute__((nonnull));
/* change: 1 or -1 */
void counters_in_progress(const char *destination, int change) __attribute__((nonnull));
void counters_connections(const char *destination, int change) __attribute__((nonnull));
/* The connections that it is given at most now (flow.h). */
void counters_connection_limit(const char *destination, unsigned limit) __attribute__((nonnull));
void counters_connected(const char *destination) __attribute__((nonnull));

/* --- all --- */

/* A reload of the configuration ended. */
void counters_reloaded(bool is_ok);
/* Tables whose files had changed; failed: those that stay as they were. */
void counters_tables_reloaded(unsigned ok, unsigned failed);

/* The text of all these. */
void counters_render(struct buf *out) __attribute__((nonnull));

#endif
