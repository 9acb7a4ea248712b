/* SPDX-License-Identifier: ISC */
/*
 * flow: how many connections at once a destination gets, and how soon the next message. Modelled on
 * the scheduler of Postfix's qmgr(8): begin with a few connections, add one for each group of
 * successes as large as the present number, take one away for each connection that fails, never
 * fewer than one. Pure; the owner, struct destination, has the lock. Times: CLOCK_MONOTONIC in
 * microseconds.
 */
#ifndef SPLIT_FLOW_H
#define SPLIT_FLOW_H

#include "config/config.h"

#include <stdint.h>

struct flow {
    unsigned initial, max;
    unsigned window;     /* connections at once, now; 1..max */
    unsigned successes;  /* towards the next one */
    int64_t interval_us; /* between two messages; 0: no limit */
    int64_t next_us;     /* when the next one may begin */
};

/* Begin, or begin anew with another configuration; the times reserved by rate_limit are kept. */
void flow_configure(struct flow *f, const struct config_destination *d) __attribute__((nonnull));

/* Begin anew with few connections: the destination was down, or had nothing to do. */
void flow_reset(struct flow *f) __attribute__((nonnull));

/* A conversation was completed. busy: connections at work. The window grows only while it is
 * used. */
void flow_succeeded(struct flow *f, unsigned busy) __attribute__((nonnull));

/* A connection could not be opened, or broke. */
void flow_failed(struct flow *f) __attribute__((nonnull));

/* When the next message may begin: now_us, or later. */
int64_t flow_next_us(const struct flow *f, int64_t now_us) __attribute__((nonnull));

/* The same, and reserve that time: the next message may begin one interval later. */
int64_t flow_reserve_us(struct flow *f, int64_t now_us) __attribute__((nonnull));

#endif
