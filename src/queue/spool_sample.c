/* SPDX-License-Identifier: ISC */
/*
 * queue_ops.depths: a thread counts what is in the spool when somebody asks. Counters that each
 * commit and delivery moves were the alternative: they would have to be told what was there before
 * the start, while it goes; and what an administrator moves by hand they would never learn.
 */
#include "queue/spool_queue_private.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK_SIZE (256 * 1024)
#define AGE_MIN_MS 1000
#define COST_SHARE 50 /* a sample is kept for as many times as long as it took to make */
#define WAIT_S 2

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Called and returns with the lock; counts without it. */
static void take_sample(struct spool_queue *q, struct spool_depth *depth)
{
    struct spool_sampler *s = &q->sampler;
    struct queue_depths found = {0};
    struct err err = {""};
    int64_t began = now_ms();

    s->is_wanted = false;
    pthread_mutex_unlock(&s->lock);
    int rc = spool_depth_read(depth, spool_root_fd(q->spool), spool_queue_now(q), &s->is_stopping,
                              &found, &err);
    pthread_mutex_lock(&s->lock);
    s->fault = err;
    s->made_ms = now_ms();
    s->cost_ms = s->made_ms - began;
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
    struct spool_queue *q = arg;
    struct spool_sampler *s = &q->sampler;
    struct spool_depth *depth = spool_depth_new();

    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping) {
        if (s->is_wanted)
            take_sample(q, depth);
        else
            pthread_cond_wait(&s->changed, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    spool_depth_free(depth);
    return NULL;
}

/* With the lock. */
static int start_thread(struct spool_queue *q, struct err *err)
{
    struct spool_sampler *s = &q->sampler;
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

/* With the lock: ask for a sample and wait for it, within bounds. */
static void renew(struct spool_sampler *s)
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

int spool_sample_depths(struct queue *base, struct queue_depths *out, struct err *err)
{
    struct spool_queue *q = (struct spool_queue *)base;
    struct spool_sampler *s = &q->sampler;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    int64_t age_max = s->cost_ms * COST_SHARE > AGE_MIN_MS ? s->cost_ms * COST_SHARE : AGE_MIN_MS;
    if (s->serial == 0 || now_ms() - s->made_ms >= age_max) {
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

void spool_sampler_init(struct spool_sampler *s)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
}

void spool_sampler_clear(struct spool_sampler *s)
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
}
