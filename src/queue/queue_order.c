/* SPDX-License-Identifier: ISC */
/*
 * Deletions and moves by order of an administrator. A change carries them out at once for copies
 * that are not in hand. For the other copies it writes an order into the row: `delete`, `requeue`,
 * or `requeue DESTINATION`. A separate request to the writer carries out all orders whose copies
 * are not in hand any more. This request is submitted
 *   - at the start,
 *   - when orders have been written,
 *   - when a copy that may have an order has been given back,
 *   - with PostgreSQL also when another node has written an order, and every few seconds.
 */
#include "queue/queue_private.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ORDERS_MAX 50 /* of a request */
#define READ_MAX 16   /* copies with their recipients in memory */

struct order {
    int64_t id;
    char destination[QUEUE_DESTINATION_SIZE];
    enum queue_action action;
    char to[QUEUE_DESTINATION_SIZE]; /* "": the destination of the copy */
};

struct work {
    struct writer_request request; /* first */
    struct db_queue *q;
    struct order orders[ORDERS_MAX]; /* the copies are seized */
    size_t count;
    struct queue_files files;
};

void queue_order_log(enum queue_action action, const char *to, const char *destination, int64_t id)
{
    static const char *const done[] = {[QUEUE_RETRY] = "made due",
                                       [QUEUE_HOLD] = "held",
                                       [QUEUE_RELEASE] = "released",
                                       [QUEUE_DELETE] = "deleted",
                                       [QUEUE_REQUEUE] = "requeued"};
    char text[QUEUE_ID_SIZE];

    queue_id_format(id, text);
    const struct log_field fields[] = {
        LOG_TEXT("copy_id", text),
        LOG_TEXT("dest", destination),
        LOG_TEXT("to_dest", to[0] == '\0' ? NULL : to),
        LOG_TEXT("status", action == QUEUE_RETRY ? "made_due" : done[action]),
        LOG_TEXT("reason", "by an administrator"),
        LOG_END,
    };
    log_event(LOG_LEVEL_INFO, NULL, fields, "%s: dest=%s: %s by an administrator%s%s", text,
              destination, done[action], to[0] == '\0' ? "" : ", now dest=", to);
}

void queue_log_fault(const struct queue_copy *c, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    const struct log_field fields[] = {
        LOG_TEXT("copy_id", c->id),
        LOG_TEXT("dest", c->destination),
        LOG_TEXT("status", "error"),
        LOG_TEXT("reason", buf_str(&text)),
        LOG_END,
    };
    log_event(LOG_LEVEL_ERROR, NULL, fields, "%s: dest=%s: %s", c->id, c->destination,
              buf_str(&text));
    buf_clear(&text);
}

/* --- what is written --- */

static enum db_status delete_copy(struct db_queue *q, struct db *db, const struct queue_ready *copy,
                                  struct queue_files *files, struct err *err)
{
    enum db_status status = queue_write_history(q, db, copy, true, "sent", NULL, err);

    if (status == DB_OK)
        status = queue_write_history(q, db, copy, false, "deleted", NULL, err);
    return status == DB_OK ? queue_write_removal(db, copy, files, err) : status;
}

static enum db_status requeue_copy(struct db_queue *q, struct db *db,
                                   const struct queue_ready *copy, const char *to, struct err *err)
{
    const struct db_value values[] = {db_text(to), db_int(queue_now(q)), db_int(copy->id)};
    enum db_status status = queue_write_history(q, db, copy, false, "requeued", NULL, err);

    if (status == DB_OK)
        status = db->ops->run(
            db, "UPDATE recipient SET state = 'pending' WHERE copy = $1 AND state = 'dead'",
            &values[2], 1, NULL, err);
    return status == DB_OK
               ? db->ops->run(db,
                              "UPDATE copy SET destination = CASE WHEN $1 = '' THEN destination"
                              " ELSE $1 END, state = 'queued', due = $2, attempts = 0,"
                              " owner = NULL, ordered = NULL WHERE id = $3",
                              values, 3, NULL, err)
               : status;
}

enum db_status queue_order_write(struct db_queue *q, struct db *db, enum queue_action action,
                                 const char *to, const int64_t *ids, size_t count,
                                 struct queue_files *files, struct err *err)
{
    enum db_status status = DB_OK;
    struct queue_batch batch;

    for (size_t at = 0, n; at < count && status == DB_OK; at += n) {
        n = count - at < READ_MAX ? count - at : READ_MAX;
        status = queue_read_copies(db, &ids[at], n, 0, &batch, err);
        for (size_t i = 0; i < batch.count; i++) {
            const struct queue_ready *copy = batch.items[i];
            if (status == DB_OK)
                status = action == QUEUE_DELETE ? delete_copy(q, db, copy, files, err)
                                                : requeue_copy(q, db, copy, to, err);
            queue_ready_free(batch.items[i]);
        }
    }
    return status;
}

/* --- orders --- */

/* Parse copy.ordered. False: it has another text. */
static bool parse(const char *text, struct order *out)
{
    const size_t len = strlen("requeue");

    out->action = strcmp(text, "delete") == 0 ? QUEUE_DELETE : QUEUE_REQUEUE;
    out->to[0] = '\0';
    if (out->action == QUEUE_DELETE || strcmp(text, "requeue") == 0)
        return true;
    if (strncmp(text, "requeue ", len + 1) != 0 || !queue_destination_is_valid(text + len + 1))
        return false;
    mem_copy_string(out->to, sizeof out->to, text + len + 1);
    return true;
}

static void settle(struct work *w)
{
    for (size_t i = 0; i < w->count; i++)
        queue_next_settle(w->q, w->orders[i].destination, w->orders[i].id, NULL);
    w->count = w->files.count = 0;
}

/* Take an order, if its copy can be seized. */
static bool take_order(void *ctx, const struct db_value *columns)
{
    struct work *w = ctx;
    struct order *o = &w->orders[w->count];
    const char *destination = db_string(&columns[1]);

    o->id = columns[0].number;
    if (!queue_destination_is_valid(destination) || !parse(db_string(&columns[2]), o))
        return true;
    mem_copy_string(o->destination, sizeof o->destination, destination);
    if (queue_next_seize(w->q, o->destination, o->id))
        w->count++;
    else
        queue_next_settle(w->q, o->destination, o->id, NULL);
    return w->count < ORDERS_MAX;
}

static enum db_status apply(struct writer_request *request, struct db *db, struct err *err)
{
    struct work *w = (struct work *)request;
#define ORDERED                                                                                    \
    "SELECT id, destination, ordered FROM copy WHERE ordered IS NOT NULL"                          \
    " AND " QUEUE_IS_FREE("$1") " ORDER BY id"
    const struct db_value me = db_text(w->q->node);
    /* SKIP LOCKED: another node may be carrying out the same order, after which the copy may be
     * delivered at once. */
    const char *sql = db->is_shared ? ORDERED " FOR UPDATE SKIP LOCKED" : ORDERED;

    settle(w); /* what a transaction that was undone had seized */
    enum db_status status = db->ops->query(db, sql, &me, 1, take_order, w, err);
    for (size_t i = 0; i < w->count && status == DB_OK; i++) {
        const struct order *o = &w->orders[i];
        status = queue_order_write(w->q, db, o->action, o->to, &o->id, 1, &w->files, err);
    }
    return status;
}

static void finish(struct writer_request *request, enum db_status status, const struct err *err)
{
    struct work *w = (struct work *)request;
    const bool is_full = w->count == ORDERS_MAX;

    if (status != DB_OK && w->count > 0)
        log_error("%zu orders of administrators wait: %s", w->count, err->text);
    for (size_t i = 0; i < w->count && status == DB_OK; i++)
        queue_order_log(w->orders[i].action, w->orders[i].to, w->orders[i].destination,
                        w->orders[i].id);
    if (status == DB_OK)
        queue_files_remove(w->q, &w->files);
    if (w->count > 0)
        queue_next_look(w->q, NULL); /* they may have another destination now */
    settle(w);
    if (status == DB_OK && is_full)
        queue_order_submit(w->q, w->request.must_succeed);
    free(w->files.messages);
    free(w);
}

/* With PostgreSQL the commit does not wait for a standby, which may be gone: heartbeats and
 * outcomes are often in the same transaction. If a failover loses the commit, the orders are back,
 * too. */
void queue_order_submit(struct db_queue *q, bool must_succeed)
{
    struct work *w = mem_zalloc(sizeof *w);

    w->request =
        (struct writer_request){.apply = apply,
                                .finish = finish,
                                .urgency = queue_is_shared(q) ? WRITER_WRITTEN : WRITER_DURABLE,
                                .must_succeed = must_succeed};
    w->q = q;
    writer_submit(q->writer, &w->request);
}
