/* SPDX-License-Identifier: ISC */
/*
 * Take copies out of the windows. When the leases of this node have run out, other nodes may have
 * taken the copies, so all are dropped. When this node does not deliver to a destination any more,
 * the leases of its copies are given back, so that other nodes take them.
 */
#include "queue/queue_window.h"

#include "base/buf.h"
#include "base/mem.h"

#include <inttypes.h>
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
    char destination[QUEUE_DESTINATION_SIZE];
    size_t count;
    int64_t ids[]; /* the copies are seized */
};

static enum db_status apply(struct writer_request *request, struct db *db, struct err *err)
{
    const struct leaving *l = (const struct leaving *)request;
    struct buf ids = {0};

    for (size_t i = 0; i < l->count; i++)
        buf_addf(&ids, "%s%" PRId64, i == 0 ? "{" : ",", l->ids[i]);
    buf_addc(&ids, '}');
    const struct db_value values[] = {db_text(l->q->node), db_text(buf_str(&ids))};
    enum db_status status = db->ops->run(db,
                                         "UPDATE copy SET owner = NULL WHERE owner = $1"
                                         " AND id = ANY (CAST($2 AS BIGINT[]))",
                                         values, 2, NULL, err);
    buf_clear(&ids);
    return status == DB_OK ? queue_node_tell(l->q, db, "copies", l->destination, 0, err) : status;
}

static void finish(struct writer_request *request, enum db_status status, const struct err *err)
{
    struct leaving *l = (struct leaving *)request;

    (void)status; /* a failure: the node ends, and with it all its leases */
    (void)err;
    for (size_t i = 0; i < l->count; i++)
        queue_next_settle(l->q, l->destination, l->ids[i], NULL);
    free(l);
}

/* The copies stay seized until their leases are gone from the database. Otherwise a look of workers
 * that have come back could take them meanwhile. */
void queue_next_give_back(struct db_queue *q, const char *destination, const int64_t *ids,
                          size_t count)
{
    struct leaving *l = mem_zalloc(sizeof *l + count * sizeof *l->ids);

    l->request = (struct writer_request){
        .apply = apply, .finish = finish, .urgency = WRITER_LAZY, .must_succeed = true};
    l->q = q;
    mem_copy_string(l->destination, sizeof l->destination, destination);
    for (size_t i = 0; i < count; i++) {
        if (queue_next_seize(q, destination, ids[i]))
            l->ids[l->count++] = ids[i];
        else
            queue_next_settle(q, destination, ids[i], NULL);
    }
    if (l->count > 0)
        writer_submit(q->writer, &l->request);
    else
        free(l);
}

void queue_leave(struct queue *base, const char *destination)
{
    struct db_queue *q = (struct db_queue *)base;
    struct queue_window *w = queue_window_lock(q, destination);
    int64_t *ids = mem_grow(NULL, w->known + 1, sizeof *ids);
    size_t count = 0;

    w->has_workers = false;
    for (size_t i = 0; i < QUEUE_WINDOW_BUCKETS; i++)
        for (const struct queue_known *n = w->buckets[i]; n != NULL; n = n->hash_next)
            if (n->state == QUEUE_READY)
                ids[count++] = n->id;
    pthread_mutex_unlock(&w->lock);
    if (queue_is_shared(q))
        queue_next_give_back(q, destination, ids, count);
    free(ids);
}

void queue_next_leave_all(struct db_queue *q)
{
    for (struct queue_window *w = queue_window_first(q); w != NULL; w = w->next)
        queue_leave(&q->base, w->name);
}
