/* SPDX-License-Identifier: ISC */
#include "base/clock.h"
#include "unit.h"

START_TEST(the_monotonic_clock_never_goes_back)
{
    int64_t last_us = clock_now_us();

    ck_assert_int_gt(last_us, 0);
    for (int i = 0; i < 1000; i++) {
        int64_t us = clock_now_us();
        ck_assert_int_ge(us, last_us);
        last_us = us;
    }
}
END_TEST

START_TEST(milliseconds_and_microseconds_agree)
{
    int64_t before_us = clock_now_us(), ms = clock_now_ms(), after_us = clock_now_us();

    ck_assert_int_ge(ms, before_us / 1000);
    ck_assert_int_le(ms, after_us / 1000);
}
END_TEST

START_TEST(time_passes)
{
    int64_t begin_ms = clock_now_ms();
    struct timespec pause = {0, 20 * 1000 * 1000};

    nanosleep(&pause, NULL);
    ck_assert_int_ge(clock_now_ms() - begin_ms, 19);
}
END_TEST

START_TEST(the_time_of_day_is_that_of_the_system)
{
    time_t before = time(NULL);
    struct timespec now = clock_realtime();

    ck_assert_int_ge(now.tv_sec, before - 1); /* time(2) may lag by a tick */
    ck_assert_int_le(now.tv_sec, before + 60);
    ck_assert_int_ge(now.tv_nsec, 0);
    ck_assert_int_lt(now.tv_nsec, 1000000000);
    ck_assert_int_ge(clock_realtime_us(), (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("clock");

    tcase_add_test(tests, the_monotonic_clock_never_goes_back);
    tcase_add_test(tests, milliseconds_and_microseconds_agree);
    tcase_add_test(tests, time_passes);
    tcase_add_test(tests, the_time_of_day_is_that_of_the_system);
    return unit_run("clock", tests);
}
