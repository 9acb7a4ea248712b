/* SPDX-License-Identifier: ISC */
#include "queue/queue_count.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void queue_amount_add(struct queue_amount *sum, const struct queue_amount *a)
{
    sum->copies += a->copies;
    sum->bytes += a->bytes;
    if (a->oldest != 0 && (sum->oldest == 0 || a->oldest < sum->oldest))
        sum->oldest = a->oldest;
}

/* Return the entry of a destination, in the order of names. It is added if it is missing. */
static struct queue_depth *depth_of(struct queue_depths *depths, const char *name)
{
    char destination[QUEUE_DESTINATION_SIZE];
    size_t at = 0;

    /* A name that was written by hand may be longer, and is cut off. */
    snprintf(destination, sizeof destination, "%s", name);

    while (at < depths->count && strcmp(depths->items[at].destination, destination) < 0)
        at++;
    if (at < depths->count && strcmp(depths->items[at].destination, destination) == 0)
        return &depths->items[at];
    depths->items = mem_grow(depths->items, depths->count + 1, sizeof *depths->items);
    memmove(&depths->items[at + 1], &depths->items[at],
            (depths->count - at) * sizeof *depths->items);
    depths->count++;
    memset(&depths->items[at], 0, sizeof depths->items[at]);
    memcpy(depths->items[at].destination, destination, sizeof destination);
    return &depths->items[at];
}

static bool add_row(void *ctx, const struct db_value *columns)
{
    struct queue_depth *d = depth_of(ctx, db_string(&columns[0]));
    const struct queue_amount amount = {.copies = (uint64_t)columns[3].number,
                                        .bytes = (uint64_t)columns[4].number,
                                        .oldest = (time_t)columns[5].number};
    struct queue_amount *sum = &d->deferred;

    if (strcmp(db_string(&columns[1]), "held") == 0)
        sum = &d->held;
    else if (strcmp(db_string(&columns[1]), "dead") == 0)
        sum = &d->dead;
    else if (columns[2].number != 0)
        sum = &d->due;
    queue_amount_add(sum, &amount);
    if (columns[6].type != DB_NULL && columns[6].number > d->tried)
        d->tried = columns[6].number;
    return true;
}

enum db_status queue_count_step(struct db *db, int64_t after, int64_t count, int64_t *last_out,
                                struct err *err)
{
    const struct db_value values[] = {db_int(after), db_int(count)};

    return db_get_number(
        db, "SELECT max(id) FROM (SELECT id FROM copy WHERE id > $1 ORDER BY id LIMIT $2) AS next",
        values, 2, last_out, err);
}

int queue_count(struct db *db, time_t now, bool (*go_on)(void *ctx), void *ctx,
                struct queue_depths *out, struct err *err)
{
    enum db_status status;
    int64_t from = 0, to;

    memset(out, 0, sizeof *out);
    while ((status = queue_count_step(db, from, QUEUE_COUNT_STEP, &to, err)) == DB_OK && to != 0) {
        const struct db_value values[] = {db_int(now), db_int(from), db_int(to)};
        status = db->ops->query(
            db,
            "SELECT c.destination, c.state, CASE WHEN c.due <= $1 THEN 1 ELSE 0 END, count(*),"
            " CAST(sum(CASE WHEN m.size BETWEEN 0 AND 1099511627776 THEN m.size END) AS BIGINT), "
            "CAST(min(m.arrival) AS BIGINT),"
            " max(CASE WHEN c.attempts > 0 OR c.state = 'dead' THEN c.id END)"
            " FROM copy c LEFT JOIN message m ON m.id = c.message WHERE c.id > $2 AND c.id <= $3"
            " GROUP BY 1, 2, 3",
            values, 3, add_row, out, err);
        if (status != DB_OK || (go_on != NULL && !go_on(ctx)))
            break;
        from = to;
    }
    if (status == DB_OK && to == 0)
        return 0;
    free(out->items);
    memset(out, 0, sizeof *out);
    return status == DB_OK ? 0 : -1;
}

struct suspensions {
    struct queue_suspension *items;
    size_t count;
};

static bool add_suspension(void *ctx, const struct db_value *columns)
{
    struct suspensions *s = ctx;

    s->items = mem_grow(s->items, s->count + 1, sizeof *s->items);
    struct queue_suspension *item = &s->items[s->count++];
    memset(item, 0, sizeof *item);
    snprintf(item->destination, sizeof item->destination, "%s", db_string(&columns[0]));
    item->since = (time_t)columns[1].number;
    item->until = (time_t)columns[2].number;
    snprintf(item->reason, sizeof item->reason, "%s", db_string(&columns[3]));
    return true;
}

enum db_status queue_count_suspended(struct db *db, struct queue_suspension **out,
                                     size_t *count_out, struct err *err)
{
    struct suspensions s = {0};

    enum db_status status = db->ops->query(
        db, "SELECT destination, since, until, reason FROM suspended ORDER BY destination", NULL, 0,
        add_suspension, &s, err);
    if (status != DB_OK) {
        free(s.items);
        s = (struct suspensions){0};
    }
    *out = s.items;
    *count_out = s.count;
    return status;
}
