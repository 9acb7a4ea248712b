/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_line.h"
#include "ctl/trace/trace_when.h"
#include "unit.h"

#include <string.h>
#include <time.h>

#define NOW 1796126400 /* 2026-12-01 12:00:00 UTC */
#define DAY 86400

static const struct {
    const char *text;
    size_t len;
    int64_t us;
} stamps[] = {
    {"Dec  1 12:00:00 mx", 15, INT64_C(1000000) * NOW},
    {"Dec  1 12:00:00.25 mx", 18, INT64_C(1000000) * NOW + 250000},
    {"Nov 30 12:00:00 mx", 15, INT64_C(1000000) * (NOW - DAY)},
    /* tomorrow is possible, the day after is last year's */
    {"Dec  2 11:59:59 mx", 15, INT64_C(1000000) * (NOW + DAY - 1)},
    {"Dec  3 12:00:00 mx", 15, INT64_C(1000000) * (NOW + 2 * DAY - 365 * DAY)},
    /* the last leap year */
    {"Feb 29 12:00:00 mx", 15, INT64_C(1709208000000000)},
    {"2026-12-01T12:00:00Z mx", 20, INT64_C(1000000) * NOW},
    {"2026-12-01T12:00:00.000001+00:00 mx", 32, INT64_C(1000000) * NOW + 1},
    {"2026-12-01T13:30:00+0130 mx", 24, INT64_C(1000000) * NOW},
    {"2026-12-01T07:00:00,5-05:00 mx", 27, INT64_C(1000000) * NOW + 500000},
    {"1970-01-01T00:00:00Z mx", 20, 0},
    {"2024-02-29T12:00:00Z", 20, INT64_C(1709208000000000)},
    {"Okt  1 12:00:00 mx", 0, 0},
    {"Dec 32 12:00:00 mx", 0, 0},
    {"Dec  1 24:00:00 mx", 0, 0},
    {"Dec  1 12:00", 0, 0},
    {"2026-12-01T12:00:00 mx", 0, 0},
    {"2026-13-01T12:00:00Z mx", 0, 0},
    {"2026-12-01 12:00:00Z mx", 0, 0},
    {"", 0, 0},
};

START_TEST(stamps_are_parsed)
{
    struct trace_stamp stamp;
    int64_t us = 0;

    trace_stamp_init(&stamp, NOW);
    for (int i = 0; i < 2; i++) { /* the second time from memory */
        ck_assert_uint_eq(trace_stamp_parse(&stamp, stamps[_i].text, strlen(stamps[_i].text), &us),
                          stamps[_i].len);
        if (stamps[_i].len > 0)
            ck_assert_int_eq(us, stamps[_i].us);
    }
}
END_TEST

/* A file that was written last at some time has no later stamps. */
START_TEST(stamps_are_not_later_than_their_file)
{
    static const char text[] = "Nov 30 12:00:00 mx";
    struct trace_stamp stamp;
    int64_t us = 0;

    trace_stamp_init(&stamp, NOW);
    trace_stamp_begin_file(&stamp, NOW - 400 * DAY);
    ck_assert_uint_gt(trace_stamp_parse(&stamp, text, strlen(text), &us), 0);
    ck_assert_int_eq(us, INT64_C(1000000) * (NOW - DAY - 2 * 365 * DAY));
    trace_stamp_begin_file(&stamp, 0);
    ck_assert_uint_gt(trace_stamp_parse(&stamp, text, strlen(text), &us), 0);
    ck_assert_int_eq(us, INT64_C(1000000) * (NOW - DAY));
    trace_stamp_begin_file(&stamp, NOW - 400 * DAY);
    trace_stamp_go_on(&stamp, NOW + 365 * DAY);
    ck_assert_uint_gt(trace_stamp_parse(&stamp, text, strlen(text), &us), 0);
    ck_assert_int_eq(us, INT64_C(1000000) * (NOW - DAY + 365 * DAY));
}
END_TEST

static const struct {
    const char *line;
    enum trace_line_result result;
    const char *host, *tag, *text;
} lines[] = {
    {"Dec  1 12:00:00 mx postfix/smtpd[12]: x: y", TRACE_LINE_OK, "mx", "postfix/smtpd", "x: y"},
    {"Dec  1 12:00:00 mx kernel: x", TRACE_LINE_OK, "mx", "kernel", "x"},
    {"Dec  1 12:00:00 postfix/smtpd[12]: x\r", TRACE_LINE_OK, "", "postfix/smtpd", "x"},
    {"<22>Dec  1 12:00:00 mx a[1]: x", TRACE_LINE_OK, "mx", "a", "x"},
    {"Dec  1 12:00:00 mx a[1]: [ID 197553 mail.info] x", TRACE_LINE_OK, "mx", "a", "x"},
    {"Dec  1 12:00:00 mx a[1]: message repeated 2 times: [ x: y]", TRACE_LINE_OK, "mx", "a",
     "x: y"},
    {"splitrelay/archive/smtp[7]: x", TRACE_LINE_OK, "", "splitrelay/archive/smtp", "x"},
    {"Dec  1 12:00:00 mx no tag here", TRACE_LINE_NO_TAG, "", "", ""},
    {"Dec  1 12:00:00 mx", TRACE_LINE_NO_TAG, "", "", ""},
    {"Dec  1 12:00:00 mx a[x]: y", TRACE_LINE_NO_TAG, "", "", ""},
    {"a[1]: x", TRACE_LINE_NO_STAMP, "", "", ""},
    {"splitrelay is here", TRACE_LINE_NO_STAMP, "", "", ""},
    {"", TRACE_LINE_NO_STAMP, "", "", ""},
};

static void assert_slice(struct slice s, const char *text)
{
    ck_assert_uint_eq(s.len, strlen(text));
    ck_assert_mem_eq(s.at, text, s.len);
}

START_TEST(lines_are_split)
{
    struct trace_stamp stamp;
    struct trace_line line;

    trace_stamp_init(&stamp, NOW);
    ck_assert_int_eq(trace_line_parse(&stamp, lines[_i].line, strlen(lines[_i].line), &line),
                     lines[_i].result);
    if (lines[_i].result != TRACE_LINE_OK)
        return;
    assert_slice(line.host, lines[_i].host);
    assert_slice(line.tag, lines[_i].tag);
    assert_slice(line.text, lines[_i].text);
}
END_TEST

static const struct {
    const char *text;
    time_t when; /* 0: it is no time */
} whens[] = {
    {"2h", NOW - 7200},
    {"10:00", NOW - 7200},
    {"10:00:01", NOW - 7199},
    {"13:00", NOW + 3600 - DAY},
    {"2026-12-01", NOW - 12 * 3600},
    {"2026-12-01 10:00", NOW - 7200},
    {"2026-12-01T10:00:01", NOW - 7199},
    {"10", 0},
    {"25:00", 0},
    {"10:00x", 0},
    {"2026-13-01", 0},
    {"2026-12-01 10", 0},
    {"", 0},
};

START_TEST(times_of_the_command_line_are_parsed)
{
    time_t when = 0;

    ck_assert_int_eq(trace_when_parse(whens[_i].text, NOW, &when), whens[_i].when != 0);
    if (whens[_i].when != 0)
        ck_assert_int_eq(when, whens[_i].when);
}
END_TEST

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    TCase *tests = tcase_create("trace_line");

    tcase_add_loop_test(tests, stamps_are_parsed, 0, UNIT_COUNT(stamps));
    tcase_add_test(tests, stamps_are_not_later_than_their_file);
    tcase_add_loop_test(tests, lines_are_split, 0, UNIT_COUNT(lines));
    tcase_add_loop_test(tests, times_of_the_command_line_are_parsed, 0, UNIT_COUNT(whens));
    return unit_run("trace_line", tests);
}
