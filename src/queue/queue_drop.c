/* SPDX-License-Identifier: ISC */
/*
 * Take copies out of the windows. When the leases of this node have run out, other nodes may have
 * taken the copies, so all are dropped. When this node does not deliver to a destination any more,
 * the leases of its copies are given back, so that other nodes take them.
 */
#include "queue/queue_window.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>

/* --- dropping --- */

/* Remove the copies of a window that are ready, and mark the others. What a look under way has
 * found is dropped, too. */
static void drop_all(struct queue_window *w)
{
    struct queue_known *next;

    for (size_t i = 0; i < QUEUE_WINDOW_BUCKETS; i++)
        for (struct queue_known *n = w->buckets[i]; n != NULL; n = next) {
            next = n->hash_next;
            if (n->state == QUEUE_READY)
                queue_ready_free(queue_window_remove(w, n, QUEUE_IDLE));
            n->is_marked = true;
            queue_window_forget(w, n);
        }
    w->drops++;
}

size_t queue_next_drop(struct db_queue *q)
{
    size_t count = 0;

    for (struct queue_window *w = queue_window_first(q); w != NULL; w = w->next) {
        pthread_mutex_lock(&w->lock);
        count += w->known;
        drop_all(w);
        queue_window_want_look(w);
        pthread_mutex_unlock(&w->lock);
    }
    return count;
}

/* --- giving back --- */

struct leaving {
    struct writer_request request; /* first */
    struct db_queue *q;
    struct queue_window *w;
};

/*
 * The copies that the window knows are left out: a worker may still have them, or their outcomes
 * are being written, which gives the lease back as well. No look runs between the reading of the
 * window and the end of this transaction (queue_look_is_due()), and no insertion, because this is
 * the writer's thread. So no copy gets known meanwhile that this node has leased.
 */
static enum db_status apply(struct writer_request *request, struct db *db, struct err *err)
{
    const struct leaving *l = (const struct leaving *)request;
    struct buf known = {0};

    pthread_mutex_lock(&l->w->lock);
    queue_window_list(l->w, &known);
    pthread_mutex_unlock(&l->w->lock);
    const struct db_value values[] = {db_text(l->w->name), db_text(l->q->node),
                                      db_text(buf_str(&known))};
    enum db_status status = db->ops->run(db,
                                         "UPDATE copy SET owner = NULL WHERE destination = $1"
                                         " AND owner = $2 AND id <> ALL (CAST($3 AS BIGINT[]))",
                                         values, 3, NULL, err);
    buf_clear(&known);
    return status == DB_OK ? queue_node_tell(l->q, db, "copies", l->w->name, 0, err) : status;
}

static void finish(struct writer_request *request, enum db_status status, const struct err *err)
{
    struct leaving *l = (struct leaving *)request;
    struct queue_window *w = l->w;

    (void)status; /* a failure: the node ends, and with it all its leases */
    (void)err;
    pthread_mutex_lock(&w->lock);
    w->is_leaving = false;
    if (w->leaves_again)
        queue_next_give_back(l->q, w);
    task_cond_broadcast(&w->changed); /* workers that have come back may wait for a look */
    pthread_mutex_unlock(&w->lock);
    free(l);
}

void queue_next_give_back(struct db_queue *q, struct queue_window *w)
{
    w->leaves_again = w->is_leaving || w->is_looking; /* the end of either calls this again */
    if (w->leaves_again)
        return;
    struct leaving *l = mem_zalloc(sizeof *l);
    /* After a failover that has lost this commit, the leases would be back. */
    l->request = (struct writer_request){
        .apply = apply, .finish = finish, .urgency = WRITER_DURABLE, .must_succeed = true};
    l->q = q;
    l->w = w;
    w->is_leaving = true;
    writer_submit(q->writer, &l->request);
}

void queue_leave(struct queue *base, const char *destination)
{
    struct db_queue *q = (struct db_queue *)base;
    struct queue_window *w = queue_window_lock(q, destination);

    w->has_workers = false;
    if (queue_is_shared(q)) {
        drop_all(w);
        queue_next_give_back(q, w);
    }
    pthread_mutex_unlock(&w->lock);
}
