/* SPDX-License-Identifier: ISC */
/*
 * counters: the metrics of splitrelay (metrics.h). The modules of splitrelay report events here.
 * Any thread. The functions do nothing unless metrics are on. Names of destinations are those of
 * the configuration and of the queue.
 */
#ifndef SPLIT_COUNTERS_H
#define SPLIT_COUNTERS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* A configuration was loaded. Called at start and after each reload, before counters_declare(). */
void counters_loaded(void);

/* Show a destination of the configuration on the page, with zeros as long as nothing was
 * counted. */
void counters_declare(const char *destination) __attribute__((nonnull));

/* --- mail that comes in --- */

/* A client's connection was accepted; a client's connection ended. */
void counters_client_entered(void);
void counters_client_left(void);

/* splitrelay refused a connection, a command, a recipient or a message. Refusals are counted by the
 * code and enhanced status code with which `reply` begins: "452 4.3.1 ...". */
void counters_refused(const char *reply) __attribute__((nonnull));

/* A client got a refusal that came from the listener's primary. */
void counters_refused_by_primary(void);

/* The copies of a message are on stable storage. counters_message() is called once for the message,
 * counters_copy() once for each copy. */
void counters_message(uint64_t size_bytes);
void counters_copy(const char *destination, uint64_t size_bytes) __attribute__((nonnull));

enum counters_condition { COUNTERS_UNLESS_HEADER, COUNTERS_MAX_SIZE };

/* A copy was not stored, because the destination does not want the message. */
void counters_skipped(const char *destination, enum counters_condition condition)
    __attribute__((nonnull));

/* The time from the end of the content until a copy was on stable storage, in microseconds, without
 * the time spent waiting for the primary. */
void counters_to_disk(const char *destination, int64_t us) __attribute__((nonnull));

/* A primary got a message whose copies could not be stored. */
void counters_copies_missing(void);

/* --- copies that go out --- */

enum counters_outcome { COUNTERS_SENT, COUNTERS_DEFERRED, COUNTERS_DEAD };

/* The outcome of an attempt for one recipient. age_ms: time since MAIL. */
void counters_outcome(const char *destination, enum counters_outcome outcome, int64_t age_ms)
    __attribute__((nonnull));

/* The destination was suspended, or its suspension has ended. */
void counters_suspended(const char *destination, bool is_suspended) __attribute__((nonnull));

/* Add `change` (1 or -1) to the number of deliveries in progress, or to the number of open
 * connections. */
void counters_in_progress(const char *destination, int change) __attribute__((nonnull));
void counters_connections(const char *destination, int change) __attribute__((nonnull));

/* Set the number of connections that the flow control (flow.h) allows at a time now. */
void counters_connection_limit(const char *destination, unsigned limit) __attribute__((nonnull));

/* A delivery was tried over a new connection. */
void counters_connected(const char *destination) __attribute__((nonnull));

/* --- configuration, and the page --- */

/* A reload of the configuration ended. */
void counters_reloaded(bool is_ok);

/* Tables whose files had changed: how many were replaced, and how many stay as they were because
 * the new file has a fault. */
void counters_tables_reloaded(unsigned ok, unsigned failed);

/* What was counted for a destination so far: copies stored, and recipients delivered. */
struct counters_totals {
    int64_t copies, sent;
};
void counters_get(const char *destination, struct counters_totals *out) __attribute__((nonnull));

/* Append the text of all these metrics. */
void counters_render(struct buf *out) __attribute__((nonnull));

#endif
