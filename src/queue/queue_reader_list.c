/* SPDX-License-Identifier: ISC */
#include "queue/queue_reader_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "queue/queue_count.h"
#include "queue/queue_private.h"
#include "queue/queue_row.h"
#include "queue/selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A copy and its recipients are read as one row for each recipient. */
#define COLUMNS                                                                                    \
    "c.id, c.destination, c.state, c.due, c.attempts, m.body_at,"                                  \
    " CASE WHEN c.owner IN (SELECT name FROM alive) THEN c.owner END, "                            \
    "c.ordered, " QUEUE_ROW_MESSAGE ", " QUEUE_ROW_RECIPIENT
#define MESSAGE_AT 8
#define RECIPIENT_AT (MESSAGE_AT + QUEUE_ROW_MESSAGE_COLUMNS)

struct listing {
    struct queue_reader *reader;
    bool (*each)(void *ctx, const struct queue_entry *entry);
    void *ctx;
    uint64_t limit, found; /* limit 0: none */
    bool is_over;

    /* The copy whose rows are being read. */
    struct queue_stored *message; /* NULL: none */
    int64_t id;
    char destination[QUEUE_DESTINATION_SIZE], owner[256], ordered[QUEUE_DESTINATION_SIZE + 16];
    struct queue_entry entry;
    bool is_message_there, is_large;
    struct queue_recipient *recipients;
    size_t recipient_count, recipient_cap;
};

/* Set *out to the reason why the content cannot be read, or to "" if it can. */
static void find_problem(const struct listing *l, struct err *out)
{
    uint64_t size = l->message->message.size_bytes;

    out->text[0] = '\0';
    if (!l->is_message_there)
        err_set(out, "its message is missing in the database");
    if (!l->is_message_there || !l->is_large)
        return;
    struct large *large = queue_reader_large(l->reader, out);
    int fd = large == NULL ? -1 : large_read(large, l->message->id, size, out);
    if (fd == -1)
        return;
    out->text[0] = '\0';
    close(fd);
}

static void begin_copy(struct listing *l, const struct db_value *columns)
{
    struct queue_message message;

    queue_row_message(&columns[MESSAGE_AT], &message);
    l->id = columns[0].number;
    l->message = queue_stored_new(queue_id_message(l->id), &message);
    /* Texts that were written by hand may be longer, and are cut off. */
    snprintf(l->destination, sizeof l->destination, "%s", db_string(&columns[1]));
    snprintf(l->owner, sizeof l->owner, "%s", db_string(&columns[6]));
    snprintf(l->ordered, sizeof l->ordered, "%s", db_string(&columns[7]));
    l->entry = (struct queue_entry){.destination = l->destination,
                                    .owner = l->owner,
                                    .ordered = l->ordered,
                                    .place = queue_row_place(db_string(&columns[2])),
                                    .due = (time_t)columns[3].number,
                                    .attempts = (unsigned)columns[4].number};
    queue_id_format(l->id, l->entry.id);
    l->is_message_there = columns[5].type != DB_NULL;
    l->is_large = strcmp(db_string(&columns[5]), "file") == 0;
}

/* Forget the copy that has been read, if there is one. */
static void forget_copy(struct listing *l)
{
    for (size_t i = 0; i < l->recipient_count; i++) {
        free(l->recipients[i].address);
        free(l->recipients[i].orcpt);
    }
    l->recipient_count = 0;
    queue_stored_unref(l->message);
    l->message = NULL;
}

/* Call each() for the copy that has been read, if there is one, and forget it. */
static void end_copy(void *ctx)
{
    struct listing *l = ctx;
    struct err problem;

    if (l->message == NULL)
        return;
    find_problem(l, &problem);
    l->entry.message = &l->message->message;
    l->entry.recipients = l->recipients;
    l->entry.recipient_count = l->recipient_count;
    l->entry.problem = problem.text;
    l->found++;
    l->is_over = !l->each(l->ctx, &l->entry) || l->found == l->limit;
    l->reader->position = l->id;
    forget_copy(l);
}

static bool take_row(void *ctx, const struct db_value *columns)
{
    struct listing *l = ctx;

    if (l->message == NULL || l->id != columns[0].number) {
        end_copy(l);
        if (l->is_over)
            return false;
        begin_copy(l, columns);
    }
    if (columns[RECIPIENT_AT].type == DB_NULL)
        return true;
    if (l->recipient_count == l->recipient_cap) {
        l->recipient_cap = l->recipient_cap == 0 ? 16 : 2 * l->recipient_cap;
        l->recipients = mem_grow(l->recipients, l->recipient_cap, sizeof *l->recipients);
    }
    queue_row_recipient(&columns[RECIPIENT_AT], &l->recipients[l->recipient_count++]);
    return true;
}

/* --- selecting --- */

/* Make the query for those selected copies whose ids are above $1 and not above $2. It gives their
 * rows or, with is_count, their number. -1 with `err`. */
static int make_query(bool is_count, const struct queue_selection *selection,
                      struct selection_sql *where, struct buf *sql, struct err *err)
{
    if (selection_sql_copies(where, selection, 3, err) != 0)
        return -1;
    buf_addf(sql,
             "SELECT %s FROM copy c LEFT JOIN message m ON m.id = c.message%s"
             " WHERE c.id > $1 AND c.id <= $2 AND %s%s",
             is_count ? "count(*)" : COLUMNS,
             is_count ? "" : " LEFT JOIN recipient r ON r.copy = c.id", buf_str(&where->condition),
             is_count ? "" : " ORDER BY c.id, r.number");
    return 0;
}

static enum db_status query_range(struct queue_reader *r, const struct buf *sql,
                                  const struct selection_sql *where, int64_t from, int64_t to,
                                  bool (*row)(void *ctx, const struct db_value *columns), void *ctx,
                                  struct err *err)
{
    struct db_value values[DB_VALUES_MAX + 2] = {db_int(from), db_int(to)};

    memcpy(&values[2], where->values, where->count * sizeof values[0]);
    return r->db->ops->query_text(r->db, buf_str(sql), values, where->count + 2, row, ctx, err);
}

/* The common part of all readings. is_over: the row function needs no more rows. */
struct reading {
    bool is_count;
    bool (*row)(void *ctx, const struct db_value *columns);
    void (*end)(void *ctx); /* called at the end of a step with row_ctx; NULL: not needed */
    void *row_ctx;
    const bool *is_over;
    queue_reader_progress *progress;
    void *progress_ctx;
};

/* Read the copies above `from`. Returns the status of the last statement. */
static enum db_status read_steps(struct queue_reader *r, const struct buf *sql,
                                 const struct selection_sql *where, int64_t from,
                                 const struct reading *reading, struct err *err)
{
    enum db_status status;
    uint64_t looked_at = 0;
    int64_t to;

    queue_reader_begin_steps(r);
    for (r->position = from;; from = to) {
        int64_t began_ms = clock_now_ms();
        status = queue_count_step(r->db, from, r->step, &to, err);
        if (status != DB_OK || to == 0)
            return status;
        status = query_range(r, sql, where, from, to, reading->row, reading->row_ctx, err);
        if (status == DB_OK && reading->end != NULL)
            reading->end(reading->row_ctx);
        looked_at += (uint64_t)r->step;
        if (status != DB_OK || *reading->is_over)
            return status;
        r->position = to;
        if (!queue_reader_tell(r, reading->progress, reading->progress_ctx, looked_at))
            return status;
        queue_reader_end_step(r, began_ms);
    }
}

/* Read in steps of ids. A selection with an id takes one step. -1 with `err`. */
static int read_by_steps(struct queue_reader *r, const struct queue_selection *selection,
                         const struct reading *reading, struct err *err)
{
    struct selection_sql where;
    struct buf sql = {0};
    int64_t from = 0, id;
    enum db_status status = DB_FAULT;

    if (selection->after != NULL && !queue_id_parse(selection->after, &from)) {
        err_set(err, "'%s' is not the id of a copy", selection->after);
        return -1;
    }
    if (make_query(reading->is_count, selection, &where, &sql, err) == 0) {
        if (selection->id == NULL)
            status = read_steps(r, &sql, &where, from, reading, err);
        else if (queue_id_parse(selection->id, &id))
            status = query_range(r, &sql, &where, id - 1, id, reading->row, reading->row_ctx, err);
    }
    selection_sql_clear(&where);
    buf_clear(&sql);
    return status == DB_OK ? 0 : -1;
}

int64_t queue_reader_list(struct queue_reader *r, const struct queue_selection *selection,
                          bool (*each)(void *ctx, const struct queue_entry *entry),
                          queue_reader_progress *progress, void *ctx, struct err *err)
{
    struct listing l = {.reader = r, .each = each, .ctx = ctx, .limit = selection->limit};
    const struct reading reading = {.row = take_row,
                                    .end = end_copy,
                                    .row_ctx = &l,
                                    .is_over = &l.is_over,
                                    .progress = progress,
                                    .progress_ctx = ctx};

    if (r->db == NULL)
        return 0;
    int rc = read_by_steps(r, selection, &reading, err);
    if (rc == 0)
        end_copy(&l);
    forget_copy(&l);
    free(l.recipients);
    return rc == 0 ? (int64_t)l.found : -1;
}

struct count {
    int64_t found, limit; /* limit 0: none */
    bool is_over;
};

static bool add_count(void *ctx, const struct db_value *columns)
{
    struct count *c = ctx;

    c->found += columns[0].number;
    if (c->limit > 0 && c->found >= c->limit) {
        c->found = c->limit;
        c->is_over = true;
    }
    return false;
}

int64_t queue_reader_count(struct queue_reader *r, const struct queue_selection *selection,
                           queue_reader_progress *progress, void *ctx, struct err *err)
{
    struct count c = {.limit = (int64_t)selection->limit};
    const struct reading reading = {.is_count = true,
                                    .row = add_count,
                                    .row_ctx = &c,
                                    .is_over = &c.is_over,
                                    .progress = progress,
                                    .progress_ctx = ctx};

    if (r->db == NULL)
        return 0;
    return read_by_steps(r, selection, &reading, err) == 0 ? c.found : -1;
}
