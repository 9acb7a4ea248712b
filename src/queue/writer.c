/* SPDX-License-Identifier: ISC */
#include "queue/writer_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "task/task.h"

#include <errno.h>
#include <stdlib.h>

/* --- lists --- */

void writer_list_init(struct writer_list *l)
{
    *l = (struct writer_list){.first = NULL, .end = &l->first};
}

void writer_list_add(struct writer_list *l, struct writer_request *r)
{
    r->next = NULL;
    *l->end = r;
    l->end = &r->next;
    l->count++;
}

struct writer_request *writer_list_take(struct writer_list *l)
{
    struct writer_request *r = l->first;

    l->first = r->next;
    if (l->first == NULL)
        l->end = &l->first;
    l->count--;
    return r;
}

/* --- the thread --- */

/* Return the time when there is work to do even without a request. Called with the lock. */
static int64_t next_time_ms(const struct writer *w, int64_t now_ms)
{
    if (w->is_damaged)
        return now_ms + WRITER_IDLE_EVERY_MS;
    if (w->db == NULL)
        return w->open_at_ms;
    int64_t at_ms = w->busy_at_ms + WRITER_IDLE_AFTER_MS;
    if (now_ms >= at_ms) {
        bool has_more = w->looked_at_ms < at_ms || w->has_maintenance || w->has_idle_work;
        at_ms = has_more ? now_ms : w->looked_at_ms + WRITER_IDLE_EVERY_MS;
    }
    return w->kept.first != NULL && w->kept_at_ms < at_ms ? w->kept_at_ms : at_ms;
}

static void sleep_until(struct writer *w, int64_t at_ms, bool dozes)
{
    struct timespec at = {.tv_sec = (time_t)(at_ms / 1000),
                          .tv_nsec = (long)(at_ms % 1000) * 1000000};

    w->sleep = dozes ? DOZES : SLEEPS;
    while (w->sleep != AWAKE)
        if (pthread_cond_timedwait(&w->wake, &w->lock, &at) != 0)
            w->sleep = AWAKE;
}

/* Return true if requests are to be taken now. If not, *at_ms_out is the time when they are. Called
 * with the lock. */
static bool is_due(const struct writer *w, int64_t now_ms, int64_t *at_ms_out)
{
    *at_ms_out = INT64_MAX;
    if (w->waiting.first == NULL)
        return false;
    *at_ms_out = w->waiting.first->submitted_us / 1000 + WRITER_LAZY_MS;
    return w->urgent > 0 || w->is_stopping || w->waiting.count >= WRITER_LAZY_MAX ||
           *at_ms_out <= now_ms;
}

/* Wait for requests and take them into *batch. *batch is empty if there is other work to do. False:
 * the thread is to end. */
static bool take(struct writer *w, struct writer_list *batch, bool *has_urgent_out)
{
    int64_t requests_at_ms;
    bool is_over = false;

    writer_list_init(batch);
    pthread_mutex_lock(&w->lock);
    for (;;) {
        int64_t now_ms = clock_now_ms();
        int64_t at_ms = next_time_ms(w, now_ms);
        if (is_due(w, now_ms, &requests_at_ms))
            break;
        is_over =
            w->is_stopping && (w->kept.first == NULL || w->is_damaged || now_ms >= w->stop_at_ms);
        if (is_over || at_ms <= now_ms)
            break;
        if (w->is_stopping && w->stop_at_ms < at_ms)
            at_ms = w->stop_at_ms;
        sleep_until(w, requests_at_ms < at_ms ? requests_at_ms : at_ms, requests_at_ms < INT64_MAX);
    }
    bool takes = is_due(w, clock_now_ms(), &requests_at_ms);
    while (takes && w->waiting.first != NULL && batch->count < WRITER_BATCH_MAX) {
        struct writer_request *r = writer_list_take(&w->waiting);
        w->urgent -= r->urgency != WRITER_LAZY;
        writer_list_add(batch, r);
    }
    *has_urgent_out = w->urgent > 0;
    pthread_mutex_unlock(&w->lock);
    return !is_over;
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    struct writer_list batch;
    bool has_urgent;

    /* Kept requests come before a batch is taken: if they fail late, those that wait fail with
     * them, and do not wait a second time. */
    while (writer_work_for_kept(w), take(w, &batch, &has_urgent)) {
        if (batch.first != NULL) {
            writer_work(w, &batch);
            w->busy_at_ms = clock_now_ms();
            writer_maintain(w, has_urgent, false);
        } else if (writer_is_ready(w)) {
            w->looked_at_ms = clock_now_ms();
            writer_maintain(w, has_urgent, w->looked_at_ms - w->busy_at_ms >= WRITER_IDLE_AFTER_MS);
        }
    }
    struct err err;
    enum db_status status = writer_state(w, &err);
    while (w->kept.first != NULL) {
        struct writer_request *r = writer_list_take(&w->kept);
        r->finish(r, status == DB_OK ? DB_FAULT : status, &err);
    }
    writer_close_db(w);
    return NULL;
}

static void writer_free(struct writer *w)
{
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

struct writer *writer_start(const struct writer_options *options, enum db_status *status_out,
                            struct err *err)
{
    struct db *db = options->open(options->ctx, status_out, err);
    pthread_condattr_t attr;

    if (db == NULL)
        return NULL;
    struct writer *w = mem_zalloc(sizeof *w);
    w->options = *options;
    w->db = db;
    writer_list_init(&w->waiting);
    writer_list_init(&w->kept);
    w->busy_at_ms = w->idle_at_ms = clock_now_ms();
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    writer_update_figures(w);
    int error = pthread_create(&w->thread, NULL, writer_main, w);
    if (error == 0)
        return w;
    errno = error;
    err_set_errno(err, "cannot start a thread");
    *status_out = DB_FAULT;
    writer_close_db(w);
    writer_free(w);
    return NULL;
}

void writer_stop(struct writer *w, unsigned grace_ms)
{
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    w->stop_at_ms = clock_now_ms() + grace_ms;
    w->sleep = AWAKE;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->wake);
    pthread_join(w->thread, NULL);
    writer_free(w);
}

/* --- from any thread --- */

void writer_submit(struct writer *w, struct writer_request *r)
{
    bool is_lazy = r->urgency == WRITER_LAZY;

    r->submitted_us = clock_now_us();
    pthread_mutex_lock(&w->lock);
    writer_list_add(&w->waiting, r);
    w->urgent += !is_lazy;
    bool is_urgent = !is_lazy || w->waiting.count >= WRITER_LAZY_MAX;
    bool wakes = w->sleep == SLEEPS || (w->sleep == DOZES && is_urgent);
    if (wakes)
        w->sleep = AWAKE;
    pthread_mutex_unlock(&w->lock);
    if (wakes)
        pthread_cond_signal(&w->wake);
}

struct call {
    struct writer_request request;
    struct writer_request *inner;
    struct task_event is_done;
    enum db_status status;
    struct err *err;
};

static enum db_status call_apply(struct writer_request *r, struct db *db, struct err *err)
{
    struct writer_request *inner = ((struct call *)r)->inner;

    return inner->apply(inner, db, err);
}

static void call_finish(struct writer_request *r, enum db_status status, const struct err *err)
{
    struct call *c = (struct call *)r;

    c->status = status;
    if (status != DB_OK)
        *c->err = *err;
    task_event_set(&c->is_done);
}

enum db_status writer_do(struct writer *w, struct writer_request *r, struct err *err)
{
    struct call c = {.request = {.apply = call_apply,
                                 .finish = call_finish,
                                 .urgency = r->urgency,
                                 .must_succeed = r->must_succeed},
                     .inner = r,
                     .err = err};

    task_event_init(&c.is_done);
    writer_submit(w, &c.request);
    (void)task_event_wait(&c.is_done, TASK_FOREVER);
    task_event_clear(&c.is_done);
    return c.status;
}

size_t writer_backlog(const struct writer *w)
{
    return atomic_load(&w->kept_count);
}

enum db_status writer_state(struct writer *w, struct err *err)
{
    pthread_mutex_lock(&w->lock);
    enum db_status status = w->state;
    if (status != DB_OK)
        *err = w->state_err;
    pthread_mutex_unlock(&w->lock);
    return status;
}

void writer_get_figures(struct writer *w, struct writer_figures *out)
{
    pthread_mutex_lock(&w->lock);
    *out = w->figures;
    pthread_mutex_unlock(&w->lock);
}
