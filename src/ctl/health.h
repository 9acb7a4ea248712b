/* SPDX-License-Identifier: ISC */
/*
 * health: which destinations are suspended: by an administrator, as the queue has it, or by their
 * faults, which splitrelay is asked when that is needed first. A splitrelay that does not run, or
 * that may not be asked, has suspended nothing. One thread.
 */
#ifndef SPLIT_CTL_HEALTH_H
#define SPLIT_CTL_HEALTH_H

#include "config/config.h"
#include "deliver/destination.h"
#include "queue/queue_reader.h"

struct health;

/* Why splitrelay takes no copies now: 1 with `why`. 0: it takes them, or does not answer. */
int health_refuses(const struct config *config, struct err *why) __attribute__((nonnull));

/* config and reader are borrowed. The suspensions by administrators are read now. */
struct health *health_new(const struct config *config, struct queue_reader *reader)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void health_free(struct health *h) __attribute__((nonnull));

/* "" or why the suspensions by administrators cannot be read. Valid as long as h is. */
const char *health_problem(const struct health *h) __attribute__((nonnull, returns_nonnull));

/* The suspension of this destination by an administrator; NULL: there is none, or it is over. Valid
 * as long as h. */
const struct queue_suspension *health_order(const struct health *h, const char *destination,
                                            time_t now) __attribute__((nonnull));

/* The suspension of this destination because of its faults; `since` is 0 if there is none. Valid as
 * long as h. */
const struct destination_suspension *health_of(struct health *h, const char *destination)
    __attribute__((nonnull, returns_nonnull));

/* The earliest time at which this copy is tried next. It is not before the next attempt of the
 * destination, and never in the past. 0: the copy is not in the queue, or its destination is
 * suspended until an administrator resumes it. */
time_t health_next_attempt(struct health *h, const struct queue_entry *e, time_t now)
    __attribute__((nonnull));

#endif
