/* SPDX-License-Identifier: ISC */
#include "queue/queue_reader.h"

#include "base/mem.h"
#include "queue/db.h"
#include "queue/large.h"
#include "queue/queue_count.h"
#include "queue/queue_id.h"
#include "queue/queue_row.h"
#include "queue/selection.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP 5000 /* rows that one transaction looks at */

struct queue_reader {
    struct db *db;       /* NULL: there is no database yet */
    struct large *large; /* NULL: not opened yet, or not there */
    char *spool_directory;
};

struct queue_reader *queue_reader_open(const char *spool_directory, const char *queue,
                                       struct err *err)
{
    struct queue_reader *r = mem_zalloc(sizeof *r);
    enum db_status status;
    bool is_missing = false;

    (void)queue; /* "sqlite" is the only engine */
    r->db = db_sqlite_open(spool_directory, DB_READ, &status, &is_missing, err);
    if (r->db == NULL && !is_missing) {
        free(r);
        return NULL;
    }
    r->spool_directory = mem_strdup(spool_directory);
    return r;
}

void queue_reader_close(struct queue_reader *r)
{
    if (r == NULL)
        return;
    if (r->db != NULL)
        r->db->ops->close(r->db);
    large_close(r->large);
    free(r->spool_directory);
    free(r);
}

/* --- copies --- */

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

static struct large *large_of(struct queue_reader *r, struct err *err)
{
    if (r->large == NULL)
        r->large = large_open(r->spool_directory, false, err);
    return r->large;
}

/* Why the content cannot be read; "" if it can. */
static void find_problem(struct queue_reader *r, int64_t message, uint64_t size, struct err *out)
{
    struct large *large = large_of(r, out);
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
    struct queue_entry entry = {
        .destination = columns[1].data,
        .place = queue_row_place(columns[2].data),
        .due = (time_t)columns[3].number,
        .message = &message,
        .attempts = (unsigned)columns[4].number,
        .problem = problem.text,
    };

    queue_id_format(columns[0].number, entry.id);
    queue_row_message(&columns[6], &message);
    if (read_recipients(l, columns[0].number) != 0) {
        l->has_failed = true;
        return false;
    }
    if (strcmp(columns[5].data, "file") == 0)
        find_problem(l->reader, queue_id_message(columns[0].number), message.size_bytes, &problem);
    entry.recipients = l->recipients;
    entry.recipient_count = l->recipient_count;
    l->found++;
    l->is_over = !l->each(l->ctx, &entry) || l->found == l->limit;
    return !l->is_over;
}

static int list_by_steps(struct listing *l, const struct queue_selection *selection,
                         bool (*progress)(void *ctx, uint64_t looked_at))
{
    struct db *db = l->reader->db;
    struct selection_sql where;
    struct buf sql = {0};
    uint64_t looked_at = 0;
    int64_t from = 0, to = 0;
    enum db_status status = DB_FAULT;

    if (selection_sql_copies(&where, selection, 3, l->err) == 0) {
        buf_addf(&sql,
                 "SELECT " COPY_COLUMNS QUEUE_ROW_MESSAGE
                 " FROM copy c JOIN message m ON m.id = c.message"
                 " WHERE c.id > $1 AND c.id <= $2 AND %s ORDER BY c.id",
                 buf_str(&where.condition));
        while ((status = queue_count_step(db, from, STEP, &to, l->err)) == DB_OK && to != 0 &&
               !l->is_over) {
            struct db_value values[DB_VALUES_MAX + 2] = {db_int(from), db_int(to)};
            memcpy(&values[2], where.values, where.count * sizeof values[0]);
            status = db->ops->query_text(db, buf_str(&sql), values, where.count + 2, tell_copy, l,
                                         l->err);
            looked_at += STEP;
            if (status != DB_OK || l->has_failed ||
                (progress != NULL && !progress(l->ctx, looked_at)))
                break;
            from = to;
        }
    }
    selection_sql_clear(&where);
    buf_clear(&sql);
    return status == DB_OK && !l->has_failed ? 0 : -1;
}

static int list_one(struct listing *l, const char *text)
{
    struct db *db = l->reader->db;
    struct db_value id;
    int64_t number;

    if (!queue_id_parse(text, &number)) {
        err_set(l->err, "'%s' is not the id of a copy", text);
        return -1;
    }
    id = db_int(number);
    enum db_status status =
        db->ops->query(db,
                       "SELECT " COPY_COLUMNS QUEUE_ROW_MESSAGE
                       " FROM copy c JOIN message m ON m.id = c.message WHERE c.id = $1",
                       &id, 1, tell_copy, l, l->err);
    return status == DB_OK && !l->has_failed ? 0 : -1;
}

int64_t queue_reader_list(struct queue_reader *r, const struct queue_selection *selection,
                          bool (*each)(void *ctx, const struct queue_entry *entry),
                          bool (*progress)(void *ctx, uint64_t looked_at), void *ctx,
                          struct err *err)
{
    struct listing l = {
        .reader = r, .each = each, .ctx = ctx, .err = err, .limit = selection->limit};

    if (r->db == NULL)
        return 0;
    int rc = selection->id != NULL ? list_one(&l, selection->id)
                                   : list_by_steps(&l, selection, progress);
    clear_recipients(&l);
    free(l.recipients);
    return rc == 0 ? (int64_t)l.found : -1;
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
    p->got = strcmp(columns[0].data, "file") == 0 ? -1 : 0;
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
    struct large *large = large_of(r, err);
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
    status = r->db->ops->query(
        r->db, "SELECT substr(data, $1, $2) FROM body WHERE message = $3 AND part = $4", values, 4,
        take_piece, &p, err);
    if (status == DB_OK && p.got == 0)
        err_set(err, "the copy %s is gone", id);
    return status == DB_OK && p.got > 0 ? p.got : -1;
}

/* --- counts and suspensions --- */

int queue_reader_depths(struct queue_reader *r, time_t now, struct queue_depths *out,
                        struct err *err)
{
    memset(out, 0, sizeof *out);
    return r->db == NULL ? 0 : queue_count(r->db, now, NULL, NULL, out, err);
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
    mem_copy_string(ctx, QUEUE_REASON_SIZE, columns[0].data);
    return false;
}

int queue_reader_last_reason(struct queue_reader *r, const char *destination,
                             char out[QUEUE_REASON_SIZE], struct err *err)
{
    const struct db_value name = db_text(destination);

    out[0] = '\0';
    if (r->db == NULL)
        return 0;
    return r->db->ops->query(r->db,
                             "SELECT r.reason FROM copy c JOIN recipient r ON r.copy = c.id"
                             " WHERE c.destination = $1 AND c.attempts > 0 AND r.reason <> ''"
                             " AND r.state <> 'sent' ORDER BY c.id DESC LIMIT 1",
                             &name, 1, take_reason, out, err) == DB_OK
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

/* --- history --- */

struct telling {
    bool (*each)(void *ctx, const struct queue_event *event);
    void *ctx;
    uint64_t limit, found;
    bool is_over;
};

static bool tell_event(void *ctx, const struct db_value *columns)
{
    struct telling *t = ctx;
    struct queue_event event = {
        .destination = columns[1].data,
        .time = (time_t)columns[2].number,
        .sender = columns[3].data,
        .recipients = columns[4].data,
        .message_id = columns[5].data,
        .mta_queue_id = columns[6].data,
        .size_bytes = (uint64_t)columns[7].number,
        .result = columns[8].data,
        .relay = columns[9].data,
        .reply = columns[10].data,
        .attempts = (unsigned)columns[11].number,
    };

    queue_id_format(columns[0].number, event.id);
    t->found++;
    t->is_over = !t->each(t->ctx, &event) || t->found == t->limit;
    return !t->is_over;
}

static bool take_range(void *ctx, const struct db_value *columns)
{
    int64_t *range = ctx;

    range[0] = columns[0].type == DB_NULL ? 0 : columns[0].number;
    range[1] = columns[1].type == DB_NULL ? -1 : columns[1].number;
    return false;
}

int64_t queue_reader_history(struct queue_reader *r, const struct queue_selection *selection,
                             bool (*each)(void *ctx, const struct queue_event *event),
                             bool (*progress)(void *ctx, uint64_t looked_at), void *ctx,
                             struct err *err)
{
    struct telling t = {.each = each, .ctx = ctx, .limit = selection->limit};
    struct selection_sql where;
    struct buf sql = {0};
    int64_t range[2] = {0, -1};
    uint64_t looked_at = 0;

    if (r->db == NULL)
        return 0;
    enum db_status status =
        r->db->ops->query(r->db,
                          "SELECT (SELECT min(number) FROM history), (SELECT max(number)"
                          " FROM history)",
                          NULL, 0, take_range, range, err);
    if (selection_sql_history(&where, selection, 3, err) != 0)
        status = DB_FAULT;
    buf_addf(&sql,
             "SELECT copy, destination, time, sender, recipients, message_id, mta_queue_id, size,"
             " result, relay, reply, attempts FROM history"
             " WHERE number > $1 AND number <= $2 AND %s ORDER BY number DESC",
             buf_str(&where.condition));
    for (int64_t to = range[1]; status == DB_OK && to >= range[0] && !t.is_over; to -= STEP) {
        struct db_value values[DB_VALUES_MAX + 2] = {db_int(to - STEP), db_int(to)};
        memcpy(&values[2], where.values, where.count * sizeof values[0]);
        status = r->db->ops->query_text(r->db, buf_str(&sql), values, where.count + 2, tell_event,
                                        &t, err);
        looked_at += STEP;
        if (progress != NULL && !progress(ctx, looked_at))
            break;
    }
    selection_sql_clear(&where);
    buf_clear(&sql);
    return status == DB_OK ? (int64_t)t.found : -1;
}
