/* SPDX-License-Identifier: ISC */
#include "queue/spool_queue_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "metrics/metrics.h"
#include "metrics/counters.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_ALL_S 5

struct queue_put {
    struct spool_queue *queue;
    struct spool_put *file;
    struct queue_new_copy *copies; /* borrowed */
    size_t copy_count;
    int64_t sync_us; /* spent on bringing it to the disk */
};

time_t spool_queue_now(const struct spool_queue *q)
{
    struct timespec now;

    if (q->options.clock != NULL)
        return q->options.clock(q->options.clock_ctx);
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

struct spool_due spool_queue_minute(const struct spool_queue *q)
{
    int64_t now = spool_queue_now(q);

    return (struct spool_due){now - now % 60, 0};
}

/* --- destinations --- */

static struct spool_destination *destination_new(const struct spool_queue *q, const char *name)
{
    struct spool_destination *d = mem_zalloc(sizeof *d);

    assert(spool_destination_is_valid(name));
    mem_copy_string(d->name, sizeof d->name, name);
    pthread_mutex_init(&d->lock, NULL);
    task_cond_init(&d->changed);
    spool_window_init(&d->window, q->options.window);
    d->has_more = true; /* there may be something from before */
    return d;
}

struct spool_destination *spool_queue_destination(struct spool_queue *q, const char *name)
{
    pthread_mutex_lock(&q->lock);
    struct spool_destination *d = q->destinations;
    while (d != NULL && strcmp(d->name, name) != 0)
        d = d->next;
    if (d == NULL) {
        d = destination_new(q, name);
        d->next = q->destinations;
        q->destinations = d;
    }
    pthread_mutex_unlock(&q->lock);
    return d;
}

void spool_queue_forget(struct spool_destination *d, struct spool_node *node)
{
    if (node->was_elsewhere) {
        d->has_more = true;
        task_cond_signal(&d->changed);
    }
    spool_window_forget(&d->window, node);
}

int spool_queue_lock_all(struct spool_queue *q, struct err *err)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LOCK_ALL_S;
    if (pthread_mutex_timedlock(&q->all_lock, &until) == 0)
        return 0;
    err_set(err, "another operation on all copies is going on");
    return -1;
}

/* --- putting --- */

static enum queue_put_status has_room(struct queue *base, uint64_t size_bytes, struct err *err)
{
    struct spool_queue *q = (struct spool_queue *)base;

    return spool_has_room(q->spool, size_bytes, q->options.min_free_space_bytes, err);
}

static enum queue_put_status put_begin(struct queue *base, const struct queue_message *message,
                                       struct queue_new_copy *copies, size_t copy_count,
                                       struct queue_put **out, struct err *err)
{
    struct spool_queue *q = (struct spool_queue *)base;
    struct spool_put *file;

    enum queue_put_status status = spool_put_begin(q->spool, message, copies, copy_count,
                                                   q->options.min_free_space_bytes, &file, err);
    if (status != QUEUE_PUT_OK)
        return status;
    struct queue_put *p = mem_zalloc(sizeof *p);
    *p = (struct queue_put){q, file, copies, copy_count, 0};
    *out = p;
    return QUEUE_PUT_OK;
}

static enum queue_put_status put_data(struct queue_put *p, const void *data, size_t len,
                                      struct err *err)
{
    return spool_put_data(p->file, data, len, err);
}

static enum queue_put_status put_prepare(struct queue_put *p, struct err *err)
{
    int64_t begin_us = metrics_now_us();
    enum queue_put_status status = spool_put_prepare(p->file, err);

    p->sync_us += metrics_now_us() - begin_us;
    return status;
}

/* A pass may have found it already, and a worker may even have it. (If not a worker, but a retry of
 * that id: it is found by the next pass.) */
void spool_queue_make_known(struct spool_queue *q, const char *destination, const char *id,
                            const struct spool_due *due)
{
    struct spool_destination *d = spool_queue_destination(q, destination);
    bool is_new = false;

    pthread_mutex_lock(&d->lock);
    struct spool_node *known = spool_window_find(&d->window, id);
    if (known == NULL) {
        if (spool_window_room(&d->window, SPOOL_FRESH) > 0)
            spool_window_add(&d->window, id, due, SPOOL_FRESH, spool_queue_now(q) + SPOOL_WARM_S);
        else
            d->has_more = true;
        is_new = true;
    } else if (known->state == SPOOL_TAKEN || spool_due_compare(&known->due, due) != 0) {
        known->was_elsewhere = true;
    }
    pthread_mutex_unlock(&d->lock);
    if (is_new) /* without the lock, which is what the worker needs first */
        task_cond_signal(&d->changed);
}

static enum queue_put_status put_commit(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                        struct err *err)
{
    struct spool_due due = spool_queue_minute(p->queue);
    int64_t begin_us = metrics_now_us();
    enum queue_put_status status = spool_put_commit(p->file, &due, err);

    p->sync_us += metrics_now_us() - begin_us;
    if (status == QUEUE_PUT_OK && stored != NULL)
        stored(ctx);
    for (size_t i = 0; i < p->copy_count && status == QUEUE_PUT_OK; i++) {
        if (spool_put_is_left_out(&p->copies[i]))
            continue;
        counters_to_disk(p->copies[i].destination, p->sync_us);
        if (!p->copies[i].is_dead)
            spool_queue_make_known(p->queue, p->copies[i].destination, p->copies[i].id, &due);
    }
    free(p);
    return status;
}

static void put_abort(struct queue_put *p)
{
    spool_put_abort(p->file);
    free(p);
}

/* --- taking --- */

struct opening {
    struct spool *spool;
    const char *destination;
    const struct spool_node *node;
    struct spool_copy *copy; /* what was remembered of it, or NULL */
    struct err *err;
    enum spool_result result;
};

static void open_copy(void *arg)
{
    struct opening *o = arg;

    if (o->copy != NULL)
        o->result = spool_copy_unpark(o->spool, o->copy, o->err);
    else
        o->result =
            spool_copy_open(o->spool, o->destination, &o->node->due, o->node->id, &o->copy, o->err);
}

/* NULL: it is not there any more, not valid, finished, or put aside; look for another. Without the
 * lock. */
static struct queue_copy *open_node(struct spool_queue *q, struct spool_destination *d,
                                    struct spool_node *node)
{
    char due[SPOOL_DUE_NAME_SIZE];
    struct err err;
    struct opening o = {
        .spool = q->spool, .destination = d->name, .node = node, .copy = node->parked, .err = &err};

    node->parked = NULL;
    if (o.copy == NULL && spool_queue_now(q) < node->warm_until)
        open_copy(&o);
    else
        task_block(open_copy, &o);
    struct spool_copy *c = o.copy;
    switch (o.result) {
    case SPOOL_OK:
        if (spool_return_has_pending(&c->copy))
            return &c->copy;
        spool_return_done(&q->base, &c->copy); /* a crash came between mark and move */
        return NULL;
    case SPOOL_INVALID:
        spool_due_name(&node->due, due);
        spool_quarantine(q->spool, d->name, due, node->id, err.text);
        break;
    case SPOOL_GONE: /* delivered meanwhile */
        spool_copy_close(c);
        break;
    case SPOOL_FAULT:
        log_error("%s: dest=%s: %s (tried again later)", node->id, d->name, err.text);
        pthread_mutex_lock(&d->lock);
        node->parked = c;
        spool_window_put_aside(&d->window, node, spool_queue_now(q) + ASIDE_S);
        pthread_mutex_unlock(&d->lock);
        return NULL;
    }
    pthread_mutex_lock(&d->lock);
    spool_queue_forget(d, node);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* Wait for a change, but not beyond the deadline or the time for the next pass. False when the
 * deadline is over. With the lock. */
static bool wait_for_change(struct spool_queue *q, struct spool_destination *d, int64_t deadline_ms)
{
    time_t clock = spool_queue_now(q);
    int64_t now_ms = task_now_ms();

    if (now_ms >= deadline_ms)
        return false;
    time_t next = spool_window_aside_until(&d->window, d->pass_at);
    int64_t seconds = next > clock ? next - clock : 1;
    bool is_sooner = seconds < (deadline_ms - now_ms) / 1000;
    (void)task_cond_wait(&d->changed, &d->lock, is_sooner ? now_ms + seconds * 1000 : deadline_ms);
    return true;
}

static struct spool_node *take_node(struct spool_queue *q, struct spool_destination *d)
{
    if (d->window.aside.count > 0) {
        time_t now = spool_queue_now(q);
        int64_t delay_max_s = atomic_load(&q->delay_max_s);
        int64_t ahead_s = delay_max_s > ASIDE_S ? delay_max_s : ASIDE_S;
        time_t horizon = delay_max_s == 0 ? INT64_MAX : (time_t)(now + ahead_s);
        struct spool_node *node = spool_window_take_aside(&d->window, now, horizon);
        if (node != NULL || d->window.aside.count >= ASIDE_MAX)
            return node;
    }
    return spool_window_take(&d->window);
}

static bool has_backlog(const struct spool_destination *d)
{
    return spool_window_ready(&d->window) > 0 || d->has_more ||
           (!d->is_scanning && d->pass.is_active);
}

static struct queue_copy *next(struct queue *base, const char *destination, unsigned wait_ms,
                               bool *backlog_out)
{
    struct spool_queue *q = (struct spool_queue *)base;
    struct spool_destination *d = spool_queue_destination(q, destination);
    int64_t deadline_ms = task_now_ms() + wait_ms;
    struct queue_copy *copy = NULL;
    bool is_waiting = true;

    pthread_mutex_lock(&d->lock);
    unsigned wakes = d->wakes;
    while (is_waiting && copy == NULL && d->wakes == wakes) {
        if (spool_pass_is_wanted(q, d))
            spool_pass_step(q, d);
        struct spool_node *node = take_node(q, d);
        if (node != NULL && d->order != NULL && spool_node_order(node, d->order))
            d->ordered++;
        if (node != NULL) {
            pthread_mutex_unlock(&d->lock);
            copy = open_node(q, d, node);
            pthread_mutex_lock(&d->lock);
        } else if (!spool_pass_is_wanted(q, d)) {
            is_waiting = wait_for_change(q, d, deadline_ms);
        }
    }
    *backlog_out = has_backlog(d);
    pthread_mutex_unlock(&d->lock);
    return copy;
}

static void wake_one(struct spool_destination *d)
{
    pthread_mutex_lock(&d->lock);
    d->wakes++;
    task_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static void wake(struct queue *base, const char *destination)
{
    struct spool_queue *q = (struct spool_queue *)base;

    if (destination != NULL) {
        wake_one(spool_queue_destination(q, destination));
        return;
    }
    pthread_mutex_lock(&q->lock);
    struct spool_destination *d = q->destinations;
    pthread_mutex_unlock(&q->lock);
    for (; d != NULL; d = d->next)
        wake_one(d);
}

/* --- opening --- */

static void close_queue(struct queue *base)
{
    struct spool_queue *q = (struct spool_queue *)base;

    spool_sampler_clear(&q->sampler);
    while (q->destinations != NULL) {
        struct spool_destination *d = q->destinations;
        q->destinations = d->next;
        spool_pass_clear(&d->pass);
        spool_window_clear(&d->window);
        task_cond_clear(&d->changed);
        pthread_mutex_destroy(&d->lock);
        free(d);
    }
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->all_lock);
    pthread_mutex_destroy(&q->move_lock);
    spool_close(q->spool);
    free(q);
}

static const struct queue_ops ops = {
    .has_room = has_room,
    .put_begin = put_begin,
    .put_data = put_data,
    .put_prepare = put_prepare,
    .put_commit = put_commit,
    .put_abort = put_abort,
    .next = next,
    .done = spool_return_done,
    .later = spool_return_later,
    .dead = spool_return_dead,
    .release = spool_return_release,
    .retry = spool_retry,
    .change = spool_change,
    .depths = spool_sample_depths,
    .wake = wake,
    .close = close_queue,
};

struct queue *spool_queue_open(const struct spool_queue_options *options, struct err *err)
{
    struct spool *spool = spool_open(options->directory, err);
    char **names;
    size_t count;

    if (spool == NULL)
        return NULL;
    if (spool_list_destinations(spool, &names, &count, err) < 0) {
        spool_close(spool);
        return NULL;
    }
    struct spool_queue *q = mem_zalloc(sizeof *q);
    q->base.ops = &ops;
    q->spool = spool;
    q->options = *options;
    q->options.directory = NULL;
    atomic_init(&q->delay_max_s, options->delay_max_s);
    if (q->options.window == 0)
        q->options.window = SPOOL_QUEUE_WINDOW;
    if (q->options.window < 4)
        q->options.window = 4;
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->all_lock, NULL);
    pthread_mutex_init(&q->move_lock, NULL);
    spool_sampler_init(&q->sampler);
    for (size_t i = 0; i < count; i++) {
        (void)spool_queue_destination(q, names[i]);
        free(names[i]);
    }
    free(names);
    return &q->base;
}

void spool_queue_set_delay_max(struct queue *base, int64_t delay_max_s)
{
    struct spool_queue *q = (struct spool_queue *)base;

    atomic_store(&q->delay_max_s, delay_max_s);
}
