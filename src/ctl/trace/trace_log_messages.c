/* SPDX-License-Identifier: ISC */
/* trace_log_messages: events are sorted, and collected into messages. */
#include "base/mem.h"
#include "ctl/trace/trace_log.h"

#include <stdlib.h>
#include <string.h>

#define SERVICE_US INT64_C(3600000000) /* from the client to the first line of the instance */

/* The slot of an id in the hash table. */
static uint32_t *slot_of(const struct trace_log *log, struct slice id)
{
    uint32_t mask = log->head_count - 1, i = (uint32_t)slice_hash(id) & mask;

    while (log->heads[i] != TRACE_NONE && !slice_is_equal(log->messages[log->heads[i]].id, id))
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

uint32_t trace_log_find(const struct trace_log *log, struct slice id)
{
    return log->head_count == 0 ? TRACE_NONE : *slot_of(log, id);
}

uint32_t trace_log_new_message(struct trace_log *log, uint32_t system, struct slice id, int64_t us)
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
                                                               .run = TRACE_NONE,
                                                               .inserted = TRACE_NONE,
                                                               .older = *slot,
                                                               .first_us = us,
                                                               .last_us = us,
                                                               .out = TRACE_NONE,
                                                               .plain = TRACE_NONE,
                                                               .in = TRACE_NONE};
    *slot = log->message_count;
    return log->message_count++;
}

/* An event of the message from which on events with this time come. */
static uint32_t start_for(const struct trace_log *log, const struct trace_message *m, int64_t us)
{
    return m->run != TRACE_NONE && log->kept.events[m->run].us <= us ? m->run : m->first;
}

/* Has the message this event from another file? */
static bool has_event(const struct trace_log *log, uint32_t message, const struct trace_event *e)
{
    uint32_t i = start_for(log, &log->messages[message], e->us);

    for (; log->file > 1 && i != TRACE_NONE; i = log->kept.events[i].next) {
        const struct trace_event *own = &log->kept.events[i];
        if (own->us > e->us)
            return false;
        if (own->us == e->us && own->len == e->len && own->file != e->file && own->tag == e->tag &&
            memcmp(own->text, e->text, e->len) == 0)
            return true;
    }
    return false;
}

/* The link where an event of this time belongs. */
static uint32_t *link_for(struct trace_log *log, struct trace_message *m, int64_t us)
{
    struct trace_event *all = log->kept.events;
    uint32_t *link = &m->first;

    if (m->last != TRACE_NONE && all[m->last].us <= us)
        return &all[m->last].next;
    if (m->inserted != TRACE_NONE && all[m->inserted].us <= us)
        link = &all[m->inserted].next;
    while (*link != TRACE_NONE && all[*link].us <= us)
        link = &all[*link].next;
    return link;
}

void trace_log_attach(struct trace_log *log, uint32_t message, uint32_t event)
{
    struct trace_message *m = &log->messages[message];
    struct trace_event *e = &log->kept.events[event];

    if (has_event(log, message, e))
        return;
    e->message = message;
    uint32_t *link = link_for(log, m, e->us);
    e->next = *link;
    *link = event;
    if (e->next != TRACE_NONE) {
        m->inserted = event;
    } else {
        if (m->last == TRACE_NONE || log->kept.events[m->last].us != e->us)
            m->run = event;
        m->last = event;
    }
    m->event_count++;
    m->first_us = (e->us != 0 && e->us < m->first_us) || m->first_us == 0 ? e->us : m->first_us;
    m->last_us = e->us > m->last_us ? e->us : m->last_us;
}

static bool is_other(struct slice a, struct slice b)
{
    return a.at != NULL && b.at != NULL && !slice_is_equal(a, b);
}

/* Does this event begin a new message, although there is one with its id? */
static bool is_new_message(const struct trace_log *log, uint32_t message,
                           const struct trace_event *e)
{
    const struct trace_message *m = &log->messages[message];
    struct trace_facts f;

    if (e->kind == TRACE_KIND_ARRIVED)
        return m->has_arrived || m->is_removed;
    if (e->kind != TRACE_KIND_MESSAGE_ID && e->kind != TRACE_KIND_SENDER)
        return false;
    if (m->is_removed)
        return true;
    if (log->systems[m->system].program != TRACE_PROGRAM_POSTFIX)
        return false;
    trace_log_facts(log, e, &f);
    return is_other(m->message_id, f.message_id) || is_other(m->sender, f.from);
}

/* May a line of this system be about the message? The ids of copies are unique: one splitrelay may
 * take a copy, and another one that shares the database may deliver it. */
static bool is_of_system(const struct trace_log *log, uint32_t message, uint32_t system)
{
    uint32_t own = log->messages[message].system;

    return own == system || (log->systems[own].program == TRACE_PROGRAM_SPLITRELAY &&
                             log->systems[system].program == TRACE_PROGRAM_SPLITRELAY);
}

/* A service of Postfix may have a name of its own in the log: "-o syslog_name=postfix-submission".
 * Then its line about the client is all that it says of a message, whose other lines have the name
 * of the instance. Find such a message. */
static uint32_t find_of_service(const struct trace_log *log, const struct trace_event *e,
                                struct slice id)
{
    const struct trace_system *own = &log->systems[log->tags[e->tag].system];

    if (own->program != TRACE_PROGRAM_POSTFIX || !own->has_qmgr || e->kind == TRACE_KIND_ARRIVED)
        return TRACE_NONE;
    for (uint32_t m = trace_log_find(log, id); m != TRACE_NONE; m = log->messages[m].older) {
        const struct trace_message *message = &log->messages[m];
        const struct trace_system *other = &log->systems[message->system];
        if (other->program == TRACE_PROGRAM_POSTFIX && !other->has_qmgr &&
            slice_is_equal(other->host, own->host) && message->has_arrived &&
            message->event_count == 1 && e->us - message->first_us < SERVICE_US)
            return m;
    }
    return TRACE_NONE;
}

/* Remember what the event says of the whole message. */
static void note_facts(struct trace_log *log, uint32_t message, const struct trace_event *e)
{
    struct trace_message *m = &log->messages[message];
    struct trace_facts f;

    m->has_arrived |= e->kind == TRACE_KIND_ARRIVED;
    m->is_removed |= e->kind == TRACE_KIND_REMOVED;
    bool is_sendmail = log->systems[m->system].program == TRACE_PROGRAM_SENDMAIL;
    if (e->kind != TRACE_KIND_MESSAGE_ID && e->kind != TRACE_KIND_SENDER &&
        !(is_sendmail && e->kind == TRACE_KIND_ARRIVED))
        return;
    trace_log_facts(log, e, &f);
    if (m->message_id.at == NULL)
        m->message_id = f.message_id;
    if (m->sender.at == NULL)
        m->sender = f.from;
}

static void place(struct trace_log *log, uint32_t event)
{
    struct trace_event *e = &log->kept.events[event];
    const struct slice id = {e->text, e->id_len};
    uint32_t system = log->tags[e->tag].system;

    enum trace_program program = log->tags[e->tag].origin.program;
    if (e->id_len == 0 || slice_is(id, "NOQUEUE") || program == TRACE_PROGRAM_SPLITMILTER)
        return;
    uint32_t m = trace_log_find(log, id);
    while (m != TRACE_NONE && !is_of_system(log, m, system))
        m = log->messages[m].older;
    if (m != TRACE_NONE && has_event(log, m, e))
        return;
    if (m != TRACE_NONE && is_new_message(log, m, e)) {
        log->messages[m].is_removed = true;
        m = TRACE_NONE;
    }
    if (m == TRACE_NONE && (m = find_of_service(log, e, id)) != TRACE_NONE)
        log->messages[m].system = system;
    if (m == TRACE_NONE)
        m = trace_log_new_message(log, system, id, e->us);
    trace_log_attach(log, m, event);
    note_facts(log, m, e);
}

static int by_time(const void *a, const void *b)
{
    const struct trace_event *x = a, *y = b;

    if (x->us != y->us)
        return x->us < y->us ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

/* The rank of a file: how many begin earlier. */
static uint32_t rank_of(const struct trace_log *log, uint32_t file)
{
    uint32_t rank = 0;

    for (uint32_t i = 0; i <= log->file && i < log->file_cap; i++)
        rank +=
            log->files[i].us != 0 && file < log->file_cap && log->files[i].us < log->files[file].us;
    return rank;
}

void trace_log_sort(struct trace_log *log)
{
    bool is_sorted = true;

    for (uint32_t i = 0; i < log->message_count; i++)
        trace_index_free(log->messages[i].index);
    log->message_count = log->edge_count = 0;
    if (log->head_count > 0)
        memset(log->heads, 0xff, log->head_count * sizeof *log->heads);
    uint32_t file = TRACE_NONE, rank = 0;
    for (uint32_t i = 0; i < log->kept.count; i++) {
        log->kept.events[i].message = log->kept.events[i].next = log->kept.events[i].edge =
            TRACE_NONE;
        rank = log->kept.events[i].file == file ? rank : rank_of(log, log->kept.events[i].file);
        file = log->kept.events[i].file;
        log->kept.events[i].rank = rank;
        is_sorted &= i == 0 || by_time(&log->kept.events[i - 1], &log->kept.events[i]) <= 0;
    }
    if (!is_sorted)
        qsort(log->kept.events, log->kept.count, sizeof *log->kept.events, by_time);
    for (uint32_t i = 0; i < log->kept.count; i++)
        place(log, i);
}
