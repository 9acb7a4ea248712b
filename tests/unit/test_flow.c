/* SPDX-License-Identifier: ISC */
#include "deliver/flow.h"
#include "unit.h"

static const struct {
    unsigned initial, max;
    const char *events; /* '+': success with all connections in use, '1': with one, '-': fault, '0':
                           reset */
    unsigned window;
} windows[] = {
    {5, 20, "", 5},         {5, 3, "", 3},
    {0, 7, "", 7},          {2, 0, "", 1},
    {2, 10, "+", 2},        {2, 10, "++", 3},
    {2, 10, "+++++", 4}, /* two, then three */
    {1, 4, "+", 2},         {1, 4, "++++++++++++++++++++", 4},
    {3, 10, "++-+", 2}, /* after a fault the successes are counted anew */
    {3, 10, "-", 2},        {3, 10, "-----", 1},
    {3, 10, "-----+", 2},   {3, 10, "++++++++++++0", 3},
    {2, 10, "11", 3},       /* one in use, initially two: three are allowed */
    {2, 10, "11111111", 3}, /* no more are allowed while one is in use */
};

START_TEST(window)
{
    struct config_destination d = {.concurrency = windows[_i].max,
                                   .initial_concurrency = windows[_i].initial};
    struct flow f = {0};

    flow_configure(&f, &d);
    for (const char *e = windows[_i].events; *e != '\0'; e++) {
        if (*e == '-')
            flow_failed(&f);
        else if (*e == '0')
            flow_reset(&f);
        else
            flow_succeeded(&f, *e == '1' ? 1 : f.window);
        ck_assert_uint_ge(f.window, 1);
        ck_assert_uint_le(f.window, f.max);
    }
    ck_assert_uint_eq(f.window, windows[_i].window);
}
END_TEST

START_TEST(messages_are_evenly_spaced)
{
    struct config_destination d = {.concurrency = 1, .rate_limit = {4, 2}};
    struct flow f = {0};

    flow_configure(&f, &d);
    ck_assert_int_eq(flow_next_us(&f, 1000), 1000);
    ck_assert_int_eq(flow_reserve_us(&f, 1000), 1000);
    ck_assert_int_eq(flow_next_us(&f, 1000), 501000);
    ck_assert_int_eq(flow_reserve_us(&f, 2000), 501000);
    ck_assert_int_eq(flow_reserve_us(&f, 2000), 1001000);
    /* messages that were not sent in time are not made up for */
    ck_assert_int_eq(flow_reserve_us(&f, 9000000), 9000000);
    ck_assert_int_eq(flow_next_us(&f, 9000001), 9500000);
    flow_configure(&f, &d); /* a reload allows no further message */
    ck_assert_int_eq(flow_next_us(&f, 9000001), 9500000);
}
END_TEST

START_TEST(no_rate_limit)
{
    struct config_destination d = {.concurrency = 1};
    struct flow f = {0};

    flow_configure(&f, &d);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(flow_reserve_us(&f, 1000), 1000);
    /* nor after a limit was removed */
    f.next_us = 99999999;
    ck_assert_int_eq(flow_reserve_us(&f, 1000), 1000);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("flow");

    tcase_add_loop_test(t, window, 0, UNIT_COUNT(windows));
    tcase_add_test(t, messages_are_evenly_spaced);
    tcase_add_test(t, no_rate_limit);
    return unit_run("flow", t);
}
