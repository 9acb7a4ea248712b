/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_way_private.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- from message to message --- */

static bool has_delivery(const struct walk *w, uint32_t message)
{
    return trace_way_index(w->o, message)->has_delivery;
}

/* Does a delivery of the message belong to one of the addresses? */
static bool has_own_delivery(const struct walk *w, uint32_t message, const struct names *names)
{
    const struct trace_index *ix = trace_way_index(w->o, message);
    bool is_there = false;
    uint32_t *own;

    size_t count = trace_way_own(w->o, message, names, &own);
    for (size_t i = 0; i < count; i++)
        is_there |= w->o->log->kept.events[ix->events[own[i]]].kind == TRACE_KIND_DELIVERY;
    free(own);
    return is_there;
}

/* May this message of splitrelay be the copy for that destination and recipient? */
static bool may_be_copy(const struct walk *w, uint32_t message, const struct names *names,
                        struct slice name)
{
    struct slice dest = walk_destination(w, message);

    if (dest.len > 0 && name.len > 0 && !slice_is_same(dest, name))
        return false;
    return !has_delivery(w, message) || has_own_delivery(w, message, names);
}

/* Does a delivery lead to the message? Then the line of this delivery says for which recipient. */
static bool has_delivered_edge(const struct walk *w, uint32_t message)
{
    const struct trace_log *log = w->o->log;

    for (uint32_t i = walk_message(w, message)->in; i != TRACE_NONE; i = log->edges[i].next_in)
        if (log->edges[i].event != TRACE_NONE &&
            log->kept.events[log->edges[i].event].kind == TRACE_KIND_DELIVERY)
            return true;
    return false;
}

/* Is a message, of which only the receiver says that it came from here, for the recipient? */
static bool is_for(struct walk *w, uint32_t message, const struct names *names, struct leg leg)
{
    if (walk_program(w, message) != TRACE_PROGRAM_SPLITRELAY)
        return has_own_delivery(w, message, names);
    if (!may_be_copy(w, message, names, leg.is_copy ? leg.name : (struct slice){0}))
        return false;
    if (has_delivery(w, message))
        return true;
    return !has_delivered_edge(w, message) && trace_way_is_copy_for(w, message, names);
}

/* Follow one edge. event: as for follow(). Returns false if it leads elsewhere. */
static bool follow_edge(struct walk *w, const struct trace_edge *edge, uint32_t event,
                        const struct names *names, struct leg leg)
{
    const struct trace_log *log = w->o->log;
    bool is_delivery =
        edge->event != TRACE_NONE && log->kept.events[edge->event].kind == TRACE_KIND_DELIVERY;
    bool is_relay = walk_program(w, edge->to) == TRACE_PROGRAM_SPLITRELAY;

    if (edge->kind == TRACE_EDGE_NOTIFICATION ||
        (event != TRACE_NONE ? edge->event != event : is_delivery))
        return false;
    if (walk_has_visited(w, edge->to))
        return event != TRACE_NONE;
    if (event == TRACE_NONE && !is_for(w, edge->to, names, leg))
        return false;
    if (is_relay && event != TRACE_NONE &&
        !may_be_copy(w, edge->to, names, leg.is_copy ? leg.name : (struct slice){0}))
        return false;
    if (is_relay && !leg.is_copy)
        leg = (struct leg){true, walk_destination(w, edge->to)};
    trace_way_walk(w, edge->to, names, leg);
    return true;
}

/* Follow the edges of a delivery (event TRACE_NONE: the edges that only the receiver knows).
 * Returns how many were followed. */
static unsigned follow(struct walk *w, uint32_t message, uint32_t event, const struct names *names,
                       struct leg leg)
{
    unsigned count = 0;
    uint32_t first =
        event == TRACE_NONE ? walk_message(w, message)->plain : w->o->log->kept.events[event].edge;

    for (uint32_t i = first; i != TRACE_NONE; i = w->o->log->edges[i].next_alike)
        count += follow_edge(w, &w->o->log->edges[i], event, names, leg);
    return count;
}

/* The reply of amavis to mail that it has thrown away: "250 2.7.0 Ok, discarded, id=..." */
static bool is_discarded(const struct trace_facts *f)
{
    return slice_find(f->reply, " Ok, discarded, ") != NULL;
}

static void follow_sent(struct walk *w, uint32_t message, const struct hit *hit, struct leg leg)
{
    struct slice plain, name;
    struct names names = {0};
    enum trace_route route = trace_word_untag(hit->facts->to, w->o->tag_domain, &plain, &name);

    names_add(&names, plain);
    names_add(&names, hit->facts->to);
    if (route != TRACE_ROUTE_NONE)
        leg = (struct leg){route == TRACE_ROUTE_COPY, name};
    if (follow(w, message, hit->event, &names, leg) > 0)
        return;
    if (is_discarded(hit->facts) &&
        (route != TRACE_ROUTE_NONE || trace_facts_is_near(hit->facts))) {
        (void)trace_way_end_in(w, TRACE_END_DELETED, message, leg, hit);
    } else if (route == TRACE_ROUTE_NONE) {
        (void)trace_way_end_in(w, TRACE_END_SENT, message, leg, hit);
    } else if (follow(w, message, TRACE_NONE, &names, leg) == 0) {
        if (route == TRACE_ROUTE_COPY) {
            trace_way_end_behind_front(w, message, hit, &names, leg);
            return;
        }
        trace_way_missing(w->way, "what became of the mail behind filter %.*s (%.*s)", SLICE(name),
                          SLICE(hit->facts->reply));
        (void)trace_way_end_in(w, TRACE_END_UNKNOWN, message, leg, hit);
    }
}

static struct leg leg_of(const struct walk *w, uint32_t message, const struct hit *hit,
                         struct leg leg)
{
    struct slice plain, name;
    enum trace_route route = trace_word_untag(hit->facts->to, w->o->tag_domain, &plain, &name);

    if (route != TRACE_ROUTE_NONE)
        return (struct leg){route == TRACE_ROUTE_COPY, name};
    if (walk_program(w, message) == TRACE_PROGRAM_SPLITRELAY)
        return hit->facts->listener.at == NULL ? (struct leg){true, walk_destination(w, message)}
                                               : (struct leg){false, (struct slice){"", 0}};
    return leg;
}

static void finish(struct walk *w, uint32_t message, const struct hit *hit,
                   const struct names *names, struct leg leg)
{
    leg = leg_of(w, message, hit, leg);
    switch (hit->facts->status) {
    case TRACE_STATUS_SENT:
        follow_sent(w, message, hit, leg);
        break;
    case TRACE_STATUS_DEFERRED:
        if (walk_program(w, message) == TRACE_PROGRAM_SPLITRELAY && hit->facts->listener.at == NULL)
            trace_way_end_in_relay(w, message, names, leg, hit, TRACE_END_WAITS);
        else
            trace_way_end_waiting(w, message, leg, hit);
        break;
    case TRACE_STATUS_BOUNCED:
        (void)trace_way_end_in(w,
                               leg.is_copy && walk_program(w, message) == TRACE_PROGRAM_SPLITRELAY
                                   ? TRACE_END_DEAD
                                   : TRACE_END_BOUNCED,
                               message, leg, hit);
        break;
    case TRACE_STATUS_EXPIRED:
        (void)trace_way_end_in(w, TRACE_END_BOUNCED, message, leg, hit);
        break;
    case TRACE_STATUS_DEAD:
        trace_way_end_in_relay(w, message, names, leg, hit, TRACE_END_DEAD);
        break;
    case TRACE_STATUS_REFUSED:
        (void)trace_way_end_in(w, TRACE_END_REFUSED, message, leg, hit);
        break;
    case TRACE_STATUS_SKIPPED:
        (void)trace_way_end_in(w, TRACE_END_SKIPPED, message, leg, hit);
        break;
    case TRACE_STATUS_DELETED:
        (void)trace_way_end_in(w, TRACE_END_DELETED, message, leg, hit);
        break;
    case TRACE_STATUS_NONE:
    case TRACE_STATUS_OTHER:
        (void)trace_way_end_in(w, TRACE_END_UNKNOWN, message, leg, hit);
        trace_way_missing(
            w->way, "the outcome of a delivery of %.*s, %s", SLICE(walk_message(w, message)->id),
            hit->facts->reply.at != NULL ? "whose status is not known" : "whose line is cut");
        break;
    }
}

static bool is_same_target(const struct hit *a, const struct hit *b)
{
    return slice_is_same(a->facts->to, b->facts->to) &&
           a->facts->orig_to.len == b->facts->orig_to.len &&
           (a->facts->orig_to.len == 0 || slice_is_same(a->facts->orig_to, b->facts->orig_to)) &&
           (a->facts->listener.at == NULL) == (b->facts->listener.at == NULL);
}

/* Add the step for a delivery, the last one of its target if is_last, and go on behind it. hidden:
 * how many attempts before it are not shown. */
static void finish_hit(struct walk *w, uint32_t message, const struct hit *hit,
                       const struct names *names, struct leg leg, bool is_last, size_t hidden)
{
    const struct trace_event *e = &w->o->log->kept.events[hit->event];

    if (is_last && hidden > 0) {
        trace_way_step(w->o, w->way, e, "attempts in between: %zu", hidden);
        struct trace_step *remark = &w->way->steps[w->way->step_count - 1];
        remark->kind = TRACE_KIND_OTHER;
        remark->serial = TRACE_NONE;
    }
    trace_way_describe_delivery(w->o, w->way, e, hit->facts);
    w->way->is_wanted |= trace_words_have(w->o->words, hit->facts->to) ||
                         trace_words_have(w->o->words, hit->facts->orig_to);
    if (is_last || hit->facts->status == TRACE_STATUS_SENT)
        finish(w, message, hit, names, leg);
}

/* Add the steps of all deliveries. Of several deferrals of one target the first and the last are
 * shown. */
static void finish_all(struct walk *w, uint32_t message, const struct hit *hits, size_t count,
                       const struct names *names, struct leg leg)
{
    for (size_t i = 0; i < count; i++) {
        size_t before = 0, after = 0, hidden = 0;
        for (size_t k = 0; k < count; k++) {
            if (!is_same_target(&hits[i], &hits[k]))
                continue;
            hidden += before > 0 && k < i && hits[k].facts->status == TRACE_STATUS_DEFERRED;
            before += k < i;
            after += k > i;
        }
        if (hits[i].facts->status != TRACE_STATUS_DEFERRED || before == 0 || after == 0)
            finish_hit(w, message, &hits[i], names, leg, after == 0, hidden);
    }
}

/* Remember the first refusal. It is an end only if nothing came of another attempt. */
static void note_refusal(struct walk *w, uint32_t message, uint32_t event,
                         const struct trace_facts *f)
{
    if (w->is_refused)
        return;
    w->refusal = (struct hit){event, f};
    w->refused_in = message;
    w->is_refused = true;
}

/* Add the step of a line, unless it is about a delivery. */
static void describe(struct walk *w, uint32_t message, uint32_t event, const struct trace_facts *f)
{
    const struct trace_event *e = &w->o->log->kept.events[event];

    trace_way_describe(w->o, w->way, e, f);
    if (e->kind == TRACE_KIND_REFUSED ||
        (e->kind == TRACE_KIND_DECIDED && f->status == TRACE_STATUS_REFUSED))
        note_refusal(w, message, event, f);
    if (e->kind == TRACE_KIND_DELIVERY && f->to.at == NULL)
        trace_way_missing(w->way, "the recipient of a delivery of %.*s, whose line is cut",
                          SLICE(walk_message(w, message)->id));
    if (e->kind == TRACE_KIND_DECIDED && trace_log_may_be_cut(w->o->log, e))
        trace_way_missing(w->way, "the end of the line of splitmilter, if syslog has cut it");
}

/* Add the steps of the other lines about the message and the recipient, in their order. */
static void describe_all(struct walk *w, uint32_t message, const struct names *names)
{
    const struct trace_index *ix = trace_way_index(w->o, message);
    size_t at = 0, common_at = 0;
    uint32_t *own;

    size_t count = trace_way_own(w->o, message, names, &own);
    while (at < count || common_at < ix->common_count) {
        bool is_own =
            common_at == ix->common_count || (at < count && own[at] < ix->common[common_at]);
        uint32_t n = is_own ? own[at++] : ix->common[common_at++];
        describe(w, message, ix->events[n], &ix->facts[n]);
    }
    free(own);
}

/* Did the deliveries that lead to this message all have the same recipient? */
static bool has_one_recipient(const struct walk *w, uint32_t message)
{
    struct slice only = {0};
    struct trace_facts f;

    for (uint32_t i = walk_message(w, message)->in; i != TRACE_NONE;
         i = w->o->log->edges[i].next_in) {
        uint32_t event = w->o->log->edges[i].event;
        if (event == TRACE_NONE || w->o->log->kept.events[event].kind != TRACE_KIND_DELIVERY)
            continue;
        trace_log_facts(w->o->log, &w->o->log->kept.events[event], &f);
        if (only.at != NULL && !slice_is_same(only, f.to))
            return false;
        only = f.to;
    }
    return only.at != NULL;
}

/* Collect the deliveries for the addresses, or all of them. */
static size_t collect(const struct walk *w, uint32_t message, const struct names *names,
                      bool are_all, struct hit **out)
{
    const struct trace_index *ix = trace_way_index(w->o, message);
    uint32_t *own = NULL;
    size_t count = 0;

    size_t own_count = are_all ? ix->count : trace_way_own(w->o, message, names, &own);
    *out = mem_zalloc((own_count + 1) * sizeof **out);
    for (size_t i = 0; i < own_count; i++) {
        uint32_t n = are_all ? (uint32_t)i : own[i];
        if (w->o->log->kept.events[ix->events[n]].kind == TRACE_KIND_DELIVERY)
            (*out)[count++] = (struct hit){ix->events[n], &ix->facts[n]};
    }
    free(own);
    return count;
}

/* No delivery in this message belongs to the recipient. */
static void end_without_delivery(struct walk *w, uint32_t message, const struct names *names,
                                 struct leg leg)
{
    if (walk_program(w, message) == TRACE_PROGRAM_SPLITRELAY) {
        trace_way_end_in_relay(w, message, names, leg, NULL, TRACE_END_WAITS);
    } else if (has_delivery(w, message)) {
        trace_way_missing(w->way, "which recipient of %.*s in %.*s is this one",
                          SLICE(walk_message(w, message)->id), SLICE(walk_system(w, message)));
        (void)trace_way_end_in(w, TRACE_END_UNKNOWN, message, leg, NULL);
    } else {
        trace_way_end_waiting(w, message, leg, NULL);
    }
}

/* Add the canonical addresses that splitmilter gave the recipient in this message. */
static void add_canonical(const struct walk *w, uint32_t message, struct names *names)
{
    const struct trace_index *ix = trace_way_index(w->o, message);
    uint32_t *own;

    size_t count = trace_way_own(w->o, message, names, &own);
    for (size_t i = 0; i < count; i++)
        if (w->o->log->kept.events[ix->events[own[i]]].kind == TRACE_KIND_DECIDED &&
            names_have(names, ix->facts[own[i]].to))
            names_add(names, ix->facts[own[i]].canonical);
    free(own);
}

/* Follow the mail to the id that it has got from postsuper(1), if no delivery has ended it before.
 */
static void follow_requeued(struct walk *w, uint32_t message, const struct names *names,
                            struct leg leg)
{
    const struct trace_log *log = w->o->log;

    for (uint32_t i = walk_message(w, message)->plain; i != TRACE_NONE;
         i = log->edges[i].next_alike)
        if (log->edges[i].kind == TRACE_EDGE_REQUEUE)
            trace_way_walk(w, log->edges[i].to, names, leg);
}

/* Follow the deliveries of a message. */
static void walk_deliveries(struct walk *w, uint32_t message, const struct names *names,
                            struct leg leg)
{
    bool is_root = w->visited_count == 1;
    size_t ends = w->way->end_count;
    struct names more = *names;
    struct hit *hits;

    size_t count = collect(w, message, names, false, &hits);
    if (count == 0 && !is_root && has_one_recipient(w, message)) {
        free(hits);
        count = collect(w, message, names, true, &hits);
    }
    finish_all(w, message, hits, count, names, leg);
    for (size_t i = 0; i < count; i++) {
        struct slice plain, name;
        (void)trace_word_untag(hits[i].facts->to, w->o->tag_domain, &plain, &name);
        names_add(&more, plain);
    }
    free(hits);
    (void)follow(w, message, TRACE_NONE, &more, leg);
    if (w->way->end_count == ends)
        follow_requeued(w, message, &more, leg);
}

void trace_way_walk(struct walk *w, uint32_t message, const struct names *names, struct leg leg)
{
    const struct trace_message *m = walk_message(w, message);
    bool is_root = w->visited_count == 0;
    struct names own = *names;
    size_t ends = w->way->end_count;

    if (walk_has_visited(w, message))
        return;
    if (w->depth == DEPTH_MAX) {
        trace_way_missing(w->way, "what comes after %u messages one after the other: a loop?",
                          DEPTH_MAX);
        return;
    }
    w->depth++;
    if ((w->visited_count & (w->visited_count - 1)) == 0)
        w->visited = mem_grow(w->visited, w->visited_count == 0 ? 1 : w->visited_count * 2,
                              sizeof *w->visited);
    w->visited[w->visited_count++] = message;
    w->way->is_wanted |= m->is_named || m->is_wanted;
    add_canonical(w, message, &own);
    describe_all(w, message, &own);
    walk_deliveries(w, message, &own, leg);
    trace_way_expect(w, message, &own, ends);
    if (w->way->end_count == ends && !is_root)
        end_without_delivery(w, message, &own, leg);
    w->depth--;
}
