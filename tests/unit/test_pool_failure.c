/* SPDX-License-Identifier: ISC */
/* What the pool of an external table does when hosts fail, hang, or take no more connections. */
#include "pool_unit.h"
#include "base/clock.h"
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

START_TEST(a_host_that_hangs_leaves_time_for_the_next_one)
{
    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    fake.moods[0] = MOOD_HANGS;
    int64_t begin_ms = clock_now_ms();
    expect("b", 2400);
    int64_t took_ms = clock_now_ms() - begin_ms;
    ck_assert_msg(took_ms >= 1200 && took_ms < 2400, "%lld ms", (long long)took_ms);
    ck_assert_uint_eq(logged("host a does not answer"), 1);
    expect("b", 2400);
    ck_assert_uint_eq(fake.connects[0], 1);
}
END_TEST

START_TEST(a_host_that_got_no_time_has_not_failed)
{
    make_pool(1, LONG_MS, LONG_MS);
    fake.moods[0] = MOOD_HANGS;
    expect("broken: host a: no connection?", 50);
    expect("broken: no time is left", 0);
    ck_assert_uint_eq(logged("host"), 0);
    fake.moods[0] = MOOD_ANSWERS;
    expect("a", 5000);
}
END_TEST

START_TEST(a_query_that_fails_does_not_close_the_connection)
{
    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    fake.moods[0] = MOOD_FAILS;
    expect("failed: host a: mood 4", 5000);
    fake.moods[0] = MOOD_LIMITS;
    expect("limit: host a: mood 5", 5000);
    fake.moods[0] = MOOD_ANSWERS;
    expect("a", 5000);
    ck_assert_uint_eq(fake.connects[0], 1);
    ck_assert_uint_eq(fake.connects[1], 0);
    ck_assert_uint_eq(logged("host"), 0);
}
END_TEST

START_TEST(a_slow_question_does_not_take_the_hosts_away)
{
    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    fake.moods[0] = MOOD_SLOW;
    expect("failed: host a: mood 6", 1500); /* it has all of the time, and b is not asked */
    ck_assert_uint_eq(fake.questions[0], 1);
    ck_assert_uint_eq(fake.connects[1], 0);
    ck_assert_uint_eq(logged("host"), 0);
    fake.moods[0] = MOOD_ANSWERS;
    expect("a", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
}
END_TEST

START_TEST(a_question_that_is_slow_for_the_module_is_asked_once)
{
    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    expect("a", 5000);
    fake.moods[0] = MOOD_LATE;
    expect("failed: host a: mood 9", 5000);
    ck_assert_uint_eq(fake.questions[0], 2);
    ck_assert_uint_eq(fake.questions[1], 0);
    ck_assert_uint_eq(logged("host"), 0);
    fake.moods[0] = MOOD_ANSWERS;
    expect("a", 5000);
}
END_TEST

START_TEST(a_host_that_hangs_after_a_connection_is_found_out_by_the_next_look_up)
{
    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    expect("a", 5000);
    fake.moods[0] = MOOD_HANGS;
    expect("failed: host a: mood 3", 1500);
    ck_assert_uint_eq(logged("host"), 0);
    expect("b", 2400);
    ck_assert_uint_eq(logged("host a does not answer"), 1);
    ck_assert_uint_eq(fake.connects[0], 2);
}
END_TEST

static void *ask_slowly(void *arg)
{
    (void)arg;
    expect("a", 10000);
    return NULL;
}

START_TEST(questions_at_a_host_that_hangs_leave_room_for_others)
{
    struct question at_a[POOL_HOST_CONNECTIONS_MAX], at_b[POOL_CONNECTIONS_MAX];

    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    fake.held[0] = UNIT_COUNT(at_a);
    for (size_t i = 0; i < UNIT_COUNT(at_a); i++)
        question_begin(&at_a[i], WAIT_MS);
    wait_for_count(&fake.questions[0], UNIT_COUNT(at_a));
    for (size_t i = 0; i < UNIT_COUNT(at_b); i++)
        question_begin(&at_b[i], WAIT_MS);
    for (size_t i = 0; i < UNIT_COUNT(at_b); i++)
        question_end(&at_b[i], "b");
    ck_assert_uint_eq(fake.questions[0], UNIT_COUNT(at_a));
    ck_assert_uint_le(fake.open_max, POOL_CONNECTIONS_MAX);
    fake.held[0] = 0;
    for (size_t i = 0; i < UNIT_COUNT(at_a); i++)
        question_end(&at_a[i], "a");
}
END_TEST

START_TEST(a_refused_connection_leaves_the_open_ones)
{
    pthread_t threads[8];

    make_pool(1, LONG_MS, LONG_MS);
    expect("a", 5000);
    fake.moods[0] = MOOD_FULL;
    fake.delay_ms = 20;
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_slowly, NULL), 0);
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(fake.questions[0], 1 + UNIT_COUNT(threads));
    ck_assert_uint_eq(fake.open, 1);
    ck_assert_uint_eq(logged("does not answer"), 0);
    ck_assert_uint_eq(logged("host a takes no connection beside the 1 that are open: no"), 1);
}
END_TEST

START_TEST(a_full_host_leaves_the_question_to_another_one)
{
    struct question held;

    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    expect("a", 5000);
    fake.moods[0] = MOOD_FULL;
    fake.held[0] = 2;
    question_begin(&held, WAIT_MS);
    wait_for_count(&fake.questions[0], 2);
    expect("b", 5000);
    fake.held[0] = 0;
    question_end(&held, "a");
    ck_assert_uint_eq(fake.open, 2);
}
END_TEST

START_TEST(a_single_host_is_tried_again_soon)
{
    make_pool(1, LONG_MS, LONG_MS);
    fake.moods[0] = MOOD_REFUSES;
    expect("broken: host a: no connection?", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
    expect("broken: host a: no connection? (asked again in 1 s)", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
    pause_ms(1100);
    expect("broken: host a: no connection?", 5000);
    ck_assert_uint_eq(fake.connects[0], 4);
    expect("broken: host a: no connection? (asked again in 2 s)", 5000);
    fake.moods[0] = MOOD_ANSWERS;
    pause_ms(2100);
    expect("a", 5000);
    ck_assert_uint_eq(logged("does not answer"), 1);
    ck_assert_uint_eq(logged("answers again"), 1);
}
END_TEST

START_TEST(a_small_share_of_the_time_marks_a_host_too)
{
    make_pool(HOSTS, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    fake.moods[0] = MOOD_HANGS;
    char *answer = ask_within(2400); /* 800 ms for each host */
    ck_assert_msg(strcmp(answer, "a") != 0 && strlen(answer) == 1, "%s", answer);
    free(answer);
    ck_assert_uint_eq(logged("host a does not answer"), 1);
}
END_TEST

START_TEST(a_connection_that_is_lost_with_an_answer_does_not_take_the_others)
{
    struct question held;

    make_pool(1, LONG_MS, LONG_MS);
    fake.held[0] = 1;
    question_begin(&held, WAIT_MS);
    wait_for_count(&fake.questions[0], 1);
    expect("a", 5000);
    fake.held[0] = 0;
    question_end(&held, "a");
    ck_assert_uint_eq(fake.open, 2);
    fake.moods[0] = MOOD_LOST;
    expect("failed: host a: mood 8", 5000);
    ck_assert_uint_eq(fake.open, 1);
    fake.moods[0] = MOOD_ANSWERS;
    expect("a", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("pool_failure");

    tcase_add_checked_fixture(tests, pool_unit_setup, pool_unit_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_host_that_hangs_leaves_time_for_the_next_one);
    tcase_add_test(tests, a_host_that_got_no_time_has_not_failed);
    tcase_add_test(tests, a_query_that_fails_does_not_close_the_connection);
    tcase_add_test(tests, a_question_that_is_slow_for_the_module_is_asked_once);
    tcase_add_test(tests, a_slow_question_does_not_take_the_hosts_away);
    tcase_add_test(tests, a_host_that_hangs_after_a_connection_is_found_out_by_the_next_look_up);
    tcase_add_test(tests, questions_at_a_host_that_hangs_leave_room_for_others);
    tcase_add_test(tests, a_refused_connection_leaves_the_open_ones);
    tcase_add_test(tests, a_full_host_leaves_the_question_to_another_one);
    tcase_add_test(tests, a_single_host_is_tried_again_soon);
    tcase_add_test(tests, a_small_share_of_the_time_marks_a_host_too);
    tcase_add_test(tests, a_connection_that_is_lost_with_an_answer_does_not_take_the_others);
    return unit_run("pool_failure", tests);
}
