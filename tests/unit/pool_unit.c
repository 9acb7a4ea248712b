/* SPDX-License-Identifier: ISC */
#include "pool_unit.h"
#include "base/clock.h"
#include "base/mem.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct fake_connection {
    struct fake *fake;
    size_t host;
    unsigned generation;
};

static const struct cf_parameter parameters[] = {CF_SQL_PARAMETERS, {.name = NULL}};
static const char *const templates[] = {"query", NULL};

void pause_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* Wait until the deadline, or until the host has another mood. */
static void hang(const struct fake *f, size_t host, enum mood mood, int64_t deadline_ms)
{
    while (clock_now_ms() < deadline_ms && f->moods[host] == mood)
        pause_ms(1);
}

void wait_for_count(const atomic_uint *count, unsigned value)
{
    int64_t deadline_ms = clock_now_ms() + WAIT_MS;

    while (*count < value && clock_now_ms() < deadline_ms)
        pause_ms(1);
    ck_assert_uint_eq(*count, value);
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

    enum mood mood = f->moods[host]; /* a test that sees the count may set another one */
    f->connects[host]++;
    if (mood == MOOD_HANGS || mood == MOOD_DEAF) {
        hang(f, host, mood, deadline_ms);
        mood = f->moods[host];
    }
    if (mood == MOOD_REFUSES || mood == MOOD_HANGS || mood == MOOD_FULL || mood == MOOD_DEAF) {
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

    ck_assert_ptr_eq(settings, f);
    unsigned question = ++f->questions[c->host];
    while (question <= f->held[c->host] && clock_now_ms() < deadline_ms)
        pause_ms(1);
    enum mood mood = f->moods[c->host];
    pause_ms(f->delay_ms);
    err_set(err, "mood %d", (int)mood);
    if (c->generation != f->generation[c->host])
        return ANSWER_BROKEN;
    switch (mood) {
    case MOOD_HANGS:
    case MOOD_SLOW:
        hang(f, c->host, mood, deadline_ms);
        return ANSWER_BROKEN;
    case MOOD_REFUSES:
    case MOOD_BREAKS:
        return ANSWER_BROKEN;
    case MOOD_BREAKS_ONCE:
        f->moods[c->host] = MOOD_ANSWERS;
        return ANSWER_BROKEN;
    case MOOD_LATE:
        result->is_late = true;
        return ANSWER_BROKEN;
    case MOOD_LOST:
        result->is_lost = true;
        return ANSWER_FAILED;
    case MOOD_FAILS:
        return ANSWER_FAILED;
    case MOOD_LIMITS:
        return ANSWER_LIMIT;
    case MOOD_FULL:
    case MOOD_DEAF:
    case MOOD_ANSWERS:
        break;
    }
    query_result_asked(result, "%s of %s", key, f->hosts[c->host].name);
    return query_result_add(result, f->hosts[c->host].name, strlen(f->hosts[c->host].name), err);
}

const struct table_module pool_unit_module = {
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

struct fake fake;
static struct cf *cf;
static struct query *query;
struct pool *pool;
static FILE *log_file;

void pool_unit_setup(void)
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
    ck_assert_ptr_nonnull(log_file);
    /* A thread may log while the test reads. */
    ck_assert_int_eq(fcntl(fileno(log_file), F_SETFL, O_APPEND), 0);
    ck_assert_int_eq(dup2(fileno(log_file), STDERR_FILENO), STDERR_FILENO);
}

void pool_unit_teardown(void)
{
    pool_free(pool);
    ck_assert_uint_eq(fake.open, 0);
    pool = NULL;
    query_free(query);
    cf_close(cf);
    fclose(log_file);
}

void make_pool(size_t hosts, int64_t retry_ms, int64_t idle_ms)
{
    fake.count = hosts;
    pool = pool_new("fake:FILE", &pool_unit_module, &fake, (struct pool_times){retry_ms, idle_ms});
}

unsigned logged(const char *text)
{
    char line[2048];
    unsigned count = 0;

    rewind(log_file);
    while (fgets(line, sizeof line, log_file) != NULL)
        count += strstr(line, text) != NULL;
    return count;
}

void wait_for_log(const char *text)
{
    int64_t deadline_ms = clock_now_ms() + WAIT_MS;

    while (logged(text) == 0 && clock_now_ms() < deadline_ms)
        pause_ms(1);
    ck_assert_uint_eq(logged(text), 1);
}

char *ask_within(int64_t ms)
{
    struct query_result r = {.query = query, .key = "k"};
    const char *host = "";
    struct err err = {""};
    char *answer = NULL;

    switch (pool_ask(pool, &r, ms < 2400 ? 2400 : ms, clock_now_ms() + ms, &host, &err)) {
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

void expect(const char *expected, int64_t ms)
{
    char *answer = ask_within(ms);

    ck_assert_str_eq(answer, expected);
    free(answer);
}

static void *question_main(void *arg)
{
    struct question *q = arg;

    q->answer = ask_within(q->ms);
    return NULL;
}

void question_begin(struct question *q, int64_t ms)
{
    q->ms = ms;
    ck_assert_int_eq(pthread_create(&q->thread, NULL, question_main, q), 0);
}

void question_end(struct question *q, const char *expected)
{
    ck_assert_int_eq(pthread_join(q->thread, NULL), 0);
    ck_assert_msg(strncmp(q->answer, expected, strlen(expected)) == 0, "%s", q->answer);
    free(q->answer);
}

enum table_answer try_host(size_t host, const char *key, struct err *err)
{
    struct query_result r = {.query = query, .key = key};
    enum table_answer answer = pool_try_host(pool, host, &r, clock_now_ms() + 5000, err);

    query_result_clear(&r);
    return answer;
}
