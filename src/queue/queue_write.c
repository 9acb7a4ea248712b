/* SPDX-License-Identifier: ISC */
/* The statements that change or remove a copy, and those about the history. */
#include "queue/queue_private.h"

#include "base/buf.h"
#include "base/mem.h"
#include "queue/queue_row.h"

#include <stdlib.h>
#include <string.h>

#define PRUNE_EVERY 64 /* new rows after which old ones go: the writer may never be idle */

void queue_files_remove(struct db_queue *q, struct queue_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        large_remove(q->large, files->messages[i]);
    free(files->messages);
    memset(files, 0, sizeof *files);
}

enum db_status queue_write_recipient(struct db *db, int64_t copy, const struct queue_recipient *r,
                                     struct err *err)
{
    const struct db_value values[] = {db_text(queue_row_state(r->state)), db_text(r->reason),
                                      db_int(copy), db_int(r->number)};

    return db->ops->run(
        db,
        "UPDATE recipient SET state = $1, reason = $2 WHERE copy = $3 AND number = $4"
        " AND state <> 'sent'",
        values, 4, NULL, err);
}

/* --- history --- */

enum db_status queue_write_prune(struct db_queue *q, struct db *db, int64_t limit,
                                 uint64_t *removed_out, struct err *err)
{
    const int64_t now = queue_now(q), history_s = atomic_load(&q->history_s);
    const struct db_value values[] = {db_int(now - history_s), db_int(now + history_s),
                                      db_int(limit)};
/* A row from a clock that was far ahead never becomes too old, and would keep all later rows. */
#define IS_OLD                                                                                     \
    "(time < $1 OR time > $2) AND number IN (SELECT number FROM history ORDER BY number LIMIT $3)"

    /* Rows that another node removes now are left out: to wait for it could be a deadlock. */
    return db->ops->run(db,
                        db->is_shared ? "DELETE FROM history WHERE number = ANY (ARRAY(SELECT"
                                        " number FROM history WHERE " IS_OLD
                                        " FOR UPDATE SKIP LOCKED))"
                                      : "DELETE FROM history WHERE " IS_OLD,
                        values, 3, removed_out, err);
#undef IS_OLD
}

static void join_addresses(const struct queue_ready *copy, bool is_sent, struct buf *out)
{
    for (size_t i = 0; i < copy->recipient_count; i++) {
        const struct queue_recipient *r = &copy->recipients[i];
        if ((r->state == QUEUE_SENT) != is_sent)
            continue;
        if (out->len > 0)
            buf_adds(out, ", ");
        buf_adds(out, r->address);
    }
}

/* Return the reason of the first recipient that has not got the copy. */
static const char *reason_of(const struct queue_ready *copy)
{
    for (size_t i = 0; i < copy->recipient_count; i++)
        if (copy->recipients[i].state != QUEUE_SENT)
            return copy->recipients[i].reason;
    return "";
}

/* With PostgreSQL another node may have removed the copy, and written its history. A copy that is
 * skipped has never had a row. */
enum db_status queue_write_history(struct db_queue *q, struct db *db,
                                   const struct queue_ready *copy, bool is_sent, const char *result,
                                   const struct queue_delivery *delivery, struct err *err)
{
    const struct queue_message *m = &copy->message->message;
    struct buf recipients = {0};

    if (atomic_load(&q->history_s) == 0)
        return DB_OK;
    join_addresses(copy, is_sent, &recipients);
    const struct db_value values[] = {
        db_int(copy->id),
        db_text(copy->destination),
        db_int(queue_now(q)),
        db_text(m->sender),
        db_text(buf_str(&recipients)),
        db_text(m->message_id),
        db_text(m->mta_queue_id),
        db_int((int64_t)m->size_bytes),
        db_text(result),
        db_text(delivery == NULL ? "" : delivery->relay),
        db_text(delivery != NULL ? delivery->reply
                : is_sent        ? ""
                                 : reason_of(copy)),
        db_int(copy->attempts),
    };
    enum db_status status = DB_OK;
    if (recipients.len > 0)
        status = db->ops->run(db,
                              "INSERT INTO history (copy, destination, time, sender, recipients,"
                              " message_id, mta_queue_id, size, result, relay, reply, attempts)"
                              " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12"
                              " WHERE $9 = 'skipped' OR EXISTS (SELECT 1 FROM copy WHERE id = $1)",
                              values, 12, NULL, err);
    buf_clear(&recipients);
    if (status == DB_OK && ++q->history_rows % PRUNE_EVERY == 0) {
        uint64_t removed;
        status = queue_write_prune(q, db, 2 * PRUNE_EVERY, &removed, err);
    }
    return status;
}

/* --- the end of a copy --- */

/* Lock the message, if it has another copy. Another node may remove that copy at the same time.
 * Then one of the two nodes waits here for the commit of the other one, and sees afterwards that
 * its own copy is the last one. */
static enum db_status lock_message(struct db *db, int64_t message, int64_t copy, struct err *err)
{
    const struct db_value values[] = {db_int(message), db_int(message + QUEUE_ID_COPIES_MAX),
                                      db_int(copy)};

    return db->ops->run(db,
                        "SELECT 1 FROM message WHERE id = $1 AND EXISTS (SELECT 1 FROM copy"
                        " WHERE id > $1 AND id <= $2 AND id <> $3) FOR UPDATE",
                        values, 3, NULL, err);
}

static enum db_status add_file(struct db *db, int64_t message, struct queue_files *files,
                               struct err *err)
{
    const struct db_value value = db_int(message);
    int64_t is_there = 0;
    enum db_status status =
        db_get_number(db, "SELECT 1 FROM message WHERE id = $1", &value, 1, &is_there, err);

    if (status == DB_OK && !is_there) {
        files->messages = mem_grow(files->messages, files->count + 1, sizeof *files->messages);
        files->messages[files->count++] = message;
    }
    return status;
}

enum db_status queue_write_removal(struct db *db, const struct queue_ready *copy,
                                   struct queue_files *files, struct err *err)
{
    static const char *const rows[] = {"DELETE FROM recipient WHERE copy = $1",
                                       "DELETE FROM copy WHERE id = $1"};
    static const char *const last[] = {
        "DELETE FROM body WHERE message = $1"
        " AND NOT EXISTS (SELECT 1 FROM copy WHERE id > $1 AND id <= $2)",
        "DELETE FROM message WHERE id = $1"
        " AND NOT EXISTS (SELECT 1 FROM copy WHERE id > $1 AND id <= $2)"};
    const int64_t message = queue_id_message(copy->id);
    const struct db_value id = db_int(copy->id);
    const struct db_value ids[] = {db_int(message), db_int(message + QUEUE_ID_COPIES_MAX)};
    enum db_status status = db->is_shared ? lock_message(db, message, copy->id, err) : DB_OK;

    for (size_t i = 0; i < 2 && status == DB_OK; i++)
        status = db->ops->run(db, rows[i], &id, 1, NULL, err);
    for (size_t i = 0; i < 2 && status == DB_OK; i++)
        status = db->ops->run(db, last[i], ids, 2, NULL, err);
    return status == DB_OK && copy->message->is_file ? add_file(db, message, files, err) : status;
}
