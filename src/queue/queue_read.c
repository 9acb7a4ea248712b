/* SPDX-License-Identifier: ISC */
/* Connections for reading, messages and copies in memory, and how they are read from the rows. */
#include "queue/queue_private.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_row.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READERS_MAX 4 /* connections; each has a page cache */
#define QUEUE_CONTENT_MISSING "its content is missing in the database, or cut off"

struct queue_readers {
    pthread_mutex_t lock; /* guards all that follows */
    pthread_cond_t changed;
    struct db *idle[READERS_MAX];
    size_t idle_count, open_count;
};

/* --- connections --- */

struct queue_readers *queue_readers_new(void)
{
    struct queue_readers *r = mem_zalloc(sizeof *r);

    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    return r;
}

void queue_readers_close_idle(struct queue_readers *r)
{
    struct db *idle[READERS_MAX];

    pthread_mutex_lock(&r->lock);
    const size_t count = r->idle_count;
    memcpy(idle, r->idle, sizeof idle);
    r->idle_count = 0;
    r->open_count -= count;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < count; i++)
        idle[i]->ops->close(idle[i]);
}

void queue_readers_free(struct queue_readers *r)
{
    queue_readers_close_idle(r);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Count a connection that was closed. A thread that waits may open another one. */
static void count_closed(struct queue_readers *r)
{
    pthread_mutex_lock(&r->lock);
    r->open_count--;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

struct db *queue_borrow_reader(struct db_queue *q, struct err *err)
{
    struct queue_readers *r = q->readers;
    enum db_status status;
    struct db *db = NULL;

    pthread_mutex_lock(&r->lock);
    while (r->idle_count == 0 && r->open_count == READERS_MAX)
        pthread_cond_wait(&r->changed, &r->lock);
    if (r->idle_count > 0)
        db = r->idle[--r->idle_count];
    else
        r->open_count++;
    pthread_mutex_unlock(&r->lock);
    if (db != NULL)
        return db;
    db = queue_open_database(q, DB_READ, &status, err);
    if (db == NULL) {
        count_closed(r);
        if (status == DB_CORRUPT)
            queue_report_damage(q, err);
    }
    return db;
}

void queue_give_back_reader(struct db_queue *q, struct db *db, enum db_status status,
                            const struct err *err)
{
    struct queue_readers *r = q->readers;

    if (status == DB_CORRUPT)
        queue_report_damage(q, err);
    if (status != DB_OK) {
        db->ops->close(db);
        count_closed(r);
        return;
    }
    pthread_mutex_lock(&r->lock);
    r->idle[r->idle_count++] = db;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void queue_report_damage(struct db_queue *q, const struct err *err)
{
    if (!atomic_exchange(&q->is_damaged, true))
        log_error("%s is damaged: %s. No mail is taken. Stop splitrelay, then recover what can be"
                  " read from it, as operations.md says",
                  q->place, err->text);
}

/* --- what is in memory --- */

struct queue_stored *queue_stored_new(int64_t id, const struct queue_message *message)
{
    struct queue_stored *s = mem_zalloc(sizeof *s);

    atomic_init(&s->refs, 1);
    s->id = id;
    s->message = *message;
    s->message.sender = mem_strdup(message->sender);
    s->message.client_name = mem_strdup(message->client_name);
    s->message.client_addr = mem_strdup(message->client_addr);
    s->message.helo = mem_strdup(message->helo);
    s->message.protocol = mem_strdup(message->protocol);
    s->message.mta_queue_id = mem_strdup(message->mta_queue_id);
    s->message.message_id = mem_strdup(message->message_id);
    return s;
}

struct queue_stored *queue_stored_ref(struct queue_stored *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void queue_stored_unref(struct queue_stored *m)
{
    if (m == NULL || atomic_fetch_sub(&m->refs, 1) > 1)
        return;
    free(m->message.sender);
    free(m->message.client_name);
    free(m->message.client_addr);
    free(m->message.helo);
    free(m->message.protocol);
    free(m->message.mta_queue_id);
    free(m->message.message_id);
    free(m->content);
    free(m);
}

void queue_ready_free(struct queue_ready *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->recipient_count; i++) {
        free(r->recipients[i].address);
        free(r->recipients[i].orcpt);
    }
    free(r->recipients);
    queue_stored_unref(r->message);
    free(r->problem);
    free(r);
}

/* --- rows --- */

enum db_status queue_query_ids(struct db *db, const char *before, const int64_t *ids, size_t count,
                               const char *after,
                               bool (*row)(void *ctx, const struct db_value *columns), void *ctx,
                               struct err *err)
{
    struct buf sql = {0};

    if (count == 0)
        return DB_OK;
    buf_adds(&sql, before);
    for (size_t i = 0; i < count; i++)
        buf_addf(&sql, "%s%" PRId64, i == 0 ? " (" : ", ", ids[i]);
    buf_addf(&sql, ")%s", after);
    enum db_status status = db->ops->query_text(db, buf_str(&sql), NULL, 0, row, ctx, err);
    buf_clear(&sql);
    return status;
}

struct reading {
    struct queue_batch *batch;
    struct buf contents[QUEUE_READ_MAX];
    bool is_message_there[QUEUE_READ_MAX];
    size_t bytes_max, bytes;
};

static bool is_small(const struct queue_stored *m)
{
    return !m->is_file && m->message.size_bytes <= DB_BODY_PART_BYTES;
}

#define MESSAGE_AT 6
#define COUNT_AT (MESSAGE_AT + QUEUE_ROW_MESSAGE_COLUMNS)

static bool take_copy(void *ctx, const struct db_value *columns)
{
    struct reading *r = ctx;
    struct queue_batch *b = r->batch;
    struct queue_message row;

    struct queue_ready *ready = mem_zalloc(sizeof *ready);
    ready->id = columns[0].number;
    snprintf(ready->destination, sizeof ready->destination, "%s", db_string(&columns[1]));
    ready->due = (time_t)columns[3].number;
    ready->attempts = (unsigned)columns[4].number;
    queue_row_message(&columns[MESSAGE_AT], &row);
    ready->message = queue_stored_new(columns[2].number, &row);
    ready->message->is_file = strcmp(db_string(&columns[5]), "file") == 0;
    /* As queue_window_cost(); the recipients are read later. */
    r->bytes += 1024 + (size_t)columns[COUNT_AT].number * (sizeof *ready->recipients + 64) +
                (is_small(ready->message) ? (size_t)row.size_bytes : 0);
    b->is_cut =
        b->count == QUEUE_READ_MAX || (b->count > 0 && r->bytes_max > 0 && r->bytes > r->bytes_max);
    if (b->is_cut) {
        queue_ready_free(ready);
        return false;
    }
    r->is_message_there[b->count] = columns[5].type != DB_NULL;
    b->items[b->count++] = ready;
    return true;
}

static bool take_recipient(void *ctx, const struct db_value *columns)
{
    const struct reading *r = ctx;
    const struct queue_batch *b = r->batch;
    size_t i = 0;

    while (i < b->count && b->items[i]->id != columns[QUEUE_ROW_RECIPIENT_COLUMNS].number)
        i++;
    if (i == b->count)
        return true;
    struct queue_ready *ready = b->items[i];
    size_t count = ready->recipient_count;
    if ((count & (count - 1)) == 0) /* 0 or a power of two */
        ready->recipients =
            mem_grow(ready->recipients, count == 0 ? 1 : 2 * count, sizeof *ready->recipients);
    queue_row_recipient(columns, &ready->recipients[ready->recipient_count++]);
    return true;
}

static bool take_part(void *ctx, const struct db_value *columns)
{
    struct reading *r = ctx;
    const struct queue_batch *b = r->batch;

    for (size_t i = 0; i < b->count; i++) {
        const struct queue_stored *m = b->items[i]->message;
        if (m->id == columns[1].number && is_small(m) &&
            r->contents[i].len <= m->message.size_bytes)
            buf_add(&r->contents[i], columns[0].data, columns[0].len);
    }
    return true;
}

/* Note why a copy cannot be delivered. */
static void find_problem(const struct reading *r, size_t i)
{
    struct queue_ready *ready = r->batch->items[i];
    const struct queue_stored *m = ready->message;
    const char *problem = NULL;

    if (!r->is_message_there[i])
        problem = "its message is missing in the database";
    else if (ready->recipient_count == 0)
        problem = "its recipients are missing in the database";
    else if (r->bytes_max > 0 && is_small(m) && r->contents[i].len != m->message.size_bytes)
        problem = QUEUE_CONTENT_MISSING;
    ready->problem = problem == NULL ? NULL : mem_strdup(problem);
}

/* Read what belongs to the copies of the batch. */
static enum db_status read_parts(struct reading *r, struct db *db, struct err *err)
{
    int64_t copies[QUEUE_READ_MAX], messages[QUEUE_READ_MAX];
    const struct queue_batch *b = r->batch;
    size_t message_count = 0;

    for (size_t i = 0; i < b->count; i++) {
        const struct queue_stored *m = b->items[i]->message;
        copies[i] = b->items[i]->id;
        if (r->bytes_max > 0 && r->is_message_there[i] && is_small(m))
            messages[message_count++] = m->id;
    }
    enum db_status status = queue_query_ids(
        db, "SELECT " QUEUE_ROW_RECIPIENT ", r.copy FROM recipient r WHERE r.copy IN", copies,
        b->count, " ORDER BY r.copy, r.number", take_recipient, r, err);
    return status == DB_OK
               ? queue_query_ids(db, "SELECT data, message FROM body WHERE message IN", messages,
                                 message_count, " ORDER BY message, part", take_part, r, err)
               : status;
}

enum db_status queue_read_copies(struct db *db, const int64_t *ids, size_t count, size_t bytes_max,
                                 struct queue_batch *out, struct err *err)
{
    struct reading r = {.batch = out, .bytes_max = bytes_max};

    *out = (struct queue_batch){.count = 0};
    enum db_status status = queue_query_ids(
        db,
        "SELECT c.id, c.destination, c.message, c.due, c.attempts, m.body_at, " QUEUE_ROW_MESSAGE
        ", (SELECT count(*) FROM recipient r WHERE r.copy = c.id) FROM copy c LEFT JOIN message m "
        "ON m.id = c.message WHERE c.id IN",
        ids, count, " ORDER BY c.due, c.id", take_copy, &r, err);
    if (status == DB_OK)
        status = read_parts(&r, db, err);
    for (size_t i = 0; i < out->count; i++) {
        find_problem(&r, i);
        if (bytes_max > 0 && is_small(out->items[i]->message))
            out->items[i]->message->content = buf_take(&r.contents[i]);
        if (status != DB_OK)
            queue_ready_free(out->items[i]);
    }
    if (status != DB_OK)
        out->count = 0;
    return status;
}

/* --- large contents in the database --- */

struct parts {
    struct large_file *file;
    uint64_t size_bytes;
    bool is_there;
    enum queue_put_status status;
    struct err *err;
};

static bool write_part(void *ctx, const struct db_value *columns)
{
    struct parts *p = ctx;

    p->is_there = true;
    p->size_bytes += columns[0].len;
    p->status = large_write(p->file, columns[0].data, columns[0].len, p->err);
    return false;
}

static enum db_status copy_parts(struct db *db, int64_t message, uint64_t size_bytes,
                                 struct parts *p, struct err *err)
{
    enum db_status status = DB_OK;

    p->is_there = true;
    for (int64_t part = 0; status == DB_OK && p->is_there && p->status == QUEUE_PUT_OK; part++) {
        const struct db_value values[] = {db_int(message), db_int(part)};
        p->is_there = false;
        if (p->size_bytes <= size_bytes)
            status = db->ops->query(db, "SELECT data FROM body WHERE message = $1 AND part = $2",
                                    values, 2, write_part, p, err);
    }
    return status;
}

int queue_read_parts(struct db_queue *q, const struct queue_ready *ready, struct err *err)
{
    const uint64_t size_bytes = ready->message->message.size_bytes;
    struct parts p = {.status = QUEUE_PUT_OK, .err = err};
    int fd = -1;

    if (large_begin_unnamed(q->large, ready->id, &p.file, err) != QUEUE_PUT_OK) {
        errno = EIO;
        return -1;
    }
    struct db *db = queue_borrow_reader(q, err);
    enum db_status status =
        db == NULL ? DB_FAULT : copy_parts(db, ready->message->id, size_bytes, &p, err);
    if (db != NULL)
        queue_give_back_reader(q, db, status, err);
    errno = EIO;
    if (status == DB_OK && p.status == QUEUE_PUT_OK && p.size_bytes == size_bytes)
        fd = large_take(p.file);
    else
        large_keep(p.file);
    if (status == DB_OK && p.status == QUEUE_PUT_OK && p.size_bytes != size_bytes) {
        err_set(err, QUEUE_CONTENT_MISSING);
        errno = EBADMSG;
    }
    return fd;
}
