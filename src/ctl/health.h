/* SPDX-License-Identifier: ISC */
/*
 * health: the suspensions of destinations. Suspensions by an administrator are read from the queue.
 * Suspensions by faults are known to splitrelay alone: splitrelay is asked about a destination at
 * the first call of health_of() or health_next_attempt() for that destination. If splitrelay does
 * not run, or does not let this user connect, no destination counts as suspended by faults. One
 * thread.
 */
#ifndef SPLIT_CTL_HEALTH_H
#define SPLIT_CTL_HEALTH_H

#include "config/config.h"
#include "deliver/destination.h"
#include "queue/queue_reader.h"

struct health;

/* Ask splitrelay whether it takes copies. Returns 1 with the reason in `why` if splitrelay refuses
 * copies, 0 if it takes copies or does not answer. */
int health_refuses(const struct config *config, struct err *why) __attribute__((nonnull));

/* Make a struct health, and read the suspensions by administrators. If they cannot be read, a
 * message is printed, and health_problem() has the reason. `config` is borrowed as long as the
 * struct exists, `reader` for the call. */
struct health *health_new(const struct config *config, struct queue_reader *reader)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void health_free(struct health *h) __attribute__((nonnull));

/* "", or why the suspensions by administrators cannot be read. Valid as long as h. */
const char *health_problem(const struct health *h) __attribute__((nonnull, returns_nonnull));

/* The suspension of this destination by an administrator; NULL: there is none, or it is over. Valid
 * as long as h. */
const struct queue_suspension *health_order(const struct health *h, const char *destination,
                                            time_t now) __attribute__((nonnull));

/* The suspension of this destination because of its faults; `since` is 0 if there is none. Valid as
 * long as h. */
const struct destination_suspension *health_of(struct health *h, const char *destination)
    __attribute__((nonnull, returns_nonnull));

/* entry_next_attempt() of this copy. */
time_t health_next_attempt(struct health *h, const struct queue_entry *e, time_t now)
    __attribute__((nonnull));

#endif
