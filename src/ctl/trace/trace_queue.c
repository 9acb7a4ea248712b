/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_queue.h"
#include "base/ascii.h"
#include "base/buf.h"
#include "base/mem.h"
#include "ctl/health.h"
#include "queue/queue_id.h"
#include "queue/queue_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COPIES_MAX 1000 /* that a word may select; more than can be read */

struct trace_queue {
    struct queue_reader *reader;
    struct health *health;
    char **added; /* ids of the copies whose lines were added to the log */
    size_t added_count;
};

struct trace_queue *trace_queue_open(const struct config *config, struct err *err)
{
    struct queue_reader *reader =
        queue_reader_open(config->relay.spool_directory, config->relay.queue, err);

    if (reader == NULL)
        return NULL;
    struct trace_queue *q = mem_zalloc(sizeof *q);
    q->reader = reader;
    q->health = health_new(config, reader);
    return q;
}

void trace_queue_close(struct trace_queue *q)
{
    if (q == NULL)
        return;
    for (size_t i = 0; i < q->added_count; i++)
        free(q->added[i]);
    free(q->added);
    health_free(q->health);
    queue_reader_close(q->reader);
    free(q);
}

/* --- one copy --- */

struct look {
    struct trace_queue *queue;
    const struct slice *names;
    size_t name_count;
    struct trace_copy *out;
};

static bool is_named(const struct look *l, struct slice address)
{
    for (size_t i = 0; i < l->name_count; i++)
        if (slice_is_same(l->names[i], address))
            return true;
    return false;
}

static void set(char **slot, const char *text)
{
    free(*slot);
    *slot = mem_strdup(text);
}

/* Why nothing is sent now; NULL: the destination is not suspended. */
static const char *suspended(const struct look *l, const struct queue_entry *e, time_t now)
{
    const struct queue_suspension *order = health_order(l->queue->health, e->destination, now);
    const struct destination_suspension *s = health_of(l->queue->health, e->destination);

    if (order != NULL)
        return order->reason[0] == '\0' ? "suspended by an administrator" : order->reason;
    return s->since != 0 ? s->reason : NULL;
}

static bool take_entry(void *ctx, const struct queue_entry *e)
{
    static const enum trace_copy_place places[] = {[QUEUE_IN_QUEUE] = TRACE_COPY_IN_QUEUE,
                                                   [QUEUE_IN_HOLD] = TRACE_COPY_HELD,
                                                   [QUEUE_IN_DEAD] = TRACE_COPY_DEAD};
    struct look *l = ctx;
    time_t now = time(NULL);

    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[i];
        if (!is_named(l, (struct slice){r->address, strlen(r->address)}))
            continue;
        l->out->place = places[e->place & 7];
        if (r->state == QUEUE_SENT)
            l->out->place = TRACE_COPY_SENT;
        else if (r->state == QUEUE_DEAD)
            l->out->place = TRACE_COPY_DEAD;
        set(&l->out->destination, e->destination);
        const char *why = r->reason;
        if (l->out->place == TRACE_COPY_IN_QUEUE) {
            l->out->next = health_next_attempt(l->queue->health, e, now);
            if (why[0] == '\0' && suspended(l, e, now) != NULL)
                why = suspended(l, e, now);
        }
        set(&l->out->why, why);
    }
    return true;
}

static bool take_event(void *ctx, const struct queue_event *e)
{
    struct look *l = ctx;
    const char *at = e->recipients;
    bool is_own = false;

    for (;;) {
        const char *end = strstr(at, ", ");
        size_t len = end == NULL ? strlen(at) : (size_t)(end - at);
        is_own |= is_named(l, (struct slice){at, len});
        if (end == NULL)
            break;
        at = end + 2;
    }
    bool is_sent = strcmp(e->result, "sent") == 0, is_deleted = strcmp(e->result, "deleted") == 0;
    if (!is_own || (!is_sent && !is_deleted))
        return true;
    l->out->place = is_sent ? TRACE_COPY_SENT : TRACE_COPY_DELETED;
    l->out->when = e->time;
    set(&l->out->destination, e->destination);
    set(&l->out->relay, e->relay);
    set(&l->out->why, e->reply);
    return false;
}

void trace_queue_find(void *ctx, struct slice id, const struct slice *names, size_t name_count,
                      struct trace_copy *out)
{
    struct trace_queue *q = ctx;
    struct look look = {q, names, name_count, out};
    char *text = mem_strndup(id.at, id.len);
    const struct queue_selection selection = {.id = text};
    struct err err;
    int64_t number, found = 0;

    *out = (struct trace_copy){.place = TRACE_COPY_NOWHERE,
                               .destination = mem_strdup(""),
                               .why = mem_strdup(""),
                               .relay = mem_strdup("")};
    if (queue_id_parse(text, &number))
        found = queue_reader_list(q->reader, &selection, take_entry, NULL, &look, &err);
    if (found >= 0 && out->place == TRACE_COPY_NOWHERE && queue_id_parse(text, &number))
        found = queue_reader_history(q->reader, &selection, take_event, NULL, &look, &err);
    if (found < 0)
        out->place = TRACE_COPY_NOT_ASKED;
    free(text);
}

/* --- copies of which the log has nothing --- */

struct adding {
    struct trace_queue *queue;
    struct trace_log *log;
    int64_t added;
};

/* Is a copy new, that is: neither in the log nor added before? Then it counts as added. */
static bool is_new(struct adding *a, const char *id)
{
    struct trace_queue *q = a->queue;

    if (trace_log_find(a->log, (struct slice){id, strlen(id)}) != TRACE_NONE)
        return false;
    for (size_t i = 0; i < q->added_count; i++)
        if (strcmp(q->added[i], id) == 0)
            return false;
    q->added = mem_grow(q->added, q->added_count + 1, sizeof *q->added);
    q->added[q->added_count++] = mem_strdup(id);
    a->added++;
    return true;
}

/* Begin a line with the time, or without time. */
static void begin_line(struct buf *line, time_t when, const char *id)
{
    char stamp[40];
    struct tm tm;

    buf_reset(line);
    if (when != 0 && gmtime_r(&when, &tm) != NULL &&
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        buf_addf(line, "%s ", stamp);
    buf_addf(line, "splitrelay[0]: %s: ", id);
}

static void add_line(struct adding *a, const struct buf *line)
{
    trace_log_add(a->log, line->data, line->len);
}

static const char *plain(const char *message_id, char out[QUEUE_MESSAGE_ID_SIZE])
{
    size_t len = strlen(message_id);
    bool has_brackets = len >= 2 && message_id[0] == '<' && message_id[len - 1] == '>';

    mem_copy_string(out, QUEUE_MESSAGE_ID_SIZE, has_brackets ? message_id + 1 : message_id);
    if (has_brackets)
        out[len - 2] = '\0';
    return out;
}

static void add_taken(struct adding *a, struct buf *line, const char *sender, uint64_t size,
                      const char *destination, const char *mta_id, const char *message_id)
{
    char id[QUEUE_MESSAGE_ID_SIZE];

    buf_addf(line, "from=<%s>, size=%" PRIu64 ", dest=%s, queue_id=%s, message-id=<%s> (queued)",
             sender, size, destination, mta_id[0] == '\0' ? "-" : mta_id, plain(message_id, id));
    add_line(a, line);
}

static bool add_entry(void *ctx, const struct queue_entry *e)
{
    struct adding *a = ctx;
    const struct queue_message *m = e->message;
    struct buf line = {0};

    if (!is_new(a, e->id))
        return true;
    begin_line(&line, m->arrival.tv_sec, e->id);
    add_taken(a, &line, m->sender, m->size_bytes, e->destination, m->mta_queue_id, m->message_id);
    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[i];
        begin_line(&line, 0, e->id);
        buf_addf(&line, "to=<%s>, dest=%s, status=%s (%s)", r->address, e->destination,
                 r->state == QUEUE_SENT   ? "sent"
                 : r->state == QUEUE_DEAD ? "dead"
                                          : "deferred",
                 r->reason[0] == '\0' ? "no attempt yet" : r->reason);
        add_line(a, &line);
    }
    buf_clear(&line);
    return true;
}

static bool add_event(void *ctx, const struct queue_event *e)
{
    struct adding *a = ctx;
    struct buf line = {0};
    const char *at = e->recipients;

    bool is_end = strcmp(e->result, "sent") == 0 || strcmp(e->result, "deleted") == 0;
    if (!is_end || !is_new(a, e->id))
        return true;
    begin_line(&line, e->time, e->id);
    add_taken(a, &line, e->sender, e->size_bytes, e->destination, e->mta_queue_id, e->message_id);
    while (*at != '\0') {
        size_t len = strstr(at, ", ") == NULL ? strlen(at) : (size_t)(strstr(at, ", ") - at);
        begin_line(&line, e->time, e->id);
        buf_addf(&line, "to=<%.*s>, dest=%s, relay=%s, status=%s (%s)", (int)len, at,
                 e->destination, e->relay[0] == '\0' ? "none" : e->relay, e->result, e->reply);
        add_line(a, &line);
        at += len + (at[len] == '\0' ? 0 : 2);
    }
    buf_clear(&line);
    return true;
}

static int64_t add_selected(struct trace_queue *q, const struct queue_selection *selection,
                            struct adding *a, struct err *err)
{
    if (queue_reader_list(q->reader, selection, add_entry, NULL, a, err) < 0)
        return -1;
    return queue_reader_history(q->reader, selection, add_event, NULL, a, err) < 0 ? -1 : 0;
}

int64_t trace_queue_add(struct trace_queue *q, const char *word, time_t since,
                        struct trace_log *log, struct err *err)
{
    struct queue_selection s = {.arrived_after = since, .limit = COPIES_MAX};
    struct adding a = {q, log, 0};
    int64_t number, rc = 0;

    trace_log_begin_file(log, 0);
    if (queue_id_parse(word, &number)) {
        s.id = word;
        rc = add_selected(q, &s, &a, err);
        s.id = NULL;
    }
    if (rc == 0 && strchr(word, '@') == NULL) {
        s.mta_id = word;
        rc = add_selected(q, &s, &a, err);
        return rc < 0 ? rc : a.added;
    }
    const char **conditions[] = {&s.to, &s.from, &s.message_id};
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        *conditions[i] = word;
        rc = add_selected(q, &s, &a, err);
        *conditions[i] = NULL;
    }
    return rc < 0 ? rc : a.added;
}
