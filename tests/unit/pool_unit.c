/* SPDX-License-Identifier: ISC */
#include "pool_unit.h"
#include "base/clock.h"
#include "base/mem.h"
#include "unit.h"

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
    if (f->moods[host] == MOOD_REFUSES || f->moods[host] == MOOD_HANGS ||
        f->moods[host] == MOOD_FULL) {
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
    case MOOD_SLOW:
        hang(deadline_ms);
        return ANSWER_BROKEN;
    case MOOD_REFUSES:
    case MOOD_BREAKS:
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
    ck_assert(log_file != NULL && dup2(fileno(log_file), STDERR_FILENO) == STDERR_FILENO);
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

enum table_answer try_host(size_t host, const char *key, struct err *err)
{
    struct query_result r = {.query = query, .key = key};
    enum table_answer answer = pool_try_host(pool, host, &r, clock_now_ms() + 5000, err);

    query_result_clear(&r);
    return answer;
}
