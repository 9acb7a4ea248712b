/* SPDX-License-Identifier: ISC */
/*
 * Carry out the changes of administrators. The ids are read in steps, and the selected copies are
 * changed in batches. The copies of a batch are seized in the windows of their destinations, so
 * that no worker takes them (queue_private.h). They are changed in one durable transaction, logged,
 * and settled. If a copy is in hand, its row is changed all the same, because an outcome leaves a
 * hold or a release as it is; but a deletion or a move is written into the row as an order
 * (queue_order.c). A copy that another node has leased is treated as one in hand.
 */
#include "queue/queue_private.h"

#include "base/buf.h"
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
    bool is_free; /* not in hand here */
    enum { NOTHING, CHANGED, ORDERED } result;
};

struct work {
    struct writer_request request; /* first */
    struct db_queue *q;
    const struct queue_change *change;
    struct queue_selection selection;
    const char *target; /* the other destination of a requeue; "": none */
    int64_t from, to;   /* ids: all up to `from` were examined; the present step ends with `to` */
    bool is_over;
    uint64_t selected;
    struct item items[BATCH];
    size_t count, max;
    struct queue_files files;
    enum db_status status;
    struct err *err;
};

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

/* Select one batch; runs in task_block(). The batch is empty when the step has no more copies. */
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

/* Return the state that a copy gets. A copy that is to be deleted becomes `held` first:
 * note_changed() then finds out whether its row was still as it was selected. */
static const char *new_state(enum queue_action action)
{
    return action == QUEUE_HOLD || action == QUEUE_DELETE ? "held" : "queued";
}

/* Get the values of the statements that change a copy: its new state and due, its id, state and
 * destination as it was selected, and this node. */
#define VALUES 6
static void get_values(const struct work *w, const struct item *item, struct db_value out[VALUES])
{
    const char *state = new_state(w->change->action);
    const bool is_held = strcmp(state, "held") == 0;

    out[0] = db_text(state);
    out[1] = db_int(is_held ? item->due : queue_now(w->q));
    out[2] = db_int(item->id);
    out[3] = db_text(item->state);
    out[4] = db_text(item->destination);
    out[5] = db_text(w->q->node);
}

/* Write an order for a copy that is in hand. A deletion replaces any other order; other second
 * orders are not accepted. */
static enum db_status write_order(struct work *w, struct db *db, const struct item *item,
                                  uint64_t *changed_out, struct err *err)
{
    const bool is_deletion = w->change->action == QUEUE_DELETE;
    char *text = is_deletion            ? mem_strdup("delete")
                 : w->target[0] == '\0' ? mem_strdup("requeue")
                                        : mem_printf("requeue %s", w->target);
    const struct db_value values[] = {db_text(text), db_int(item->id), db_text(item->state),
                                      db_text(item->destination)};

    enum db_status status =
        db->ops->run(db,
                     "UPDATE copy SET ordered = $1 WHERE id = $2 AND state = $3"
                     " AND destination = $4 AND (ordered IS NULL OR $1 = 'delete')",
                     values, 4, changed_out, err);
    free(text);
    return status;
}

/* Change a copy that is in hand, here or on another node. */
static enum db_status change_in_hand(struct work *w, struct db *db, struct item *item,
                                     struct err *err)
{
    const enum queue_action action = w->change->action;
    struct db_value values[VALUES];
    uint64_t changed = 0;

    get_values(w, item, values);
    enum db_status status =
        action == QUEUE_DELETE || action == QUEUE_REQUEUE
            ? write_order(w, db, item, &changed, err)
            : db->ops->run(db,
                           "UPDATE copy SET state = $1, due = $2 WHERE id = $3 AND state = $4"
                           " AND destination = $5 AND ordered IS NULL",
                           values, 5, &changed, err);

    if (changed > 0)
        item->result = action == QUEUE_RETRY || action == QUEUE_RELEASE ? CHANGED : ORDERED;
    return status == DB_OK && changed > 0
               ? queue_node_tell(w->q, db, "order", item->destination, item->id, err)
               : status;
}

/* Called for each row that is now as the change makes it: note that its copy was changed. */
static bool note_changed(void *ctx, const struct db_value *columns)
{
    struct work *w = ctx;

    for (size_t i = 0; i < w->count; i++)
        if (w->items[i].id == columns[0].number && w->items[i].is_free &&
            strcmp(w->items[i].destination, db_string(&columns[1])) == 0)
            w->items[i].result = CHANGED;
    return true;
}

/* Change the copies that are not in hand, except those whose row is not as it was selected any
 * more. One query then finds all that were changed, so that a batch takes few round trips. */
static enum db_status change_free(struct work *w, struct db *db, struct err *err)
{
    const bool is_held = strcmp(new_state(w->change->action), "held") == 0;
    enum db_status status = DB_OK;
    int64_t ids[BATCH];

    for (size_t i = 0; i < w->count && status == DB_OK; i++) {
        struct db_value values[VALUES];
        ids[i] = w->items[i].id;
        get_values(w, &w->items[i], values);
        if (w->items[i].is_free)
            status = db->ops->run(db,
                                  "UPDATE copy SET state = $1, due = $2, owner = NULL"
                                  " WHERE id = $3 AND state = $4 AND destination = $5"
                                  " AND ordered IS NULL AND " QUEUE_IS_FREE("$6"),
                                  values, VALUES, NULL, err);
    }
    if (status != DB_OK)
        return status;
    char *after = mem_printf(" AND state = '%s' AND owner IS NULL AND ordered IS NULL%s",
                             is_held ? "held" : "queued",
                             db->is_shared ? " FOR UPDATE" : ""); /* no look may lease them */
    status = queue_query_ids(db, "SELECT id, destination FROM copy WHERE id IN", ids, w->count,
                             after, note_changed, w, err);
    free(after);
    return status;
}

/* Write the change, in the writer's transaction. */
static enum db_status apply(struct writer_request *request, struct db *db, struct err *err)
{
    struct work *w = (struct work *)request;
    const enum queue_action action = w->change->action;
    int64_t ids[BATCH];
    size_t count = 0;

    w->files.count = 0;
    for (size_t i = 0; i < w->count; i++)
        w->items[i].result = NOTHING;
    enum db_status status = change_free(w, db, err);
    for (size_t i = 0; i < w->count && status == DB_OK; i++) {
        if (w->items[i].result == CHANGED)
            ids[count++] = w->items[i].id;
        else
            status = change_in_hand(w, db, &w->items[i], err);
    }
    return status == DB_OK && (action == QUEUE_DELETE || action == QUEUE_REQUEUE)
               ? queue_order_write(w->q, db, action, w->target, ids, count, &w->files, err)
               : status;
}

static void settle(struct work *w, struct queue_changed *sum)
{
    bool may_have_orders = false;

    for (size_t i = 0; i < w->count; i++) {
        struct item *item = &w->items[i];
        const bool is_held = item->result == ORDERED && w->change->action == QUEUE_HOLD;
        if (w->status == DB_OK && (item->result == CHANGED || is_held))
            queue_order_log(w->change->action, w->target, item->destination, item->id);
        queue_next_settle(w->q, item->destination, item->id, NULL);
        sum->changed += w->status == DB_OK && item->result == CHANGED;
        sum->ordered += w->status == DB_OK && item->result == ORDERED;
        sum->failed += w->status != DB_OK;
        may_have_orders = may_have_orders || !item->is_free || item->result == ORDERED;
        free(item->destination);
    }
    if (w->target[0] != '\0')
        queue_next_look(w->q, w->target);
    if (may_have_orders) /* for copies that were given back before their orders were written */
        queue_order_submit(w->q, true);
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
        item->is_free = queue_next_seize(w->q, item->destination, item->id);
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

/* Select the one copy with the id of the selection, in any place; runs in task_block(). */
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
    else if (strcmp(w->items[0].destination, w->target) == 0)
        err_set(w->err, "the copy is for %s already", w->target);
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
                       .target = change->to == NULL ? "" : change->to,
                       .err = err};
    int rc = w->selection.id == NULL ? 0 : check_one(w);
    if (rc == 0)
        change_all(w, out);
    if (rc == 0 && w->selection.id != NULL && change->action != QUEUE_RETRY &&
        out->changed + out->ordered + out->failed == 0)
        rc = check_one(w); /* its row has changed since the first check */
    if (rc == 0 && out->failed > 0 && out->changed + out->ordered == 0 && w->selected == 0)
        rc = -1; /* the database cannot be read */
    free(w);
    return rc;
}
