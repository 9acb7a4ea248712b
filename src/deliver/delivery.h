/* SPDX-License-Identifier: ISC */
/*
 * delivery: what follows from one attempt to deliver a copy. The one place where outcomes become
 * policy: client.c and maildir.c report, delivery.c decides (sent, retried, dead), logs and gives
 * the copy back to the queue. Pure but for log and queue.
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
 * Seconds until the next attempt: retry_min doubled with each attempt that failed (attempts >= 1),
 * with a jitter of +/- 20 % (random: 0..UINT32_MAX), never above retry_max or below 1.
 */
unsigned delivery_retry_delay_s(const struct config_destination *d, unsigned attempts,
                                uint32_t random) __attribute__((nonnull));

/* Is the copy older than max_age, so that a failed attempt is the last one? now: CLOCK_REALTIME
 * seconds. */
bool delivery_is_too_old(const struct queue_copy *c, const struct config_destination *d, time_t now)
    __attribute__((nonnull));

/* Apply a report: set the recipients' states and reasons, log one line per recipient that was
 * tried, and give the copy back (done or later). A copy older than max_age is not retried.
 * With is_host_fault it goes back by release if nothing was accepted and it is not too old: the
 * destination waits, not the copy. now: CLOCK_REALTIME; random: as for delivery_retry_delay_s(). */
void delivery_finish(struct queue *q, struct queue_copy *c, const struct config_destination *d,
                     const struct outcome_report *report, const struct timespec *now,
                     uint32_t random) __attribute__((nonnull));

#endif
