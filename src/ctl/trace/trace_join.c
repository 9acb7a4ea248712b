/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_join.h"
#include "base/ascii.h"
#include "base/mem.h"
#include "ctl/trace/trace_word.h"
#include "queue/queue_id.h"

#include <stdio.h>
#include <string.h>

#define SECOND_US INT64_C(1000000)
#define SLACK_US (5 * SECOND_US)    /* stamps have whole seconds, and clocks differ a little */
#define CLOCKS_US (600 * SECOND_US) /* clocks of different hosts may differ so much */

/* --- candidates for an id --- */

static bool has_program(const struct trace_log *log, uint32_t message, enum trace_program program)
{
    return log->systems[log->messages[message].system].program == program;
}

static bool is_on_host(const struct trace_log *log, uint32_t message, struct slice host)
{
    return slice_is_equal(log->systems[log->messages[message].system].host, host);
}

/* May both be parts of one mail? No if their Message-IDs differ. */
static bool may_be_same(const struct trace_message *a, const struct trace_message *b)
{
    struct slice x = a->message_id, y = b->message_id;

    if (x.at == NULL || y.at == NULL || x.len == 0 || y.len == 0)
        return true;
    return slice_is_equal(x, y);
}

static bool is_known_same(const struct trace_message *a, const struct trace_message *b)
{
    return a->message_id.at != NULL && a->message_id.len > 0 && b->message_id.at != NULL &&
           may_be_same(a, b);
}

/* What a message must be to be the one that an id means. */
struct wanted {
    uint32_t other;            /* the message on the other side; TRACE_NONE: not known */
    bool is_source;            /* it is the sender of `other`, not its receiver */
    int64_t us;                /* the time of the line that has the id; 0: unknown */
    int64_t slack_us;          /* by which times may be wrong */
    struct slice host;         /* at NULL: any */
    uint32_t system;           /* TRACE_NONE: any */
    struct slice message_id;   /* at NULL or empty: unknown */
    bool is_from_mta;          /* it is of Postfix or Sendmail */
    bool is_message_id_needed; /* Message-IDs must be known to be the same */
};

static bool fits(const struct trace_log *log, uint32_t candidate, const struct wanted *w)
{
    const struct trace_message *m = &log->messages[candidate];

    if (candidate == w->other || (w->us != 0 && m->first_us > w->us + w->slack_us))
        return false;
    if (w->is_from_mta && !has_program(log, candidate, TRACE_PROGRAM_POSTFIX) &&
        !has_program(log, candidate, TRACE_PROGRAM_SENDMAIL))
        return false;
    if (w->host.at != NULL && !is_on_host(log, candidate, w->host))
        return false;
    if (w->system != TRACE_NONE && m->system != w->system)
        return false;
    if (w->message_id.len > 0 && m->message_id.len > 0 &&
        !slice_is_equal(w->message_id, m->message_id))
        return false;
    /* the message on this side was still there at that time */
    if (w->is_source && m->is_removed && m->last_us + w->slack_us < w->us && w->us != 0)
        return false;
    if (w->other == TRACE_NONE)
        return true;
    const struct trace_message *o = &log->messages[w->other];
    if (!w->is_source && m->first_us != 0 && m->first_us + w->slack_us < o->first_us)
        return false;
    return w->is_message_id_needed ? is_known_same(m, o) : may_be_same(m, o);
}

/* Find the only message with this id that fits. *count_out: how many fit. */
static uint32_t find_only(const struct trace_log *log, struct slice id, const struct wanted *w,
                          unsigned *count_out)
{
    uint32_t found = TRACE_NONE;

    *count_out = 0;
    for (uint32_t m = trace_log_find(log, id); m != TRACE_NONE; m = log->messages[m].older)
        if (fits(log, m, w)) {
            found = m;
            ++*count_out;
        }
    return *count_out == 1 ? found : TRACE_NONE;
}

/* As find_only(), first with strict times, then with clocks that differ; among several, with the
 * same Message-ID. */
static uint32_t find_best(const struct trace_log *log, struct slice id, struct wanted w,
                          bool *is_ambiguous_out)
{
    unsigned count = 0;
    uint32_t m = TRACE_NONE;

    w.slack_us = SLACK_US;
    m = find_only(log, id, &w, &count);
    if (count == 0) {
        w.slack_us = CLOCKS_US;
        m = find_only(log, id, &w, &count);
    }
    if (count > 1 && w.other != TRACE_NONE) {
        unsigned several = count;
        w.is_message_id_needed = true;
        m = find_only(log, id, &w, &count);
        count = m == TRACE_NONE ? several : 1;
    }
    *is_ambiguous_out = count > 1;
    return m;
}

uint32_t trace_join_target(const struct trace_log *log, struct slice id, uint32_t from, int64_t us,
                           bool *is_ambiguous_out)
{
    const struct wanted w = {.other = from, .us = us, .system = TRACE_NONE};

    return find_best(log, id, w, is_ambiguous_out);
}

/* Find the message that went on as `message`. system: its own if the MTA gave it another id. */
static uint32_t source_of(const struct trace_log *log, struct slice id, uint32_t message,
                          uint32_t system, int64_t us)
{
    const struct wanted w = {
        .other = message, .is_source = true, .us = us, .is_from_mta = true, .system = system};
    bool is_ambiguous;

    return find_best(log, id, w, &is_ambiguous);
}

/* --- edges --- */

/* The list of the edges that are of this delivery, or of none. */
static uint32_t *list_of(struct trace_log *log, uint32_t from, uint32_t event)
{
    bool is_delivery = event != TRACE_NONE && log->kept.events[event].kind == TRACE_KIND_DELIVERY;

    return is_delivery ? &log->kept.events[event].edge : &log->messages[from].plain;
}

static bool has_edge(const struct trace_log *log, uint32_t list, uint32_t to, uint32_t event)
{
    for (uint32_t e = list; e != TRACE_NONE; e = log->edges[e].next_alike)
        if (log->edges[e].to == to && log->edges[e].event == event)
            return true;
    return false;
}

static void add_edge(struct trace_log *log, uint32_t from, uint32_t to, uint32_t event,
                     enum trace_edge_kind kind)
{
    uint32_t *list = list_of(log, from, event);

    if (from == to || has_edge(log, *list, to, event))
        return;
    if (log->edge_count == log->edge_cap) {
        log->edge_cap = log->edge_cap == 0 ? 1024 : log->edge_cap * 2;
        log->edges = mem_grow(log->edges, log->edge_cap, sizeof *log->edges);
    }
    log->edges[log->edge_count] = (struct trace_edge){.from = from,
                                                      .to = to,
                                                      .event = event,
                                                      .next_out = log->messages[from].out,
                                                      .next_in = log->messages[to].in,
                                                      .next_alike = *list,
                                                      .kind = kind};
    *list = log->messages[from].out = log->edge_count;
    log->messages[to].in = log->edge_count++;
}

/* Is the relay, "host[ip]:port", the host of this message? */
static bool is_relay_of(const struct trace_log *log, uint32_t message, struct slice relay)
{
    struct slice host = log->systems[log->messages[message].system].host;

    return host.len > 0 && relay.len > host.len && relay.at[host.len] == '[' &&
           ascii_equal_n(relay.at, host.at, host.len);
}

/* "queued as ID" or "forwarded as ID" in the reply to a delivery. */
static void join_reply(struct trace_log *log, uint32_t from, uint32_t event,
                       const struct trace_facts *facts, const char *tag_domain)
{
    struct slice id, plain, name;
    struct wanted w = {.other = from, .us = log->kept.events[event].us, .system = TRACE_NONE};
    bool is_ambiguous, is_forwarded = trace_facts_is_forwarded(facts);
    bool is_ours = trace_word_untag(facts->to, tag_domain, &plain, &name) != TRACE_ROUTE_NONE ||
                   trace_facts_is_near(facts);
    size_t at = 0;

    if (is_forwarded)
        w.system = log->messages[from].system;
    while (trace_facts_queued_as(facts, &at, &id)) {
        uint32_t to = find_best(log, id, w, &is_ambiguous);
        if (to != TRACE_NONE && (is_ours || is_relay_of(log, to, facts->relay)))
            add_edge(log, from, to, event, TRACE_EDGE_DELIVERY);
    }
}

/* A listener of splitrelay: the line about its primary is in the message of the first copy. The
 * others have the following ids. */
static void join_siblings(struct trace_log *log, uint32_t first)
{
    char text[QUEUE_ID_SIZE];
    int64_t id;

    mem_copy_string(text, sizeof text, "");
    if (log->messages[first].id.len < sizeof text)
        snprintf(text, sizeof text, "%.*s", (int)log->messages[first].id.len,
                 log->messages[first].id.at);
    if (!queue_id_parse(text, &id))
        return;
    for (int n = 1; n < QUEUE_ID_COPIES_MAX; n++) {
        queue_id_format(id + n, text);
        uint32_t m = trace_log_find(log, (struct slice){text, strlen(text)});
        if (m == TRACE_NONE)
            return;
        add_edge(log, first, m, TRACE_NONE, TRACE_EDGE_DELIVERY);
    }
}

static void join_delivery(struct trace_log *log, uint32_t event, const char *tag_domain)
{
    const struct trace_event *e = &log->kept.events[event];
    struct trace_facts facts;

    if (memmem(e->text, e->len, "queued as ", 10) == NULL &&
        memmem(e->text, e->len, "forwarded as ", 13) == NULL &&
        memmem(e->text, e->len, "accepted for delivery", 21) == NULL &&
        memmem(e->text, e->len, ", listener=", 11) == NULL)
        return;
    trace_log_facts(log, e, &facts);
    if (facts.status == TRACE_STATUS_SENT)
        join_reply(log, e->message, event, &facts, tag_domain);
    if (facts.listener.at != NULL)
        join_siblings(log, e->message);
}

/* The receiver names the id that the message had at its sender. */
static void join_source(struct trace_log *log, uint32_t event)
{
    const struct trace_event *e = &log->kept.events[event];
    struct trace_facts facts;

    bool is_requeued = slice_is(log->tags[e->tag].origin.service, "pickup");

    if (memmem(e->text, e->len, is_requeued ? "orig_id=" : "queue_id=", 8 + !is_requeued) == NULL)
        return;
    trace_log_facts(log, e, &facts);
    if (facts.queue_id.at == NULL)
        return;
    uint32_t system = is_requeued ? log->messages[e->message].system : TRACE_NONE;
    uint32_t from = source_of(log, facts.queue_id, e->message, system, e->us);
    if (from != TRACE_NONE)
        add_edge(log, from, e->message, TRACE_NONE,
                 is_requeued ? TRACE_EDGE_REQUEUE : TRACE_EDGE_DELIVERY);
}

static void join_notification(struct trace_log *log, uint32_t event)
{
    const struct trace_event *e = &log->kept.events[event];
    struct slice id = trace_facts_notification(trace_log_body(e));
    bool is_ambiguous;

    const struct wanted w = {
        .other = TRACE_NONE, .us = e->us, .system = log->messages[e->message].system};
    uint32_t to = find_best(log, id, w, &is_ambiguous);
    if (to != TRACE_NONE)
        add_edge(log, e->message, to, event, TRACE_EDGE_NOTIFICATION);
}

/* --- lines that do not say which instance they are about --- */

/* Does the message have this recipient, as a recipient or before mapping? */
static bool has_recipient(const struct trace_log *log, uint32_t message, struct slice address)
{
    struct trace_facts f;

    for (uint32_t i = log->messages[message].first; i != TRACE_NONE; i = log->kept.events[i].next) {
        if (log->kept.events[i].kind != TRACE_KIND_DELIVERY)
            continue;
        trace_log_facts(log, &log->kept.events[i], &f);
        bool is_before_tag = f.to.len > address.len && f.to.at[address.len] == '.' &&
                             ascii_equal_n(f.to.at, address.at, address.len);
        if (is_before_tag || slice_is_same(f.to, address) || slice_is_same(f.orig_to, address))
            return true;
    }
    return false;
}

/* Give a line of splitmilter to the message with its id. If there are several, the one with the
 * recipient is meant. If there is none, the line gets a message of its own. */
static void join_decision(struct trace_log *log, uint32_t event)
{
    struct trace_event *e = &log->kept.events[event];
    const struct slice id = {e->text, e->id_len};
    const struct trace_source_tag *tag = &log->tags[e->tag];
    struct wanted w = {.other = TRACE_NONE,
                       .is_source = true,
                       .us = e->us,
                       .is_from_mta = true,
                       .system = TRACE_NONE};
    bool is_ambiguous;
    struct trace_facts f;

    w.host = tag->host;
    uint32_t m = find_best(log, id, w, &is_ambiguous);
    if (m == TRACE_NONE && !is_ambiguous) {
        w.host.at = NULL;
        m = find_best(log, id, w, &is_ambiguous);
    }
    if (is_ambiguous) {
        unsigned count = 0;
        w.slack_us = SLACK_US;
        trace_log_facts(log, e, &f);
        for (uint32_t c = trace_log_find(log, id); c != TRACE_NONE; c = log->messages[c].older)
            if (f.to.at != NULL && fits(log, c, &w) &&
                (has_recipient(log, c, f.to) ||
                 (f.canonical.at != NULL && has_recipient(log, c, f.canonical)))) {
                m = c;
                count++;
            }
        m = count == 1 ? m : TRACE_NONE;
    }
    for (uint32_t c = trace_log_find(log, id); m == TRACE_NONE && c != TRACE_NONE;
         c = log->messages[c].older)
        if (log->messages[c].system == tag->system)
            m = c;
    if (m == TRACE_NONE)
        m = trace_log_new_message(log, tag->system, id, e->us);
    trace_log_attach(log, m, event);
}

/* Give a line of amavis to the message that it got, and connect that with the one that it gave
 * back. */
static void join_filtered(struct trace_log *log, uint32_t event)
{
    struct trace_event *e = &log->kept.events[event];
    struct trace_facts f;

    trace_log_facts(log, e, &f);
    if (f.queue_id.at == NULL)
        return;
    const struct wanted w = {.other = TRACE_NONE,
                             .is_source = true,
                             .us = e->us,
                             .is_from_mta = true,
                             .system = TRACE_NONE,
                             .message_id = f.message_id};
    bool is_ambiguous;
    uint32_t m = find_best(log, f.queue_id, w, &is_ambiguous);
    if (m == TRACE_NONE)
        return;
    trace_log_attach(log, m, event);
    for (size_t at = 0; at < f.reply.len;) {
        size_t n = 0;
        while (at + n < f.reply.len && f.reply.at[at + n] != '/')
            n++;
        uint32_t to =
            trace_join_target(log, (struct slice){f.reply.at + at, n}, m, e->us, &is_ambiguous);
        if (to != TRACE_NONE)
            add_edge(log, m, to, event, TRACE_EDGE_DELIVERY);
        at += n + 1;
    }
}

void trace_join(struct trace_log *log, const char *tag_domain)
{
    for (uint32_t i = 0; i < log->kept.count; i++)
        if (log->kept.events[i].kind == TRACE_KIND_DECIDED && log->kept.events[i].id_len > 0 &&
            strncmp(log->kept.events[i].text, "NOQUEUE:", 8) != 0)
            join_decision(log, i);
    for (uint32_t i = 0; i < log->kept.count; i++) {
        const struct trace_event *e = &log->kept.events[i];
        if (e->kind == TRACE_KIND_FILTERED)
            join_filtered(log, i);
        else if (e->message == TRACE_NONE)
            continue;
        else if (e->kind == TRACE_KIND_DELIVERY)
            join_delivery(log, i, tag_domain);
        else if (e->kind == TRACE_KIND_ARRIVED || e->kind == TRACE_KIND_SENDER)
            join_source(log, i);
        else if (e->kind == TRACE_KIND_NOTIFIED)
            join_notification(log, i);
    }
}
