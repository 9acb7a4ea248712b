/* SPDX-License-Identifier: ISC */
/*
 * delivery: decides what follows from one attempt to deliver a copy. client.c and maildir.c only
 * report outcomes; delivery.c alone decides whether a recipient is sent, retried or dead, logs
 * this, and gives the copy back to the queue. No I/O but log and queue.
 */
#ifndef SPLIT_DELIVERY_H
#define SPLIT_DELIVERY_H

#include "config/config.h"
#include "queue/queue.h"
#include "smtp/outcome.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/*
 * Seconds until the next attempt: retry_min after the first failed attempt (attempts: 1), doubled
 * after each further one, varied by +/- 20 % (random: 0..UINT32_MAX), never above retry_max or
 * below 1.
 */
unsigned delivery_retry_delay_s(const struct config_destination *d, unsigned attempts,
                                uint32_t random) __attribute__((nonnull));

/* Is the copy older than max_age, so that a failed attempt is the last one? now: CLOCK_REALTIME
 * seconds. */
bool delivery_is_too_old(const struct queue_copy *c, const struct config_destination *d, time_t now)
    __attribute__((nonnull));

/*
 * Apply a report: set the recipients' states and reasons, log one line per recipient that was
 * tried, and give the copy back to the queue. A copy older than max_age is not retried. The copy
 * goes back by `done` if no recipient is pending any more, else by `later`. After a host fault
 * without any accepted recipient it goes back by `release` instead: the attempt does not count for
 * the copy, and the destination waits. now: CLOCK_REALTIME; random: as for
 * delivery_retry_delay_s().
 */
void delivery_finish(struct queue *q, struct queue_copy *c, const struct config_destination *d,
                     const struct outcome_report *report, const struct timespec *now,
                     uint32_t random) __attribute__((nonnull));

#endif
