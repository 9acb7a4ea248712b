/* SPDX-License-Identifier: ISC */
#include "base/clock.h"

int64_t clock_us_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000 + t->tv_nsec / 1000;
}

int64_t clock_now_ms(void)
{
    return clock_now_us() / 1000;
}

int64_t clock_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return clock_us_of(&now);
}

struct timespec clock_realtime(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now;
}

int64_t clock_realtime_us(void)
{
    struct timespec now = clock_realtime();

    return clock_us_of(&now);
}
