/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_log.h"
#include "base/mem.h"
#include "ctl/trace/trace_object.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE (4U << 20)
#define LINE_MAX_LEN 65536 /* longer lines are no log lines */

/* The lengths at which syslog daemons cut: 1024 bytes in RFC 3164, multiples of it elsewhere. What
 * a daemon puts before the text or leaves out of it differs a little. */
static bool is_cut_length(size_t len)
{
    for (size_t cut = 1024; cut <= 8192; cut *= 2)
        if (len + 24 >= cut && len <= cut + 8)
            return true;
    return false;
}

struct trace_log *trace_log_new(time_t now)
{
    struct trace_log *log = mem_zalloc(sizeof *log);

    trace_stamp_init(&log->stamp, now);
    log->last_tag = TRACE_NONE;
    return log;
}

void trace_log_free(struct trace_log *log)
{
    if (log == NULL)
        return;
    for (uint32_t i = 0; i < log->tag_count; i++)
        free(log->tags[i].text);
    for (uint32_t i = 0; i < log->message_count; i++)
        free(log->messages[i].facts);
    for (size_t i = 0; i < log->block_count; i++)
        free(log->blocks[i]);
    free(log->blocks);
    free(log->tags);
    free(log->systems);
    free(log->events);
    free(log->messages);
    free(log->heads);
    free(log->edges);
    free(log->first_unstamped);
    free(log);
}

void trace_log_begin_file(struct trace_log *log)
{
    log->last_us = 0;
    log->file++;
}

/* --- lines --- */

/* Keep a text, with a NUL behind it. */
static const char *keep(struct trace_log *log, struct trace_slice s)
{
    if (log->block_count == 0 || log->block_used + s.len + 1 > log->block_size) {
        log->blocks = mem_grow(log->blocks, log->block_count + 1, sizeof *log->blocks);
        log->block_size = s.len + 1 > BLOCK_SIZE ? s.len + 1 : BLOCK_SIZE;
        log->blocks[log->block_count++] = mem_grow(NULL, log->block_size, 1);
        log->block_used = 0;
    }
    char *at = log->blocks[log->block_count - 1] + log->block_used;
    memcpy(at, s.at, s.len);
    at[s.len] = '\0';
    log->block_used += s.len + 1;
    return at;
}

static bool is_equal(struct trace_slice a, struct trace_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static uint32_t system_of(struct trace_log *log, const struct trace_source_tag *tag)
{
    for (uint32_t i = 0; i < log->system_count; i++)
        if (is_equal(log->systems[i].name, tag->origin.system) &&
            is_equal(log->systems[i].host, tag->host))
            return i;
    log->systems = mem_grow(log->systems, log->system_count + 1, sizeof *log->systems);
    log->systems[log->system_count] =
        (struct trace_system){tag->host, tag->origin.system, tag->origin.program};
    return log->system_count++;
}

static bool is_tag(const struct trace_source_tag *tag, const struct trace_line *line)
{
    return is_equal((struct trace_slice){tag->text + tag->host.len + 1,
                                         strlen(tag->text + tag->host.len + 1)},
                    line->tag) &&
           is_equal(tag->host, line->host);
}

/* Return the index of host and tag. The number of tags is small: services times instances. */
static uint32_t tag_of(struct trace_log *log, const struct trace_line *line)
{
    if (log->last_tag != TRACE_NONE && is_tag(&log->tags[log->last_tag], line))
        return log->last_tag;
    for (uint32_t i = 0; i < log->tag_count; i++)
        if (is_tag(&log->tags[i], line))
            return log->last_tag = i;
    log->tags = mem_grow(log->tags, log->tag_count + 1, sizeof *log->tags);
    struct trace_source_tag *tag = &log->tags[log->tag_count];
    tag->text = mem_zalloc(line->host.len + line->tag.len + 2);
    memcpy(tag->text, line->host.at, line->host.len);
    memcpy(tag->text + line->host.len + 1, line->tag.at, line->tag.len);
    tag->host = (struct trace_slice){tag->text, line->host.len};
    trace_kind_origin((struct trace_slice){tag->text + line->host.len + 1, line->tag.len},
                      &tag->origin);
    tag->system = system_of(log, tag);
    return log->last_tag = log->tag_count++;
}

static void note_unstamped(struct trace_log *log, const char *line, size_t len)
{
    if (len == 0 || line[0] == ' ' || (len > 2 && memcmp(line, "-- ", 3) == 0))
        return; /* the second line of a text, or a remark of journalctl(1) */
    if (log->unstamped++ == 0)
        log->first_unstamped = mem_strndup(line, len < 200 ? len : 200);
}

static void add_event(struct trace_log *log, const struct trace_line *line, size_t raw_len)
{
    uint32_t tag = tag_of(log, line);
    const struct trace_origin *origin = &log->tags[tag].origin;
    struct trace_slice text = line->text;

    if (origin->program == TRACE_PROGRAM_OTHER)
        return;
    size_t id_len = trace_kind_id(origin->program, &text);
    struct trace_slice body = text;
    if (id_len > 0)
        body = (struct trace_slice){text.at + id_len + 2, text.len - id_len - 2};
    enum trace_kind kind = trace_kind_of(origin, body);
    if (id_len == 0 && kind != TRACE_KIND_FILTERED)
        return;
    if (log->event_count == log->event_cap) {
        log->event_cap = log->event_cap == 0 ? 4096 : log->event_cap * 2;
        log->events = mem_grow(log->events, log->event_cap, sizeof *log->events);
    }
    log->events[log->event_count] = (struct trace_event){.us = log->last_us,
                                                         .text = keep(log, text),
                                                         .len = (uint32_t)text.len,
                                                         .serial = log->event_count,
                                                         .tag = tag,
                                                         .file = log->file,
                                                         .message = TRACE_NONE,
                                                         .next = TRACE_NONE,
                                                         .id_len = (uint8_t)id_len,
                                                         .kind = (uint8_t)kind,
                                                         .is_undated = line->us == 0,
                                                         .is_long = is_cut_length(raw_len)};
    log->event_count++;
}

void trace_log_add(struct trace_log *log, const char *line, size_t len)
{
    struct trace_line parsed;
    char *classic = NULL;

    log->lines++;
    log->bytes += len + 1;
    if (len > LINE_MAX_LEN || log->event_count == TRACE_NONE - 1) {
        log->overlong++;
        return;
    }
    enum trace_line_result result = trace_line_parse(&log->stamp, line, len, &parsed);
    if (result == TRACE_LINE_NO_STAMP && len > 0 && line[0] == '{') {
        parsed = (struct trace_line){.host = {line, 0}, .text = {line, len}};
        result = TRACE_LINE_OK;
    }
    if (result == TRACE_LINE_OK && parsed.text.len > 0 && parsed.text.at[0] == '{') {
        classic = trace_object_read(&parsed);
        if (classic == NULL)
            return;
    }
    if (result == TRACE_LINE_NO_STAMP)
        note_unstamped(log, line, len);
    if (result == TRACE_LINE_OK) {
        log->last_us = parsed.us != 0 ? parsed.us : log->last_us;
        bool is_outside = (log->since_us != 0 && log->last_us < log->since_us) ||
                          (log->until_us != 0 && log->last_us > log->until_us);
        if (!is_outside || log->last_us == 0)
            add_event(log, &parsed, len);
    }
    free(classic);
}

/* --- messages --- */

static uint32_t hash_id(struct trace_slice id)
{
    uint64_t h = 1469598103934665603ULL;

    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (unsigned char)id.at[i]) * 1099511628211ULL;
    return (uint32_t)(h ^ (h >> 32));
}

/* The slot of an id in the hash table. */
static uint32_t *slot_of(const struct trace_log *log, struct trace_slice id)
{
    uint32_t mask = log->head_count - 1, i = hash_id(id) & mask;

    while (log->heads[i] != TRACE_NONE && !is_equal(log->messages[log->heads[i]].id, id))
        i = (i + 1) & mask;
    return &log->heads[i];
}

static void grow_heads(struct trace_log *log)
{
    uint32_t count = log->head_count == 0 ? 1024 : log->head_count * 2;

    free(log->heads);
    log->heads = mem_grow(NULL, count, sizeof *log->heads);
    memset(log->heads, 0xff, count * sizeof *log->heads);
    log->head_count = count;
    /* the newest message with an id has the highest number */
    for (uint32_t i = 0; i < log->message_count; i++)
        *slot_of(log, log->messages[i].id) = i;
}

uint32_t trace_log_find(const struct trace_log *log, struct trace_slice id)
{
    return log->head_count == 0 ? TRACE_NONE : *slot_of(log, id);
}

uint32_t trace_log_new_message(struct trace_log *log, uint32_t system, struct trace_slice id,
                               int64_t us)
{
    if (log->message_count >= log->head_count / 2)
        grow_heads(log);
    if (log->message_count == log->message_cap) {
        log->message_cap = log->message_cap == 0 ? 1024 : log->message_cap * 2;
        log->messages = mem_grow(log->messages, log->message_cap, sizeof *log->messages);
    }
    uint32_t *slot = slot_of(log, id);
    log->messages[log->message_count] = (struct trace_message){.id = id,
                                                               .system = system,
                                                               .first = TRACE_NONE,
                                                               .last = TRACE_NONE,
                                                               .older = *slot,
                                                               .first_us = us,
                                                               .last_us = us,
                                                               .out = TRACE_NONE,
                                                               .in = TRACE_NONE};
    *slot = log->message_count;
    return log->message_count++;
}

/* Has the message this event from another file? */
static bool has_event(const struct trace_log *log, uint32_t message, const struct trace_event *e)
{
    for (uint32_t i = log->messages[message].first; log->file > 1 && i != TRACE_NONE;
         i = log->events[i].next) {
        const struct trace_event *own = &log->events[i];
        if (own->us == e->us && own->len == e->len && own->file != e->file && own->tag == e->tag &&
            memcmp(own->text, e->text, e->len) == 0)
            return true;
    }
    return false;
}

void trace_log_attach(struct trace_log *log, uint32_t message, uint32_t event)
{
    struct trace_message *m = &log->messages[message];
    struct trace_event *e = &log->events[event];
    uint32_t *link = &m->first;

    if (has_event(log, message, e))
        return;
    e->message = message;
    if (m->last != TRACE_NONE && log->events[m->last].us <= e->us)
        link = &log->events[m->last].next;
    while (*link != TRACE_NONE && log->events[*link].us <= e->us)
        link = &log->events[*link].next;
    e->next = *link;
    *link = event;
    if (e->next == TRACE_NONE)
        m->last = event;
    m->event_count++;
    m->first_us = (e->us != 0 && e->us < m->first_us) || m->first_us == 0 ? e->us : m->first_us;
    m->last_us = e->us > m->last_us ? e->us : m->last_us;
}

/* Does this event begin a new message, although there is one with its id? */
static bool is_new_message(const struct trace_message *m, enum trace_kind kind)
{
    if (kind == TRACE_KIND_ARRIVED)
        return m->has_arrived || m->is_removed;
    return m->is_removed && (kind == TRACE_KIND_MESSAGE_ID || kind == TRACE_KIND_SENDER);
}

/* May a line of this system be about the message? The ids of copies are unique: one splitrelay may
 * take a copy, and another one that shares the database may deliver it. */
static bool is_of_system(const struct trace_log *log, uint32_t message, uint32_t system)
{
    uint32_t own = log->messages[message].system;

    return own == system || (log->systems[own].program == TRACE_PROGRAM_SPLITRELAY &&
                             log->systems[system].program == TRACE_PROGRAM_SPLITRELAY);
}

static void place(struct trace_log *log, uint32_t event)
{
    struct trace_event *e = &log->events[event];
    const struct trace_slice id = {e->text, e->id_len};
    uint32_t system = log->tags[e->tag].system;
    struct trace_facts facts;

    enum trace_program program = log->tags[e->tag].origin.program;
    if (e->id_len == 0 || trace_slice_is(id, "NOQUEUE") || program == TRACE_PROGRAM_SPLITMILTER)
        return;
    uint32_t m = trace_log_find(log, id);
    while (m != TRACE_NONE && !is_of_system(log, m, system))
        m = log->messages[m].older;
    if (m != TRACE_NONE && has_event(log, m, e))
        return;
    if (m != TRACE_NONE && is_new_message(&log->messages[m], e->kind)) {
        log->messages[m].is_removed = true;
        m = TRACE_NONE;
    }
    if (m == TRACE_NONE)
        m = trace_log_new_message(log, system, id, e->us);
    trace_log_attach(log, m, event);
    struct trace_message *message = &log->messages[m];
    message->has_arrived |= e->kind == TRACE_KIND_ARRIVED;
    message->is_removed |= e->kind == TRACE_KIND_REMOVED;
    if (message->message_id.at == NULL &&
        (e->kind == TRACE_KIND_MESSAGE_ID || e->kind == TRACE_KIND_SENDER ||
         program == TRACE_PROGRAM_SENDMAIL)) {
        trace_log_facts(log, e, &facts);
        message->message_id = facts.message_id;
    }
}

static int by_time(const void *a, const void *b)
{
    const struct trace_event *x = a, *y = b;

    if (x->us != y->us)
        return x->us < y->us ? -1 : 1;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

void trace_log_sort(struct trace_log *log)
{
    bool is_sorted = true;

    for (uint32_t i = 0; i < log->message_count; i++)
        free(log->messages[i].facts);
    log->message_count = log->edge_count = 0;
    if (log->head_count > 0)
        memset(log->heads, 0xff, log->head_count * sizeof *log->heads);
    for (uint32_t i = 0; i < log->event_count; i++) {
        log->events[i].message = log->events[i].next = TRACE_NONE;
        is_sorted &= i == 0 || by_time(&log->events[i - 1], &log->events[i]) <= 0;
    }
    if (!is_sorted)
        qsort(log->events, log->event_count, sizeof *log->events, by_time);
    for (uint32_t i = 0; i < log->event_count; i++)
        place(log, i);
}

struct trace_slice trace_log_body(const struct trace_event *e)
{
    size_t skip = e->id_len == 0 ? 0 : e->id_len + 2U;

    return (struct trace_slice){e->text + skip, e->len - skip};
}

void trace_log_facts(const struct trace_log *log, const struct trace_event *e,
                     struct trace_facts *out)
{
    struct trace_slice body = trace_log_body(e);

    (void)log;
    if (e->kind == TRACE_KIND_FILTERED)
        trace_facts_read_amavis(body.at, body.len, out);
    else if (e->kind == TRACE_KIND_REFUSED)
        trace_facts_read_reject(body.at, body.len, out);
    else
        trace_facts_read(body.at, body.len, out);
}
