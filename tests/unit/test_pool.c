/* SPDX-License-Identifier: ISC */
/* Hosts and connections of an external table. The hosts are those of a fake module. */
#include "base/clock.h"
#include "base/mem.h"
#include "table/pool.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOSTS 3
#define LONG_MS 60000

enum mood {
    MOOD_ANSWERS,
    MOOD_REFUSES, /* connections */
    MOOD_BREAKS,  /* each connection, at the next question */
    MOOD_HANGS,   /* until the deadline */
    MOOD_FAILS,   /* the query */
    MOOD_LIMITS,
};

/* The settings of the fake module: its hosts, and what happened to them. */
struct fake {
    size_t count;
    struct table_host hosts[HOSTS];
    _Atomic enum mood moods[HOSTS];
    atomic_uint generation[HOSTS]; /* connections of an older one are broken */
    atomic_uint connects[HOSTS], questions[HOSTS], open, open_max;
    unsigned delay_ms; /* for an answer */
};

struct fake_connection {
    struct fake *fake;
    size_t host;
    unsigned generation;
};

static const struct cf_parameter parameters[] = {CF_SQL_PARAMETERS, {.name = NULL}};
static const char *const templates[] = {"query", NULL};

static void pause_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

static void hang(int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - clock_now_ms();

    if (left_ms > 0)
        pause_ms(left_ms);
}

static size_t fake_hosts(const void *settings, const struct table_host **hosts_out)
{
    const struct fake *f = settings;

    *hosts_out = f->hosts;
    return f->count;
}

static void *fake_connect(const void *settings, size_t host, int64_t deadline_ms, struct err *err)
{
    struct fake *f = (struct fake *)settings;

    f->connects[host]++;
    if (f->moods[host] == MOOD_HANGS)
        hang(deadline_ms);
    if (f->moods[host] == MOOD_REFUSES || f->moods[host] == MOOD_HANGS) {
        err_set(err, "no connection\n");
        return NULL;
    }
    struct fake_connection *c = mem_zalloc(sizeof *c);
    *c = (struct fake_connection){f, host, f->generation[host]};
    unsigned open = ++f->open, max = f->open_max;
    while (open > max && !atomic_compare_exchange_weak(&f->open_max, &max, open))
        ;
    return c;
}

static void fake_disconnect(void *connection)
{
    struct fake_connection *c = connection;

    c->fake->open--;
    free(c);
}

static enum table_answer fake_ask(void *connection, const void *settings, const char *key,
                                  struct query_result *result, int64_t deadline_ms, struct err *err)
{
    struct fake_connection *c = connection;
    struct fake *f = c->fake;
    enum mood mood = f->moods[c->host];

    ck_assert_ptr_eq(settings, f);
    f->questions[c->host]++;
    pause_ms(f->delay_ms);
    err_set(err, "mood %d", (int)mood);
    if (c->generation != f->generation[c->host])
        return ANSWER_BROKEN;
    switch (mood) {
    case MOOD_HANGS:
        hang(deadline_ms);
        return ANSWER_BROKEN;
    case MOOD_REFUSES:
    case MOOD_BREAKS:
        return ANSWER_BROKEN;
    case MOOD_FAILS:
        return ANSWER_FAILED;
    case MOOD_LIMITS:
        return ANSWER_LIMIT;
    case MOOD_ANSWERS:
        break;
    }
    query_result_asked(result, "%s of %s", key, f->hosts[c->host].name);
    return query_result_add(result, f->hosts[c->host].name, strlen(f->hosts[c->host].name), err);
}

static const struct table_module module = {
    .version = PACKAGE_VERSION,
    .type = "fake",
    .parameters = parameters,
    .templates = templates,
    .hosts = fake_hosts,
    .connect = fake_connect,
    .disconnect = fake_disconnect,
    .ask = fake_ask,
};

/* --- a pool for each test, and its log in a file --- */

static struct fake fake;
static struct cf *cf;
static struct query *query;
static struct pool *pool;
static FILE *log_file;

static void setup(void)
{
    static const char text[] = "query = %s\n";
    struct err err;

    memset(&fake, 0, sizeof fake);
    fake.hosts[0].name = "a";
    fake.hosts[1].name = "b";
    fake.hosts[2].name = "c";
    cf = cf_open_text("FILE", text, strlen(text), parameters, NULL, &err);
    query = query_open(cf, templates, &err);
    log_file = tmpfile();
    ck_assert(log_file != NULL && dup2(fileno(log_file), STDERR_FILENO) == STDERR_FILENO);
}

static void teardown(void)
{
    pool_free(pool);
    ck_assert_uint_eq(fake.open, 0);
    pool = NULL;
    query_free(query);
    cf_close(cf);
    fclose(log_file);
}

static void make_pool(size_t hosts, int64_t retry_ms, int64_t idle_ms)
{
    fake.count = hosts;
    pool = pool_new("fake:FILE", &module, &fake, (struct pool_times){retry_ms, idle_ms});
}

/* How often the text is in the log. */
static unsigned logged(const char *text)
{
    char line[2048];
    unsigned count = 0;

    rewind(log_file);
    while (fgets(line, sizeof line, log_file) != NULL)
        count += strstr(line, text) != NULL;
    return count;
}

/* Ask, within a time. Returns what the result is, or '!' and the reason; for the caller to free. */
static char *ask_within(int64_t ms)
{
    struct query_result r = {.query = query, .key = "k"};
    const char *host = "";
    struct err err = {""};
    char *answer = NULL;

    switch (pool_ask(pool, &r, clock_now_ms() + ms, &host, &err)) {
    case ANSWER_OK:
        ck_assert_str_eq(host, buf_str(&r.value));
        ck_assert_ptr_nonnull(strstr(buf_str(&r.asked), "k of"));
        answer = mem_strdup(buf_str(&r.value));
        break;
    case ANSWER_BROKEN:
        answer = mem_printf("broken: %s", err.text);
        break;
    case ANSWER_FAILED:
        answer = mem_printf("failed: %s", err.text);
        break;
    case ANSWER_LIMIT:
        answer = mem_printf("limit: %s", err.text);
        break;
    }
    query_result_clear(&r);
    return answer;
}

static void expect(const char *expected, int64_t ms)
{
    char *answer = ask_within(ms);

    ck_assert_str_eq(answer, expected);
    free(answer);
}

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

START_TEST(hosts_are_asked_in_the_order_of_the_file_where_the_type_has_one)
{
    struct table_module ordered = module;

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

START_TEST(a_host_that_fails_is_left_alone_for_a_while)
{
    make_pool(2, 200, LONG_MS);
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
    ck_assert_uint_eq(fake.connects[0], 1);
    answer = ask_within(5000); /* no host is left */
    ck_assert_msg(strstr(answer, "host b: mood 2 (asked again in 1 s)") != NULL, "%s", answer);
    free(answer);
    pause_ms(250);
    fake.moods[0] = MOOD_ANSWERS;
    expect("a", 5000);
    ck_assert_uint_eq(logged("host a answers again"), 1);
    ck_assert_uint_eq(logged("host a does not answer"), 1);
    ck_assert_uint_eq(logged("host b does not answer"), 1);
}
END_TEST

static void *ask_once(void *arg)
{
    (void)arg;
    free(ask_within(3000));
    return NULL;
}

START_TEST(one_look_up_finds_out_whether_a_host_is_back)
{
    pthread_t threads[8];

    make_pool(1, 100, LONG_MS);
    fake.moods[0] = MOOD_REFUSES;
    ask_once(NULL);
    pause_ms(150);
    fake.moods[0] = MOOD_HANGS;
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_once, NULL), 0);
    pause_ms(50);
    ck_assert_uint_eq(fake.connects[0], 2);
    for (size_t i = 0; i < UNIT_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(without_a_retry_interval_a_host_is_asked_each_time)
{
    make_pool(1, 0, LONG_MS);
    fake.moods[0] = MOOD_REFUSES;
    expect("broken: host a: no connection?", 5000);
    expect("broken: host a: no connection?", 5000);
    ck_assert_uint_eq(fake.connects[0], 2);
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
    struct query_result r = {.query = query, .key = "k"};
    struct err err;

    make_pool(2, LONG_MS, LONG_MS);
    fake.moods[1] = MOOD_REFUSES;
    ck_assert_uint_eq(pool_hosts(pool), 2);
    ck_assert_str_eq(pool_host(pool, 1), "b");
    int64_t deadline_ms = clock_now_ms() + 5000;
    ck_assert_int_eq(pool_try_host(pool, 0, &r, deadline_ms, &err), ANSWER_OK);
    ck_assert_int_eq(pool_try_host(pool, 1, &r, deadline_ms, &err), ANSWER_BROKEN);
    ck_assert_str_eq(err.text, "no connection?");
    r.key = ""; /* nothing is asked for it */
    ck_assert_int_eq(pool_try_host(pool, 0, &r, deadline_ms, &err), ANSWER_OK);
    ck_assert_uint_eq(fake.questions[0], 1);
    ck_assert_uint_eq(fake.open, 0);
    query_result_clear(&r);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("pool");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_connection_is_used_again);
    tcase_add_test(tests, an_idle_connection_is_closed);
    tcase_add_test(tests, local_hosts_come_first_and_equals_take_turns);
    tcase_add_test(tests, hosts_are_asked_in_the_order_of_the_file_where_the_type_has_one);
    tcase_add_test(tests, a_connected_host_comes_before_a_local_one);
    tcase_add_test(tests, a_host_that_fails_is_left_alone_for_a_while);
    tcase_add_test(tests, one_look_up_finds_out_whether_a_host_is_back);
    tcase_add_test(tests, without_a_retry_interval_a_host_is_asked_each_time);
    tcase_add_test(tests, a_connection_that_broke_while_it_was_idle_is_replaced_once);
    tcase_add_test(tests, a_host_that_hangs_leaves_time_for_the_next_one);
    tcase_add_test(tests, a_host_that_got_no_time_has_not_failed);
    tcase_add_test(tests, a_query_that_fails_does_not_close_the_connection);
    tcase_add_test(tests, threads_share_a_limited_number_of_connections);
    tcase_add_test(tests, a_restart_under_load_leaks_nothing);
    tcase_add_test(tests, each_host_can_be_tried);
    return unit_run("pool", tests);
}
