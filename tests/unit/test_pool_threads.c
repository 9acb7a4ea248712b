/* SPDX-License-Identifier: ISC */
/* Look-ups that ask the pool of an external table at the same time: what one of them finds out
 * about a host concerns the others. */
#include "pool_unit.h"
#include "base/clock.h"
#include "unit.h"

/* Make two connections to host a, which are idle afterwards. */
static void connect_twice(void)
{
    struct question first, second;

    fake.held[0] = 2;
    question_begin(&first, WAIT_MS);
    question_begin(&second, WAIT_MS);
    wait_for_count(&fake.questions[0], 2);
    fake.held[0] = 0;
    question_end(&first, "a");
    question_end(&second, "a");
    ck_assert_uint_eq(fake.open, 2);
}

/* Begin a question at host a that waits for its answer. */
static void begin_held(struct question *q, int64_t ms)
{
    fake.held[0] = fake.questions[0] + 1;
    question_begin(q, ms);
    wait_for_count(&fake.questions[0], fake.held[0]);
}

static void end_held(struct question *q, const char *expected)
{
    fake.held[0] = 0;
    question_end(q, expected);
}

START_TEST(a_new_connection_makes_the_idle_ones_usable_again)
{
    struct question held;

    make_pool(1, LONG_MS, LONG_MS);
    connect_twice();
    fake.moods[0] = MOOD_SLOW;
    expect("failed: host a: mood 6", 200);
    fake.moods[0] = MOOD_ANSWERS;
    begin_held(&held, WAIT_MS);
    ck_assert_uint_eq(fake.connects[0], 3); /* the other idle one is not used */
    expect("a", WAIT_MS);
    ck_assert_uint_eq(fake.connects[0], 3); /* now it is */
    end_held(&held, "a");
}
END_TEST

START_TEST(a_refused_connection_makes_the_idle_ones_usable_again)
{
    make_pool(1, LONG_MS, LONG_MS);
    connect_twice();
    fake.moods[0] = MOOD_SLOW;
    expect("failed: host a: mood 6", 200);
    fake.moods[0] = MOOD_FULL;
    expect("a", 2000);
    ck_assert_uint_eq(fake.connects[0], 3);
    ck_assert_uint_eq(logged("host a does not answer"), 0);
}
END_TEST

START_TEST(a_look_up_connects_when_the_connection_that_it_waits_for_is_closed)
{
    struct question held, waiting;

    make_pool(1, LONG_MS, LONG_MS);
    begin_held(&held, WAIT_MS);
    fake.moods[0] = MOOD_FULL;
    question_begin(&waiting, WAIT_MS);
    wait_for_log("host a takes no ");
    fake.moods[0] = MOOD_LOST;
    end_held(&held, "failed: host a: mood 8");
    question_end(&waiting, "failed: host a: mood 8");
    ck_assert_uint_eq(fake.connects[0], 3);
    ck_assert_uint_eq(logged("host a does not answer"), 0);
}
END_TEST

START_TEST(a_look_up_connects_when_the_connection_that_it_waits_for_breaks)
{
    struct question held, waiting;

    make_pool(1, LONG_MS, LONG_MS);
    begin_held(&held, WAIT_MS);
    fake.moods[0] = MOOD_FULL;
    question_begin(&waiting, WAIT_MS);
    wait_for_log("host a takes no ");
    fake.generation[0]++;
    fake.moods[0] = MOOD_HANGS;
    fake.held[0] = 0;
    wait_for_count(&fake.connects[0], 4); /* both hang */
    fake.moods[0] = MOOD_ANSWERS;
    question_end(&held, "a");
    question_end(&waiting, "a");
    ck_assert_uint_eq(logged("host a does not answer"), 0);
}
END_TEST

START_TEST(a_host_that_is_killed_while_a_question_is_open_has_failed)
{
    struct question held, waiting;

    make_pool(1, LONG_MS, LONG_MS);
    begin_held(&held, WAIT_MS);
    fake.moods[0] = MOOD_REFUSES;
    question_begin(&waiting, WAIT_MS);
    wait_for_log("host a takes no ");
    fake.generation[0]++;
    int64_t begin_ms = clock_now_ms();
    end_held(&held, "broken: host a: no connection?");
    question_end(&waiting, "broken: host a: no connection?");
    ck_assert_int_lt(clock_now_ms() - begin_ms, WAIT_MS / 2);
    ck_assert_uint_eq(logged("host a does not answer: no connection?"), 1);
}
END_TEST

START_TEST(a_host_that_takes_no_connection_in_time_and_is_silent_has_failed)
{
    struct question held;

    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    begin_held(&held, WAIT_MS);
    fake.moods[0] = MOOD_DEAF;
    expect("b", 2400);
    ck_assert_uint_eq(logged("host a does not answer: no connection?"), 1);
    end_held(&held, "a");
    ck_assert_uint_eq(logged("host a answers again"), 1);
}
END_TEST

START_TEST(a_host_that_takes_no_connection_in_time_but_answers_has_not_failed)
{
    struct question held, deaf;

    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    expect("a", WAIT_MS);
    begin_held(&held, WAIT_MS);
    fake.moods[0] = MOOD_DEAF;
    question_begin(&deaf, 2400);
    wait_for_count(&fake.connects[0], 2);
    end_held(&held, "a");
    question_end(&deaf, "a"); /* over the connection that is idle now */
    ck_assert_uint_eq(logged("host a does not answer"), 0);
}
END_TEST

START_TEST(a_single_host_is_tried_twice_beside_open_connections)
{
    struct question held;

    make_pool(1, LONG_MS, LONG_MS);
    begin_held(&held, WAIT_MS);
    fake.moods[0] = MOOD_BREAKS_ONCE;
    expect("a", WAIT_MS);
    ck_assert_uint_eq(fake.connects[0], 3);
    ck_assert_uint_eq(logged("host"), 0);
    end_held(&held, "a");
}
END_TEST

START_TEST(a_connection_that_breaks_late_after_it_was_idle_is_replaced)
{
    struct question late;

    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    expect("a", WAIT_MS);
    int64_t begin_ms = clock_now_ms();
    begin_held(&late, 4000);
    while (clock_now_ms() - begin_ms < 2200) /* more than the share of host a */
        pause_ms(1);
    fake.generation[0]++;
    end_held(&late, "a");
    ck_assert_uint_eq(fake.connects[0], 2);
    ck_assert_uint_eq(fake.questions[1], 0);
    ck_assert_uint_eq(logged("host"), 0);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("pool_threads");

    tcase_add_checked_fixture(tests, pool_unit_setup, pool_unit_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_new_connection_makes_the_idle_ones_usable_again);
    tcase_add_test(tests, a_refused_connection_makes_the_idle_ones_usable_again);
    tcase_add_test(tests, a_look_up_connects_when_the_connection_that_it_waits_for_is_closed);
    tcase_add_test(tests, a_look_up_connects_when_the_connection_that_it_waits_for_breaks);
    tcase_add_test(tests, a_host_that_is_killed_while_a_question_is_open_has_failed);
    tcase_add_test(tests, a_host_that_takes_no_connection_in_time_and_is_silent_has_failed);
    tcase_add_test(tests, a_host_that_takes_no_connection_in_time_but_answers_has_not_failed);
    tcase_add_test(tests, a_single_host_is_tried_twice_beside_open_connections);
    tcase_add_test(tests, a_connection_that_breaks_late_after_it_was_idle_is_replaced);
    return unit_run("pool_threads", tests);
}
