/* SPDX-License-Identifier: ISC */
/* Hosts and connections of an external table. */
#include "pool_unit.h"
#include "base/clock.h"
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

START_TEST(a_connection_is_used_again)
{
    make_pool(1, LONG_MS, LONG_MS);
    for (int i = 0; i < 10; i++)
        expect("a", 5000);
    ck_assert_uint_eq(fake.connects[0], 1);
    ck_assert_uint_eq(fake.questions[0], 10);
}
END_TEST

START_TEST(an_idle_connection_is_closed)
{
    make_pool(1, LONG_MS, 20);
    expect("a", 5000);
    pause_ms(60);
    expect("a", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
    ck_assert_uint_eq(fake.open, 1);
}
END_TEST

START_TEST(local_hosts_come_first_and_equals_take_turns)
{
    unsigned first[HOSTS] = {0};

    fake.hosts[1].is_local = fake.hosts[2].is_local = true;
    for (int i = 0; i < 400; i++) {
        make_pool(HOSTS, LONG_MS, LONG_MS);
        char *answer = ask_within(5000);
        first[answer[0] - 'a']++;
        free(answer);
        pool_free(pool);
        pool = NULL;
        pause_ms(0);
    }
    ck_assert_uint_eq(first[0], 0);
    ck_assert_uint_gt(first[1], 50);
    ck_assert_uint_gt(first[2], 50);
}
END_TEST

START_TEST(connection_uris_come_last)
{
    fake.hosts[0].is_last = fake.hosts[2].is_local = true;
    fake.moods[2] = MOOD_REFUSES;
    for (int i = 0; i < 20; i++) {
        make_pool(HOSTS, LONG_MS, LONG_MS);
        expect("b", 5000);
        pool_free(pool);
        pool = NULL;
    }
    ck_assert_uint_eq(fake.connects[0], 0);
    ck_assert_uint_eq(fake.connects[2], 20);
}
END_TEST

START_TEST(hosts_are_asked_in_the_order_of_the_file_where_the_type_has_one)
{
    struct table_module ordered = pool_unit_module;

    ordered.has_host_order = true;
    fake.count = HOSTS;
    for (int i = 0; i < 50; i++) {
        pool = pool_new("fake:FILE", &ordered, &fake, (struct pool_times){LONG_MS, LONG_MS});
        expect("a", 5000);
        pool_free(pool);
        pool = NULL;
    }
    ck_assert_uint_eq(fake.connects[0], 50);
}
END_TEST

START_TEST(a_connected_host_comes_before_a_local_one)
{
    make_pool(2, 0, LONG_MS);
    fake.hosts[1].is_local = true;
    fake.moods[1] = MOOD_REFUSES;
    expect("a", 5000);
    fake.moods[1] = MOOD_ANSWERS;
    expect("a", 5000);
    ck_assert_uint_eq(fake.connects[1], 1);
}
END_TEST

START_TEST(a_host_that_fails_is_left_alone)
{
    make_pool(2, LONG_MS, LONG_MS);
    fake.hosts[0].is_local = true;
    fake.moods[0] = MOOD_REFUSES;
    for (int i = 0; i < 10; i++)
        expect("b", 5000);
    ck_assert_uint_eq(fake.connects[0], 1);
    ck_assert_uint_eq(logged("warning: fake:FILE: host a does not answer: no connection?"), 1);
    /* now the other one breaks, and the first one is not asked yet */
    fake.moods[1] = MOOD_BREAKS;
    char *answer = ask_within(5000);
    ck_assert_msg(
        strstr(answer, "broken: host b: mood 2; host a: no connection? (asked again in ") == answer,
        "%s", answer);
    free(answer);
    answer = ask_within(5000); /* no host is left */
    ck_assert_msg(strstr(answer, "host b: mood 2 (asked again in ") != NULL, "%s", answer);
    free(answer);
    ck_assert_uint_eq(fake.connects[0], 1);
    ck_assert_uint_eq(logged("host a does not answer"), 1);
    ck_assert_uint_eq(logged("host b does not answer"), 1);
}
END_TEST

START_TEST(a_host_that_has_failed_is_asked_again_after_a_while)
{
    int64_t begin_ms = clock_now_ms();
    bool is_back = false;

    make_pool(2, 200, LONG_MS);
    fake.hosts[0].is_local = true;
    fake.moods[0] = MOOD_REFUSES;
    fake.moods[1] = MOOD_BREAKS;
    free(ask_within(5000));
    fake.moods[0] = MOOD_ANSWERS;
    while (!is_back && clock_now_ms() - begin_ms < WAIT_MS) {
        char *answer = ask_within(5000);
        is_back = strcmp(answer, "a") == 0;
        free(answer);
        pause_ms(1);
    }
    ck_assert(is_back);
    ck_assert_int_ge(clock_now_ms() - begin_ms, 200);
    ck_assert_uint_eq(fake.connects[0], 2);
    ck_assert_uint_eq(logged("host a answers again"), 1);
    ck_assert_uint_eq(logged("host a does not answer"), 1);
}
END_TEST

static atomic_uint answered;

static void *ask_once(void *arg)
{
    free(ask_within(WAIT_MS));
    answered++;
    return arg;
}

START_TEST(one_look_up_finds_out_whether_a_host_is_back)
{
    pthread_t threads[8];

    make_pool(1, LONG_MS, LONG_MS);
    fake.moods[0] = MOOD_REFUSES;
    expect("broken: host a: no connection?", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
    pause_ms(1050); /* it may be tried again, and then not for two seconds */
    fake.moods[0] = MOOD_HANGS;
    int64_t begin_ms = clock_now_ms();
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_once, NULL), 0);
    wait_for_count(&answered, UNIT_COUNT(threads) - 1);
    unsigned connects = fake.connects[0];
    bool is_slow = clock_now_ms() - begin_ms >= 2000; /* this machine, so that two may have tried */
    fake.moods[0] = MOOD_ANSWERS;
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert(is_slow || connects == 3);
}
END_TEST

START_TEST(without_a_retry_interval_a_host_is_asked_each_time)
{
    make_pool(1, 0, LONG_MS);
    fake.moods[0] = MOOD_REFUSES;
    expect("broken: host a: no connection?", 5000);
    expect("broken: host a: no connection?", 5000);
    ck_assert_uint_eq(fake.connects[0], 4); /* twice in a look-up, as there is no other host */
    ck_assert_uint_eq(logged("does not answer"), 1);
    fake.moods[0] = MOOD_ANSWERS;
    expect("a", 5000);
    ck_assert_uint_eq(logged("answers again"), 1);
}
END_TEST

START_TEST(a_connection_that_broke_while_it_was_idle_is_replaced_once)
{
    make_pool(1, LONG_MS, LONG_MS);
    expect("a", 5000);
    fake.generation[0]++; /* the server is restarted */
    expect("a", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
    ck_assert_uint_eq(logged("host"), 0);
    fake.moods[0] = MOOD_BREAKS;
    expect("broken: host a: mood 2", 5000);
    ck_assert_uint_eq(fake.connects[0], 3);
    ck_assert_uint_eq(logged("does not answer"), 1);
}
END_TEST

static void *ask_often(void *arg)
{
    for (int i = 0; i < 20; i++)
        expect(arg, 10000);
    return NULL;
}

START_TEST(threads_share_a_limited_number_of_connections)
{
    pthread_t threads[50];
    char a[] = "a";

    fake.delay_ms = 2;
    make_pool(1, LONG_MS, LONG_MS);
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, a), 0);
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(fake.questions[0], 20 * UNIT_COUNT(threads));
    ck_assert_uint_le(fake.open_max, POOL_CONNECTIONS_MAX);
    ck_assert_uint_le(fake.connects[0], POOL_CONNECTIONS_MAX);
    fake.generation[0]++; /* all idle connections are broken; one question finds out */
    expect("a", 10000);
    ck_assert_uint_eq(fake.open, 1);
}
END_TEST

static void *ask_any(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        free(ask_within(5000));
    return NULL;
}

START_TEST(a_restart_under_load_leaks_nothing)
{
    pthread_t threads[20];

    make_pool(HOSTS, 1, 5);
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_any, NULL), 0);
    for (int i = 0; i < 50; i++) {
        fake.generation[i % HOSTS]++;
        fake.moods[i % HOSTS] = i % 2 == 0 ? MOOD_REFUSES : MOOD_BREAKS;
        pause_ms(1);
        fake.moods[i % HOSTS] = MOOD_ANSWERS;
    }
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(fake.open_max, POOL_CONNECTIONS_MAX);
    pause_ms(2);
    free(ask_within(5000));
}
END_TEST

START_TEST(each_host_can_be_tried)
{
    struct err err;

    make_pool(2, LONG_MS, LONG_MS);
    fake.moods[1] = MOOD_REFUSES;
    ck_assert_uint_eq(pool_hosts(pool), 2);
    ck_assert_str_eq(pool_host(pool, 1), "b");
    ck_assert_int_eq(try_host(0, "k", &err), ANSWER_OK);
    ck_assert_int_eq(try_host(1, "k", &err), ANSWER_BROKEN);
    ck_assert_str_eq(err.text, "no connection?");
    ck_assert_int_eq(try_host(0, "", &err), ANSWER_OK); /* nothing is asked for it */
    ck_assert_uint_eq(fake.questions[0], 1);
    ck_assert_uint_eq(fake.open, 0);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("pool");

    tcase_add_checked_fixture(tests, pool_unit_setup, pool_unit_teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_connection_is_used_again);
    tcase_add_test(tests, an_idle_connection_is_closed);
    tcase_add_test(tests, local_hosts_come_first_and_equals_take_turns);
    tcase_add_test(tests, connection_uris_come_last);
    tcase_add_test(tests, hosts_are_asked_in_the_order_of_the_file_where_the_type_has_one);
    tcase_add_test(tests, a_connected_host_comes_before_a_local_one);
    tcase_add_test(tests, a_host_that_fails_is_left_alone);
    tcase_add_test(tests, a_host_that_has_failed_is_asked_again_after_a_while);
    tcase_add_test(tests, one_look_up_finds_out_whether_a_host_is_back);
    tcase_add_test(tests, without_a_retry_interval_a_host_is_asked_each_time);
    tcase_add_test(tests, a_connection_that_broke_while_it_was_idle_is_replaced_once);
    tcase_add_test(tests, threads_share_a_limited_number_of_connections);
    tcase_add_test(tests, a_restart_under_load_leaks_nothing);
    tcase_add_test(tests, each_host_can_be_tried);
    return unit_run("pool", tests);
}
