/* SPDX-License-Identifier: ISC */
/*
 * queue_ops.depths: a thread counts the copies on demand. The result of a count is a sample.
 * Counters that each commit and delivery updates are no alternative: they would need a count of all
 * copies at the start, while mail flows, and would miss changes that were made with sqlite3.
 */
#include "queue/queue_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "queue/queue_count.h"

#include <stdlib.h>
#include <string.h>

#define STACK_SIZE (256 * 1024)
#define AGE_MIN_MS 1000
#define COST_SHARE 50 /* a sample is used for 50 times as long as the counting took */
#define WAIT_S 2

struct queue_sampler {
    pthread_mutex_t lock; /* guards all that follows */
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread, is_wanted, has_last;
    atomic_bool is_stopping;
    struct queue_depths last;
    struct err fault; /* "" or why the last attempt failed */
    uint64_t serial;  /* number of counts that have ended, also of failed ones */
    int64_t made_ms, cost_ms;
};

struct queue_sampler *queue_sampler_new(void)
{
    struct queue_sampler *s = mem_zalloc(sizeof *s);
    pthread_condattr_t attr;

    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

void queue_sampler_free(struct queue_sampler *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    pthread_cond_broadcast(&s->changed);
    bool has_thread = s->has_thread;
    pthread_mutex_unlock(&s->lock);
    if (has_thread)
        pthread_join(s->thread, NULL);
    free(s->last.items);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool goes_on(void *ctx)
{
    return !atomic_load(&((struct queue_sampler *)ctx)->is_stopping);
}

/* Count. Called with the lock, which is released meanwhile. */
static void take_sample(struct db_queue *q)
{
    struct queue_sampler *s = q->sampler;
    struct queue_depths found = {0};
    struct err err = {""};
    int64_t began_ms = clock_now_ms();

    s->is_wanted = false;
    pthread_mutex_unlock(&s->lock);
    struct db *db = queue_borrow_reader(q, &err);
    int rc = db == NULL ? -1 : queue_count(db, queue_now(q), goes_on, s, &found, &err);
    if (db != NULL)
        queue_give_back_reader(q, db, rc == 0 ? DB_OK : DB_FAULT, &err);
    pthread_mutex_lock(&s->lock);
    s->fault = err;
    s->made_ms = clock_now_ms();
    s->cost_ms = s->made_ms - began_ms;
    s->serial++;
    if (rc == 0) {
        free(s->last.items);
        s->last = found;
        s->has_last = true;
    }
    pthread_cond_broadcast(&s->changed);
}

static void *sampler_main(void *arg)
{
    struct db_queue *q = arg;
    struct queue_sampler *s = q->sampler;

    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping) {
        if (s->is_wanted)
            take_sample(q);
        else
            pthread_cond_wait(&s->changed, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Start the thread, if it does not run yet. Called with the lock. */
static int start_thread(struct db_queue *q, struct err *err)
{
    struct queue_sampler *s = q->sampler;
    pthread_attr_t attr;

    if (s->has_thread)
        return 0;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    int error = pthread_create(&s->thread, &attr, sampler_main, q);
    pthread_attr_destroy(&attr);
    s->has_thread = error == 0;
    if (error == 0)
        return 0;
    err_set(err, "cannot start a thread: %s", strerror(error));
    return -1;
}

/* Ask for a new sample and wait up to WAIT_S for it. Called with the lock. */
static void renew(struct queue_sampler *s)
{
    struct timespec until;
    uint64_t serial = s->serial;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    s->is_wanted = true;
    pthread_cond_broadcast(&s->changed);
    while (s->serial == serial && !s->is_stopping &&
           pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
        continue;
}

int queue_depths(struct queue *base, struct queue_depths *out, struct err *err)
{
    struct db_queue *q = (struct db_queue *)base;
    struct queue_sampler *s = q->sampler;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    int64_t age_max = s->cost_ms * COST_SHARE > AGE_MIN_MS ? s->cost_ms * COST_SHARE : AGE_MIN_MS;
    if (s->serial == 0 || clock_now_ms() - s->made_ms >= age_max) {
        rc = start_thread(q, err);
        if (rc == 0)
            renew(s);
    }
    if (rc == 0 && !s->has_last) {
        err_set(err, "%s", s->fault.text[0] == '\0' ? "is being counted" : s->fault.text);
        rc = -1;
    }
    if (rc == 0) {
        *out = s->last;
        out->items = mem_grow(NULL, s->last.count + 1, sizeof *out->items);
        if (s->last.count > 0)
            memcpy(out->items, s->last.items, s->last.count * sizeof *out->items);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}
