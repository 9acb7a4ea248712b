/* SPDX-License-Identifier: ISC */
#include "queue/queue_reader_private.h"

#include "queue/queue_id.h"
#include "queue/selection.h"

#include <string.h>

#define STEP 5000 /* rows of a transaction */

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
                             queue_reader_progress *progress, void *ctx, struct err *err)
{
    struct telling t = {.each = each, .ctx = ctx, .limit = selection->limit};
    struct selection_sql where;
    struct buf sql = {0};
    int64_t range[2] = {0, -1};
    uint64_t looked_at = 0, total;

    if (r->db == NULL)
        return 0;
    enum db_status status =
        r->db->ops->query(r->db,
                          "SELECT (SELECT min(number) FROM history), (SELECT max(number)"
                          " FROM history)",
                          NULL, 0, take_range, range, err);
    total = (uint64_t)(range[1] + 1 - range[0]);
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
        if (progress != NULL && !progress(ctx, looked_at < total ? looked_at : total, total))
            break;
    }
    selection_sql_clear(&where);
    buf_clear(&sql);
    return status == DB_OK ? (int64_t)t.found : -1;
}
