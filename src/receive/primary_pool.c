/* SPDX-License-Identifier: ISC */
#include "receive/primary_pool.h"
#include "smtp/connection.h"

#include "base/mem.h"
#include "task/task.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct kept {
    struct kept *next;
    struct connection_detached *connection;
    const struct config_listener *listener; /* one of the runtime's */
    struct runtime *runtime;
    int64_t until_ms; /* when it is closed, as task_now_ms() */
};

/* What a listener's primary offered last. */
struct known {
    struct known *next;
    /* a copy of its name, not a pointer to it: a session of a former configuration may still call
     * primary_pool_learn(), and its listener may be freed before this entry */
    char *listener;
    struct smtp_features features;
};

struct primary_pool {
    pthread_t thread;
    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* signalled when wake_ms has to be earlier, or is_over is set */
    struct kept *first;     /* the one that was given last */
    struct known *known;
    int64_t wake_ms; /* what the thread waits for; INT64_MAX: nothing */
    bool is_over;
};

static void drop(struct kept *k, bool is_hurried)
{
    connection_detached_quit(k->connection, is_hurried);
    runtime_unref(k->runtime);
    free(k);
}

/* Drop a list. The lock is not held, because this sends QUIT. */
static void drop_list(struct kept *list, bool is_hurried)
{
    while (list != NULL) {
        struct kept *k = list;
        list = k->next;
        drop(k, is_hurried);
    }
}

/* Unlink the connections whose time is over, and set wake_ms for the next one. */
static struct kept *take_expired(struct primary_pool *pool, int64_t now_ms)
{
    struct kept *expired = NULL;

    pool->wake_ms = INT64_MAX;
    for (struct kept **at = &pool->first; *at != NULL;) {
        struct kept *k = *at;
        if (k->until_ms <= now_ms) {
            *at = k->next;
            k->next = expired;
            expired = k;
            continue;
        }
        if (k->until_ms < pool->wake_ms)
            pool->wake_ms = k->until_ms;
        at = &k->next;
    }
    return expired;
}

static void free_known(struct known *k)
{
    while (k != NULL) {
        struct known *next = k->next;
        free(k->listener);
        free(k);
        k = next;
    }
}

static void *run(void *arg)
{
    struct primary_pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    while (!pool->is_over) {
        struct kept *expired = take_expired(pool, task_now_ms());
        if (expired != NULL) {
            pthread_mutex_unlock(&pool->lock);
            drop_list(expired, false);
            pthread_mutex_lock(&pool->lock);
        } else if (pool->wake_ms == INT64_MAX) {
            pthread_cond_wait(&pool->changed, &pool->lock);
        } else {
            struct timespec end = {.tv_sec = pool->wake_ms / 1000,
                                   .tv_nsec = (long)(pool->wake_ms % 1000) * 1000000};
            pthread_cond_timedwait(&pool->changed, &pool->lock, &end);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct primary_pool *primary_pool_new(struct err *err)
{
    struct primary_pool *pool = mem_zalloc(sizeof *pool);
    pthread_condattr_t attr;

    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* the clock of task_now_ms() */
    pthread_cond_init(&pool->changed, &attr);
    pthread_condattr_destroy(&attr);
    int error = pthread_create(&pool->thread, NULL, run, pool);
    if (error == 0)
        return pool;
    err_set(err, "cannot start a thread: %s", strerror(error));
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    return NULL;
}

void primary_pool_free(struct primary_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->is_over = true;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    pthread_join(pool->thread, NULL);
    drop_list(pool->first, true);
    free_known(pool->known);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

struct connection_detached *primary_pool_take(struct primary_pool *pool,
                                              const struct config_listener *listener)
{
    struct connection_detached *connection = NULL;
    struct kept *k;

    pthread_mutex_lock(&pool->lock);
    struct kept **at = &pool->first;
    while ((k = *at) != NULL && k->listener != listener)
        at = &k->next;
    if (k != NULL)
        *at = k->next;
    pthread_mutex_unlock(&pool->lock);
    if (k != NULL) {
        connection = k->connection;
        runtime_unref(k->runtime);
        free(k);
    }
    return connection;
}

static unsigned count(const struct primary_pool *pool, const struct config_listener *listener)
{
    unsigned n = 0;

    for (const struct kept *k = pool->first; k != NULL; k = k->next)
        n += k->listener == listener;
    return n;
}

bool primary_pool_give(struct primary_pool *pool, struct runtime *runtime,
                       const struct config_listener *listener,
                       struct connection_detached *connection)
{
    int64_t now_ms = task_now_ms();
    int64_t until_ms = now_ms + listener->pool_idle_time_ms;
    int64_t end_ms = connection_detached_opened_ms(connection) + PRIMARY_POOL_AGE_MS;

    if (until_ms > end_ms)
        until_ms = end_ms;
    pthread_mutex_lock(&pool->lock);
    bool has_room = until_ms > now_ms && count(pool, listener) < listener->pool_connections;
    if (has_room) {
        struct kept *k = mem_zalloc(sizeof *k);
        *k = (struct kept){.next = pool->first,
                           .connection = connection,
                           .listener = listener,
                           .runtime = runtime_ref(runtime),
                           .until_ms = until_ms};
        pool->first = k;
        if (until_ms < pool->wake_ms)
            pthread_cond_signal(&pool->changed);
    }
    pthread_mutex_unlock(&pool->lock);
    return has_room;
}

/* With the lock held: what is known of this listener's primary; NULL: nothing. */
static struct known *find_known(struct primary_pool *pool, const struct config_listener *listener)
{
    struct known *k = pool->known;

    while (k != NULL && strcmp(k->listener, listener->name) != 0)
        k = k->next;
    return k;
}

void primary_pool_learn(struct primary_pool *pool, const struct config_listener *listener,
                        const struct smtp_features *features)
{
    pthread_mutex_lock(&pool->lock);
    struct known *k = find_known(pool, listener);
    if (k == NULL) {
        k = mem_zalloc(sizeof *k);
        k->listener = mem_strdup(listener->name);
        k->next = pool->known;
        pool->known = k;
    }
    k->features = *features;
    pthread_mutex_unlock(&pool->lock);
}

bool primary_pool_known(struct primary_pool *pool, const struct config_listener *listener,
                        struct smtp_features *out)
{
    pthread_mutex_lock(&pool->lock);
    const struct known *k = find_known(pool, listener);
    if (k != NULL)
        *out = k->features;
    pthread_mutex_unlock(&pool->lock);
    return k != NULL;
}

void primary_pool_empty(struct primary_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct kept *all = pool->first;
    struct known *known = pool->known;
    pool->first = NULL;
    pool->known = NULL;
    pthread_mutex_unlock(&pool->lock);
    drop_list(all, true);
    free_known(known);
}
