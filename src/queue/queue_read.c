/* SPDX-License-Identifier: ISC */
#include "queue/queue_private.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue_row.h"

#include <stdlib.h>
#include <string.h>

#define READERS_MAX 4 /* connections; each has a page cache */

struct queue_readers {
    pthread_mutex_t lock; /* all below */
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

void queue_readers_free(struct queue_readers *r)
{
    while (r->idle_count > 0) {
        struct db *db = r->idle[--r->idle_count];
        db->ops->close(db);
    }
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
        log_error(
            "queue.db is damaged: %s. No mail is taken. Stop splitrelay, then recover what can"
            " be read from %s/queue.db with sqlite3, as operations.md says",
            err->text, q->options.spool_directory);
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

struct reading {
    struct queue_ready *ready; /* NULL: no such copy */
    bool is_message_there, is_large;
    size_t recipient_cap;
    struct buf content;
};

static bool take_copy(void *ctx, const struct db_value *columns)
{
    struct reading *r = ctx;
    struct queue_message row;

    r->ready = mem_zalloc(sizeof *r->ready);
    r->ready->id = columns[0].number;
    r->ready->due = (time_t)columns[2].number;
    r->ready->attempts = (unsigned)columns[3].number;
    r->is_message_there = columns[4].type != DB_NULL;
    r->is_large = strcmp(db_string(&columns[4]), "file") == 0;
    queue_row_message(&columns[5], &row);
    r->ready->message = queue_stored_new(columns[1].number, &row);
    return false;
}

static bool take_recipient(void *ctx, const struct db_value *columns)
{
    struct reading *r = ctx;
    struct queue_ready *ready = r->ready;

    if (ready->recipient_count == r->recipient_cap) {
        r->recipient_cap = r->recipient_cap == 0 ? 1 : 2 * r->recipient_cap;
        ready->recipients =
            mem_grow(ready->recipients, r->recipient_cap, sizeof *ready->recipients);
    }
    queue_row_recipient(columns, &ready->recipients[ready->recipient_count++]);
    return true;
}

static bool take_part(void *ctx, const struct db_value *columns)
{
    struct reading *r = ctx;

    buf_add(&r->content, columns[0].data, columns[0].len);
    return r->content.len <= r->ready->message->message.size_bytes;
}

/* Return the reason why the copy cannot be delivered, or NULL. */
static const char *find_problem(const struct reading *r, bool with_content)
{
    const struct queue_message *m = &r->ready->message->message;

    if (!r->is_message_there)
        return "its message is missing in the database";
    if (r->ready->recipient_count == 0)
        return "its recipients are missing in the database";
    if (with_content && !r->is_large && r->content.len != m->size_bytes)
        return "its content is missing in the database, or cut off";
    return NULL;
}

enum db_status queue_read_copy(struct db *db, int64_t id, bool with_content,
                               struct queue_ready **out, struct err *err)
{
    const struct db_value copy = db_int(id);
    struct reading r = {0};

    enum db_status status =
        db->ops->query(db,
                       "SELECT c.id, c.message, c.due, c.attempts, m.body_at, " QUEUE_ROW_MESSAGE
                       " FROM copy c LEFT JOIN message m ON m.id = c.message WHERE c.id = $1",
                       &copy, 1, take_copy, &r, err);
    *out = NULL;
    if (status != DB_OK || r.ready == NULL)
        return status;
    const struct db_value message = db_int(r.ready->message->id);
    status = db->ops->query(
        db, "SELECT " QUEUE_ROW_RECIPIENT " FROM recipient r WHERE r.copy = $1 ORDER BY r.number",
        &copy, 1, take_recipient, &r, err);
    if (status == DB_OK && with_content && !r.is_large)
        status = db->ops->query(db, "SELECT data FROM body WHERE message = $1 ORDER BY part",
                                &message, 1, take_part, &r, err);
    const char *problem = find_problem(&r, with_content);
    r.ready->problem = problem == NULL ? NULL : mem_strdup(problem);
    if (with_content && !r.is_large)
        r.ready->message->content = buf_take(&r.content);
    if (status == DB_OK)
        *out = r.ready;
    else
        queue_ready_free(r.ready);
    return status;
}

/* --- what is due --- */

struct due_ids {
    int64_t *ids;
    size_t max, count;
};

static bool take_id(void *ctx, const struct db_value *columns)
{
    struct due_ids *d = ctx;

    if (d->count < d->max)
        d->ids[d->count++] = columns[0].number;
    return d->count < d->max;
}

static bool take_due(void *ctx, const struct db_value *columns)
{
    if (columns[0].type == DB_INT) /* a text counts as later than any number */
        *(time_t *)ctx = (time_t)columns[0].number;
    return false;
}

enum db_status queue_read_due(struct db *db, const char *destination, time_t now,
                              int64_t delay_max_s, int64_t *ids, size_t max, size_t *count_out,
                              time_t *next_out, struct err *err)
{
    struct due_ids found = {.ids = ids, .max = max};
    struct db_value values[] = {db_text(destination), db_int(now), db_int((int64_t)max)};

    enum db_status status = db->ops->query(
        db,
        "SELECT id FROM copy WHERE destination = $1 AND state = 'queued' AND due <= $2"
        " ORDER BY due, id LIMIT $3",
        values, 3, take_id, &found, err);
    if (status == DB_OK && found.count < max)
        status = db->ops->query(
            db,
            "SELECT due FROM copy WHERE destination = $1 AND state = 'queued' AND due > $2"
            " ORDER BY due LIMIT 1",
            values, 2, take_due, next_out, err);
    values[1] = db_int(now + delay_max_s);
    values[2] = db_int((int64_t)(max - found.count));
    if (status == DB_OK && found.count < max && delay_max_s > 0)
        status = db->ops->query(
            db,
            "SELECT id FROM copy WHERE destination = $1 AND state = 'queued' AND due > $2"
            " ORDER BY due, id LIMIT $3",
            values, 3, take_id, &found, err);
    *count_out = found.count;
    return status;
}
