/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_queue.h"
#include "base/ascii.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ctl/health.h"
#include "ctl/trace/trace_keys.h"
#include "queue/queue_id.h"
#include "queue/queue_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COPIES_MAX 1000 /* that a word may select; more than can be read */

/* A copy that a word selects. */
struct found {
    char *id;
    struct buf lines; /* what is known of it, in splitrelay's style, each with a line end */
};

struct trace_queue {
    struct queue_reader *reader;
    struct health *health;
    struct found *found; /* the copies that the words select */
    size_t found_count;
    struct trace_keys found_ids;
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
    for (size_t i = 0; i < q->found_count; i++) {
        free(q->found[i].id);
        buf_clear(&q->found[i].lines);
    }
    free(q->found);
    trace_keys_clear(&q->found_ids);
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

/* What the end of a copy in the history means; TRACE_COPY_NOWHERE: the event is no end. */
static enum trace_copy_place place_of_event(const struct queue_event *e)
{
    static const struct {
        const char *result;
        enum trace_copy_place place;
    } ends[] = {{"sent", TRACE_COPY_SENT},
                {"deleted", TRACE_COPY_DELETED},
                {"skipped", TRACE_COPY_SKIPPED}};

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (strcmp(e->result, ends[i].result) == 0)
            return ends[i].place;
    return TRACE_COPY_NOWHERE;
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
    enum trace_copy_place place = place_of_event(e);
    if (!is_own || place == TRACE_COPY_NOWHERE)
        return true;
    l->out->place = place;
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

struct search {
    struct trace_queue *queue;
    struct trace_select *select;
};

/* Is the copy new? Then add it, and return where its lines belong. */
static struct buf *add_found(struct search *s, const char *id, const char *mta_id)
{
    struct trace_queue *q = s->queue;

    if (!trace_keys_add(&q->found_ids, hash_untrusted(id)))
        return NULL;
    trace_select_want(s->select, (struct slice){id, strlen(id)});
    if (mta_id[0] != '\0')
        trace_select_want(s->select, (struct slice){mta_id, strlen(mta_id)});
    if ((q->found_count & (q->found_count - 1)) == 0)
        q->found =
            mem_grow(q->found, q->found_count == 0 ? 1 : 2 * q->found_count, sizeof *q->found);
    struct found *f = &q->found[q->found_count++];
    *f = (struct found){.id = mem_strdup(id)};
    return &f->lines;
}

/* Begin a line with the time, or without time. */
static void begin_line(struct buf *lines, time_t when, const char *id)
{
    char stamp[40];
    struct tm tm;

    if (when != 0 && gmtime_r(&when, &tm) != NULL &&
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        buf_addf(lines, "%s ", stamp);
    buf_addf(lines, "splitrelay[0]: %s: ", id);
}

/* End the last line, which began at `from`. What could be taken for a line end is replaced. */
static void end_line(struct buf *lines, size_t from)
{
    for (; from < lines->len; from++)
        if (lines->data[from] == '\n')
            lines->data[from] = '?';
    buf_addc(lines, '\n');
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

static void add_taken(struct buf *lines, const char *sender, uint64_t size, const char *destination,
                      const char *mta_id, const char *message_id)
{
    char id[QUEUE_MESSAGE_ID_SIZE];

    buf_addf(lines, "from=<%s>, size=%" PRIu64 ", dest=%s, queue_id=%s, message-id=<%s> (queued)",
             sender, size, destination, mta_id[0] == '\0' ? "-" : mta_id, plain(message_id, id));
}

static bool find_entry(void *ctx, const struct queue_entry *e)
{
    const struct queue_message *m = e->message;
    struct buf *lines = add_found(ctx, e->id, m->mta_queue_id);

    if (lines == NULL)
        return true;
    begin_line(lines, m->arrival.tv_sec, e->id);
    add_taken(lines, m->sender, m->size_bytes, e->destination, m->mta_queue_id, m->message_id);
    end_line(lines, 0);
    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[i];
        size_t from = lines->len;
        begin_line(lines, 0, e->id);
        buf_addf(lines, "to=<%s>, dest=%s, status=%s (%s)", r->address, e->destination,
                 r->state == QUEUE_SENT   ? "sent"
                 : r->state == QUEUE_DEAD ? "dead"
                                          : "deferred",
                 r->reason[0] == '\0' ? "no attempt yet" : r->reason);
        end_line(lines, from);
    }
    return true;
}

static bool find_event(void *ctx, const struct queue_event *e)
{
    const char *at = e->recipients;
    struct buf *lines;

    bool is_end = place_of_event(e) != TRACE_COPY_NOWHERE;
    if (!is_end || (lines = add_found(ctx, e->id, e->mta_queue_id)) == NULL)
        return true;
    begin_line(lines, e->time, e->id);
    add_taken(lines, e->sender, e->size_bytes, e->destination, e->mta_queue_id, e->message_id);
    end_line(lines, 0);
    while (*at != '\0') {
        size_t len = strstr(at, ", ") == NULL ? strlen(at) : (size_t)(strstr(at, ", ") - at);
        size_t from = lines->len;
        begin_line(lines, e->time, e->id);
        buf_addf(lines, "to=<%.*s>, dest=%s, relay=%s, status=%s (%s)", (int)len, at,
                 e->destination, e->relay[0] == '\0' ? "none" : e->relay, e->result, e->reply);
        end_line(lines, from);
        at += len + (at[len] == '\0' ? 0 : 2);
    }
    return true;
}

static int find_selected(struct search *s, const struct queue_selection *selection, struct err *err)
{
    struct queue_reader *reader = s->queue->reader;

    if (queue_reader_list(reader, selection, find_entry, NULL, s, err) < 0)
        return -1;
    return queue_reader_history(reader, selection, find_event, NULL, s, err) < 0 ? -1 : 0;
}

int trace_queue_search(struct trace_queue *q, const char *word, time_t since,
                       struct trace_select *select, struct err *err)
{
    struct queue_selection s = {.arrived_after = since, .limit = COPIES_MAX};
    struct search search = {q, select};
    int64_t number;
    int rc = 0;

    if (queue_id_parse(word, &number)) {
        s.id = word;
        rc = find_selected(&search, &s, err);
        s.id = NULL;
    }
    if (rc == 0 && strchr(word, '@') == NULL) {
        s.mta_id = word;
        return find_selected(&search, &s, err);
    }
    const char **conditions[] = {&s.to, &s.from, &s.message_id};
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        *conditions[i] = word;
        rc = find_selected(&search, &s, err);
        *conditions[i] = NULL;
    }
    return rc;
}

void trace_queue_add(const struct trace_queue *q, struct trace_log *log)
{
    enum trace_log_mode mode = log->mode;

    log->mode = TRACE_LOG_WANTS;
    trace_log_begin_file(log, 0);
    for (size_t i = 0; i < q->found_count; i++) {
        const struct found *f = &q->found[i];
        const char *at = buf_str(&f->lines);
        if (trace_log_find(log, (struct slice){f->id, strlen(f->id)}) != TRACE_NONE)
            continue;
        for (; *at != '\0'; at += strcspn(at, "\n") + 1)
            trace_log_add(log, at, strcspn(at, "\n"));
    }
    log->mode = mode;
}
