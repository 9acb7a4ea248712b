/* SPDX-License-Identifier: ISC */
/*
 * Receive a message and store it. The content is kept in memory while it arrives. When it becomes
 * too large for a row, it goes to a file. put_prepare writes the rows of message and body, and
 * put_commit adds those of the copies. Without put_prepare, put_commit writes all rows. Its
 * transaction is durable: its commit returns after the sync of the log (writer_commit.c,
 * db_sqlite.c), and only then is the message reported as stored.
 *
 * A commit that failed may have been stored all the same (db.h). So after each failure another
 * request removes the rows of the message. Until that one is committed, the copies stay reserved
 * and the file is kept.
 */
#include "queue/queue_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "metrics/counters.h"
#include "task/task.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define ROOM_EVERY (4 * 1024 * 1024) /* bytes of a large content between two looks at the space */

struct queue_put {
    struct writer_request request; /* first */
    struct task_event is_finished;
    enum db_status status;
    struct err *err;

    struct db_queue *queue;
    const struct queue_message *message; /* borrowed */
    struct queue_new_copy *copies;       /* borrowed */
    size_t copy_count;
    int64_t id;
    time_t due;
    struct buf content;      /* what has come, and is not in the file */
    struct large_file *file; /* NULL: all is in `content` */
    uint64_t size_bytes;
    uint64_t room_at;            /* size at which to look at the free space again */
    struct queue_stored *stored; /* no content follows; a file is synced */
    bool is_in_doubt;            /* there may be rows */
    int64_t to_disk_us;          /* spent on storing it */
};

static int64_t id_of(const struct queue_put *p, size_t copy)
{
    return p->id + 1 + (int64_t)copy;
}

/* --- room --- */

static enum queue_put_status put_status(enum db_status status)
{
    switch (status) {
    case DB_OK:
        return QUEUE_PUT_OK;
    case DB_FULL:
        return QUEUE_PUT_FULL;
    case DB_CONFLICT:
    case DB_AGAIN:
    case DB_FAULT:
    case DB_CORRUPT:
        break;
    }
    return QUEUE_PUT_FAULT;
}

static enum queue_put_status check_room(struct db_queue *q, uint64_t size_bytes, bool is_large,
                                        struct err *err)
{
    struct writer_figures figures;
    struct statvfs fs;

    if (statvfs(q->options.spool_directory, &fs) != 0) {
        err_set_errno(err, "statvfs %s", q->options.spool_directory);
        return QUEUE_PUT_FAULT;
    }
    uint64_t available = (uint64_t)fs.f_bavail * (fs.f_frsize == 0 ? fs.f_bsize : fs.f_frsize);
    writer_get_figures(q->writer, &figures);
    if (!is_large)
        available += figures.db.free_bytes;
    uint64_t min_free_bytes = q->options.min_free_space_bytes;
    if (available >= min_free_bytes && available - min_free_bytes >= size_bytes)
        return QUEUE_PUT_OK;
    err_set(err,
            "%s: %" PRIu64 " bytes are free, message has %" PRIu64 ", %" PRIu64 " are to stay free",
            q->options.spool_directory, available, size_bytes, min_free_bytes);
    return QUEUE_PUT_FULL;
}

enum queue_put_status queue_put_has_room(struct queue *base, uint64_t size, struct err *err)
{
    struct db_queue *q = (struct db_queue *)base;
    enum db_status state = writer_state(q->writer, err);

    if (atomic_load(&q->is_damaged) || state == DB_CORRUPT) {
        err_set(err, "%s/queue.db is damaged", q->options.spool_directory);
        return QUEUE_PUT_FAULT;
    }
    return state != DB_OK ? put_status(state) : check_room(q, size, size > DB_BODY_PART_BYTES, err);
}

/* --- content --- */

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
    p->id = queue_id_next(&q->ids);
    p->room_at = ROOM_EVERY;
    for (size_t i = 0; i < copy_count; i++) {
        assert(queue_destination_is_valid(copies[i].destination));
        queue_id_format(id_of(p, i), copies[i].id);
    }
    *out = p;
    return QUEUE_PUT_OK;
}

/* Write the content that is in memory to the file. The file is created if there is none. */
static enum queue_put_status flush(struct queue_put *p, struct err *err)
{
    enum queue_put_status status = QUEUE_PUT_OK;

    if (p->file == NULL)
        status = large_begin(p->queue->large, p->id, &p->file, err);
    if (status == QUEUE_PUT_OK)
        status = large_write(p->file, p->content.data, p->content.len, err);
    buf_reset(&p->content);
    return status;
}

enum queue_put_status queue_put_data(struct queue_put *p, const void *data, size_t len,
                                     struct err *err)
{
    enum queue_put_status status = QUEUE_PUT_OK;

    p->size_bytes += len;
    if (p->size_bytes >= p->room_at) {
        p->room_at = p->size_bytes + ROOM_EVERY;
        status = check_room(p->queue, 0, true, err);
    }
    buf_add(&p->content, data, len);
    if (status == QUEUE_PUT_OK && p->content.len > DB_BODY_PART_BYTES)
        status = flush(p, err);
    return status;
}

/* Make p->stored, after the last part of the content. A file is synced. */
static enum queue_put_status complete(struct queue_put *p, struct err *err)
{
    enum queue_put_status status = QUEUE_PUT_OK;

    if (p->stored != NULL)
        return status;
    if (p->file != NULL && p->content.len > 0)
        status = flush(p, err);
    if (p->file != NULL && status == QUEUE_PUT_OK)
        status = large_finish(p->file, err);
    if (status != QUEUE_PUT_OK)
        return status;
    p->stored = queue_stored_new(p->id, p->message);
    p->stored->message.size_bytes = p->size_bytes;
    if (p->file == NULL)
        p->stored->content = buf_take(&p->content);
    return status;
}

static void put_free(struct queue_put *p)
{
    if (p->file != NULL)
        large_keep(p->file);
    queue_stored_unref(p->stored);
    buf_clear(&p->content);
    free(p);
}

/* --- rows --- */

/* Return the number of recipients that have not got the message yet. 0: the copy is left out. */
static size_t count_wanted(const struct queue_new_copy *c)
{
    size_t count = 0;

    for (size_t i = 0; i < c->recipient_count; i++)
        count += c->recipients[i].state != QUEUE_SENT;
    return count;
}

static enum db_status apply_prepare(struct writer_request *r, struct db *db, struct err *err)
{
    return queue_insert_message(db, ((const struct queue_put *)r)->stored, "prepared", err);
}

static enum db_status apply_commit(struct writer_request *r, struct db *db, struct err *err)
{
    const struct queue_put *p = (const struct queue_put *)r;
    struct db_value id = db_int(p->id);
    enum db_status status = DB_OK;
    uint64_t prepared = 0;

    if (p->is_in_doubt)
        status = db->ops->run(
            db, "UPDATE message SET state = 'stored' WHERE id = $1 AND state = 'prepared'", &id, 1,
            &prepared, err);
    if (status == DB_OK && prepared == 0) /* never there, or lost with an earlier connection */
        status = queue_insert_message(db, p->stored, "stored", err);
    for (size_t i = 0; i < p->copy_count && status == DB_OK; i++)
        if (count_wanted(&p->copies[i]) > 0)
            status = queue_insert_copy(db, p->id, id_of(p, i), p->due, &p->copies[i], err);
    return status;
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

/* After a commit whose sync failed, the rows are not to be seen; but they are in the log, behind
 * its end, and after a power failure they would be part of it. The next transaction that changes
 * something overwrites them there, so this one always does. */
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

static bool is_reserved(const struct queue_new_copy *c)
{
    return !c->is_dead && count_wanted(c) > 0;
}

/* Submit the request that removes the rows. was_committed: put_commit has failed, so the copies are
 * reserved and may be in the database. */
static void remove_rows(const struct queue_put *p, bool was_committed)
{
    struct removal *r = mem_zalloc(sizeof *r + p->copy_count * sizeof *r->reserved);

    r->request = (struct writer_request){.apply = apply_removal,
                                         .finish = finish_removal,
                                         .urgency = was_committed ? WRITER_DURABLE : WRITER_LAZY,
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

static void finish_request(struct writer_request *r, enum db_status status, const struct err *err)
{
    struct queue_put *p = (struct queue_put *)r;

    p->status = status;
    if (status != DB_OK)
        *p->err = *err;
    task_event_set(&p->is_finished);
}

static void submit(struct queue_put *p,
                   enum db_status (*apply)(struct writer_request *r, struct db *db,
                                           struct err *err),
                   enum writer_urgency urgency, struct err *err)
{
    p->request =
        (struct writer_request){.apply = apply, .finish = finish_request, .urgency = urgency};
    p->err = err;
    task_event_init(&p->is_finished);
    writer_submit(p->queue->writer, &p->request);
}

static enum queue_put_status wait_for(struct queue_put *p)
{
    (void)task_event_wait(&p->is_finished, TASK_FOREVER);
    task_event_clear(&p->is_finished);
    if (p->status == DB_CORRUPT)
        queue_report_damage(p->queue, p->err);
    return put_status(p->status);
}

enum queue_put_status queue_put_prepare(struct queue_put *p, struct err *err)
{
    int64_t begin_us = clock_now_us();
    enum queue_put_status status = complete(p, err);

    if (status == QUEUE_PUT_OK) {
        submit(p, apply_prepare, WRITER_WRITTEN, err);
        p->is_in_doubt = true;
        status = wait_for(p);
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
        if (is_reserved(c))
            queue_next_settle(p->queue, c->destination, id_of(p, i), make_ready(p, i));
    }
}

/* Return true if there is a copy to be stored. */
static bool has_wanted(const struct queue_put *p)
{
    bool has = false;

    for (size_t i = 0; i < p->copy_count; i++)
        has = has || count_wanted(&p->copies[i]) > 0;
    return has;
}

enum queue_put_status queue_put_commit(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                       struct err *err)
{
    int64_t begin_us = clock_now_us();
    enum queue_put_status status = QUEUE_PUT_OK;
    bool is_wanted = has_wanted(p);

    if (is_wanted)
        status = complete(p, err);
    if (!is_wanted || status != QUEUE_PUT_OK) {
        if (status == QUEUE_PUT_OK && stored != NULL)
            stored(ctx);
        queue_put_abort(p);
        return status;
    }
    p->due = queue_now(p->queue);
    for (size_t i = 0; i < p->copy_count; i++)
        if (is_reserved(&p->copies[i]))
            queue_next_reserve(p->queue, p->copies[i].destination, id_of(p, i));
    submit(p, apply_commit, WRITER_DURABLE, err);
    status = wait_for(p);
    p->to_disk_us += clock_now_us() - begin_us;
    if (status == QUEUE_PUT_OK) {
        if (stored != NULL)
            stored(ctx);
        hand_out(p);
    } else {
        remove_rows(p, true);
    }
    put_free(p);
    return status;
}
