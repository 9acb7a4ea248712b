/* SPDX-License-Identifier: ISC */
/*
 * flow: decides how many connections at once a destination gets, and when the next message may
 * begin. Modelled on the scheduler of Postfix's qmgr(8): begin with a few connections, add one for
 * each group of successes as large as the present number, take one away for each connection that
 * fails, never fewer than one. Pure; the owner, struct destination, has the lock. Times:
 * CLOCK_MONOTONIC in microseconds.
 */
#ifndef SPLIT_FLOW_H
#define SPLIT_FLOW_H

#include "config/config.h"

#include <stdint.h>

struct flow {
    unsigned initial, max;
    unsigned window;     /* connections that may be open now: 1..max */
    unsigned successes;  /* since `window` changed; at `window` successes it grows */
    int64_t interval_us; /* from one message to the next; 0: no limit */
    int64_t next_us;     /* when the next message may begin */
};

/* Begin, or begin anew with another configuration; the times reserved by rate_limit are kept. */
void flow_configure(struct flow *f, const struct config_destination *d) __attribute__((nonnull));

/* Begin anew with few connections: the destination was down, or had nothing to do. */
void flow_reset(struct flow *f) __attribute__((nonnull));

/* Note that a conversation was completed. busy: the number of connections at work. The window grows
 * only while more than `window - initial` connections are at work. */
void flow_succeeded(struct flow *f, unsigned busy) __attribute__((nonnull));

/* Note that a connection could not be opened, or broke. */
void flow_failed(struct flow *f) __attribute__((nonnull));

/* When the next message may begin: now_us, or later. */
int64_t flow_next_us(const struct flow *f, int64_t now_us) __attribute__((nonnull));

/* As flow_next_us(), and reserve that time: the message after it may begin one interval later. */
int64_t flow_reserve_us(struct flow *f, int64_t now_us) __attribute__((nonnull));

#endif
