/* SPDX-License-Identifier: ISC */
/*
 * trace_stamp: the time stamps of log lines. One thread for each struct trace_stamp.
 *
 *     stamp   = classic / rfc3339
 *     classic = "Nov 30 05:41:12" / "Nov  3 05:41:12"      (English months, local time, no year)
 *     rfc3339 = "2026-11-30T05:41:12" zone                 (zone: "Z", "+01:00" or "+0100")
 *
 * The seconds may have a fraction. A classic stamp gets the latest year with which it is not more
 * than a day after the file was written last. At the end of summer time an hour comes twice: a
 * stamp of this hour that is earlier than the one before it in the file is of the second hour.
 */
#ifndef SPLIT_CTL_TRACE_STAMP_H
#define SPLIT_CTL_TRACE_STAMP_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct trace_stamp {
    time_t now;
    time_t latest;   /* when the file was written last; a day later is the end of its stamps */
    char minute[13]; /* "Nov 30 05:41" of the stamp parsed last, because mktime(3) is slow */
    int64_t minute_s, second_minute_s; /* the second one differs in the hour that comes twice */
    int64_t last_s;                    /* of the classic stamp before in the file; 0: none */
};

/* now: the present time, for the year of classic stamps. */
void trace_stamp_init(struct trace_stamp *s, time_t now) __attribute__((nonnull));

/* Another file begins. written: when it was written last; 0: not known, or it is still written. */
void trace_stamp_begin_file(struct trace_stamp *s, time_t written) __attribute__((nonnull));

/* It is later now, and the stamps that follow are new ones. */
void trace_stamp_go_on(struct trace_stamp *s, time_t now) __attribute__((nonnull));

/* Parse the stamp at the beginning of len bytes. Returns its length and sets *us_out to
 * microseconds since 1970; 0: there is no stamp. */
size_t trace_stamp_parse(struct trace_stamp *s, const char *text, size_t len, int64_t *us_out)
    __attribute__((nonnull));

#endif
