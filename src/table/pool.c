/* SPDX-License-Identifier: ISC */
#include "table/pool.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REASON_SIZE 256

/* A host that got less time than this is not said to have failed when it did not answer in time:
 * the look-up has spent its time with other hosts, or with waiting for a connection. */
#define FAIR_MS 1000

struct host {
    const struct table_host *host;
    bool has_failed;
    int64_t retry_at_ms; /* with has_failed */
    char reason[REASON_SIZE];
};

struct idle {
    void *connection;
    size_t host;
    int64_t since_ms;
};

struct pool {
    char *name;
    const struct table_module *module;
    const void *settings;
    struct pool_times times;
    size_t host_count;
    pthread_mutex_t lock; /* protects the members below */
    pthread_cond_t freed; /* a connection was closed, or is idle; by CLOCK_MONOTONIC */
    struct host *hosts;
    struct idle idle[POOL_CONNECTIONS_MAX]; /* the one that was used last is at the end */
    size_t idle_count;
    size_t open_count; /* connections that are used, made or idle */
    uint32_t random;   /* state of the generator, never 0 */
};

/* One question: which hosts were asked already, and what they said. */
struct asking {
    struct pool *p;
    struct query_result *result;
    int64_t deadline_ms;
    bool *is_tried;
    struct buf reasons;
};

/* A host, and a connection to it. */
struct chosen {
    size_t host;
    void *connection; /* NULL: one has to be made, for which there is room */
    int64_t deadline_ms;
    bool is_fair; /* see FAIR_MS */
};

struct pool *pool_new(const char *name, const struct table_module *module, const void *settings,
                      struct pool_times times)
{
    struct pool *p = mem_zalloc(sizeof *p);
    const struct table_host *hosts;
    pthread_condattr_t monotonic;

    p->name = mem_strdup(name);
    p->module = module;
    p->settings = settings;
    p->times = times;
    p->host_count = module->hosts(settings, &hosts);
    assert(p->host_count > 0);
    p->hosts = mem_zalloc(p->host_count * sizeof *p->hosts);
    for (size_t i = 0; i < p->host_count; i++)
        p->hosts[i].host = &hosts[i];
    p->random = (uint32_t)clock_now_us() | 1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->freed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return p;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    assert(p->open_count == p->idle_count);
    for (size_t i = 0; i < p->idle_count; i++)
        p->module->disconnect(p->idle[i].connection);
    pthread_cond_destroy(&p->freed);
    pthread_mutex_destroy(&p->lock);
    free(p->hosts);
    free(p->name);
    free(p);
}

static uint32_t next_random(struct pool *p)
{
    p->random ^= p->random << 13; /* xorshift32 (Marsaglia 2003) */
    p->random ^= p->random >> 17;
    p->random ^= p->random << 5;
    return p->random;
}

/* --- idle connections, with the lock held --- */

/* Connections that were removed from the pool, to be closed without the lock. */
struct closing {
    void *connections[POOL_CONNECTIONS_MAX];
    size_t count;
};

static void *remove_idle(struct pool *p, size_t i)
{
    void *connection = p->idle[i].connection;

    p->idle_count--;
    memmove(&p->idle[i], &p->idle[i + 1], (p->idle_count - i) * sizeof p->idle[0]);
    return connection;
}

static void close_idle(struct pool *p, size_t i, struct closing *closing)
{
    assert(closing->count < POOL_CONNECTIONS_MAX);
    closing->connections[closing->count++] = remove_idle(p, i);
    p->open_count--;
}

static void close_expired(struct pool *p, struct closing *closing)
{
    int64_t now_ms = clock_now_ms();

    for (size_t i = p->idle_count; i-- > 0;)
        if (now_ms - p->idle[i].since_ms > p->times.idle_ms)
            close_idle(p, i, closing);
}

static void close_idle_of(struct pool *p, size_t host, struct closing *closing)
{
    for (size_t i = p->idle_count; i-- > 0;)
        if (p->idle[i].host == host)
            close_idle(p, i, closing);
}

/* Close the connections, without the lock. */
static void close_all(struct pool *p, struct closing *closing)
{
    for (size_t i = 0; i < closing->count; i++)
        p->module->disconnect(closing->connections[i]);
    closing->count = 0;
}

/* --- the choice of a host, with the lock held --- */

static bool may_be_asked(const struct asking *a, size_t host)
{
    const struct host *h = &a->p->hosts[host];

    return !a->is_tried[host] && (!h->has_failed || clock_now_ms() >= h->retry_at_ms);
}

/* The index of the newest idle connection to a host; p->idle_count if there is none. */
static size_t idle_of(const struct pool *p, size_t host)
{
    for (size_t i = p->idle_count; i-- > 0;)
        if (p->idle[i].host == host)
            return i;
    return p->idle_count;
}

/* How early a host is asked; the smallest number first. */
static unsigned rank(const struct pool *p, size_t host)
{
    bool is_connected = idle_of(p, host) < p->idle_count;

    return (is_connected ? 0 : 2) + (p->hosts[host].host->is_local ? 0 : 1);
}

/* Choose one of the hosts that may be asked, with equal probability among those of the best rank,
 * or the first of them. *left_out: how many may be asked. */
static size_t choose_host(struct asking *a, size_t *left_out)
{
    struct pool *p = a->p;
    size_t best = p->host_count;
    unsigned best_rank = 0, equals = 0;

    *left_out = 0;
    for (size_t i = 0; i < p->host_count; i++) {
        if (!may_be_asked(a, i))
            continue;
        ++*left_out;
        unsigned r = rank(p, i);
        if (best == p->host_count || r < best_rank) {
            best = i;
            best_rank = r;
            equals = 1;
        } else if (r == best_rank && !p->module->has_host_order && next_random(p) % ++equals == 0) {
            best = i;
        }
    }
    return best;
}

static struct timespec time_of(int64_t ms)
{
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (ms % 1000) * 1000000};
}

/* Wait until a connection is idle or closed. False: the deadline is over. */
static bool wait_for_room(const struct asking *a)
{
    struct timespec until = time_of(a->deadline_ms);

    return clock_now_ms() < a->deadline_ms &&
           pthread_cond_timedwait(&a->p->freed, &a->p->lock, &until) == 0;
}

enum choice { CHOICE_OK, CHOICE_NO_HOST, CHOICE_NO_ROOM, CHOICE_NO_TIME };

static enum choice choose(struct asking *a, struct chosen *out, struct closing *closing)
{
    struct pool *p = a->p;
    size_t left;

    for (;;) {
        close_expired(p, closing);
        out->host = choose_host(a, &left);
        if (left == 0)
            return CHOICE_NO_HOST;
        if (clock_now_ms() >= a->deadline_ms)
            return CHOICE_NO_TIME;
        size_t i = idle_of(p, out->host);
        out->connection = i < p->idle_count ? remove_idle(p, i) : NULL;
        if (out->connection != NULL)
            break;
        if (p->open_count == POOL_CONNECTIONS_MAX && p->idle_count > 0)
            close_idle(p, 0, closing);
        if (p->open_count < POOL_CONNECTIONS_MAX) {
            p->open_count++;
            break;
        }
        if (!wait_for_room(a))
            return CHOICE_NO_ROOM;
    }
    int64_t now_ms = clock_now_ms();
    int64_t share_ms = (a->deadline_ms - now_ms) / (int64_t)left;
    out->deadline_ms = now_ms + share_ms;
    out->is_fair = share_ms >= FAIR_MS;
    a->is_tried[out->host] = true;
    /* One look-up finds out whether a host is back; the others do not wait for it. */
    if (p->hosts[out->host].has_failed)
        p->hosts[out->host].retry_at_ms = now_ms + p->times.retry_ms;
    return CHOICE_OK;
}

/* --- what became of a host --- */

/* Return the connection to the pool. The host has answered. */
static void keep(struct pool *p, const struct chosen *c)
{
    struct host *h = &p->hosts[c->host];

    pthread_mutex_lock(&p->lock);
    bool is_back = h->has_failed;
    h->has_failed = false;
    p->idle[p->idle_count++] = (struct idle){c->connection, c->host, clock_now_ms()};
    pthread_cond_signal(&p->freed);
    pthread_mutex_unlock(&p->lock);
    if (is_back)
        log_info("%s: host %s answers again", p->name, h->host->name);
}

/* Note that the host has failed, with the lock held. Returns whether it had not failed before. */
static bool note_failure(struct pool *p, struct host *h, const struct err *why)
{
    bool is_new = !h->has_failed;
    size_t len = strnlen(why->text, REASON_SIZE - 1);

    h->has_failed = true;
    h->retry_at_ms = clock_now_ms() + p->times.retry_ms;
    memcpy(h->reason, why->text, len);
    h->reason[len] = '\0';
    return is_new;
}

/* The connection is closed, and the host is not asked for a while. */
static void give_up(struct asking *a, const struct chosen *c, const struct err *why)
{
    struct pool *p = a->p;
    struct host *h = &p->hosts[c->host];
    struct closing closing = {.count = 0};

    pthread_mutex_lock(&p->lock);
    bool is_new = (c->is_fair || clock_now_ms() < c->deadline_ms) && note_failure(p, h, why);
    close_idle_of(p, c->host, &closing);
    p->open_count--;
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
    close_all(p, &closing);
    if (is_new)
        log_warning("%s: host %s does not answer: %s", p->name, h->host->name, why->text);
    buf_addf(&a->reasons, "%shost %s: %s", a->reasons.len == 0 ? "" : "; ", h->host->name,
             why->text);
}

/* --- one host --- */

static enum table_answer ask_over(const struct pool *p, void *connection,
                                  struct query_result *result, int64_t deadline_ms, struct err *err)
{
    query_result_reset(result);
    err_clear(err);
    enum table_answer answer =
        p->module->ask(connection, p->settings, result->key, result, deadline_ms, err);
    log_sanitize(err->text);
    return answer;
}

/* Close the other idle connections to a host that has closed one of them. */
static void drop_idle(struct pool *p, size_t host)
{
    struct closing closing = {.count = 0};

    pthread_mutex_lock(&p->lock);
    close_idle_of(p, host, &closing);
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
    close_all(p, &closing);
}

/* Ask the chosen host. Unless ANSWER_BROKEN, its connection is back in the pool. */
static enum table_answer ask_host(struct asking *a, struct chosen *c, struct err *err)
{
    struct pool *p = a->p;
    enum table_answer answer = ANSWER_BROKEN;
    bool is_new = false;

    while (answer == ANSWER_BROKEN && !is_new) {
        is_new = c->connection == NULL;
        if (is_new) {
            err_clear(err);
            c->connection = p->module->connect(p->settings, c->host, c->deadline_ms, err);
            log_sanitize(err->text);
            if (c->connection == NULL)
                break;
        }
        answer = ask_over(p, c->connection, a->result, c->deadline_ms, err);
        if (answer != ANSWER_BROKEN)
            break;
        p->module->disconnect(c->connection);
        c->connection = NULL;
        if (clock_now_ms() >= c->deadline_ms)
            break;
        if (!is_new)
            drop_idle(p, c->host);
    }
    if (answer == ANSWER_BROKEN)
        give_up(a, c, err);
    else
        keep(p, c);
    return answer;
}

/* Set the reason why no host has answered. */
static void explain_failure(struct asking *a, enum choice choice, struct err *err)
{
    struct pool *p = a->p;
    int64_t now_ms = clock_now_ms();

    if (choice == CHOICE_NO_ROOM)
        buf_addf(&a->reasons, "%sall %d connections are in use", a->reasons.len == 0 ? "" : "; ",
                 POOL_CONNECTIONS_MAX);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->host_count && choice == CHOICE_NO_HOST; i++) {
        const struct host *h = &p->hosts[i];
        if (!a->is_tried[i] && h->has_failed && h->retry_at_ms > now_ms)
            buf_addf(&a->reasons, "%shost %s: %s (asked again in %lld s)",
                     a->reasons.len == 0 ? "" : "; ", h->host->name, h->reason,
                     (long long)((h->retry_at_ms - now_ms + 999) / 1000));
    }
    pthread_mutex_unlock(&p->lock);
    err_set(err, "%s", a->reasons.len == 0 ? "no time is left" : buf_str(&a->reasons));
}

enum table_answer pool_ask(struct pool *p, struct query_result *result, int64_t deadline_ms,
                           const char **host_out, struct err *err)
{
    struct asking a = {.p = p, .result = result, .deadline_ms = deadline_ms};
    enum table_answer answer = ANSWER_BROKEN;
    struct closing closing = {.count = 0};
    struct chosen chosen;
    enum choice choice = CHOICE_OK;

    a.is_tried = mem_zalloc(p->host_count * sizeof *a.is_tried);
    while (answer == ANSWER_BROKEN) {
        pthread_mutex_lock(&p->lock);
        choice = choose(&a, &chosen, &closing);
        pthread_mutex_unlock(&p->lock);
        close_all(p, &closing);
        if (choice != CHOICE_OK)
            break;
        *host_out = p->hosts[chosen.host].host->name;
        answer = ask_host(&a, &chosen, err);
    }
    if (answer == ANSWER_BROKEN)
        explain_failure(&a, choice, err);
    else if (answer != ANSWER_OK)
        err_wrap(err, "host %s", *host_out);
    buf_clear(&a.reasons);
    free(a.is_tried);
    return answer;
}

size_t pool_hosts(const struct pool *p)
{
    return p->host_count;
}

const char *pool_host(const struct pool *p, size_t host)
{
    return p->hosts[host].host->name;
}

enum table_answer pool_try_host(const struct pool *p, size_t host, struct query_result *result,
                                int64_t deadline_ms, struct err *err)
{
    enum table_answer answer = ANSWER_OK;

    err_clear(err);
    void *connection = p->module->connect(p->settings, host, deadline_ms, err);
    log_sanitize(err->text);
    if (connection == NULL)
        return ANSWER_BROKEN;
    if (query_applies(result->query, result->key))
        answer = ask_over(p, connection, result, deadline_ms, err);
    p->module->disconnect(connection);
    return answer;
}
