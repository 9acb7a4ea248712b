/* SPDX-License-Identifier: ISC */
/* The document "status": destinations with their numbers, suspensions and rates; nodes. */
#include "relay/relay_api_private.h"

#include "base/json_value.h"
#include "queue/queue_count.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the document is made from. */
struct facts {
    struct relay_api *api;
    time_t now;
    struct relay_api_destination *configured;
    size_t configured_count;
    struct queue_depths depths;
    struct queue_suspension *orders;
    size_t order_count;
    struct queue_nodes nodes;
    struct queue_reader *reader; /* NULL: the queue cannot be read */
    struct err problem;          /* "" or why a part is missing */
};

static const struct queue_depth *find_depth(const struct facts *f, const char *name)
{
    for (size_t i = 0; i < f->depths.count; i++)
        if (strcmp(f->depths.items[i].destination, name) == 0)
            return &f->depths.items[i];
    return NULL;
}

static const struct queue_suspension *find_order(const struct facts *f, const char *name)
{
    for (size_t i = 0; i < f->order_count; i++) {
        const struct queue_suspension *s = &f->orders[i];
        if (strcmp(s->destination, name) == 0 && (s->until == 0 || s->until > f->now))
            return s;
    }
    return NULL;
}

static json_t *suspension_json(time_t since, time_t until, const char *reason)
{
    json_t *o = json_object();

    json_value_set(o, "since", relay_api_time(since));
    json_value_set(o, "until", relay_api_time(until));
    json_value_set(o, "reason", json_value_text(reason));
    return o;
}

static json_t *periods_json(const int64_t periods[RELAY_RATES_SLOTS])
{
    json_t *array = json_array();

    for (size_t i = 0; i < RELAY_RATES_SLOTS; i++)
        json_value_append(array, json_integer(periods[i]));
    return array;
}

/* Set the numbers of copies. As in `splitctl status`, due copies of a suspended destination are
 * waiting, others active. */
static void set_amounts(json_t *o, const struct queue_depth *d, bool is_suspended)
{
    const struct queue_amount *amounts[] = {&d->due, &d->deferred, &d->held, &d->dead};
    const json_int_t due = (json_int_t)d->due.copies;
    struct queue_amount all = {0};

    for (size_t i = 0; i < sizeof amounts / sizeof amounts[0]; i++)
        queue_amount_add(&all, amounts[i]);
    json_value_set(o, "active", json_integer(is_suspended ? 0 : due));
    json_value_set(o, "waiting", json_integer(is_suspended ? due : 0));
    json_value_set(o, "deferred", json_integer((json_int_t)d->deferred.copies));
    json_value_set(o, "held", json_integer((json_int_t)d->held.copies));
    json_value_set(o, "dead", json_integer((json_int_t)d->dead.copies));
    json_value_set(o, "bytes", json_integer((json_int_t)all.bytes));
    json_value_set(o, "oldest", relay_api_time(all.oldest));
}

/* Return the last reason of the destination's copies, or of its suspension, or "". */
static json_t *last_error(struct facts *f, const struct queue_depth *d, const char *reason)
{
    char text[QUEUE_REASON_SIZE] = "";
    struct err err;

    if (f->reader != NULL && d->tried != 0 && relay_api_goes_on(f->api) &&
        queue_reader_last_reason(f->reader, d->tried, text, &err) != 0)
        f->problem = err;
    return json_value_text(text[0] != '\0' ? text : reason);
}

static json_t *destination_json(struct facts *f, const char *name,
                                const struct destination_suspension *suspension)
{
    static const struct queue_depth empty;
    const struct queue_depth *depth = find_depth(f, name);
    const struct queue_suspension *order = find_order(f, name);
    bool is_suspended = order != NULL || (suspension != NULL && suspension->since != 0);
    struct relay_rates_view rates;
    json_t *o = json_object();

    depth = depth == NULL ? &empty : depth;
    json_value_set(o, "name", json_value_text(name));
    json_value_set(o, "configured", json_boolean(suspension != NULL));
    set_amounts(o, depth, is_suspended);
    json_value_set(o, "suspended",
                   suspension == NULL || suspension->since == 0
                       ? json_null()
                       : suspension_json(suspension->since, suspension->until, suspension->reason));
    json_value_set(o, "suspended_by_administrator",
                   order == NULL ? json_null()
                                 : suspension_json(order->since, order->until, order->reason));
    json_value_set(o, "last_error",
                   last_error(f, depth, suspension == NULL ? "" : suspension->reason));
    relay_rates_get(f->api->rates, name, &rates);
    json_value_set(o, "arrived", periods_json(rates.arrived));
    json_value_set(o, "sent", periods_json(rates.sent));
    return o;
}

static int by_name(const void *a, const void *b)
{
    const struct relay_api_destination *left = a, *right = b;

    return strcmp(left->name, right->name);
}

static bool is_configured(const struct facts *f, const char *name)
{
    for (size_t i = 0; i < f->configured_count; i++)
        if (strcmp(f->configured[i].name, name) == 0)
            return true;
    return false;
}

/* The destinations of the configuration by name, then others that have copies. */
static json_t *destinations_json(struct facts *f)
{
    json_t *array = json_array();

    if (f->configured_count > 0)
        qsort(f->configured, f->configured_count, sizeof *f->configured, by_name);
    for (size_t i = 0; i < f->configured_count; i++)
        json_value_append(array,
                          destination_json(f, f->configured[i].name, &f->configured[i].suspension));
    for (size_t i = 0; i < f->depths.count; i++)
        if (!is_configured(f, f->depths.items[i].destination))
            json_value_append(array, destination_json(f, f->depths.items[i].destination, NULL));
    return array;
}

static json_t *nodes_json(const struct queue_nodes *nodes)
{
    json_t *array = json_array();

    for (size_t i = 0; i < nodes->count; i++) {
        const struct queue_node_row *n = &nodes->items[i];
        json_t *o = json_object();
        json_value_set(o, "name", json_value_text(n->name));
        json_value_set(o, "version", json_value_text(n->version));
        json_value_set(o, "alive", json_boolean(n->is_alive));
        json_value_set(o, "since", relay_api_time(n->since));
        json_value_set(o, "until", relay_api_time(n->until));
        json_value_set(o, "copies", json_integer((json_int_t)n->copies));
        json_value_append(array, o);
    }
    return array;
}

/* Read all but the copies themselves. What cannot be read stays empty, and f->problem says why. */
static void gather(struct facts *f)
{
    struct relay_api *a = f->api;
    struct err *problem = &f->problem;

    f->configured = a->o.destinations(a->o.destinations_ctx, &f->configured_count);
    if (a->o.counts->ops->depths(a->o.counts, &f->depths, problem) != 0) {
        memset(&f->depths, 0, sizeof f->depths);
        err_wrap(problem, "the copies cannot be counted");
        return;
    }
    f->reader = relay_api_reader(a, problem);
    if (f->reader == NULL ||
        queue_reader_suspensions(f->reader, &f->orders, &f->order_count, problem) != 0 ||
        queue_reader_nodes(f->reader, &f->nodes, problem) != 0)
        return;
    problem->text[0] = '\0';
}

unsigned relay_api_status(struct relay_api *a, struct buf *out)
{
    struct facts f = {.api = a, .now = time(NULL)};
    struct err why = {""};
    json_t *o = json_object();

    gather(&f);
    bool is_ready = a->o.is_ready(a->o.is_ready_ctx, &why);
    json_value_set(o, "hostname", json_value_text(a->o.hostname));
    json_value_set(o, "version", json_value_text(PACKAGE_VERSION));
    json_value_set(o, "time", json_integer(f.now));
    json_value_set(o, "ready", json_boolean(is_ready));
    json_value_set(o, "refusal", json_value_text(is_ready ? "" : why.text));
    json_value_set(o, "queue", json_value_text(a->shown_queue));
    json_value_set(o, "period", json_integer(RELAY_RATES_SLOT_S));
    json_value_set(o, "destinations", destinations_json(&f));
    json_value_set(o, "nodes", nodes_json(&f.nodes));
    json_value_set(o, "problem", json_value_text(f.problem.text));
    json_value_dump(o, out);
    free(f.configured);
    free(f.depths.items);
    free(f.orders);
    queue_nodes_clear(&f.nodes);
    queue_reader_close(f.reader);
    return API_OK;
}
