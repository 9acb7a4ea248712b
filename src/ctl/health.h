/* SPDX-License-Identifier: ISC */
/*
 * health: which destinations splitrelay has suspended, asked of it when that is needed first. A
 * splitrelay that does not run, or that may not be asked, has suspended nothing. One thread.
 */
#ifndef SPLIT_CTL_HEALTH_H
#define SPLIT_CTL_HEALTH_H

#include "config/config.h"
#include "deliver/destination.h"
#include "queue/spool.h"

struct health;

/* config is borrowed. */
struct health *health_new(const struct config *config)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void health_free(struct health *h) __attribute__((nonnull));

/* Of this destination; valid as long as h is. */
const struct destination_suspension *health_of(struct health *h, const char *destination)
    __attribute__((nonnull, returns_nonnull));

/* When this copy is tried next, at the earliest: not before its destination is; never in the past.
 * 0: it is not in the queue. */
time_t health_next_attempt(struct health *h, const struct spool_entry *e, time_t now)
    __attribute__((nonnull));

#endif
