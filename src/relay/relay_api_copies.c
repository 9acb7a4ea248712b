/* SPDX-License-Identifier: ISC */
/* The documents about copies: "queue", "history" and "copy/ID". */
#include "relay/relay_api_private.h"

#include "base/clock.h"
#include "base/json_value.h"
#include "queue/queue_id.h"
#include "relay/entry.h"
#include "relay/criterion.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIMIT 100                /* copies or events in a document, unless it is asked for more */
#define LIMIT_MAX 1000           /* if it is */
#define RECIPIENTS_SHOWN 20      /* of a copy in a list */
#define RECIPIENTS_BYTES 1000000 /* of a copy that is shown alone */
#define RECIPIENT_BYTES 100      /* of a recipient without its texts, at most */
#define BYTES_MAX 2000000        /* from this size on, a list takes no more copies */

/* A list of copies or events that is being made. */
struct list {
    const struct relay_api *api;
    struct buf *out;
    time_t now;
    int64_t began_ms;
    struct relay_api_destination *destinations;
    size_t destination_count;
    struct queue_suspension *orders;
    size_t order_count;
    uint64_t limit, found;
    bool has_more;   /* the list was cut at its limit */
    bool is_stopped; /* reading took too long */
    int64_t last;    /* the id of the last copy, or the number of the last event */
};

static int take_before(int64_t *out, const char *value, struct err *err)
{
    size_t len = strspn(value, "0123456789");

    *out = strtoll(value, NULL, 10);
    if (len > 0 && len < 19 && value[len] == '\0' && *out > 0)
        return 0;
    err_set(err, "not the value of next");
    return -1;
}

/* Take a parameter. -1 with `err`. */
static int take(struct queue_selection *s, const char *name, const char *value, bool is_queue,
                struct err *err)
{
    enum criterion word = criterion_find(name);
    const char **text = strcmp(name, "destination") == 0         ? &s->destination
                        : strcmp(name, "id") == 0                ? &s->id
                        : is_queue && strcmp(name, "after") == 0 ? &s->after
                                                                 : NULL;
    int64_t number;

    if (!is_queue && strcmp(name, "before") == 0)
        return take_before(&s->before, value, err);
    if (text != NULL && text != &s->destination && !queue_id_parse(value, &number)) {
        err_set(err, "not the id of a copy");
        return -1;
    }
    if (text != NULL) {
        *text = value;
        return 0;
    }
    if (word == CRITERION_COUNT || (word == CRITERION_IN && !is_queue)) {
        err_set(err, "no such condition");
        return -1;
    }
    return criterion_take(s, word, value, time(NULL), err);
}

/* Make the selection from the parameters. Parameters without a value, as an HTML form sends them,
 * do not count. -1 with `err`. */
static int make_selection(const struct metrics_http_parameters *p, bool is_queue,
                          struct queue_selection *out, struct err *err)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < p->count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(p->names[k], p->names[i]) != 0)
                continue;
            err_set(err, "%s: given twice", p->names[i]);
            return -1;
        }
        if (p->values[i][0] != '\0' && take(out, p->names[i], p->values[i], is_queue, err) != 0) {
            err_wrap(err, "%s", p->names[i]);
            return -1;
        }
    }
    if (out->limit == 0)
        out->limit = LIMIT;
    if (out->limit > LIMIT_MAX)
        out->limit = LIMIT_MAX;
    return 0;
}

static bool may_go_on(void *ctx, uint64_t looked_at, uint64_t total)
{
    struct list *l = ctx;

    (void)looked_at;
    (void)total;
    l->is_stopped = !relay_api_goes_on(l->api);
    return !l->is_stopped;
}

/* Return the entry's time of the next attempt. */
static time_t next_attempt(const struct list *l, const struct queue_entry *e)
{
    struct destination_suspension fault = {0};
    const struct queue_suspension *order = NULL;

    for (size_t i = 0; i < l->destination_count; i++)
        if (strcmp(l->destinations[i].name, e->destination) == 0)
            fault = l->destinations[i].suspension;
    for (size_t i = 0; i < l->order_count; i++)
        if (strcmp(l->orders[i].destination, e->destination) == 0 &&
            (l->orders[i].until == 0 || l->orders[i].until > l->now))
            order = &l->orders[i];
    return entry_next_attempt(e, order, &fault, l->now);
}

/* Append an element. The reference to it is taken over. */
static void add(struct list *l, json_t *element)
{
    if (l->found++ > 0)
        buf_addc(l->out, ',');
    json_value_dump(element, l->out);
}

/* Return true, and set has_more, if the list is full. One element more than the limit is read to
 * find out. */
static bool is_full(struct list *l)
{
    l->has_more = l->found >= l->limit || l->out->len > BYTES_MAX;
    return l->has_more;
}

/* Append a copy that was made from `shown`, which may have fewer recipients than `all`. */
static void add_entry(struct list *l, json_t *o, const struct queue_entry *all,
                      const struct queue_entry *shown)
{
    size_t left_out = all->recipient_count - shown->recipient_count;

    json_value_set(o, "recipient_count", json_integer((json_int_t)all->recipient_count));
    json_value_set(o, "recipients_left_out", json_integer((json_int_t)left_out));
    add(l, o);
}

static bool add_copy(void *ctx, const struct queue_entry *e)
{
    struct list *l = ctx;
    struct queue_entry shown = *e;

    if (is_full(l))
        return false;
    if (shown.recipient_count > RECIPIENTS_SHOWN)
        shown.recipient_count = RECIPIENTS_SHOWN;
    (void)queue_id_parse(e->id, &l->last);
    add_entry(l, entry_json(&shown, next_attempt(l, e), l->now), e, &shown);
    return true;
}

static bool add_event(void *ctx, const struct queue_event *e)
{
    struct list *l = ctx;

    if (is_full(l))
        return false;
    l->last = e->number;
    add(l, entry_json_event(e));
    return true;
}

/* Open a reader and read what next_attempt() needs. NULL: the error is the document. */
static struct queue_reader *begin(struct relay_api *a, struct list *l, struct buf *out)
{
    struct err err;
    struct queue_reader *reader = relay_api_reader(a, &err);

    *l = (struct list){.api = a, .out = out, .now = time(NULL), .began_ms = clock_now_ms()};
    if (reader == NULL ||
        queue_reader_suspensions(reader, &l->orders, &l->order_count, &err) != 0) {
        (void)relay_api_fail(out, API_UNAVAILABLE, "%s", err.text);
        queue_reader_close(reader);
        return NULL;
    }
    l->destinations = a->o.destinations(a->o.destinations_ctx, &l->destination_count);
    return reader;
}

static void end(struct list *l, struct queue_reader *reader)
{
    free(l->destinations);
    free(l->orders);
    queue_reader_close(reader);
}

/* Append the members after a list. */
static void finish_list(const struct list *l)
{
    buf_addf(l->out, "],\"time\":%lld,\"incomplete\":%s,\"took\":%lld.%03lld", (long long)l->now,
             l->is_stopped ? "true" : "false", (long long)(clock_now_ms() - l->began_ms) / 1000,
             (long long)(clock_now_ms() - l->began_ms) % 1000);
}

/* Append where the next part of the list begins, and the end of the document. */
static void finish_with_next(const struct list *l, const struct queue_reader *reader, bool is_queue)
{
    int64_t next = l->has_more ? l->last : l->is_stopped ? queue_reader_position(reader) : 0;
    char id[QUEUE_ID_SIZE];

    if (next == 0) {
        buf_adds(l->out, ",\"next\":null}");
    } else if (is_queue) {
        queue_id_format(next, id);
        buf_addf(l->out, ",\"next\":\"%s\"}", id);
    } else {
        buf_addf(l->out, ",\"next\":\"%lld\"}", (long long)next);
    }
}

/* Reading that has failed because it took too long has a result, which is not complete. */
static int64_t end_of_reading(struct list *l, int64_t count)
{
    l->is_stopped |= count < 0 && !relay_api_goes_on(l->api);
    return count < 0 && l->is_stopped ? 0 : count;
}

static unsigned make_list(struct relay_api *a, const struct metrics_http_parameters *parameters,
                          bool is_queue, struct buf *out)
{
    struct queue_selection selection;
    struct err err;
    struct list l;
    int64_t count;

    if (make_selection(parameters, is_queue, &selection, &err) != 0)
        return relay_api_fail(out, API_WRONG, "%s", err.text);
    struct queue_reader *reader = begin(a, &l, out);
    if (reader == NULL)
        return API_UNAVAILABLE;
    l.limit = selection.limit;
    selection.limit++;
    buf_adds(out, is_queue ? "{\"copies\":[" : "{\"events\":[");
    if (is_queue)
        count = queue_reader_list(reader, &selection, add_copy, may_go_on, &l, &err);
    else
        count = queue_reader_history(reader, &selection, add_event, may_go_on, &l, &err);
    count = end_of_reading(&l, count);
    finish_list(&l);
    finish_with_next(&l, reader, is_queue);
    end(&l, reader);
    return count >= 0 ? API_OK : relay_api_fail(out, API_UNAVAILABLE, "%s", err.text);
}

unsigned relay_api_queue(struct relay_api *a, const struct metrics_http_parameters *parameters,
                         struct buf *out)
{
    return make_list(a, parameters, true, out);
}

unsigned relay_api_history(struct relay_api *a, const struct metrics_http_parameters *parameters,
                           struct buf *out)
{
    return make_list(a, parameters, false, out);
}

/* The size of a text in JSON, at most: each byte that may have to be escaped counts six. */
static size_t json_bytes(const char *text)
{
    size_t bytes = 0;

    for (const char *c = text; *c != '\0'; c++)
        bytes += *c < ' ' || *c > '~' || *c == '"' || *c == '\\' ? 6 : 1;
    return bytes;
}

/* Return the number of recipients that RECIPIENTS_BYTES have room for. */
static size_t count_that_fit(const struct queue_entry *e)
{
    size_t bytes = 0;

    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[i];
        bytes +=
            RECIPIENT_BYTES + json_bytes(r->address) + json_bytes(r->orcpt) + json_bytes(r->reason);
        if (bytes > RECIPIENTS_BYTES)
            return i;
    }
    return e->recipient_count;
}

static bool add_whole(void *ctx, const struct queue_entry *e)
{
    struct list *l = ctx;
    struct queue_entry shown = *e;

    shown.recipient_count = count_that_fit(e);
    add_entry(l, entry_json_whole(&shown, next_attempt(l, e), l->now), e, &shown);
    return false;
}

unsigned relay_api_copy(struct relay_api *a, const char *id, struct buf *out)
{
    struct queue_selection selection = {.id = id};
    int64_t number;
    struct err err;
    struct list l;

    if (!queue_id_parse(id, &number))
        return relay_api_fail(out, API_NOT_FOUND, "not the id of a copy");
    struct queue_reader *reader = begin(a, &l, out);
    if (reader == NULL)
        return API_UNAVAILABLE;
    l.limit = LIMIT;
    buf_adds(out, "{\"copy\":");
    int64_t copies = queue_reader_list(reader, &selection, add_whole, NULL, &l, &err);
    if (copies == 0)
        buf_adds(out, "null");
    buf_adds(out, ",\"events\":[");
    l.found = 0;
    int64_t events =
        copies < 0 ? -1 : queue_reader_history(reader, &selection, add_event, may_go_on, &l, &err);
    events = end_of_reading(&l, events);
    finish_list(&l);
    buf_addf(out, ",\"more\":%s}", l.has_more ? "true" : "false");
    end(&l, reader);
    if (copies < 0 || events < 0)
        return relay_api_fail(out, API_UNAVAILABLE, "%s", err.text);
    if (copies == 0 && events == 0 && !l.is_stopped)
        return relay_api_fail(out, API_NOT_FOUND,
                              "neither the queue nor the history has this copy");
    return API_OK;
}
