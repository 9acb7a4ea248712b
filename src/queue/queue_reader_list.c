/* SPDX-License-Identifier: ISC */
#include "queue/queue_reader_private.h"

#include "base/mem.h"
#include "queue/queue_count.h"
#include "queue/queue_id.h"
#include "queue/queue_row.h"
#include "queue/selection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct listing {
    struct queue_reader *reader;
    bool (*each)(void *ctx, const struct queue_entry *entry);
    void *ctx;
    struct err *err;
    uint64_t limit, found; /* limit 0: none */
    bool is_over, has_failed;
    struct queue_recipient *recipients;
    size_t recipient_count, recipient_cap;
};

static bool add_recipient(void *ctx, const struct db_value *columns)
{
    struct listing *l = ctx;

    if (l->recipient_count == l->recipient_cap) {
        l->recipient_cap = l->recipient_cap == 0 ? 16 : 2 * l->recipient_cap;
        l->recipients = mem_grow(l->recipients, l->recipient_cap, sizeof *l->recipients);
    }
    queue_row_recipient(columns, &l->recipients[l->recipient_count++]);
    return true;
}

static void clear_recipients(struct listing *l)
{
    for (size_t i = 0; i < l->recipient_count; i++) {
        free(l->recipients[i].address);
        free(l->recipients[i].orcpt);
    }
    l->recipient_count = 0;
}

static int read_recipients(struct listing *l, int64_t copy)
{
    const struct db_value id = db_int(copy);
    struct db *db = l->reader->db;

    clear_recipients(l);
    return db->ops->query(
               db, "SELECT " QUEUE_ROW_RECIPIENT " FROM recipient WHERE copy = $1 ORDER BY number",
               &id, 1, add_recipient, l, l->err) == DB_OK
               ? 0
               : -1;
}

#define COPY_COLUMNS "c.id, c.destination, c.state, c.due, c.attempts, m.body_at, "

/* Why the content cannot be read; "" if it can. */
static void find_problem(struct queue_reader *r, int64_t message, uint64_t size, struct err *out)
{
    struct large *large = queue_reader_large(r, out);
    int fd = large == NULL ? -1 : large_read(large, message, size, out);

    if (fd == -1)
        return;
    out->text[0] = '\0';
    close(fd);
}

static bool tell_copy(void *ctx, const struct db_value *columns)
{
    struct listing *l = ctx;
    struct queue_message message;
    struct err problem = {""};
    char destination[QUEUE_DESTINATION_SIZE];
    struct queue_entry entry = {
        .destination = destination,
        .place = queue_row_place(db_string(&columns[2])),
        .due = (time_t)columns[3].number,
        .message = &message,
        .attempts = (unsigned)columns[4].number,
        .problem = problem.text,
    };

    snprintf(destination, sizeof destination, "%s",
             db_string(&columns[1])); /* may be written by hand */
    queue_id_format(columns[0].number, entry.id);
    queue_row_message(&columns[6], &message);
    l->has_failed = read_recipients(l, columns[0].number) != 0;
    l->is_over |= l->has_failed;
    if (l->has_failed)
        return false;
    if (columns[5].type == DB_NULL)
        err_set(&problem, "its message is missing in the database");
    else if (strcmp(db_string(&columns[5]), "file") == 0)
        find_problem(l->reader, queue_id_message(columns[0].number), message.size_bytes, &problem);
    entry.recipients = l->recipients;
    entry.recipient_count = l->recipient_count;
    l->found++;
    l->is_over = !l->each(l->ctx, &entry) || l->found == l->limit;
    return !l->is_over;
}

/* --- selecting --- */

/* "SELECT columns" of the copies with ids above $1 and up to $2 that are selected. -1 with `err`.
 */
static int make_query(const char *columns, const char *order,
                      const struct queue_selection *selection, struct selection_sql *where,
                      struct buf *sql, struct err *err)
{
    if (selection_sql_copies(where, selection, 3, err) != 0)
        return -1;
    buf_addf(sql,
             "SELECT %s FROM copy c LEFT JOIN message m ON m.id = c.message"
             " WHERE c.id > $1 AND c.id <= $2 AND %s%s",
             columns, buf_str(&where->condition), order);
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
    const char *columns, *order;
    bool (*row)(void *ctx, const struct db_value *columns);
    void *row_ctx;
    const bool *is_over;
    queue_reader_progress *progress;
    void *progress_ctx;
};

/* Read in steps of ids. A selection with an id takes one step. -1 with `err`. */
static int read_by_steps(struct queue_reader *r, const struct queue_selection *selection,
                         const struct reading *reading, struct err *err)
{
    struct selection_sql where;
    struct buf sql = {0};
    uint64_t looked_at = 0;
    int64_t from = 0, to = 0;
    enum db_status status = DB_FAULT;

    if (make_query(reading->columns, reading->order, selection, &where, &sql, err) == 0) {
        if (selection->id != NULL && queue_id_parse(selection->id, &to))
            status = query_range(r, &sql, &where, to - 1, to, reading->row, reading->row_ctx, err);
        while (selection->id == NULL &&
               (status = queue_count_step(r->db, from, QUEUE_COUNT_STEP, &to, err)) == DB_OK &&
               to != 0) {
            status = query_range(r, &sql, &where, from, to, reading->row, reading->row_ctx, err);
            looked_at += QUEUE_COUNT_STEP;
            if (status != DB_OK || *reading->is_over ||
                !queue_reader_tell(r, reading->progress, reading->progress_ctx, looked_at))
                break;
            from = to;
        }
    }
    selection_sql_clear(&where);
    buf_clear(&sql);
    return status == DB_OK ? 0 : -1;
}

int64_t queue_reader_list(struct queue_reader *r, const struct queue_selection *selection,
                          bool (*each)(void *ctx, const struct queue_entry *entry),
                          queue_reader_progress *progress, void *ctx, struct err *err)
{
    struct listing l = {
        .reader = r, .each = each, .ctx = ctx, .err = err, .limit = selection->limit};
    const struct reading reading = {.columns = COPY_COLUMNS QUEUE_ROW_MESSAGE,
                                    .order = " ORDER BY c.id",
                                    .row = tell_copy,
                                    .row_ctx = &l,
                                    .is_over = &l.is_over,
                                    .progress = progress,
                                    .progress_ctx = ctx};

    if (r->db == NULL)
        return 0;
    int rc = read_by_steps(r, selection, &reading, err);
    clear_recipients(&l);
    free(l.recipients);
    return rc == 0 && !l.has_failed ? (int64_t)l.found : -1;
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
    const struct reading reading = {.columns = "count(*)",
                                    .order = "",
                                    .row = add_count,
                                    .row_ctx = &c,
                                    .is_over = &c.is_over,
                                    .progress = progress,
                                    .progress_ctx = ctx};

    if (r->db == NULL)
        return 0;
    return read_by_steps(r, selection, &reading, err) == 0 ? c.found : -1;
}
