/* SPDX-License-Identifier: ISC */
#include "queue/queue_reader_private.h"

#include "base/clock.h"
#include "queue/queue_id.h"
#include "queue/selection.h"

#include <string.h>

struct telling {
    struct queue_reader *reader;
    bool (*each)(void *ctx, const struct queue_event *event);
    void *ctx;
    uint64_t limit, found;
    bool is_over;
};

static bool tell_event(void *ctx, const struct db_value *columns)
{
    struct telling *t = ctx;
    struct queue_event event = {
        .destination = db_string(&columns[1]),
        .time = (time_t)columns[2].number,
        .sender = db_string(&columns[3]),
        .recipients = db_string(&columns[4]),
        .message_id = db_string(&columns[5]),
        .mta_queue_id = db_string(&columns[6]),
        .size_bytes = (uint64_t)columns[7].number,
        .result = db_string(&columns[8]),
        .relay = db_string(&columns[9]),
        .reply = db_string(&columns[10]),
        .attempts = (unsigned)columns[11].number,
        .number = columns[12].number,
    };

    queue_id_format(columns[0].number, event.id);
    t->found++;
    t->is_over = !t->each(t->ctx, &event) || t->found == t->limit;
    t->reader->position = event.number;
    return !t->is_over;
}

static bool take_range(void *ctx, const struct db_value *columns)
{
    int64_t *range = ctx;

    range[0] = columns[0].type == DB_NULL ? 0 : columns[0].number;
    range[1] = columns[1].type == DB_NULL ? -1 : columns[1].number;
    return false;
}

/* Read the rows with numbers up to `to`, and from `from` on. Returns the status of the last
 * statement. */
static enum db_status read_steps(struct queue_reader *r, const struct selection_sql *where,
                                 int64_t from, int64_t to, struct telling *t,
                                 queue_reader_progress *progress, struct err *err)
{
    const uint64_t total = r->is_watched ? 0 : (uint64_t)(to + 1 - from);
    enum db_status status = DB_OK;
    uint64_t looked_at = 0;
    struct buf sql = {0};

    buf_addf(&sql,
             "SELECT copy, destination, time, sender, recipients, message_id, mta_queue_id, size,"
             " result, relay, reply, attempts, number FROM history"
             " WHERE number > $1 AND number <= $2 AND %s ORDER BY number DESC",
             buf_str(&where->condition));
    queue_reader_begin_steps(r);
    for (r->position = to + 1; to >= from; to = r->position - 1) {
        struct db_value values[DB_VALUES_MAX + 2] = {db_int(to - r->step), db_int(to)};
        int64_t began_ms = clock_now_ms();
        memcpy(&values[2], where->values, where->count * sizeof values[0]);
        status = r->db->ops->query_text(r->db, buf_str(&sql), values, where->count + 2, tell_event,
                                        t, err);
        if (status != DB_OK || t->is_over)
            break;
        r->position = to - r->step >= from ? to - r->step + 1 : from;
        looked_at += (uint64_t)r->step;
        if (progress != NULL &&
            !progress(t->ctx, total > 0 && looked_at > total ? total : looked_at, total))
            break;
        queue_reader_end_step(r, began_ms);
    }
    buf_clear(&sql);
    return status;
}

int64_t queue_reader_history(struct queue_reader *r, const struct queue_selection *selection,
                             bool (*each)(void *ctx, const struct queue_event *event),
                             queue_reader_progress *progress, void *ctx, struct err *err)
{
    struct telling t = {.reader = r, .each = each, .ctx = ctx, .limit = selection->limit};
    struct selection_sql where;
    int64_t range[2] = {0, -1};

    if (r->db == NULL)
        return 0;
    r->position = selection->before;
    enum db_status status =
        r->db->ops->query(r->db,
                          "SELECT (SELECT min(number) FROM history), (SELECT max(number)"
                          " FROM history)",
                          NULL, 0, take_range, range, err);
    if (selection->before > 0 && selection->before <= range[1])
        range[1] = selection->before - 1;
    if (selection_sql_history(&where, selection, 3, err) != 0)
        status = DB_FAULT;
    if (status == DB_OK)
        status = read_steps(r, &where, range[0], range[1], &t, progress, err);
    selection_sql_clear(&where);
    return status == DB_OK ? (int64_t)t.found : -1;
}
