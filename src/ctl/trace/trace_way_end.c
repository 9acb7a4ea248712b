/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_way_private.h"
#include "base/ascii.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

const struct trace_message *walk_message(const struct walk *w, uint32_t message)
{
    return &w->o->log->messages[message];
}

enum trace_program walk_program(const struct walk *w, uint32_t message)
{
    return w->o->log->systems[walk_message(w, message)->system].program;
}

struct slice walk_system(const struct walk *w, uint32_t message)
{
    return w->o->log->systems[walk_message(w, message)->system].name;
}

bool walk_has_visited(const struct walk *w, uint32_t message)
{
    for (size_t i = 0; i < w->visited_count; i++)
        if (w->visited[i] == message)
            return true;
    return false;
}

static void set_text(char **slot, struct slice s)
{
    free(*slot);
    *slot = mem_strndup(s.at == NULL ? "" : s.at, s.len);
}

/* Add an end in this message. */
struct trace_end *trace_way_end_in(struct walk *w, enum trace_end_state state, uint32_t message,
                                   struct leg leg, const struct hit *hit)
{
    struct trace_end *end = trace_way_end(w->way, state);
    struct slice plain, name;

    end->message = message;
    end->is_copy = leg.is_copy;
    set_text(&end->name, leg.name);
    set_text(&end->id, walk_message(w, message)->id);
    if (hit != NULL) {
        end->us = w->o->log->kept.events[hit->event].us;
        (void)trace_word_untag(hit->facts->to, w->o->tag_domain, &plain, &name);
        set_text(&end->address, plain);
        set_text(&end->relay, hit->facts->relay);
        set_text(&end->why, hit->facts->reply);
    }
    return end;
}

/* --- copies --- */

/* The destination that the lines of splitrelay name for a copy; len 0: none. */
struct slice walk_destination(const struct walk *w, uint32_t message)
{
    const struct trace_index *ix = trace_way_index(w->o, message);
    const struct trace_log *log = w->o->log;

    for (uint32_t n = 0; n < ix->count; n++) {
        struct slice middle = log->tags[log->kept.events[ix->events[n]].tag].origin.middle;
        if (ix->facts[n].dest.at != NULL)
            return ix->facts[n].dest;
        if (middle.len > 0)
            return middle;
    }
    return (struct slice){"", 0};
}

/* Are these names of one host? One may lack the domain. */
static bool is_same_host(struct slice a, const char *b)
{
    size_t len = strcspn(b, ".");
    const char *dot = memchr(a.at, '.', a.len);

    a.len = dot == NULL ? a.len : (size_t)(dot - a.at);
    return a.len == len && ascii_equal_n(a.at, b, len);
}

/* Is the message of a splitrelay whose queue is not the one that can be asked? */
static bool is_elsewhere(const struct walk *w, uint32_t message)
{
    struct slice host = w->o->log->systems[walk_message(w, message)->system].host;

    return w->o->host != NULL && host.len > 0 && !is_same_host(host, w->o->host);
}

static struct trace_copy ask(const struct walk *w, struct slice id, const struct names *names)
{
    struct trace_copy copy = {.place = TRACE_COPY_NOT_ASKED};

    if (w->o->find != NULL)
        w->o->find(w->o->ctx, id, names->items, names->count, &copy);
    return copy;
}

/* Ask the queue about a message of splitrelay. If it was on another host, the queue of this host
 * does not have the copy, and this says nothing. */
static struct trace_copy ask_about(struct walk *w, uint32_t message, const struct names *names)
{
    struct slice id = walk_message(w, message)->id;
    struct trace_copy copy = ask(w, id, names);

    if (copy.place != TRACE_COPY_NOWHERE || !is_elsewhere(w, message))
        return copy;
    copy.place = TRACE_COPY_NOT_ASKED;
    trace_way_missing(w->way, "what the queue of %.*s says of copy %.*s: this host is %s",
                      SLICE(w->o->log->systems[walk_message(w, message)->system].host), SLICE(id),
                      w->o->host);
    return copy;
}

/* Add the end that the queue knows. Returns false if the queue knows nothing. */
static bool end_of_copy(struct walk *w, const struct trace_copy *copy, struct slice id,
                        struct leg leg)
{
    static const enum trace_end_state states[] = {
        [TRACE_COPY_NOT_ASKED] = TRACE_END_UNKNOWN, [TRACE_COPY_NOWHERE] = TRACE_END_UNKNOWN,
        [TRACE_COPY_IN_QUEUE] = TRACE_END_WAITS,    [TRACE_COPY_HELD] = TRACE_END_HELD,
        [TRACE_COPY_DEAD] = TRACE_END_DEAD,         [TRACE_COPY_SENT] = TRACE_END_SENT,
        [TRACE_COPY_DELETED] = TRACE_END_DELETED,   [TRACE_COPY_SKIPPED] = TRACE_END_SKIPPED};

    if (copy->place == TRACE_COPY_NOT_ASKED || copy->place == TRACE_COPY_NOWHERE)
        return false;
    struct trace_end *end = trace_way_end(w->way, states[copy->place]);
    end->is_copy = true;
    set_text(&end->name, leg.name);
    if (leg.name.len == 0)
        set_text(&end->name, (struct slice){copy->destination, strlen(copy->destination)});
    set_text(&end->id, id);
    set_text(&end->why, (struct slice){copy->why, strlen(copy->why)});
    set_text(&end->relay, (struct slice){copy->relay, strlen(copy->relay)});
    end->next = copy->next;
    end->us = (int64_t)copy->when * 1000000;
    return true;
}

/* The front gave a copy to splitrelay, whose lines are not there: ask the queue about each id. */
void trace_way_end_behind_front(struct walk *w, uint32_t message, const struct hit *hit,
                                const struct names *names, struct leg leg)
{
    struct slice id;
    size_t at = 0;
    bool is_found = false;

    while (trace_facts_queued_as(hit->facts, &at, &id)) {
        struct trace_copy copy = ask(w, id, names);
        bool is_other =
            copy.place > TRACE_COPY_NOWHERE && copy.destination[0] != '\0' &&
            !slice_is_same(leg.name, (struct slice){copy.destination, strlen(copy.destination)});
        is_found |= !is_other && end_of_copy(w, &copy, id, leg);
        trace_copy_clear(&copy);
    }
    if (is_found)
        return;
    trace_way_missing(w->way, "what splitrelay did with the copy for %.*s (%.*s)", SLICE(leg.name),
                      SLICE(hit->facts->reply));
    (void)trace_way_end_in(w, TRACE_END_UNKNOWN, message, leg, hit);
}

/* What the last order of an administrator has made of the state of a copy. */
static enum trace_end_state state_by_order(const struct walk *w, uint32_t message,
                                           enum trace_end_state state)
{
    const struct trace_log *log = w->o->log;

    for (uint32_t i = walk_message(w, message)->first; i != TRACE_NONE;
         i = log->kept.events[i].next) {
        const struct trace_event *e = &log->kept.events[i];
        if (e->kind != TRACE_KIND_ORDER)
            continue;
        struct slice body = trace_log_body(e);
        if (slice_find(body, ": deleted by ") != NULL)
            state = TRACE_END_DELETED;
        else if (slice_find(body, ": held by ") != NULL)
            state = TRACE_END_HELD;
        else if (slice_find(body, ": released by ") != NULL ||
                 slice_find(body, ": requeued by ") != NULL)
            state = TRACE_END_WAITS;
    }
    return state;
}

void trace_way_end_in_relay(struct walk *w, uint32_t message, const struct names *names,
                            struct leg leg, const struct hit *hit, enum trace_end_state by_log)
{
    struct slice id = walk_message(w, message)->id;
    struct trace_copy copy = ask_about(w, message, names);

    if (!end_of_copy(w, &copy, id, leg)) {
        by_log = state_by_order(w, message, by_log);
        bool is_gone = copy.place == TRACE_COPY_NOWHERE;
        (void)trace_way_end_in(w, is_gone ? TRACE_END_UNKNOWN : by_log, message, leg, hit);
        if (is_gone)
            trace_way_missing(w->way, "how copy %.*s left the queue", SLICE(id));
    }
    trace_copy_clear(&copy);
}

bool trace_way_is_copy_for(struct walk *w, uint32_t message, const struct names *names)
{
    struct slice id = walk_message(w, message)->id;
    struct trace_copy copy = ask_about(w, message, names);
    enum trace_copy_place place = copy.place;

    if (place == TRACE_COPY_NOT_ASKED)
        trace_way_missing(w->way, "whether copy %.*s is for this recipient", SLICE(id));
    trace_copy_clear(&copy);
    return place > TRACE_COPY_NOWHERE;
}

/* --- ends in an MTA --- */

/* What became of a recipient that no line about a delivery takes out of the queue. */
struct in_queue {
    enum trace_end_state state;
    uint32_t event;   /* that says so; TRACE_NONE: none */
    bool is_queued;   /* the message was in the queue */
    bool is_requeued; /* it has got another id */
};

/* Take an event into account. */
static void look_at(const struct trace_log *log, uint32_t event, const struct trace_facts *f,
                    struct in_queue *q)
{
    const struct trace_event *e = &log->kept.events[event];
    const struct trace_origin *origin = &log->tags[e->tag].origin;
    enum trace_end_state former = q->state;

    switch ((enum trace_kind)e->kind) {
    case TRACE_KIND_EXPIRED:
        q->state = TRACE_END_BOUNCED;
        break;
    case TRACE_KIND_DISCARDED:
        q->state = TRACE_END_DELETED;
        break;
    case TRACE_KIND_REMOVED:
        if (slice_is(origin->service, "postsuper"))
            q->state = TRACE_END_DELETED;
        break;
    case TRACE_KIND_HELD:
        q->state = TRACE_END_HELD;
        break;
    case TRACE_KIND_ORDER:
        if (slice_is(trace_log_body(e), "placed on hold"))
            q->state = TRACE_END_HELD;
        else if (slice_begins(trace_log_body(e), "released from hold"))
            q->state = TRACE_END_WAITS;
        break;
    case TRACE_KIND_REQUEUED:
        q->is_requeued = true;
        break;
    case TRACE_KIND_SENDER:
    case TRACE_KIND_DELIVERY: /* whose recipient is cut; for others see has_delivery */
        q->is_queued = true;
        break;
    case TRACE_KIND_ARRIVED:
        q->is_queued |= origin->program == TRACE_PROGRAM_SENDMAIL && !slice_is(f->nrcpt, "0");
        break;
    case TRACE_KIND_OTHER:
    case TRACE_KIND_MESSAGE_ID:
    case TRACE_KIND_DECIDED:
    case TRACE_KIND_REFUSED:
    case TRACE_KIND_NOTIFIED:
    case TRACE_KIND_FILTERED:
        break;
    }
    if (q->state != former)
        q->event = event;
}

static struct in_queue state_in_queue(const struct walk *w, uint32_t message)
{
    const struct trace_message *m = walk_message(w, message);
    const struct trace_index *ix = trace_way_index(w->o, message);
    struct in_queue q = {
        .state = TRACE_END_WAITS, .event = TRACE_NONE, .is_queued = ix->has_delivery};

    for (uint32_t i = 0; i < ix->common_count; i++)
        look_at(w->o->log, ix->events[ix->common[i]], &ix->facts[ix->common[i]], &q);
    bool is_gone = m->is_removed || q.is_requeued || !q.is_queued;
    if (q.state == TRACE_END_WAITS && is_gone)
        q.state = TRACE_END_UNKNOWN;
    return q;
}

bool trace_way_is_requeued(const struct walk *w, uint32_t message)
{
    for (uint32_t i = walk_message(w, message)->plain; i != TRACE_NONE;
         i = w->o->log->edges[i].next_alike)
        if (w->o->log->edges[i].kind == TRACE_EDGE_REQUEUE)
            return true;
    return false;
}

/* Name what the logs lack about mail in a queue. */
static void miss_in_queue(struct walk *w, uint32_t message, const struct in_queue *q)
{
    struct slice id = walk_message(w, message)->id, system = walk_system(w, message);

    if (q->state == TRACE_END_WAITS && w->o->log->until_us != 0)
        trace_way_missing(w->way, "what happened after the time of --until");
    if (q->state != TRACE_END_UNKNOWN)
        return;
    if (q->is_requeued)
        trace_way_missing(w->way, "the new id of %.*s in %.*s", SLICE(id), SLICE(system));
    else if (!q->is_queued)
        trace_way_missing(w->way, "whether %.*s came into the queue of %.*s", SLICE(id),
                          SLICE(system));
    else
        trace_way_missing(w->way, "why %.*s left the queue of %.*s", SLICE(id), SLICE(system));
}

void trace_way_end_waiting(struct walk *w, uint32_t message, struct leg leg, const struct hit *hit)
{
    struct in_queue q = state_in_queue(w, message);

    if (q.is_requeued && q.state == TRACE_END_UNKNOWN && trace_way_is_requeued(w, message))
        return;
    struct trace_end *end = trace_way_end_in(w, q.state, message, leg, hit);
    if (q.event != TRACE_NONE && q.state != TRACE_END_WAITS && q.state != TRACE_END_UNKNOWN) {
        const struct trace_event *e = &w->o->log->kept.events[q.event];
        end->us = e->us;
        if (hit == NULL && e->kind == TRACE_KIND_DISCARDED)
            set_text(&end->why, trace_log_body(e));
    }
    miss_in_queue(w, message, &q);
}

/* --- what was decided --- */

static bool has_end(const struct trace_way *w, size_t first, bool is_copy, struct slice name)
{
    for (size_t i = first; i < w->end_count; i++) {
        const struct trace_end *e = &w->ends[i];
        const struct slice own = {e->name, strlen(e->name)};
        if (e->is_copy == is_copy && (!is_copy || slice_is_same(name, own)))
            return true;
    }
    return false;
}

/* is_cut: the end of the list, and with it of its last name, may be missing. */
static void expect_copies(struct walk *w, uint32_t message, struct slice list, size_t first,
                          bool is_cut)
{
    for (size_t at = 0; at < list.len;) {
        size_t n = 0;
        while (at + n < list.len && list.at[at + n] != ',')
            n++;
        struct leg leg = {true, {list.at + at, n}};
        if (is_cut && at + n == list.len)
            break;
        if (!has_end(w->way, first, true, leg.name))
            trace_way_end_waiting(w, message, leg, NULL);
        at += n + 1;
    }
}

/* Add an end for each copy that splitmilter has skipped: "archive(direction=inbound),...". A name
 * without its reason is cut, and left out. */
static void end_skipped(struct walk *w, uint32_t message, struct slice list, int64_t us)
{
    while (list.len > 0) {
        const char *open = slice_find(list, "("), *close = slice_find(list, ")");
        if (open == NULL || close == NULL || close < open)
            break;
        struct leg leg = {true, {list.at, (size_t)(open - list.at)}};
        struct trace_end *end = trace_way_end_in(w, TRACE_END_SKIPPED, message, leg, NULL);
        set_text(&end->why, (struct slice){open + 1, (size_t)(close - open) - 1});
        end->us = us;
        list = slice_from(list, close + 1);
        slice_skip(&list, list.len > 0 && list.at[0] == ',');
    }
}

void trace_way_expect(struct walk *w, uint32_t message, const struct names *names, size_t first)
{
    const struct trace_log *log = w->o->log;
    const struct trace_index *ix = trace_way_index(w->o, message);
    enum trace_program program = walk_program(w, message);
    uint32_t *own;

    if (w->is_refused)
        return;
    size_t count = trace_way_own(w->o, message, names, &own);
    for (size_t i = 0; i < count; i++) {
        const struct trace_event *e = &log->kept.events[ix->events[own[i]]];
        const struct trace_facts *f = &ix->facts[own[i]];
        if (e->kind != TRACE_KIND_DECIDED)
            continue;
        if (f->copy.at != NULL)
            expect_copies(w, message, f->copy, first, trace_log_may_be_cut(log, e));
        end_skipped(w, message, f->skip, e->us);
        if (program != TRACE_PROGRAM_SPLITMILTER &&
            !has_end(w->way, first, false, (struct slice){0}))
            trace_way_end_waiting(w, message, (struct leg){false, f->filter}, NULL);
    }
    free(own);
}
