/* SPDX-License-Identifier: ISC */
/*
 * mysql, pgsql, ldap, sqlite: tables that a module asks for. What a look-up passes through:
 *
 *   cf.c      the parameter file, read when the table is opened; a change of it makes a new table
 *   module.c  the module of the type
 *   query.c   which keys are asked for
 *   pool.c    a host and a connection, within the time limit of the table
 *   module    the text of the query, the answer
 *   query.c   the result
 *
 * A question that fails, while the server answers one for another key, fails because of its key:
 * it is no text for the server, exceeds a limit, or leads to data that are at fault. The result is
 * TABLE_LIMIT then. Otherwise a client could choose such a key, and with on_failure = "accept" its
 * mail would pass unfiltered.
 *
 * A server that is away is no reason not to open a table.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "table/cf.h"
#include "table/module.h"
#include "table/pool.h"
#include "table/query.h"
#include "table/table_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_S 60 /* retry_interval and idle_interval, as in Postfix */
#define SOON 16       /* an answer within lookup_timeout divided by this comes soon */

struct external {
    struct table table;
    const struct table_module *module;
    struct cf *cf;
    struct query *query;
    void *settings;
    struct pool *pool;
    pthread_mutex_t lock; /* protects `known` */
    struct buf known;     /* the key that was answered soon, and last; "" : none */
};

static void external_close(struct table *t)
{
    struct external *x = (struct external *)t;

    pool_free(x->pool);
    if (x->settings != NULL)
        x->module->close(x->settings);
    query_free(x->query);
    cf_close(x->cf);
    buf_clear(&x->known);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

static int64_t interval_ms(const struct cf *cf, const char *name, unsigned otherwise_s)
{
    return 1000 * (cf_takes(cf, name) ? (int64_t)cf_number(cf, name) : (int64_t)otherwise_s);
}

/* Report an expansion outside of '...' in a statement of SQL. */
static void review_quotes(const struct external *x, const struct table_faults *faults)
{
    struct err text;

    for (const char *const *name = x->module->templates; faults != NULL && *name != NULL; name++) {
        const char *at = strcmp(*name, "query") == 0 ? query_unquoted(x->query, *name) : NULL;
        if (at == NULL)
            continue;
        err_set(&text, "query: %.2s is not inside '...': an address could change the statement",
                at);
        faults->each(faults->ctx, cf_path(x->cf), cf_line(x->cf, *name), text.text);
    }
}

static int read_file(struct external *x, const char *path, const struct table_faults *faults,
                     struct err *err)
{
    x->cf = cf_open(path, x->module->parameters, faults, err);
    if (x->cf == NULL)
        return -1;
    x->query = query_open(x->cf, x->module->templates, err);
    if (x->query == NULL)
        return -1;
    x->settings = x->module->open(x->cf, x->query, err);
    if (x->settings == NULL)
        return -1;
    review_quotes(x, faults);
    return 0;
}

static struct table *external_open(const struct table_type *type, const char *path,
                                   const struct table_faults *faults, struct table_stamp *stamp_out,
                                   struct err *err)
{
    if (path[0] != '/') {
        err_set(err,
                "%s:%s: expected the path of a file: parameters in Postfix's main.cf are not read",
                type->name, path);
        return NULL;
    }
    const struct table_module *module = module_load(type->name, err);
    if (module == NULL)
        return NULL;
    struct external *x = mem_zalloc(sizeof *x);
    x->module = module;
    pthread_mutex_init(&x->lock, NULL);
    if (read_file(x, path, faults, err) < 0) {
        external_close(&x->table);
        return NULL;
    }
    struct pool_times times = {
        .retry_ms = interval_ms(x->cf, "retry_interval", x->module->retry_s),
        .idle_ms = interval_ms(x->cf, "idle_interval", INTERVAL_S),
    };
    char *name = mem_printf("%s:%s", type->name, path);
    x->pool = pool_new(name, x->module, x->settings, times);
    free(name);
    *stamp_out = cf_stamp(x->cf);
    return &x->table;
}

/* Keep a key that was answered soon, unless another thread does the same. A client must not choose
 * a slow one, for which there is no time when another question has failed. */
static void remember(struct external *x, const char *key)
{
    if (pthread_mutex_trylock(&x->lock) != 0)
        return;
    buf_reset(&x->known);
    buf_adds(&x->known, key);
    pthread_mutex_unlock(&x->lock);
}

/* Does a server answer for another key? */
static bool answers_another(struct external *x, const char *key, int64_t deadline_ms)
{
    struct query_result result = {.query = x->query};
    enum table_answer answer = ANSWER_FAILED;
    struct buf other = {0};
    const char *host;
    struct err ignored;

    pthread_mutex_lock(&x->lock);
    buf_adds(&other, buf_str(&x->known));
    pthread_mutex_unlock(&x->lock);
    if (strcmp(buf_str(&other), key) == 0)
        buf_reset(&other);
    if (other.len > 0 || query_add_sample(x->query, &other)) {
        result.key = buf_str(&other);
        answer = pool_ask(x->pool, &result, x->table.timeout_ms, deadline_ms, &host, &ignored);
    }
    query_result_clear(&result);
    buf_clear(&other);
    return answer == ANSWER_OK;
}

static enum table_result understand(const struct query_result *result, const char *host,
                                    struct table_match *m)
{
    if (result->value.len == 0)
        return TABLE_NOT_FOUND;
    buf_reset(&m->value);
    buf_adds(&m->value, buf_str(&result->value));
    buf_reset(&m->key);
    buf_adds(&m->key, result->key);
    m->line = 0;
    buf_adds(&m->host, host);
    buf_adds(&m->query, buf_str(&result->asked));
    return TABLE_FOUND;
}

static enum table_result external_find(const struct table *t, struct table_scratch *s,
                                       const char *key, struct table_match *m, struct err *err)
{
    /* The connections are not part of the immutable state of a table, so const is cast away. */
    struct external *x = (struct external *)t;
    struct query_result result = {.query = x->query, .key = key};
    const char *host = "";
    enum table_result r;

    if (!query_applies(x->query, key))
        return TABLE_NOT_FOUND;
    int64_t deadline_ms = table_deadline_ms(t, s, &r), begin_ms = clock_now_ms();
    enum table_answer answer = pool_ask(x->pool, &result, t->timeout_ms, deadline_ms, &host, err);
    if (answer == ANSWER_OK) {
        if (clock_now_ms() - begin_ms <= t->timeout_ms / SOON)
            remember(x, key);
        err_clear(err);
        r = understand(&result, host, m);
    } else {
        if (answer == ANSWER_LIMIT ||
            (answer == ANSWER_FAILED && answers_another(x, key, deadline_ms)))
            r = TABLE_LIMIT;
        err_wrap(err, "%s:%s", t->type->name, t->path);
    }
    query_result_clear(&result);
    return r;
}

static void external_try(const struct table *t, const char *key, const struct table_faults *faults)
{
    const struct external *x = (const struct external *)t;
    struct query_result result = {.query = x->query, .key = key};
    struct buf sample = {0};
    struct err err;

    if (!query_applies(x->query, key)) {
        if (query_add_sample(x->query, &sample))
            result.key = buf_str(&sample);
        else
            faults->each(faults->ctx, cf_path(x->cf), cf_line(x->cf, "domain"),
                         "nothing is asked for any address: no word of domain is a domain with the "
                         "parts that the query needs");
    }
    for (size_t i = 0; i < pool_hosts(x->pool); i++) {
        int64_t deadline_ms = clock_now_ms() + t->timeout_ms;
        if (pool_try_host(x->pool, i, &result, deadline_ms, &err) == ANSWER_OK)
            continue;
        err_wrap(&err, "%s:%s: host %s", t->type->name, t->path, pool_host(x->pool, i));
        faults->each(faults->ctx, "", 0, err.text);
    }
    buf_clear(&sample);
    query_result_clear(&result);
}

#define EXTERNAL(type)                                                                             \
    const struct table_type table_##type = {                                                       \
        .name = #type,                                                                             \
        .asks_server = true,                                                                       \
        .may_take_long = true,                                                                     \
        .open_parameters = external_open,                                                          \
        .close = external_close,                                                                   \
        .find = external_find,                                                                     \
        .try_hosts = external_try,                                                                 \
    }

EXTERNAL(ldap);
EXTERNAL(mysql);
EXTERNAL(pgsql);
EXTERNAL(sqlite);
