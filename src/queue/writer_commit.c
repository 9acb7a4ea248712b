/* SPDX-License-Identifier: ISC */
#include "queue/writer_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

#define RETRY_MS 1000       /* from the second failure in a row on */
#define UNSYNCED_MAX_MS 500 /* after so long without a sync, the next commit is durable */
#define IDLE_LATEST_MS 5000 /* between two housekeepings, while urgent requests wait */
#define FIGURES_EVERY_MS 250
#define AGAIN_MAX 5
#define LATE_MS 1000 /* after a failure that took so long, the requests that wait fail, too */

const unsigned writer_slower_ms[WRITER_SLOWER_COUNT] = {1, 5, 10, 50, 100, 500, 1000, 5000};

/* --- faults --- */

static void set_state(struct writer *w, enum db_status status, const struct err *err)
{
    pthread_mutex_lock(&w->lock);
    w->state = status;
    if (err != NULL)
        w->state_err = *err;
    pthread_mutex_unlock(&w->lock);
}

void writer_close_db(struct writer *w)
{
    if (w->db != NULL)
        w->db->ops->close(w->db);
    w->db = NULL;
}

/* Close the connection after a failure. The next one is opened at once after the first failure, and
 * after RETRY_MS if failures follow each other. */
static void note_failure(struct writer *w, enum db_status status, const struct err *err)
{
    writer_close_db(w);
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

bool writer_is_ready(struct writer *w)
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

struct ordered {
    struct writer_request *request;
    int64_t order;
};

static int by_order(const void *a, const void *b)
{
    const struct ordered *first = a, *second = b;

    return (first->order > second->order) - (first->order < second->order);
}

static enum db_status apply_requests(struct writer *w, const struct writer_list *batch,
                                     struct err *err)
{
    struct ordered ordered[WRITER_BATCH_MAX];
    enum db_status status = DB_OK;
    size_t count = 0;

    for (struct writer_request *r = batch->first; r != NULL && status == DB_OK; r = r->next) {
        if (r->order != 0)
            ordered[count++] = (struct ordered){r, r->order};
        else
            status = r->apply(r, w->db, err);
    }
    if (count > 1)
        qsort(ordered, count, sizeof *ordered, by_order);
    for (size_t i = 0; i < count && status == DB_OK; i++)
        status = ordered[i].request->apply(ordered[i].request, w->db, err);
    return status;
}

/* Run all requests in one transaction, and commit. *is_applied_out: false if a request has failed,
 * true if the commit has failed or all is done. */
static enum db_status apply_all(struct writer *w, const struct writer_list *batch, bool is_durable,
                                bool *is_applied_out, struct err *err)
{
    enum db_status status = w->db->ops->begin(w->db, is_durable, err);

    if (status == DB_OK)
        status = apply_requests(w, batch, err);
    *is_applied_out = status == DB_OK;
    if (status == DB_OK)
        status = w->db->ops->commit(w->db, err);
    if (status != DB_OK)
        w->db->ops->rollback(w->db);
    return status;
}

static enum db_status commit_batch(struct writer *w, const struct writer_list *batch,
                                   struct err *err)
{
    int64_t now_ms = clock_now_ms();
    /* PostgreSQL syncs by itself, and a durable commit would wait for a standby, which may be gone.
     */
    const bool is_shared = w->db->is_shared;
    bool is_durable = !is_shared && now_ms - w->durable_at_ms >= UNSYNCED_MAX_MS;
    enum db_status status = DB_AGAIN;
    bool is_applied = true;

    for (const struct writer_request *r = batch->first; r != NULL; r = r->next)
        is_durable = is_durable || r->urgency == WRITER_DURABLE;
    for (int tries = 0; tries < AGAIN_MAX && status == DB_AGAIN; tries++)
        status = apply_all(w, batch, is_durable, &is_applied, err);
    /* With PostgreSQL the failure of a statement may show only at the commit. */
    w->has_failed_to_apply = status != DB_OK && (!is_applied || is_shared);
    if (status == DB_OK && is_durable)
        w->durable_at_ms = now_ms;
    return status == DB_AGAIN ? DB_FAULT : status;
}

static void count_commit(struct writer *w, const struct writer_list *batch, int64_t begin_us)
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

/* Add the requests that wait to the batch. */
static void take_waiting(struct writer *w, struct writer_list *batch)
{
    pthread_mutex_lock(&w->lock);
    while (w->waiting.first != NULL)
        writer_list_add(batch, writer_list_take(&w->waiting));
    w->urgent = 0;
    pthread_mutex_unlock(&w->lock);
}

/* Keep the requests that must succeed, and finish the others, after a transaction that failed. */
static void fail_all(struct writer *w, struct writer_list *batch)
{
    struct err err;
    enum db_status status = writer_state(w, &err);

    while (batch->first != NULL) {
        struct writer_request *r = writer_list_take(batch);
        if (r->must_succeed)
            writer_list_add(&w->kept, r);
        else
            r->finish(r, status, &err);
    }
    atomic_store(&w->kept_count, w->kept.count);
}

static void finish_all(struct writer_list *batch, enum db_status status, const struct err *err)
{
    while (batch->first != NULL) {
        struct writer_request *r = writer_list_take(batch);
        r->finish(r, status, err);
    }
}

/* Run each request in a transaction of its own. One of them conflicts; since errors may show late,
 * it is not known which one. If one fails late, the others fail with it. */
static void work_one_by_one(struct writer *w, struct writer_list *batch)
{
    while (batch->first != NULL) {
        int64_t begin_us = clock_now_us();
        struct writer_list one;
        writer_list_init(&one);
        writer_list_add(&one, writer_list_take(batch));
        writer_work(w, &one);
        if (w->db == NULL && clock_now_us() - begin_us > LATE_MS * 1000)
            fail_all(w, batch);
    }
}

void writer_work(struct writer *w, struct writer_list *batch)
{
    int64_t begin_us = clock_now_us();
    enum db_status status = DB_FAULT;
    struct err err;

    err_clear(&err);
    w->has_failed_to_apply = false;
    if (writer_is_ready(w)) {
        status = commit_batch(w, batch, &err);
        if (status == DB_CORRUPT) { /* or a read was cut short: try again with a new connection */
            writer_close_db(w);
            if (writer_is_ready(w))
                status = commit_batch(w, batch, &err);
        }
        if (status != DB_OK && status != DB_CONFLICT && w->db != NULL)
            note_failure(w, status, &err);
    }
    if (status == DB_CONFLICT && batch->count > 1) {
        work_one_by_one(w, batch);
    } else if (status == DB_CONFLICT) {
        finish_all(batch, status, &err);
    } else if (status == DB_OK) {
        note_success(w);
        count_commit(w, batch, begin_us);
        finish_all(batch, status, &err);
    } else {
        if (clock_now_us() - begin_us > LATE_MS * 1000)
            take_waiting(w, batch);
        fail_all(w, batch);
    }
}

/* Is the grace time of a stop over? */
static bool is_given_up(struct writer *w, int64_t now_ms)
{
    pthread_mutex_lock(&w->lock);
    bool is = w->is_stopping && now_ms >= w->stop_at_ms;
    pthread_mutex_unlock(&w->lock);
    return is;
}

void writer_work_for_kept(struct writer *w)
{
    int64_t now_ms = clock_now_ms();
    struct writer_list batch;

    if (w->kept.first == NULL || now_ms < w->kept_at_ms || is_given_up(w, now_ms) ||
        !writer_is_ready(w))
        return;
    writer_list_init(&batch);
    while (w->kept.first != NULL && batch.count < WRITER_KEPT_MAX)
        writer_list_add(&batch, writer_list_take(&w->kept));
    writer_work(w, &batch);
    atomic_store(&w->kept_count, w->kept.count);
    if (w->failures == 0)
        return;
    w->kept_at_ms = clock_now_ms() + RETRY_MS;
    if (w->has_failed_to_apply) { /* a fault of the kept requests: others do not have to wait */
        w->open_at_ms = 0;
        w->failures = 0;
    }
}

/* --- between transactions --- */

void writer_update_figures(struct writer *w)
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
    return status == DB_AGAIN ? DB_OK : status; /* next time */
}

void writer_maintain(struct writer *w, bool has_urgent, bool is_idle)
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
        (since_ms >= (has_urgent ? IDLE_LATEST_MS : WRITER_IDLE_EVERY_MS) ||
         (is_idle && w->has_idle_work)))
        status = do_idle_work(w, &err);
    if (status == DB_OK)
        writer_update_figures(w);
    else
        note_failure(w, status, &err);
}
