/* SPDX-License-Identifier: ISC */
/* trace_when: the times that `splitctl trace` takes as --since and --until. Pure functions. */
#ifndef SPLIT_CTL_TRACE_WHEN_H
#define SPLIT_CTL_TRACE_WHEN_H

#include <stdbool.h>
#include <time.h>

/*
 * Parse a time, in local time:
 *
 *     when = age / time / date [ (" " / "T") time ]
 *     age  = "90s" / "5m" / "2h" / "7d"         before now
 *     time = "HH:MM" [ ":SS" ]                  today; yesterday if that is in the future
 *     date = "YYYY-MM-DD"                       its beginning
 *
 * False: it is none of these.
 */
bool trace_when_parse(const char *text, time_t now, time_t *out) __attribute__((nonnull));

#endif
