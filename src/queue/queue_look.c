/* SPDX-License-Identifier: ISC */
#include "queue/queue_window.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

#define FIRST 16   /* copies that a look reads when none is known, while workers wait */
#define BATCH 256  /* copies that a look reads ahead */
#define LOW 64     /* a look is worth while when fewer are ready */
#define LOOK_S 60  /* rows may have been changed with sqlite3 */
#define FAULT_S 10 /* after a look that failed */
#define FAULT_LOG_S 60

struct look {
    struct db_queue *q;
    struct queue_window *w;
    time_t now, next_due;
    size_t max; /* ids to read: as many as are known, and a batch */
    struct queue_ready *found[BATCH];
    size_t count;
    bool is_full; /* there may be more */
    struct err err;
    enum db_status status;
};

/* Remove the ids that the window knows. Returns how many are left. */
static size_t drop_known(struct queue_window *w, int64_t *ids, size_t count)
{
    size_t kept = 0;

    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < count; i++)
        if (queue_window_find(w, ids[i]) == NULL)
            ids[kept++] = ids[i];
    pthread_mutex_unlock(&w->lock);
    return kept;
}

static void read_copies(struct look *l, struct db *db, const int64_t *ids, size_t count)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count && l->status == DB_OK; i++) {
        struct queue_ready *ready;
        if (l->count == BATCH || bytes >= QUEUE_WINDOW_BYTES_MAX) {
            l->is_full = true;
            return;
        }
        l->status = queue_read_copy(db, ids[i], true, &ready, &l->err);
        if (l->status != DB_OK || ready == NULL)
            continue;
        bytes += queue_window_cost(ready);
        l->found[l->count++] = ready;
    }
}

/* Read due copies in one transaction, so that the rows of a copy belong together. */
static void read_due(struct look *l, struct db *db)
{
    int64_t *ids = mem_grow(NULL, l->max, sizeof *ids);
    size_t count = 0;

    l->status = db->ops->begin(db, false, &l->err);
    if (l->status == DB_OK)
        l->status = queue_read_due(db, l->w->name, l->now, atomic_load(&l->q->delay_max_s), ids,
                                   l->max, &count, &l->next_due, &l->err);
    l->is_full = count == l->max;
    if (l->status == DB_OK)
        read_copies(l, db, ids, drop_known(l->w, ids, count));
    db->ops->rollback(db);
    free(ids);
}

/* Read due copies; for task_block(). A failed read may look like damage, so damage is believed only
 * when a second read finds it, too. */
static void read_ahead(void *arg)
{
    struct look *l = arg;

    l->status = DB_CORRUPT;
    for (int tries = 0; tries < 2 && l->status == DB_CORRUPT; tries++) {
        struct db *db = queue_borrow_reader(l->q, &l->err);
        l->status = DB_FAULT;
        if (db == NULL)
            return;
        read_due(l, db);
        queue_give_back_reader(
            l->q, db, l->status == DB_CORRUPT && tries == 0 ? DB_FAULT : l->status, &l->err);
    }
}

static void note_fault(struct look *l)
{
    struct queue_window *w = l->w;

    w->look_at = l->now + FAULT_S;
    if (l->now < w->fault_log_at && w->fault_log_at <= l->now + FAULT_LOG_S)
        return;
    w->fault_log_at = l->now + FAULT_LOG_S;
    log_error("queue: dest=%s: %s", w->name, l->err.text);
}

/* Add the copies to the window, except those that have become known during the look. */
static void add_found(struct look *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct queue_ready *ready = l->found[i];
        if (queue_window_find(l->w, ready->id) == NULL)
            queue_window_add(l->w, queue_window_know(l->w, ready->id), ready, false, false);
        else
            queue_ready_free(ready);
    }
}

bool queue_look_is_due(const struct db_queue *q, const struct queue_window *w)
{
    const time_t now = queue_now(q);

    return !w->is_looking && w->found.count < LOW && w->found.bytes < QUEUE_WINDOW_BYTES_MAX / 2 &&
           (w->has_more || now >= w->look_at || w->look_at > now + LOOK_S); /* set back */
}

void queue_look(struct db_queue *q, struct queue_window *w)
{
    struct look *l = mem_zalloc(sizeof *l);

    *l = (struct look){.q = q, .w = w, .now = queue_now(q)};
    l->max = w->known == 0 ? FIRST : w->known + BATCH;
    w->is_looking = true;
    w->has_more = false;
    l->next_due = w->look_at = l->now + LOOK_S;
    pthread_mutex_unlock(&w->lock);
    task_block(read_ahead, l);
    pthread_mutex_lock(&w->lock);
    if (l->next_due < w->look_at)
        w->look_at = l->next_due;
    w->has_more = w->has_more || l->is_full;
    if (l->status != DB_OK)
        note_fault(l);
    add_found(l);
    queue_window_end_look(w);
    task_cond_broadcast(&w->changed); /* other workers may wait for these copies */
    free(l);
}
