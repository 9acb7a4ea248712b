/* SPDX-License-Identifier: ISC */
/*
 * The content of a message that is received. It is kept in memory while it arrives. When it becomes
 * too large for a row, it goes to a file. With SQLite the content stays in that file (large.h).
 * With PostgreSQL the file has no name, and when it is complete, its content goes to the database
 * part by part. So the memory does not grow with the message.
 */
#include "queue/queue_put_private.h"

#include <inttypes.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROOM_EVERY (4 * 1024 * 1024) /* bytes between two checks of the free space */

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
        err_set(err, "%s is damaged", q->place);
        return QUEUE_PUT_FAULT;
    }
    if (state != DB_OK || queue_node_check(q, err) < 0)
        return state != DB_OK ? put_status(state) : QUEUE_PUT_FAULT;
    if (queue_is_shared(q) && size <= DB_BODY_PART_BYTES)
        return QUEUE_PUT_OK; /* the disk is needed for large contents alone */
    return check_room(q, size, size > DB_BODY_PART_BYTES, err);
}

/* --- requests --- */

static void finish_request(struct writer_request *r, enum db_status status, const struct err *err)
{
    struct queue_put *p = (struct queue_put *)r;

    p->status = status;
    if (status != DB_OK)
        *p->err = *err;
    task_event_set(&p->is_finished);
}

enum queue_put_status queue_put_submit(struct queue_put *p,
                                       enum db_status (*apply)(struct writer_request *r,
                                                               struct db *db, struct err *err),
                                       enum writer_urgency urgency, struct err *err)
{
    p->request =
        (struct writer_request){.apply = apply, .finish = finish_request, .urgency = urgency};
    p->err = err;
    task_event_init(&p->is_finished);
    writer_submit(p->queue->writer, &p->request);
    (void)task_event_wait(&p->is_finished, TASK_FOREVER);
    task_event_clear(&p->is_finished);
    if (p->status == DB_CORRUPT)
        queue_report_damage(p->queue, p->err);
    return put_status(p->status);
}

/* --- in memory, and in a file --- */

/* Write the content that is in memory to the file. The file is created if there is none. */
static enum queue_put_status flush(struct queue_put *p, struct err *err)
{
    enum queue_put_status status = QUEUE_PUT_OK;

    if (p->file == NULL)
        status = queue_is_shared(p->queue)
                     ? large_begin_unnamed(p->queue->large, p->id, &p->file, err)
                     : large_begin(p->queue->large, p->id, &p->file, err);
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
    if (p->size_bytes >= p->room_at + ROOM_EVERY) {
        p->room_at = p->size_bytes;
        status = check_room(p->queue, 0, true, err);
    }
    buf_add(&p->content, data, len);
    if (status == QUEUE_PUT_OK && p->content.len > DB_BODY_PART_BYTES)
        status = flush(p, err);
    return status;
}

/* --- a large content in the database --- */

struct part {
    struct writer_request request; /* first */
    struct queue_put *put;
    struct buf data;
};

static enum db_status apply_part(struct writer_request *r, struct db *db, struct err *err)
{
    const struct part *part = (const struct part *)r;

    return queue_insert_part(db, part->put->id, part->put->parts, part->data.data, part->data.len,
                             err);
}

enum db_status queue_put_apply_prepare(struct writer_request *r, struct db *db, struct err *err)
{
    return queue_insert_message(db, ((const struct queue_put *)r)->stored, "prepared", err);
}

/* Write the content from the file to the database: the message, `prepared`, and then the parts. */
static enum queue_put_status upload(struct queue_put *p, struct err *err)
{
    int fd = large_take(p->file);
    struct part part = {.request = {.apply = apply_part, .urgency = WRITER_WRITTEN}, .put = p};
    char *room = buf_reserve(&part.data, DB_BODY_PART_BYTES);
    enum queue_put_status status =
        queue_put_submit(p, queue_put_apply_prepare, WRITER_WRITTEN, err);
    ssize_t n = 1;

    p->file = NULL;
    /* After a conflict, the rows with this id belong to another message. */
    p->is_in_doubt = p->status != DB_CONFLICT;
    for (off_t at = 0; status == QUEUE_PUT_OK && (uint64_t)at < p->size_bytes; at += n) {
        n = task_pread(fd, room, DB_BODY_PART_BYTES, at);
        if (n <= 0)
            break;
        part.data.len = (size_t)n;
        status = put_status(writer_do(p->queue->writer, &part.request, err));
        p->parts++;
    }
    if (n <= 0) {
        err_set_errno(err, "cannot read the content again");
        status = QUEUE_PUT_FAULT;
    }
    buf_clear(&part.data);
    close(fd);
    return status;
}

enum queue_put_status queue_put_complete(struct queue_put *p, struct err *err)
{
    const bool is_file = p->file != NULL && !queue_is_shared(p->queue);
    enum queue_put_status status = QUEUE_PUT_OK;

    if (p->stored != NULL)
        return status;
    if (p->file != NULL && p->content.len > 0)
        status = flush(p, err);
    if (is_file && status == QUEUE_PUT_OK)
        status = large_finish(p->file, err);
    if (status != QUEUE_PUT_OK)
        return status;
    p->stored = queue_stored_new(p->id, p->message);
    p->stored->message.size_bytes = p->size_bytes;
    p->stored->is_file = is_file;
    if (p->file == NULL)
        p->stored->content = buf_take(&p->content);
    return p->file == NULL || is_file ? status : upload(p, err);
}
