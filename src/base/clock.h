/* SPDX-License-Identifier: ISC */
/*
 * clock: the two clocks of the programs. Durations and deadlines use the monotonic clock, which
 * never goes back and is the same in all processes of a machine. Files, log lines and mail have the
 * time of day. Any thread.
 */
#ifndef SPLIT_CLOCK_H
#define SPLIT_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in milliseconds, in microseconds. Both count from the same origin. */
int64_t clock_now_ms(void);
int64_t clock_now_us(void);

/* The time of day (CLOCK_REALTIME). It may be set back at any time. */
struct timespec clock_realtime(void);

/* The time of day in microseconds since 1970. */
int64_t clock_realtime_us(void);

/* A time of either clock in microseconds; a fraction is cut off. */
int64_t clock_us_of(const struct timespec *t) __attribute__((nonnull));

#endif
