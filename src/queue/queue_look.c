/* SPDX-License-Identifier: ISC */
/* A look: one read of due copies from the database into a window (queue_private.h). */
#include "queue/queue_window.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

#define FIRST 16   /* copies that a look reads when none is known, while workers wait */
#define LOW 64     /* a look is worth while when fewer are ready */
#define LOOK_S 60  /* rows may have been changed with sqlite3 */
#define SHARED_S 5 /* with PostgreSQL: notifications of other nodes may be lost */
#define FAULT_S 10 /* after a look that failed */
#define FAULT_LOG_S 60

struct look {
    struct db_queue *q;
    struct queue_window *w;
    time_t now, next_due;
    int64_t *ids; /* of due copies; max of them are read */
    size_t max, id_count;
    struct buf known; /* shared: the ids that the window knew, as "{1,2}" */
    struct queue_batch found;
    unsigned drops; /* of the window, when the look began */
    bool is_full;   /* there may be more due copies */
    struct err err;
    enum db_status status;
};

/* --- which copies are due --- */

static bool take_id(void *ctx, const struct db_value *columns)
{
    struct look *l = ctx;

    l->ids[l->id_count++] = columns[0].number;
    return l->id_count < l->max;
}

static bool take_due(void *ctx, const struct db_value *columns)
{
    if (columns[0].type == DB_INT) /* a text counts as later than any number */
        *(time_t *)ctx = (time_t)columns[0].number;
    return false;
}

#define IS_QUEUED "destination = $1 AND state = 'queued' AND ordered IS NULL"

/*
 * Lease due copies. Copies that another node has locked at this moment are left to that node.
 * Copies that this node has leased already, but that the window does not know, are taken, too: a
 * look that failed, a full window, or a change that did nothing with them has left them.
 */
#define LEASE(condition)                                                                           \
    "WITH leased AS (UPDATE copy SET owner = $4 WHERE id = ANY (ARRAY(SELECT id FROM copy "        \
    "WHERE " IS_QUEUED " AND due " condition " $2 AND (owner IS NULL"                              \
    " OR (owner = $4 AND id NOT IN (SELECT unnest(CAST($5 AS BIGINT[]))))"                         \
    " OR (owner <> $4 AND owner NOT IN (SELECT name FROM alive)))"                                 \
    " ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED))"                                          \
    " RETURNING id, due) SELECT id FROM leased ORDER BY due, id"
#define FIND(condition)                                                                            \
    "SELECT id FROM copy WHERE " IS_QUEUED " AND due " condition " $2 ORDER BY due, id LIMIT $3"

/* Find the ids of due copies. After them come copies that are due later than now plus the longest
 * delay: they were deferred before the clock was set back. */
static enum db_status find_due(struct look *l, struct db *db)
{
    const int64_t delay_max_s = atomic_load(&l->q->delay_max_s);
    struct db_value values[] = {db_text(l->w->name), db_int(l->now), db_int((int64_t)l->max),
                                db_text(l->q->node), db_text(buf_str(&l->known))};
    const bool is_shared = queue_is_shared(l->q);
    const size_t count = is_shared ? 5 : 3;

    enum db_status status = db->ops->query(db, is_shared ? LEASE("<=") : FIND("<="), values, count,
                                           take_id, l, &l->err);
    if (status == DB_OK && l->id_count < l->max)
        status = db->ops->query(
            db, "SELECT due FROM copy WHERE " IS_QUEUED " AND due > $2 ORDER BY due LIMIT 1",
            values, 2, take_due, &l->next_due, &l->err);
    values[1] = db_int(l->now + delay_max_s);
    values[2] = db_int((int64_t)(l->max - l->id_count));
    if (status == DB_OK && l->id_count < l->max && delay_max_s > 0)
        status = db->ops->query(db, is_shared ? LEASE(">") : FIND(">"), values, count, take_id, l,
                                &l->err);
    l->is_full = l->id_count == l->max;
    return status;
}

/* --- reading them --- */

/* Remove the ids that the window knows. */
static void drop_known(struct look *l)
{
    size_t kept = 0;

    pthread_mutex_lock(&l->w->lock);
    for (size_t i = 0; i < l->id_count; i++)
        if (queue_window_find(l->w, l->ids[i]) == NULL)
            l->ids[kept++] = l->ids[i];
    pthread_mutex_unlock(&l->w->lock);
    l->id_count = kept;
}

/* Read due copies in one transaction, so that the rows of a copy belong together. If there is a
 * standby, the transaction is durable: otherwise the leases could be lost in a failover, and
 * another node would take the copies, too. */
static void read_due(struct look *l, struct db *db)
{
    struct err ignored;
    const bool is_durable = queue_is_shared(l->q) && l->q->options.must_replicate &&
                            queue_node_check(l->q, &ignored) == 0;

    l->id_count = 0;
    l->status = db->ops->begin(db, is_durable, &l->err);
    if (l->status == DB_OK)
        l->status = find_due(l, db);
    drop_known(l);
    const size_t count = l->id_count < QUEUE_READ_MAX ? l->id_count : QUEUE_READ_MAX;
    if (l->status == DB_OK)
        l->status =
            queue_read_copies(db, l->ids, count, QUEUE_WINDOW_BYTES_MAX, &l->found, &l->err);
    l->is_full = l->is_full || l->found.is_cut || count < l->id_count;
    if (l->status == DB_OK && queue_is_shared(l->q)) /* those that do not fit are free again */
        l->status =
            queue_query_ids(db, "UPDATE copy SET owner = NULL WHERE id IN", l->ids + l->found.count,
                            l->id_count - l->found.count, "", NULL, NULL, &l->err);
    if (l->status == DB_OK && queue_is_shared(l->q))
        l->status = db->ops->commit(db, &l->err);
    else
        db->ops->rollback(db);
}

/* Read due copies. A failed read may look like damage, so damage is believed only when a second
 * read finds it, too. After a conflict, PostgreSQL has undone the transaction; it is also tried a
 * second time. */
static void read_ahead(void *arg)
{
    struct look *l = arg;

    l->status = DB_CORRUPT;
    for (int tries = 0; tries < 2 && (l->status == DB_CORRUPT || l->status == DB_AGAIN); tries++) {
        struct db *db = queue_borrow_reader(l->q, &l->err);
        l->status = DB_FAULT;
        if (db == NULL)
            return;
        read_due(l, db);
        queue_give_back_reader(
            l->q, db, l->status == DB_CORRUPT && tries == 0 ? DB_FAULT : l->status, &l->err);
        for (; l->status != DB_OK && l->found.count > 0; l->found.count--)
            queue_ready_free(l->found.items[l->found.count - 1]);
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
    for (size_t i = 0; i < l->found.count; i++) {
        struct queue_ready *ready = l->found.items[i];
        if (queue_window_find(l->w, ready->id) == NULL && l->w->drops == l->drops)
            queue_window_add(l->w, queue_window_know(l->w, ready->id), ready, false, false);
        else
            queue_ready_free(ready);
    }
}

bool queue_look_is_due(const struct db_queue *q, const struct queue_window *w)
{
    const time_t now = queue_now(q);

    return !w->is_looking && !w->is_leaving && w->found.count < LOW &&
           w->found.bytes < QUEUE_WINDOW_BYTES_MAX / 2 &&
           (w->has_more || now >= w->look_at || w->look_at > now + LOOK_S); /* clock set back */
}

/* Prepare what the database is asked for. */
static void begin(struct look *l)
{
    struct queue_window *w = l->w;

    l->max = w->known == 0 ? FIRST : w->batch;
    if (l->max > w->batch)
        l->max = w->batch;
    if (queue_is_shared(l->q))
        queue_window_list(w, &l->known);
    else
        l->max += w->known; /* known copies are found again */
    l->ids = mem_grow(NULL, l->max, sizeof *l->ids);
    l->next_due = w->look_at = l->now + (queue_is_shared(l->q) ? SHARED_S : LOOK_S);
    l->drops = w->drops;
    w->is_looking = true;
    w->has_more = false;
}

/* Put the result into the window. */
static void end(struct look *l)
{
    struct queue_window *w = l->w;

    if (l->next_due < w->look_at)
        w->look_at = l->next_due;
    w->has_more = w->has_more || (l->is_full && l->status == DB_OK) || w->drops != l->drops;
    if (l->status != DB_OK)
        note_fault(l);
    else if (l->found.count < l->id_count) /* the others do not fit, and were leased for nothing */
        w->batch = l->found.count == 0 ? 1 : (unsigned)l->found.count;
    else
        w->batch = 2 * w->batch < QUEUE_READ_MAX ? 2 * w->batch : QUEUE_READ_MAX;
    add_found(l);
    queue_window_end_look(w);
    if (w->leaves_again)
        queue_next_give_back(l->q, w);
    free(l->ids);
    buf_clear(&l->known);
}

static void look(void *arg)
{
    struct look *l = arg;
    struct queue_window *w = l->w;

    read_ahead(l);
    pthread_mutex_lock(&w->lock);
    end(l);
    free(l);
    task_cond_broadcast(&w->changed); /* other workers may wait for these copies */
    pthread_mutex_unlock(&w->lock);
}

void queue_look(struct db_queue *q, struct queue_window *w)
{
    const bool is_awaited = w->found.count + w->fresh.count == 0;
    struct look *l = mem_zalloc(sizeof *l);

    *l = (struct look){.q = q, .w = w, .now = queue_now(q)};
    begin(l);
    pthread_mutex_unlock(&w->lock);
    if (is_awaited || !task_block_start(look, l))
        task_block(look, l);
    pthread_mutex_lock(&w->lock);
}
