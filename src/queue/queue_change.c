/* SPDX-License-Identifier: ISC */
/*
 * Carry out the changes of administrators. The ids are read in steps, and the selected copies are
 * changed in batches. A batch is read by a read-only connection. Its copies are seized in the
 * windows of their destinations, so that no worker takes them (queue_private.h). They are changed
 * in one durable transaction, logged, and settled. A copy that a worker has gets an order, which
 * queue_return.c carries out when the worker gives the copy back.
 */
#include "queue/queue_private.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_count.h"
#include "queue/queue_row.h"
#include "queue/selection.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 200  /* copies changed in one transaction */
#define STEP 20000 /* copies examined in one read transaction */

struct item {
    int64_t id;
    char *destination;
    char state[8]; /* as it was selected */
    time_t due;
    enum queue_seized seized;
    bool is_changed;
};

struct work {
    struct writer_request request; /* first */
    struct db_queue *q;
    const struct queue_change *change;
    struct queue_selection selection;
    struct queue_order order;
    int64_t from, to; /* ids: all up to `from` were examined; the present step ends with `to` */
    bool is_over;
    uint64_t selected;
    struct item items[BATCH];
    size_t count, max;
    struct queue_files files;
    enum db_status status;
    struct err *err;
};

void queue_change_log(const struct queue_order *order, const char *destination, int64_t id)
{
    static const char *const done[] = {[QUEUE_RETRY] = "made due",
                                       [QUEUE_HOLD] = "held",
                                       [QUEUE_RELEASE] = "released",
                                       [QUEUE_DELETE] = "deleted",
                                       [QUEUE_REQUEUE] = "requeued"};
    char text[QUEUE_ID_SIZE];

    queue_id_format(id, text);
    log_info("%s: dest=%s: %s by an administrator%s%s", text, destination, done[order->action],
             order->to[0] == '\0' ? "" : ", now dest=", order->to);
}

/* --- selecting --- */

static bool add_item(void *ctx, const struct db_value *columns)
{
    struct work *w = ctx;
    struct item *item = &w->items[w->count++];

    *item = (struct item){.id = columns[0].number,
                          .destination = mem_strdup(db_string(&columns[1])),
                          .due = (time_t)columns[3].number};
    snprintf(item->state, sizeof item->state, "%s", db_string(&columns[2]));
    return w->count < w->max;
}

/* Select the next copies of the present step, up to w->max. */
static enum db_status select_copies(struct work *w, struct db *db)
{
    struct db_value values[DB_VALUES_MAX] = {db_int(w->from), db_int(w->to)};
    struct selection_sql where;
    struct buf sql = {0};

    if (selection_sql_copies(&where, &w->selection, 3, w->err) != 0)
        return DB_FAULT;
    memcpy(&values[2], where.values, where.count * sizeof values[0]);
    buf_addf(&sql,
             "SELECT c.id, c.destination, c.state, c.due FROM copy c"
             " LEFT JOIN message m ON m.id = c.message"
             " WHERE c.id > $1 AND c.id <= $2 AND %s ORDER BY c.id LIMIT %zu",
             buf_str(&where.condition), w->max);
    enum db_status status =
        db->ops->query_text(db, buf_str(&sql), values, where.count + 2, add_item, w, w->err);
    buf_clear(&sql);
    selection_sql_clear(&where);
    return status;
}

/* Select one batch; for task_block(). It is empty when the step has no more copies. */
static void select_batch(void *arg)
{
    struct work *w = arg;
    struct db *db = queue_borrow_reader(w->q, w->err);

    w->count = 0;
    w->status = db == NULL ? DB_FAULT : DB_OK;
    if (db == NULL)
        return;
    if (w->from >= w->to) {
        w->status = queue_count_step(db, w->from, STEP, &w->to, w->err);
        w->is_over = w->to == 0 || w->selection.id != NULL;
    }
    if (w->status == DB_OK && w->to != 0)
        w->status = select_copies(w, db);
    queue_give_back_reader(w->q, db, w->status, w->err);
    w->from = w->count == w->max ? w->items[w->count - 1].id : w->to;
}

/* --- changing --- */

/* Change state and due of a copy. *changed_out: 0 if the row has changed since it was selected; it
 * is left as it is then. */
static enum db_status move(struct db *db, const struct item *item, const char *state, time_t due,
                           uint64_t *changed_out, struct err *err)
{
    const struct db_value values[] = {db_text(state), db_int(due), db_int(item->id),
                                      db_text(item->state), db_text(item->destination)};

    return db->ops->run(db,
                        "UPDATE copy SET state = $1, due = $2"
                        " WHERE id = $3 AND state = $4 AND destination = $5",
                        values, 5, changed_out, err);
}

static enum db_status change_item(struct work *w, struct db *db, struct item *item, struct err *err)
{
    const enum queue_action action = w->order.action;
    const bool is_held = action == QUEUE_HOLD || action == QUEUE_DELETE;
    uint64_t changed = 0;

    enum db_status status = move(db, item, is_held ? "held" : "queued",
                                 is_held ? item->due : queue_now(w->q), &changed, err);
    item->is_changed = changed > 0;
    if (status == DB_OK && item->is_changed && action == QUEUE_DELETE)
        return queue_write_deletion(w->q, db, item->destination, item->id, &w->files, err);
    if (status == DB_OK && item->is_changed && action == QUEUE_REQUEUE)
        return queue_write_requeue(w->q, db, item->destination, item->id, w->order.to, err);
    return status;
}

/* Write the change, in the writer's transaction. A copy with an order to be held or deleted is held
 * at once, so that a crash does not bring it back into the queue. */
static enum db_status apply(struct writer_request *request, struct db *db, struct err *err)
{
    struct work *w = (struct work *)request;
    enum db_status status = DB_OK;

    w->files.count = 0;
    for (size_t i = 0; i < w->count && status == DB_OK; i++) {
        struct item *item = &w->items[i];
        if (item->seized == QUEUE_SEIZED_FREE)
            status = change_item(w, db, item, err);
        else if (item->seized == QUEUE_SEIZED_ORDERED && w->order.action != QUEUE_REQUEUE)
            status = queue_write_hold(db, item->id, err);
    }
    return status;
}

static void settle(struct work *w, struct queue_changed *sum)
{
    for (size_t i = 0; i < w->count; i++) {
        struct item *item = &w->items[i];
        bool is_free = item->seized == QUEUE_SEIZED_FREE;
        if (w->status == DB_OK && is_free && item->is_changed)
            queue_change_log(&w->order, item->destination, item->id);
        queue_next_settle(w->q, item->destination, item->id, NULL);
        if (w->order.to[0] != '\0')
            queue_next_settle(w->q, w->order.to, item->id, NULL);
        /* An order that could not be written is carried out all the same, unless there is a crash
         * before. */
        bool is_ordered = item->seized == QUEUE_SEIZED_ORDERED &&
                          (w->status == DB_OK || w->order.action == QUEUE_REQUEUE);
        sum->ordered += is_ordered;
        sum->changed += w->status == DB_OK && is_free && item->is_changed;
        sum->failed += w->status != DB_OK && item->seized != QUEUE_SEIZED_REFUSED && !is_ordered;
        free(item->destination);
    }
}

/* Change one batch. False: the change cannot go on. */
static bool change_batch(struct work *w, struct queue_changed *sum)
{
    task_block(select_batch, w);
    if (w->status != DB_OK) {
        sum->failed++;
        return false;
    }
    for (size_t i = 0; i < w->count; i++) {
        struct item *item = &w->items[i];
        item->seized = queue_next_seize(w->q, item->destination, item->id, &w->order);
        if (w->order.to[0] != '\0')
            queue_next_reserve(w->q, w->order.to, item->id);
    }
    if (w->count > 0)
        w->status = writer_do(w->q->writer, &w->request, w->err);
    settle(w, sum);
    if (w->status == DB_OK)
        queue_files_remove(w->q, &w->files);
    w->selected += w->count;
    return w->status == DB_OK;
}

static void change_all(struct work *w, struct queue_changed *sum)
{
    const uint64_t limit = w->selection.limit == 0 ? UINT64_MAX : w->selection.limit;
    bool is_on = true;

    while (is_on && !w->is_over && w->selected < limit) {
        if (w->change->go_on != NULL && !w->change->go_on(w->change->ctx, sum)) {
            sum->is_stopped = true;
            break;
        }
        w->max = limit - w->selected < BATCH ? (size_t)(limit - w->selected) : BATCH;
        is_on = change_batch(w, sum);
    }
    free(w->files.messages);
}

/* --- what makes sense --- */

static unsigned sensible_places(enum queue_action action, bool has_to)
{
    const unsigned all = QUEUE_IN_QUEUE | QUEUE_IN_HOLD | QUEUE_IN_DEAD;

    switch (action) {
    case QUEUE_RETRY:
    case QUEUE_HOLD:
        return QUEUE_IN_QUEUE;
    case QUEUE_RELEASE:
        return QUEUE_IN_HOLD;
    case QUEUE_DELETE:
        return all;
    case QUEUE_REQUEUE:
        return has_to ? all : QUEUE_IN_DEAD;
    }
    return all;
}

void queue_change_narrow(struct queue_change *change, time_t now)
{
    struct queue_selection *s = &change->selection;

    if (s->places == 0 && change->action == QUEUE_REQUEUE && change->to != NULL && s->id == NULL)
        s->places = QUEUE_IN_QUEUE | QUEUE_IN_DEAD; /* what is held was held on purpose */
    if (s->places == 0)
        s->places = sensible_places(change->action, change->to != NULL);
    s->due_after = change->action == QUEUE_RETRY ? now : 0;
    s->other_than = change->to;
}

static int check(const struct queue_change *c, struct err *err)
{
    const struct queue_selection *s = &c->selection;
    int64_t id;

    if (s->id != NULL && !queue_id_parse(s->id, &id)) {
        err_set(err, "that is not the id of a copy");
        return -1;
    }
    if ((s->destination != NULL && !queue_destination_is_valid(s->destination)) ||
        (c->to != NULL && !queue_destination_is_valid(c->to))) {
        err_set(err, "that is not the name of a destination");
        return -1;
    }
    if (c->to != NULL && s->destination != NULL && strcmp(c->to, s->destination) == 0) {
        err_set(err, "the copies are for %s already", c->to);
        return -1;
    }
    if ((s->places & ~sensible_places(c->action, c->to != NULL)) != 0) {
        err_set(err, "that makes no sense for copies in this place");
        return -1;
    }
    return 0;
}

/* --- one copy --- */

/* Select the one copy with the id of the selection, in any place; for task_block(). */
static void select_one(void *arg)
{
    struct work *w = arg;
    struct db *db = queue_borrow_reader(w->q, w->err);
    const int64_t id = w->from + 1;

    w->status = DB_FAULT;
    if (db == NULL)
        return;
    const struct db_value value = db_int(id);
    w->status = db->ops->query(db, "SELECT id, destination, state, due FROM copy WHERE id = $1",
                               &value, 1, add_item, w, w->err);
    queue_give_back_reader(w->q, db, w->status, w->err);
}

/* Check that the one copy exists, and that the change makes sense in its place. -1 with `err`. */
static int check_one(struct work *w)
{
    const char *id = w->selection.id, *destination = w->selection.destination;
    int rc = -1;

    (void)queue_id_parse(id, &w->from);
    w->from--;
    w->max = 1;
    w->count = 0;
    task_block(select_one, w);
    if (w->status != DB_OK)
        return -1;
    const unsigned place = w->count == 0 ? 0 : queue_row_place(w->items[0].state);
    if (w->count == 0 || (destination != NULL && strcmp(w->items[0].destination, destination) != 0))
        err_set(w->err, "no copy %s", id);
    else if ((place & w->selection.places) == 0)
        err_set(w->err, "copy %s is %s", id,
                place == QUEUE_IN_QUEUE  ? "in the queue"
                : place == QUEUE_IN_HOLD ? "held"
                                         : "a dead letter");
    else if (strcmp(w->items[0].destination, w->order.to) == 0)
        err_set(w->err, "the copy is for %s already", w->order.to);
    else
        rc = 0;
    if (w->count > 0)
        free(w->items[0].destination);
    w->count = 0;
    return rc;
}

int queue_change(struct queue *base, const struct queue_change *change, struct queue_changed *out,
                 struct err *err)
{
    struct db_queue *q = (struct db_queue *)base;

    memset(out, 0, sizeof *out);
    if (check(change, err) < 0)
        return -1;
    struct queue_change narrowed = *change;
    queue_change_narrow(&narrowed, queue_now(q));
    struct work *w = mem_zalloc(sizeof *w);
    *w = (struct work){.request = {.apply = apply, .urgency = WRITER_DURABLE},
                       .q = q,
                       .change = change,
                       .selection = narrowed.selection,
                       .order = {.action = change->action},
                       .err = err};
    mem_copy_string(w->order.to, sizeof w->order.to, change->to == NULL ? "" : change->to);
    int rc = w->selection.id == NULL ? 0 : check_one(w);
    if (rc == 0)
        change_all(w, out);
    if (rc == 0 && w->selection.id != NULL && change->action != QUEUE_RETRY &&
        out->changed + out->ordered + out->failed == 0)
        rc = check_one(w); /* a worker gave it back just now */
    if (rc == 0 && out->failed > 0 && out->changed + out->ordered == 0 && w->selected == 0)
        rc = -1; /* the database cannot be read */
    free(w);
    return rc;
}
