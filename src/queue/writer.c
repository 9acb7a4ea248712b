/* SPDX-License-Identifier: ISC */
#include "queue/writer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "task/task.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 1000      /* requests in one transaction */
#define RETRY_MS 1000       /* from the second failure in a row on */
#define UNSYNCED_MAX_MS 500 /* what a commit without a sync has written is synced by then */
#define IDLE_AFTER_MS 200   /* without a request */
#define IDLE_EVERY_MS 1000  /* the queue's own work: while nothing urgent waits */
#define IDLE_LATEST_MS 5000 /* or anyway */
#define FIGURES_EVERY_MS 250

const unsigned writer_slower_ms[WRITER_SLOWER_COUNT] = {1, 5, 10, 50, 100, 500, 1000, 5000};

struct list {
    struct writer_request *first, **end;
    size_t count;
};

struct writer {
    struct writer_options options;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct list waiting;
    size_t urgent;                       /* of them are not LAZY */
    enum { AWAKE, DOZES, SLEEPS } sleep; /* DOZES: a LAZY request does not wake it */
    bool is_stopping;
    int64_t stop_at_ms; /* kept ones are given up then */
    enum db_status state;
    struct err state_err;
    struct writer_figures figures;

    atomic_size_t kept_count; /* of `kept` */

    /* Of the thread alone. */
    struct db *db;      /* NULL: to be opened */
    struct list kept;   /* must_succeed, after a failure */
    unsigned failures;  /* in a row */
    int64_t open_at_ms; /* not before: the next attempt to open the database */
    bool is_damaged, is_reported;
    bool has_idle_work, has_maintenance;                          /* more of it */
    int64_t durable_at_ms, busy_at_ms, idle_at_ms, figures_at_ms; /* of the last ones */
};

/* --- lists --- */

static void list_init(struct list *l)
{
    *l = (struct list){.first = NULL, .end = &l->first};
}

static void list_add(struct list *l, struct writer_request *r)
{
    r->next = NULL;
    *l->end = r;
    l->end = &r->next;
    l->count++;
}

static struct writer_request *list_take(struct list *l)
{
    struct writer_request *r = l->first;

    l->first = r->next;
    if (l->first == NULL)
        l->end = &l->first;
    l->count--;
    return r;
}

static void list_remove(struct list *l, const struct writer_request *r)
{
    struct writer_request **at = &l->first;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (l->end == &r->next)
        l->end = at;
    l->count--;
}

/* --- faults --- */

static void set_state(struct writer *w, enum db_status status, const struct err *err)
{
    pthread_mutex_lock(&w->lock);
    w->state = status;
    if (err != NULL)
        w->state_err = *err;
    pthread_mutex_unlock(&w->lock);
}

static void close_db(struct writer *w)
{
    if (w->db != NULL)
        w->db->ops->close(w->db);
    w->db = NULL;
}

/* The connection is not used any more. Opened again at once, or after a while if that did not help
 * the last time. */
static void note_failure(struct writer *w, enum db_status status, const struct err *err)
{
    close_db(w);
    w->failures++;
    w->open_at_ms = clock_now_ms() + (w->failures > 1 ? RETRY_MS : 0);
    set_state(w, status, err);
    if (status == DB_CORRUPT && !w->is_damaged) {
        w->is_damaged = true;
        if (w->options.damaged != NULL)
            w->options.damaged(w->options.ctx, err);
    } else if (!w->is_damaged && !w->is_reported) {
        log_error("cannot write to the queue: %s (tried again)", err->text);
        w->is_reported = true;
    }
}

static void note_success(struct writer *w)
{
    w->failures = 0;
    if (w->is_reported)
        log_info("the queue can be written to again");
    w->is_reported = false;
}

/* Is there a connection? */
static bool is_ready(struct writer *w)
{
    enum db_status status = DB_FAULT;
    struct err err;

    if (w->db != NULL)
        return true;
    if (w->is_damaged || clock_now_ms() < w->open_at_ms)
        return false;
    err_clear(&err);
    w->db = w->options.open(w->options.ctx, &status, &err);
    if (w->db == NULL) {
        note_failure(w, status, &err);
        return false;
    }
    set_state(w, DB_OK, NULL);
    return true;
}

/* --- transactions --- */

/* Run all requests. *failed_out: the one whose apply() ended with the status, or NULL. */
static enum db_status apply_all(struct writer *w, const struct list *batch, bool is_durable,
                                struct writer_request **failed_out, struct err *err)
{
    enum db_status status = w->db->ops->begin(w->db, is_durable, err);

    *failed_out = NULL;
    for (struct writer_request *r = batch->first; r != NULL && status == DB_OK; r = r->next) {
        status = r->apply(r, w->db, err);
        if (status != DB_OK)
            *failed_out = r;
    }
    if (status == DB_OK)
        status = w->db->ops->commit(w->db, err);
    if (status != DB_OK)
        w->db->ops->rollback(w->db);
    return status;
}

/* One transaction; without those that conflict, which are finished. */
static enum db_status commit_batch(struct writer *w, struct list *batch, struct err *err)
{
    int64_t now_ms = clock_now_ms();
    bool is_durable = now_ms - w->durable_at_ms >= UNSYNCED_MAX_MS;
    enum db_status status = DB_CONFLICT;
    struct writer_request *failed;

    for (const struct writer_request *r = batch->first; r != NULL; r = r->next)
        is_durable = is_durable || r->urgency == WRITER_DURABLE;
    while (status == DB_CONFLICT && batch->first != NULL) {
        status = apply_all(w, batch, is_durable, &failed, err);
        if (status == DB_CONFLICT && failed == NULL)
            status = DB_FAULT; /* of the commit: there is none in this schema */
        if (status != DB_CONFLICT)
            break;
        list_remove(batch, failed);
        failed->finish(failed, status, err);
    }
    if (batch->first == NULL)
        status = DB_OK;
    if (status == DB_OK && is_durable)
        w->durable_at_ms = now_ms;
    return status;
}

static void count_commit(struct writer *w, const struct list *batch, int64_t begin_us)
{
    int64_t end_us = clock_now_us();

    for (const struct writer_request *r = batch->first; r != NULL; r = r->next)
        if (r->urgency != WRITER_LAZY && r->submitted_us < begin_us)
            begin_us = r->submitted_us;
    pthread_mutex_lock(&w->lock);
    w->figures.commits++;
    w->figures.commit_seconds += (double)(end_us - begin_us) / 1e6;
    for (size_t i = 0; i < WRITER_SLOWER_COUNT; i++)
        if (end_us - begin_us > (int64_t)writer_slower_ms[i] * 1000)
            w->figures.commit_slower[i]++;
    pthread_mutex_unlock(&w->lock);
}

/* Nothing of it counts: keep those that must succeed, finish the others. */
static void fail_all(struct writer *w, struct list *batch)
{
    struct err err;
    enum db_status status = writer_state(w, &err);

    while (batch->first != NULL) {
        struct writer_request *r = list_take(batch);
        if (r->must_succeed)
            list_add(&w->kept, r);
        else
            r->finish(r, status, &err);
    }
    atomic_store(&w->kept_count, w->kept.count);
}

/* Commit and finish all of the batch. */
static void work(struct writer *w, struct list *batch)
{
    int64_t begin_us = clock_now_us();
    enum db_status status = DB_FAULT;
    struct err err;

    err_clear(&err);
    if (is_ready(w)) {
        status = commit_batch(w, batch, &err);
        if (status == DB_CORRUPT) { /* or a read that was cut short: look again at the file */
            close_db(w);
            if (is_ready(w))
                status = commit_batch(w, batch, &err);
        }
        if (status != DB_OK && w->db != NULL)
            note_failure(w, status, &err);
    }
    if (status != DB_OK) {
        fail_all(w, batch);
        return;
    }
    note_success(w);
    if (batch->first != NULL)
        count_commit(w, batch, begin_us);
    while (batch->first != NULL) {
        struct writer_request *r = list_take(batch);
        r->finish(r, DB_OK, &err);
    }
}

/* What has waited since a failure: alone, so that it does not let others fail. */
static void work_for_kept(struct writer *w)
{
    struct list batch;

    if (w->kept.first == NULL || !is_ready(w))
        return;
    batch = w->kept;
    list_init(&w->kept);
    work(w, &batch);
    atomic_store(&w->kept_count, w->kept.count);
}

/* --- between transactions --- */

static void update_figures(struct writer *w)
{
    struct db_figures figures;
    struct err err;

    if (clock_now_ms() - w->figures_at_ms < FIGURES_EVERY_MS)
        return;
    w->figures_at_ms = clock_now_ms();
    if (w->db->ops->figures(w->db, &figures, &err) != DB_OK)
        return; /* the next transaction will say why */
    pthread_mutex_lock(&w->lock);
    w->figures.db = figures;
    pthread_mutex_unlock(&w->lock);
}

static enum db_status do_idle_work(struct writer *w, struct err *err)
{
    enum db_status status = w->db->ops->begin(w->db, false, err);

    w->idle_at_ms = clock_now_ms();
    w->has_idle_work = false;
    if (status == DB_OK)
        status = w->options.idle(w->options.ctx, w->db, &w->has_idle_work, err);
    if (status == DB_OK)
        status = w->db->ops->commit(w->db, err);
    if (status != DB_OK)
        w->db->ops->rollback(w->db);
    return status;
}

/* is_idle: no request for a while. */
static void maintain(struct writer *w, bool has_urgent, bool is_idle)
{
    int64_t since_ms = clock_now_ms() - w->idle_at_ms;
    enum db_status status;
    struct err err;

    if (w->db == NULL)
        return;
    err_clear(&err);
    w->has_maintenance = false;
    status = w->db->ops->maintain(w->db, is_idle, &w->has_maintenance, &err);
    if (status == DB_OK && w->options.idle != NULL &&
        (since_ms >= (has_urgent ? IDLE_LATEST_MS : IDLE_EVERY_MS) ||
         (is_idle && w->has_idle_work)))
        status = do_idle_work(w, &err);
    if (status == DB_OK)
        update_figures(w);
    else
        note_failure(w, status, &err);
}

/* --- the thread --- */

/* When there is something to do without a request. With the lock. */
static int64_t next_time_ms(const struct writer *w, int64_t now_ms)
{
    if (w->is_damaged)
        return now_ms + IDLE_EVERY_MS;
    if (w->db == NULL)
        return w->open_at_ms;
    if (w->kept.first != NULL)
        return now_ms;
    if (now_ms - w->busy_at_ms < IDLE_AFTER_MS)
        return w->busy_at_ms + IDLE_AFTER_MS;
    return w->has_maintenance || w->has_idle_work ? now_ms : now_ms + IDLE_EVERY_MS;
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

/* Are requests to be taken now? If not, *at_ms_out says when. With the lock. */
static bool is_due(const struct writer *w, int64_t now_ms, int64_t *at_ms_out)
{
    *at_ms_out = INT64_MAX;
    if (w->waiting.first == NULL)
        return false;
    *at_ms_out = w->waiting.first->submitted_us / 1000 + WRITER_LAZY_MS;
    return w->urgent > 0 || w->is_stopping || w->waiting.count >= BATCH_MAX || *at_ms_out <= now_ms;
}

/* Wait for requests, and take them; or for the time to do something else (*batch is empty then).
 * False: it is over. */
static bool take(struct writer *w, struct list *batch, bool *has_urgent_out)
{
    int64_t requests_at_ms;
    bool is_over = false;

    list_init(batch);
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
    while (takes && w->waiting.first != NULL && batch->count < BATCH_MAX) {
        struct writer_request *r = list_take(&w->waiting);
        w->urgent -= r->urgency != WRITER_LAZY;
        list_add(batch, r);
    }
    *has_urgent_out = w->urgent > 0;
    pthread_mutex_unlock(&w->lock);
    return !is_over;
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    struct list batch;
    bool has_urgent;

    while (take(w, &batch, &has_urgent)) {
        work_for_kept(w);
        if (batch.first != NULL) {
            work(w, &batch);
            w->busy_at_ms = clock_now_ms();
            maintain(w, has_urgent, false);
        } else if (is_ready(w)) {
            maintain(w, has_urgent, clock_now_ms() - w->busy_at_ms >= IDLE_AFTER_MS);
        }
    }
    struct err err;
    enum db_status status = writer_state(w, &err);
    while (w->kept.first != NULL) {
        struct writer_request *r = list_take(&w->kept);
        r->finish(r, status == DB_OK ? DB_FAULT : status, &err);
    }
    close_db(w);
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
    list_init(&w->waiting);
    list_init(&w->kept);
    w->busy_at_ms = w->idle_at_ms = clock_now_ms();
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    update_figures(w);
    int error = pthread_create(&w->thread, NULL, writer_main, w);
    if (error == 0)
        return w;
    errno = error;
    err_set_errno(err, "cannot start a thread");
    *status_out = DB_FAULT;
    close_db(w);
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
    list_add(&w->waiting, r);
    w->urgent += !is_lazy;
    bool wakes = w->sleep == SLEEPS || (w->sleep == DOZES && !is_lazy);
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
