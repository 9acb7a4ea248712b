/* SPDX-License-Identifier: ISC */
/* Suspensions of destinations: they are rows of the table suspended, and the windows know them. */
#include "queue/queue_private.h"

#include "queue/queue_count.h"
#include "task/task.h"

#include <stdlib.h>

struct reading {
    struct db_queue *q;
    struct queue_suspension **out;
    size_t *count_out;
    struct err *err;
    int rc;
};

/* Read the suspensions; blocks, so a task calls it inside of task_block(). */
static void read_suspensions(void *arg)
{
    struct reading *r = arg;
    struct db *db = queue_borrow_reader(r->q, r->err);

    r->rc = -1;
    if (db == NULL)
        return;
    enum db_status status = queue_count_suspended(db, r->out, r->count_out, r->err);
    queue_give_back_reader(r->q, db, status, r->err);
    r->rc = status == DB_OK ? 0 : -1;
}

int queue_suspend_refresh(struct db_queue *q, struct err *err)
{
    struct queue_suspension *items = NULL;
    size_t count = 0;
    struct reading r = {q, &items, &count, err, 0};

    pthread_mutex_lock(&q->suspending);
    read_suspensions(&r);
    if (r.rc == 0)
        queue_next_set_suspended(q, items, count);
    pthread_mutex_unlock(&q->suspending);
    free(items);
    return r.rc;
}

/* For task_block(). */
static void refresh(void *arg)
{
    struct reading *r = arg;

    r->rc = queue_suspend_refresh(r->q, r->err);
}

struct suspending {
    struct writer_request request; /* first */
    struct db_queue *q;
    const char *destination;
    const struct queue_suspension *suspension; /* NULL: resume */
    uint64_t removed;
};

static enum db_status apply(struct writer_request *request, struct db *db, struct err *err)
{
    struct suspending *s = (struct suspending *)request;
    const struct db_value destination = db_text(s->destination);
    enum db_status status = queue_node_tell(s->q, db, "suspended", s->destination, 0, err);

    if (status == DB_OK)
        status = db->ops->run(db, "DELETE FROM suspended WHERE destination = $1", &destination, 1,
                              &s->removed, err);
    if (status != DB_OK || s->suspension == NULL)
        return status;
    const struct db_value values[] = {destination, db_int(s->suspension->since),
                                      db_int(s->suspension->until), db_text(s->suspension->reason)};
    return db->ops->run(db,
                        "INSERT INTO suspended (destination, since, until, reason)"
                        " VALUES ($1, $2, $3, $4)",
                        values, 4, NULL, err);
}

/* Write or remove a suspension. Returns 1 if the destination was suspended, 0 if not, -1 on
 * failure.
 */
static int write_suspension(struct db_queue *q, const char *destination,
                            const struct queue_suspension *suspension, struct err *err)
{
    struct suspending s = {.request = {.apply = apply, .urgency = WRITER_DURABLE},
                           .q = q,
                           .destination = destination,
                           .suspension = suspension};

    if (!queue_destination_is_valid(destination)) {
        err_set(err, "that is not the name of a destination");
        return -1;
    }
    if (writer_do(q->writer, &s.request, err) != DB_OK)
        return -1;
    struct reading r = {.q = q, .err = err};
    task_block(refresh, &r);
    return r.rc < 0 ? -1 : s.removed > 0;
}

int queue_suspend(struct queue *base, const struct queue_suspension *s, struct err *err)
{
    return write_suspension((struct db_queue *)base, s->destination, s, err) < 0 ? -1 : 0;
}

int queue_resume(struct queue *base, const char *destination, struct err *err)
{
    return write_suspension((struct db_queue *)base, destination, NULL, err);
}

int queue_suspensions(struct queue *base, struct queue_suspension **out, size_t *count_out,
                      struct err *err)
{
    struct reading r = {(struct db_queue *)base, out, count_out, err, 0};

    task_block(read_suspensions, &r);
    return r.rc;
}
