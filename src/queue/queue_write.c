/* SPDX-License-Identifier: ISC */
#include "queue/queue_private.h"

#include "base/buf.h"
#include "base/mem.h"
#include "queue/queue_row.h"

#include <stdlib.h>
#include <string.h>

#define PRUNE_EVERY 64 /* rows of the history; while mail flows, the writer is never idle */

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
        db, "UPDATE recipient SET state = $1, reason = $2 WHERE copy = $3 AND number = $4", values,
        4, NULL, err);
}

/* --- history --- */

enum db_status queue_write_prune(struct db_queue *q, struct db *db, int64_t limit,
                                 uint64_t *removed_out, struct err *err)
{
    const int64_t now = queue_now(q), history_s = atomic_load(&q->history_s);
    const struct db_value values[] = {db_int(now - history_s), db_int(now + history_s),
                                      db_int(limit)};

    /* What comes from a clock that was far ahead would stay, and all after it. */
    return db->ops->run(db,
                        "DELETE FROM history WHERE (time < $1 OR time > $2) AND number IN"
                        " (SELECT number FROM history ORDER BY number LIMIT $3)",
                        values, 3, removed_out, err);
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

enum db_status queue_write_history(struct db_queue *q, struct db *db, const char *destination,
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
        db_text(destination),
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
                              " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                              values, 12, NULL, err);
    buf_clear(&recipients);
    if (status == DB_OK && ++q->history_rows % PRUNE_EVERY == 0) {
        uint64_t removed;
        status = queue_write_prune(q, db, 2 * PRUNE_EVERY, &removed, err);
    }
    return status;
}

/* --- the end of a copy --- */

enum db_status queue_write_removal(struct db *db, int64_t copy, struct queue_files *files,
                                   bool *was_there_out, struct err *err)
{
    const int64_t id = queue_id_message(copy);
    const struct db_value value = db_int(copy), message = db_int(id);
    const struct db_value copies[] = {message, db_int(id + QUEUE_ID_COPIES_MAX)};
    int64_t others = 0;
    uint64_t copies_removed = 0, parts = 0;

    enum db_status status =
        db->ops->run(db, "DELETE FROM recipient WHERE copy = $1", &value, 1, NULL, err);
    if (status == DB_OK)
        status =
            db->ops->run(db, "DELETE FROM copy WHERE id = $1", &value, 1, &copies_removed, err);
    *was_there_out = copies_removed > 0;
    if (status == DB_OK)
        status = db_get_number(db, "SELECT 1 FROM copy WHERE id > $1 AND id <= $2 LIMIT 1", copies,
                               2, &others, err);
    if (status != DB_OK || others != 0)
        return status;
    status = db->ops->run(db, "DELETE FROM body WHERE message = $1", &message, 1, &parts, err);
    if (status == DB_OK)
        status = db->ops->run(db, "DELETE FROM message WHERE id = $1", &message, 1, NULL, err);
    if (parts == 0) { /* there may be a file */
        files->messages = mem_grow(files->messages, files->count + 1, sizeof *files->messages);
        files->messages[files->count++] = id;
    }
    return status;
}

enum db_status queue_write_hold(struct db *db, int64_t copy, struct err *err)
{
    const struct db_value id = db_int(copy);

    return db->ops->run(db, "UPDATE copy SET state = 'held' WHERE id = $1 AND state = 'queued'",
                        &id, 1, NULL, err);
}

enum db_status queue_write_deletion(struct db_queue *q, struct db *db, const char *destination,
                                    int64_t copy, struct queue_files *files, struct err *err)
{
    struct queue_ready *row;
    bool was_there;

    enum db_status status = queue_read_copy(db, copy, false, &row, err);
    if (status != DB_OK || row == NULL)
        return status;
    status = queue_write_history(q, db, destination, row, true, "sent", NULL, err);
    if (status == DB_OK)
        status = queue_write_history(q, db, destination, row, false, "deleted", NULL, err);
    if (status == DB_OK)
        status = queue_write_removal(db, copy, files, &was_there, err);
    queue_ready_free(row);
    return status;
}

enum db_status queue_write_requeue(struct db_queue *q, struct db *db, const char *destination,
                                   int64_t copy, const char *to, struct err *err)
{
    const struct db_value values[] = {db_text(to[0] == '\0' ? destination : to),
                                      db_int(queue_now(q)), db_int(copy)};
    struct queue_ready *row;

    enum db_status status = queue_read_copy(db, copy, false, &row, err);
    if (status != DB_OK || row == NULL)
        return status;
    status = queue_write_history(q, db, destination, row, false, "requeued", NULL, err);
    queue_ready_free(row);
    if (status == DB_OK)
        status = db->ops->run(
            db, "UPDATE recipient SET state = 'pending' WHERE copy = $1 AND state = 'dead'",
            &values[2], 1, NULL, err);
    if (status == DB_OK)
        status = db->ops->run(db,
                              "UPDATE copy SET destination = $1, state = 'queued', due = $2,"
                              " attempts = 0 WHERE id = $3",
                              values, 3, NULL, err);
    return status;
}
