/* SPDX-License-Identifier: ISC */
/*
 * health: which destinations splitrelay has suspended. splitrelay is asked when a destination is
 * first needed. If it does not run, or the user may not ask it, no destination counts as suspended.
 * One thread.
 */
#ifndef SPLIT_CTL_HEALTH_H
#define SPLIT_CTL_HEALTH_H

#include "config/config.h"
#include "deliver/destination.h"
#include "queue/spool.h"

struct health;

/* Nothing is asked yet. `config` is borrowed until health_free(). */
struct health *health_new(const struct config *config)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void health_free(struct health *h) __attribute__((nonnull));

/* The suspension of this destination; valid until health_free(). */
const struct destination_suspension *health_of(struct health *h, const char *destination)
    __attribute__((nonnull, returns_nonnull));

/* The earliest time of the next attempt to deliver this copy: never before the suspension of its
 * destination ends, and never in the past. 0: the copy is not in the queue. */
time_t health_next_attempt(struct health *h, const struct spool_entry *e, time_t now)
    __attribute__((nonnull));

#endif
