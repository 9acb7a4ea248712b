/* SPDX-License-Identifier: ISC */
/*
 * Receive a message and store it. put_prepare writes the rows of message and body, and put_commit
 * adds those of the copies. Without put_prepare, put_commit writes all rows. The transaction of
 * put_commit is durable: its commit returns after the sync of the log (writer_commit.c,
 * db_sqlite.c). Only then is the message reported as stored.
 *
 * A copy that its destination does not want (queue_new_copy.skip) has a row in the history
 * alone. It is written in the same transaction as the other copies, or in one of its own.
 *
 * A commit that failed may have been stored all the same (db.h). So after each failure another
 * request removes the rows of the message. Until that one is committed, the copies stay reserved
 * and the file is kept. Rows of the history stay: the client sends the message again, and the
 * history then says twice that the copy was skipped.
 */
#include "queue/queue_put_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "metrics/counters.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int64_t id_of(const struct queue_put *p, size_t copy)
{
    return p->id + 1 + (int64_t)copy;
}

/* --- begin and end --- */

enum queue_put_status queue_put_begin(struct queue *base, const struct queue_message *message,
                                      struct queue_new_copy *copies, size_t copy_count,
                                      struct queue_put **out, struct err *err)
{
    struct db_queue *q = (struct db_queue *)base;

    if (copy_count == 0 || copy_count > QUEUE_ID_COPIES_MAX) {
        err_set(err, "message has no copies, or too many");
        return QUEUE_PUT_FAULT;
    }
    struct queue_put *p = mem_zalloc(sizeof *p);
    p->queue = q;
    p->message = message;
    p->copies = copies;
    p->copy_count = copy_count;
    p->is_leased = mem_zalloc(copy_count * sizeof *p->is_leased);
    p->id = queue_id_next(&q->ids);
    for (size_t i = 0; i < copy_count; i++) {
        assert(queue_destination_is_valid(copies[i].destination));
        queue_id_format(id_of(p, i), copies[i].id);
    }
    *out = p;
    return QUEUE_PUT_OK;
}

static void put_free(struct queue_put *p)
{
    if (p->file != NULL)
        large_keep(p->file);
    queue_stored_unref(p->stored);
    buf_clear(&p->content);
    free(p->is_leased);
    free(p);
}

/* --- rows --- */

/* Return the number of recipients that have not got the message yet. 0: the copy is left out. */
static size_t count_wanted(const struct queue_new_copy *c)
{
    size_t count = 0;

    for (size_t i = 0; i < c->recipient_count && c->skip == QUEUE_WANTED; i++)
        count += c->recipients[i].state != QUEUE_SENT;
    return count;
}

/* Return true if there is a copy to be stored. */
static bool has_wanted(const struct queue_put *p)
{
    bool has = false;

    for (size_t i = 0; i < p->copy_count; i++)
        has = has || count_wanted(&p->copies[i]) > 0;
    return has;
}

static bool is_reserved(const struct queue_new_copy *c)
{
    return !c->is_dead && count_wanted(c) > 0;
}

/* Make a prepared message a stored one. *is_there_out: false if it has never been there, or was
 * lost with an earlier connection or an earlier primary. */
static enum db_status store_prepared(const struct queue_put *p, struct db *db, bool *is_there_out,
                                     struct err *err)
{
    const struct db_value values[] = {db_int(p->id), db_int(p->parts)};
    uint64_t changed = 0;
    enum db_status status =
        p->parts == 0 ? db->ops->run(db,
                                     "UPDATE message SET state = 'stored' WHERE id = $1"
                                     " AND state = 'prepared'",
                                     values, 1, &changed, err)
                      : db->ops->run(db,
                                     "UPDATE message SET state = 'stored' WHERE id = $1"
                                     " AND state = 'prepared'"
                                     " AND (SELECT count(*) FROM body WHERE message = $1) = $2",
                                     values, 2, &changed, err);

    *is_there_out = changed > 0;
    if (status != DB_OK || *is_there_out || p->parts == 0)
        return status;
    err_set(err, "the content that was written to the database is not there any more");
    return DB_CONFLICT;
}

/* Write the history of the copies that are skipped. */
static enum db_status apply_skipped(struct writer_request *r, struct db *db, struct err *err)
{
    const struct queue_put *p = (const struct queue_put *)r;
    struct queue_stored message = {.message = *p->message};
    enum db_status status = DB_OK;

    message.message.size_bytes = p->size_bytes;
    for (size_t i = 0; i < p->copy_count && status == DB_OK; i++) {
        const struct queue_new_copy *c = &p->copies[i];
        struct queue_ready copy = {.id = id_of(p, i),
                                   .recipients = c->recipients,
                                   .recipient_count = c->recipient_count,
                                   .message = &message};
        if (c->skip == QUEUE_WANTED)
            continue;
        mem_copy_string(copy.destination, sizeof copy.destination, c->destination);
        status = queue_write_history(p->queue, db, &copy, false, "skipped",
                                     &(struct queue_delivery){"", c->skip_reason}, err);
    }
    return status;
}

static enum db_status apply_commit(struct writer_request *r, struct db *db, struct err *err)
{
    const struct queue_put *p = (const struct queue_put *)r;
    enum db_status status = DB_OK;
    bool is_there = false;

    if (p->is_in_doubt)
        status = store_prepared(p, db, &is_there, err);
    if (status == DB_OK && !is_there)
        status = queue_insert_message(db, p->stored, "stored", err);
    for (size_t i = 0; i < p->copy_count && status == DB_OK; i++) {
        const struct queue_new_copy *c = &p->copies[i];
        if (count_wanted(c) == 0)
            continue;
        const bool is_free = is_reserved(c) && !p->is_leased[i];
        status = queue_insert_copy(
            db, p->id, id_of(p, i), p->due,
            p->is_leased[i] && queue_is_shared(p->queue) ? p->queue->node : NULL, c, err);
        if (status == DB_OK && is_free)
            status = queue_node_tell(p->queue, db, "copies", c->destination, 0, err);
    }
    return status == DB_OK ? apply_skipped(r, db, err) : status;
}

/* --- what is left of a message that was not stored --- */

struct removal {
    struct writer_request request; /* first */
    struct db_queue *queue;
    int64_t id;
    bool has_file;
    size_t reserved_count;
    struct {
        int64_t id;
        char destination[QUEUE_DESTINATION_SIZE];
    } reserved[];
};

/* With SQLite, after a commit whose sync failed, no connection sees the rows, but they are in the
 * file of the log, behind the log's end. After a power failure they could be a part of the log
 * again. The next transaction that changes something overwrites them. So this transaction always
 * changes something, even if it finds no rows to remove. */
static enum db_status apply_removal(struct writer_request *r, struct db *db, struct err *err)
{
    enum db_status status = queue_insert_undo(db, ((const struct removal *)r)->id, err);

    if (status == DB_OK && r->urgency == WRITER_DURABLE)
        status = db->ops->run(db, "INSERT INTO schema VALUES (0)", NULL, 0, NULL, err);
    if (status == DB_OK && r->urgency == WRITER_DURABLE)
        status = db->ops->run(db, "DELETE FROM schema WHERE version = 0", NULL, 0, NULL, err);
    return status;
}

static void finish_removal(struct writer_request *r, enum db_status status, const struct err *err)
{
    struct removal *removal = (struct removal *)r;

    (void)err;
    if (status == DB_OK && removal->has_file)
        large_remove(removal->queue->large, removal->id);
    for (size_t i = 0; i < removal->reserved_count; i++)
        queue_next_settle(removal->queue, removal->reserved[i].destination, removal->reserved[i].id,
                          NULL);
    free(removal);
}

/* End the reservations of a commit that has certainly changed nothing. If there are rows with these
 * ids, they belong to another message. */
static void settle_all(const struct queue_put *p)
{
    for (size_t i = 0; i < p->copy_count; i++)
        if (is_reserved(&p->copies[i]))
            queue_next_settle(p->queue, p->copies[i].destination, id_of(p, i), NULL);
}

/* Submit the request that removes the rows. was_committed: put_commit has failed, so the copies are
 * reserved and may be in the database. */
static void remove_rows(const struct queue_put *p, bool was_committed)
{
    struct removal *r = mem_zalloc(sizeof *r + p->copy_count * sizeof *r->reserved);
    /* With PostgreSQL a durable removal would wait for a standby, which may be away. */
    bool is_durable = was_committed && !queue_is_shared(p->queue);

    r->request = (struct writer_request){.apply = apply_removal,
                                         .finish = finish_removal,
                                         .urgency = is_durable ? WRITER_DURABLE : WRITER_LAZY,
                                         .must_succeed = true};
    r->queue = p->queue;
    r->id = p->id;
    r->has_file = p->file != NULL && was_committed;
    for (size_t i = 0; i < p->copy_count && was_committed; i++) {
        if (!is_reserved(&p->copies[i]))
            continue;
        r->reserved[r->reserved_count].id = id_of(p, i);
        mem_copy_string(r->reserved[r->reserved_count++].destination, QUEUE_DESTINATION_SIZE,
                        p->copies[i].destination);
    }
    writer_submit(p->queue->writer, &r->request);
}

void queue_put_abort(struct queue_put *p)
{
    if (p->file != NULL)
        large_drop(p->file); /* rows that are `prepared` need no file */
    p->file = NULL;
    if (p->is_in_doubt)
        remove_rows(p, false);
    put_free(p);
}

/* --- prepare and commit --- */

enum queue_put_status queue_put_prepare(struct queue_put *p, struct err *err)
{
    int64_t begin_us = clock_now_us();

    if (!has_wanted(p))
        return QUEUE_PUT_OK;
    enum queue_put_status status = queue_put_complete(p, err);
    if (status == QUEUE_PUT_OK && !p->is_in_doubt) {
        status = queue_put_submit(p, queue_put_apply_prepare, WRITER_WRITTEN, err);
        /* After a conflict, the rows with this id belong to another message. */
        p->is_in_doubt = p->status != DB_CONFLICT;
    }
    p->to_disk_us += clock_now_us() - begin_us;
    return status;
}

/* Make the copy that goes directly into the window, so that no look has to read it. */
static struct queue_ready *make_ready(const struct queue_put *p, size_t i)
{
    const struct queue_new_copy *c = &p->copies[i];
    struct queue_ready *ready = mem_zalloc(sizeof *ready);

    ready->id = id_of(p, i);
    mem_copy_string(ready->destination, sizeof ready->destination, c->destination);
    ready->due = p->due;
    ready->recipients = mem_zalloc(count_wanted(c) * sizeof *ready->recipients);
    ready->message = queue_stored_ref(p->stored);
    for (size_t k = 0; k < c->recipient_count; k++) {
        if (c->recipients[k].state == QUEUE_SENT)
            continue;
        struct queue_recipient *r = &ready->recipients[ready->recipient_count++];
        *r = c->recipients[k];
        r->address = mem_strdup(r->address);
        r->orcpt = mem_strdup(r->orcpt);
        r->number = (int64_t)k;
    }
    return ready;
}

static void hand_out(const struct queue_put *p)
{
    for (size_t i = 0; i < p->copy_count; i++) {
        const struct queue_new_copy *c = &p->copies[i];
        if (count_wanted(c) > 0)
            counters_to_disk(c->destination, p->to_disk_us);
        const bool is_ready = p->is_leased[i] || !queue_is_shared(p->queue);
        if (is_reserved(c))
            queue_next_settle(p->queue, c->destination, id_of(p, i),
                              is_ready ? make_ready(p, i) : NULL);
    }
}

/* Return true if there is a copy that only the history is to have. */
static bool has_skipped(const struct queue_put *p)
{
    bool has = false;

    for (size_t i = 0; i < p->copy_count && atomic_load(&p->queue->history_s) > 0; i++)
        has = has || p->copies[i].skip != QUEUE_WANTED;
    return has;
}

enum queue_put_status queue_put_commit(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                       struct err *err)
{
    int64_t begin_us = clock_now_us();
    enum queue_put_status status = QUEUE_PUT_OK;
    bool is_wanted = has_wanted(p);

    if (is_wanted)
        status = queue_put_complete(p, err);
    else if (has_skipped(p))
        status = queue_put_submit(p, apply_skipped, WRITER_DURABLE, err);
    if (!is_wanted || status != QUEUE_PUT_OK) {
        if (status == QUEUE_PUT_OK && stored != NULL)
            stored(ctx);
        queue_put_abort(p);
        return status;
    }
    p->due = queue_now(p->queue);
    for (size_t i = 0; i < p->copy_count; i++)
        if (is_reserved(&p->copies[i]))
            p->is_leased[i] = queue_next_reserve(p->queue, p->copies[i].destination, id_of(p, i));
    status = queue_put_submit(p, apply_commit, WRITER_DURABLE, err);
    p->to_disk_us += clock_now_us() - begin_us;
    if (status == QUEUE_PUT_OK) {
        if (stored != NULL)
            stored(ctx);
        hand_out(p);
    } else if (p->status == DB_CONFLICT && !p->is_in_doubt && p->file == NULL) {
        settle_all(p);
    } else {
        remove_rows(p, true);
    }
    put_free(p);
    return status;
}
