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

/* Both are borrowed. The suspensions of administrators are read now. */
struct health *health_new(const struct config *config, struct queue_reader *reader)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void health_free(struct health *h) __attribute__((nonnull));

/* "" or why the suspensions of administrators cannot be read. Valid as long as h is. */
const char *health_problem(const struct health *h) __attribute__((nonnull, returns_nonnull));

/* By an administrator: NULL if it is not, or no more. Valid as long as h is. */
const struct queue_suspension *health_order(const struct health *h, const char *destination,
                                            time_t now) __attribute__((nonnull));

/* By its faults: since 0 if it is not. Valid as long as h is. */
const struct destination_suspension *health_of(struct health *h, const char *destination)
    __attribute__((nonnull, returns_nonnull));

/* When this copy is tried next, at the earliest: not before its destination is; never in the past.
 * 0: it is not in the queue, or its destination is suspended until an administrator resumes it. */
time_t health_next_attempt(struct health *h, const struct queue_entry *e, time_t now)
    __attribute__((nonnull));

#endif
