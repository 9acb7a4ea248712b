/* SPDX-License-Identifier: ISC */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/pool_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A host that got less time than this, or than half of its share of lookup_timeout, is not said to
 * have failed when it did not answer in time: the look-up has spent its time with other hosts, or
 * with waiting for a connection. */
#define FAIR_MS 1000

/* Client libraries may end a call a little before its deadline, because they round the time. */
#define EARLY_MS 20

/* Connections that one host is asked over in a look-up: the second one replaces one that broke
 * while it was idle, or is tried where there is no other host. */
#define ATTEMPTS 2

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

/* --- what became of a host --- */

/* A connection was made. */
static void note_connection(struct pool *p, size_t host)
{
    struct pool_host_state *h = &p->hosts[host];

    pthread_mutex_lock(&p->lock);
    h->established++;
    h->is_doubted = false;
    h->has_refused = false;
    pthread_mutex_unlock(&p->lock);
}

/* A connection broke, or is not used any more; it stays counted as open. is_late: it has not
 * answered in time. Otherwise the server has closed it, and with it those that were idle. */
static void note_break(struct pool *p, size_t host, bool is_late)
{
    struct pool_closing closing = {.count = 0};

    pthread_mutex_lock(&p->lock);
    p->hosts[host].established--;
    if (is_late)
        p->hosts[host].is_doubted = true;
    else
        pool_close_idle_of(p, host, &closing);
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
    pool_close_all(p, &closing);
}

/* Return the connection to the pool, or close it. The host has answered. */
static void keep(struct pool *p, const struct pool_chosen *c, bool is_lost)
{
    struct pool_host_state *h = &p->hosts[c->host];

    if (is_lost)
        p->module->disconnect(c->connection);
    pthread_mutex_lock(&p->lock);
    bool is_back = h->has_failed;
    h->has_failed = false;
    h->failures = 0;
    h->is_doubted = false;
    h->answered_ms = clock_now_ms();
    if (is_lost) {
        h->established--;
        pool_leave(p, c->host);
    } else {
        p->idle[p->idle_count++] = (struct pool_idle){c->connection, c->host, h->answered_ms};
    }
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
    if (is_back)
        log_info("%s: host %s answers again", p->name, h->host->name);
}

/* The connection is closed, and nothing is known about the host. */
static void leave(struct pool *p, size_t host)
{
    pthread_mutex_lock(&p->lock);
    pool_leave(p, host);
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
}

/* Note that the host has failed, with the lock held. Returns whether it had not failed before. */
static bool note_failure(struct pool *p, struct pool_host_state *h, const struct err *why)
{
    bool is_new = !h->has_failed;
    size_t len = strnlen(why->text, POOL_REASON_SIZE - 1);

    h->has_failed = true;
    h->retry_at_ms = clock_now_ms() + pool_back_off_ms(p, h->failures);
    memcpy(h->reason, why->text, len);
    h->reason[len] = '\0';
    return is_new;
}

/* What a host does that has not answered. */
enum failure {
    FAILURE_HOST, /* it cannot be reached, or breaks connections: it is not asked for a while */
    FAILURE_FULL, /* it takes no connection beside those that are open */
    FAILURE_LATE, /* it was given too little time for a connection */
};

/* With the lock held. is_late: no connection was made in time. has_connection: it was over an open
 * connection. A host that neither takes a connection in time nor answers over an open one meanwhile
 * may be hanging: it counts as failed if there is another one, or if a question was late. */
static enum failure understand_failure(const struct pool *p, const struct pool_chosen *c,
                                       bool is_late, bool has_connection)
{
    const struct pool_host_state *h = &p->hosts[c->host];
    bool is_silent = h->is_doubted || (p->host_count > 1 && h->answered_ms < c->begin_ms);

    if (is_late && !c->is_fair)
        return FAILURE_LATE;
    if (!has_connection && h->established > 0 && !(is_late && is_silent))
        return FAILURE_FULL;
    return FAILURE_HOST;
}

/* No answer came, and the connection is closed, if there was one. */
static void give_up(struct pool_asking *a, const struct pool_chosen *c, bool is_late,
                    bool has_connection, const struct err *why)
{
    struct pool *p = a->p;
    struct pool_host_state *h = &p->hosts[c->host];
    struct pool_closing closing = {.count = 0};
    bool is_new = false, is_full = false;

    pthread_mutex_lock(&p->lock);
    enum failure failure = understand_failure(p, c, is_late, has_connection);
    size_t established = h->established;
    if (failure == FAILURE_HOST) {
        is_new = note_failure(p, h, why);
        pool_close_idle_of(p, c->host, &closing);
    } else if (failure == FAILURE_FULL) {
        is_full = !h->has_refused;
        h->has_refused = true;
        h->is_doubted = false;
        a->is_tried[c->host] = a->is_full[c->host];
        a->is_full[c->host] = true;
    }
    pool_leave(p, c->host);
    pthread_cond_broadcast(&p->freed);
    pthread_mutex_unlock(&p->lock);
    pool_close_all(p, &closing);
    if (is_new)
        log_warning("%s: host %s does not answer: %s", p->name, h->host->name, why->text);
    if (is_full)
        log_warning("%s: host %s takes no connection beside the %zu that are open: %s", p->name,
                    h->host->name, established, why->text);
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

static bool is_over(int64_t deadline_ms)
{
    return clock_now_ms() + EARLY_MS >= deadline_ms;
}

/* Ask over a connection, which is closed if the answer is ANSWER_BROKEN. It may take all of the
 * time that is left. If that is not enough, the look-up has failed, because the question would be
 * as slow at the other hosts. */
static enum table_answer ask_connected(struct pool_asking *a, struct pool_chosen *c,
                                       struct err *err)
{
    struct pool *p = a->p;
    enum table_answer answer = ask_over(p, c->connection, a->result, a->deadline_ms, err);
    bool is_late = a->result->is_late || is_over(a->deadline_ms);

    if (answer == ANSWER_BROKEN) {
        p->module->disconnect(c->connection);
        c->connection = NULL;
        note_break(p, c->host, is_late);
        return is_late ? ANSWER_FAILED : ANSWER_BROKEN;
    }
    return answer;
}

/* Make a connection. False: there is none. */
static bool connect_host(struct pool *p, struct pool_chosen *c, struct err *err)
{
    err_clear(err);
    c->connection = p->module->connect(p->settings, c->host, c->deadline_ms, err);
    log_sanitize(err->text);
    if (c->connection != NULL)
        note_connection(p, c->host);
    return c->connection != NULL;
}

/* May the host be asked once more, because its connection broke after it was idle, or because there
 * is no other host? Not if it refuses a connection beside those that are open. */
static bool may_try_again(const struct pool_asking *a, struct pool_chosen *c, bool was_idle,
                          bool is_connected)
{
    struct pool *p = a->p;

    if (was_idle)
        pool_share_time(a, c); /* the question may have taken long */
    pthread_mutex_lock(&p->lock);
    bool is_open = p->hosts[c->host].established > 0;
    pthread_mutex_unlock(&p->lock);
    return (was_idle || (p->host_count == 1 && (is_connected || !is_open))) &&
           !is_over(c->deadline_ms);
}

/* Ask the chosen host. Unless ANSWER_BROKEN, its connection is back in the pool. */
static enum table_answer ask_host(struct pool_asking *a, struct pool_chosen *c, struct err *err)
{
    struct pool *p = a->p;
    enum table_answer answer = ANSWER_BROKEN;
    bool is_connected = false, was_idle = false;

    for (int i = 0; i < ATTEMPTS && (i == 0 || may_try_again(a, c, was_idle, is_connected)); i++) {
        was_idle = c->connection != NULL;
        is_connected = was_idle || connect_host(p, c, err);
        if (is_connected)
            answer = ask_connected(a, c, err);
        if (answer == ANSWER_BROKEN)
            continue;
        if (c->connection != NULL)
            keep(p, c, a->result->is_lost);
        else
            leave(p, c->host);
        return answer;
    }
    give_up(a, c, !is_connected && is_over(c->deadline_ms), is_connected, err);
    return answer;
}

/* Set the reason why no host has answered. */
static void explain_failure(struct pool_asking *a, enum pool_choice choice, struct err *err)
{
    struct pool *p = a->p;
    int64_t now_ms = clock_now_ms();

    if (choice == CHOICE_NO_ROOM)
        buf_addf(&a->reasons, "%sall connections are in use", a->reasons.len == 0 ? "" : "; ");
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->host_count && choice == CHOICE_NO_HOST; i++) {
        const struct pool_host_state *h = &p->hosts[i];
        if (!a->is_tried[i] && h->has_failed && h->retry_at_ms > now_ms)
            buf_addf(&a->reasons, "%shost %s: %s (asked again in %lld s)",
                     a->reasons.len == 0 ? "" : "; ", h->host->name, h->reason,
                     (long long)((h->retry_at_ms - now_ms + 999) / 1000));
    }
    pthread_mutex_unlock(&p->lock);
    err_set(err, "%s", a->reasons.len == 0 ? "no time is left" : buf_str(&a->reasons));
}

enum table_answer pool_ask(struct pool *p, struct query_result *result, int64_t limit_ms,
                           int64_t deadline_ms, const char **host_out, struct err *err)
{
    int64_t half_ms = limit_ms / (int64_t)p->host_count / 2;
    struct pool_asking a = {.p = p,
                            .result = result,
                            .deadline_ms = deadline_ms,
                            .fair_ms = half_ms < FAIR_MS ? half_ms : FAIR_MS};
    enum table_answer answer = ANSWER_BROKEN;
    struct pool_closing closing = {.count = 0};
    struct pool_chosen chosen;
    enum pool_choice choice = CHOICE_OK;

    a.is_tried = mem_zalloc(p->host_count * sizeof *a.is_tried);
    a.is_full = mem_zalloc(p->host_count * sizeof *a.is_full);
    while (answer == ANSWER_BROKEN) {
        pthread_mutex_lock(&p->lock);
        choice = pool_choose(&a, &chosen, &closing);
        pthread_mutex_unlock(&p->lock);
        pool_close_all(p, &closing);
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
    free(a.is_full);
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
