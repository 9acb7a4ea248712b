/* SPDX-License-Identifier: ISC */
#include "queue/queue_reader_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "config/config_queue.h"
#include "queue/db_pgsql.h"
#include "queue/queue_count.h"
#include "queue/queue_id.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The steps of a reader that is watched grow while a step takes less than SHORT_MS, and shrink when
 * one takes more than LONG_MS. */
#define STEP_MIN 10
#define STEP_SHORT_MS 100
#define STEP_LONG_MS 500
#define TEXT_OF(number) TEXT_OF_(number)
#define TEXT_OF_(number) #number

static struct db *open_postgresql(const char *program, const char *uri, bool *is_missing_out,
                                  struct err *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    const struct db_pgsql_options options = {
        .uri = uri, .node = host, .program = program, .access = DB_READ};
    enum db_status status;

    (void)gethostname(host, sizeof host - 1);
    return db_pgsql_open(&options, &status, is_missing_out, err);
}

struct queue_reader *queue_reader_open(const char *spool_directory, const char *queue,
                                       struct err *err)
{
    return queue_reader_open_for("splitctl", spool_directory, queue, err);
}

struct queue_reader *queue_reader_open_for(const char *program, const char *spool_directory,
                                           const char *queue, struct err *err)
{
    struct queue_reader *r = mem_zalloc(sizeof *r);
    bool is_missing = false, is_file = !config_queue_is_postgresql(queue);
    enum db_status status;
    struct stat st;

    r->db = is_file ? db_sqlite_open(spool_directory, DB_READ, &status, &is_missing, err)
                    : open_postgresql(program, queue, &is_missing, err);
    if (is_file && is_missing && stat(spool_directory, &st) != 0) {
        err_set_errno(err, "%s", spool_directory);
        is_missing = false;
    }
    if (r->db == NULL && !is_missing) {
        free(r);
        return NULL;
    }
    r->bare = is_missing ? r->db : NULL;
    r->db = is_missing ? NULL : r->db;
    r->spool_directory = mem_strdup(spool_directory);
    return r;
}

void queue_reader_close(struct queue_reader *r)
{
    if (r == NULL)
        return;
    if (r->db != NULL)
        r->db->ops->close(r->db);
    if (r->bare != NULL)
        r->bare->ops->close(r->bare);
    large_close(r->large);
    free(r->spool_directory);
    free(r);
}

void queue_reader_watch(struct queue_reader *r, bool (*goes_on)(void *ctx), void *ctx)
{
    struct err ignored;
    uint64_t changed;

    r->is_watched = true;
    if (r->db == NULL)
        return;
    if (!r->db->is_shared) {
        db_sqlite_watch(r->db, goes_on, ctx);
        return;
    }
    (void)r->db->ops->run(r->db, "SET statement_timeout = " TEXT_OF(QUEUE_READER_STATEMENT_MS),
                          NULL, 0, &changed, &ignored);
    db_pgsql_watch(r->db, goes_on, ctx);
}

void queue_reader_begin_steps(struct queue_reader *r)
{
    r->step = r->is_watched ? STEP_MIN : QUEUE_COUNT_STEP;
}

void queue_reader_end_step(struct queue_reader *r, int64_t began_ms)
{
    int64_t took_ms = clock_now_ms() - began_ms;

    if (r->is_watched && took_ms < STEP_SHORT_MS)
        r->step = r->step > QUEUE_COUNT_STEP / 4 ? QUEUE_COUNT_STEP : r->step * 4;
    else if (r->is_watched && took_ms > STEP_LONG_MS)
        r->step = r->step < STEP_MIN * 4 ? STEP_MIN : r->step / 4;
}

int64_t queue_reader_position(const struct queue_reader *r)
{
    return r->position;
}

struct large *queue_reader_large(struct queue_reader *r, struct err *err)
{
    if (r->large == NULL)
        r->large = large_open(r->spool_directory, false, err);
    return r->large;
}

/* --- a content --- */

struct piece {
    uint64_t at;
    size_t size;
    void *data;
    uint64_t content_size;
    ssize_t got; /* -1: not in the database */
    bool is_there;
};

static bool take_place(void *ctx, const struct db_value *columns)
{
    struct piece *p = ctx;

    p->is_there = true;
    p->content_size = (uint64_t)columns[1].number;
    p->got = strcmp(db_string(&columns[0]), "file") == 0 ? -1 : 0;
    return false;
}

static bool take_piece(void *ctx, const struct db_value *columns)
{
    struct piece *p = ctx;

    p->got = (ssize_t)(columns[0].len < p->size ? columns[0].len : p->size);
    memcpy(p->data, columns[0].data, (size_t)p->got);
    return false;
}

static ssize_t read_file(struct queue_reader *r, int64_t message, const struct piece *p,
                         struct err *err)
{
    struct large *large = queue_reader_large(r, err);
    int fd = large == NULL ? -1 : large_read(large, message, p->content_size, err);

    if (fd == -1)
        return -1;
    ssize_t n = pread(fd, p->data, p->size, (off_t)p->at);
    if (n < 0)
        err_set_errno(err, "cannot read the content");
    close(fd);
    return n;
}

ssize_t queue_reader_content(struct queue_reader *r, const char *id, uint64_t at, void *data,
                             size_t size, struct err *err)
{
    struct piece p = {.at = at, .size = size, .data = data};
    struct db_value values[4];
    int64_t copy;

    if (r->db == NULL || !queue_id_parse(id, &copy)) {
        err_set(err, "there is no copy %s", id);
        return -1;
    }
    values[0] = db_int(queue_id_message(copy));
    enum db_status status = r->db->ops->query(
        r->db, "SELECT body_at, size FROM message WHERE id = $1", values, 1, take_place, &p, err);
    if (status == DB_OK && !p.is_there) {
        err_set(err, "the copy %s is gone", id);
        return -1;
    }
    if (status != DB_OK)
        return -1;
    if (at >= p.content_size)
        return 0;
    if (p.got == -1)
        return read_file(r, queue_id_message(copy), &p, err);
    size_t offset = (size_t)(at % DB_BODY_PART_BYTES);
    values[0] = db_int((int64_t)offset + 1);
    values[1] = db_int((int64_t)(size < DB_BODY_PART_BYTES ? size : DB_BODY_PART_BYTES));
    values[2] = db_int(queue_id_message(copy));
    values[3] = db_int((int64_t)(at / DB_BODY_PART_BYTES));
    status =
        r->db->ops->query(r->db,
                          "SELECT substr(data, CAST($1 AS INTEGER), CAST($2 AS INTEGER)) FROM body"
                          " WHERE message = $3 AND part = $4",
                          values, 4, take_piece, &p, err);
    if (status == DB_OK && p.got == 0)
        err_set(err, "the copy %s is gone", id);
    return status == DB_OK && p.got > 0 ? p.got : -1;
}

/* --- counts and suspensions --- */

/* The context of tell_count(), which queue_count() calls as go_on: it calls `progress`. */
struct counting {
    struct queue_reader *reader;
    queue_reader_progress *progress;
    void *ctx;
    uint64_t looked_at;
};

static bool tell_count(void *ctx)
{
    struct counting *c = ctx;

    c->looked_at += QUEUE_COUNT_STEP;
    return queue_reader_tell(c->reader, c->progress, c->ctx, c->looked_at);
}

int queue_reader_depths(struct queue_reader *r, time_t now, queue_reader_progress *progress,
                        void *ctx, struct queue_depths *out, struct err *err)
{
    struct counting counting = {.reader = r, .progress = progress, .ctx = ctx};

    memset(out, 0, sizeof *out);
    return r->db == NULL ? 0 : queue_count(r->db, now, tell_count, &counting, out, err);
}

bool queue_reader_tell(struct queue_reader *r, queue_reader_progress *progress, void *ctx,
                       uint64_t looked_at)
{
    struct err ignored;
    int64_t total;

    if (progress == NULL)
        return true;
    if (r->is_watched)
        return progress(ctx, looked_at, 0);
    if (r->total == 0)
        if (db_get_number(r->db, "SELECT count(*) FROM copy", NULL, 0, &total, &ignored) == DB_OK)
            r->total = (uint64_t)total;
    return progress(ctx, looked_at < r->total ? looked_at : r->total, r->total);
}

int queue_reader_free_bytes(struct queue_reader *r, uint64_t *out, struct err *err)
{
    struct db_figures figures = {0};

    if (r->db != NULL && r->db->ops->figures(r->db, &figures, err) != DB_OK)
        return -1;
    *out = figures.free_bytes;
    return 0;
}

static bool take_reason(void *ctx, const struct db_value *columns)
{
    /* A text that was written by hand may be longer, and is cut off. */
    snprintf(ctx, QUEUE_REASON_SIZE, "%s", db_string(&columns[0]));
    return false;
}

int queue_reader_last_reason(struct queue_reader *r, int64_t copy, char out[QUEUE_REASON_SIZE],
                             struct err *err)
{
    const struct db_value id = db_int(copy);

    out[0] = '\0';
    if (r->db == NULL)
        return 0;
    return r->db->ops->query(r->db,
                             "SELECT reason FROM recipient WHERE copy = $1 AND reason <> ''"
                             " AND state <> 'sent' ORDER BY number LIMIT 1",
                             &id, 1, take_reason, out, err) == DB_OK
               ? 0
               : -1;
}

int queue_reader_suspensions(struct queue_reader *r, struct queue_suspension **out,
                             size_t *count_out, struct err *err)
{
    *out = NULL;
    *count_out = 0;
    return r->db == NULL || queue_count_suspended(r->db, out, count_out, err) == DB_OK ? 0 : -1;
}
