/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_way_private.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- roots --- */

static uint32_t parent_of(const struct trace_log *log, uint32_t message)
{
    for (uint32_t e = log->messages[message].in; e != TRACE_NONE; e = log->edges[e].next_in)
        if (log->edges[e].kind != TRACE_EDGE_NOTIFICATION)
            return log->edges[e].from;
    return TRACE_NONE;
}

static uint32_t root_of(const struct trace_log *log, uint32_t message)
{
    /* edges of a loop of mail may form a circle */
    for (unsigned n = 0; n < DEPTH_MAX; n++) {
        uint32_t parent = parent_of(log, message);
        if (parent == TRACE_NONE)
            break;
        message = parent;
    }
    return message;
}

size_t trace_way_roots(const struct trace_way_options *o, uint32_t **out)
{
    struct trace_log *log = o->log;
    bool *is_taken = mem_zalloc(log->message_count + 1U);
    size_t count = 0;

    *out = NULL;
    for (uint32_t i = 0; i < log->message_count; i++) {
        const struct trace_message *m = &log->messages[i];
        if (!m->is_named && !m->is_wanted && !m->is_touched)
            continue;
        uint32_t root = root_of(log, i);
        if (is_taken[root])
            continue;
        is_taken[root] = true;
        *out = mem_grow(*out, count + 1, sizeof **out);
        (*out)[count++] = root;
    }
    free(is_taken);
    return count;
}

/* --- the beginning --- */

static bool has_mail_end(const struct trace_way *w)
{
    for (size_t i = 0; i < w->end_count; i++)
        if (!w->ends[i].is_copy)
            return true;
    return false;
}

/* Add an end for the mail itself if no line shows what became of it. */
static void end_mail(struct walk *w, uint32_t root, const struct names *names)
{
    enum trace_program program = walk_program(w, root);

    if (has_mail_end(w->way))
        return;
    if (w->is_refused) {
        (void)trace_way_end_in(w, TRACE_END_REFUSED, w->refused_in, (struct leg){0}, &w->refusal);
        return;
    }
    if (program == TRACE_PROGRAM_POSTFIX || program == TRACE_PROGRAM_SENDMAIL) {
        trace_way_end_waiting(w, root, (struct leg){0}, NULL);
        return;
    }
    if (program == TRACE_PROGRAM_SPLITRELAY && w->way->end_count == 0)
        trace_way_end_in_relay(w, root, names, (struct leg){true, walk_destination(w, root)}, NULL,
                               TRACE_END_WAITS);
    (void)trace_way_end(w->way, TRACE_END_UNKNOWN);
    trace_way_missing(w->way, "what became of the mail itself");
}

/* Is the message a notification about another one? It has not come from a client. */
static bool is_notification(const struct trace_log *log, uint32_t message)
{
    return log->messages[message].in != TRACE_NONE;
}

/* Name what the logs lack of the beginning. */
static void check_arrival(struct walk *w, uint32_t root)
{
    const struct trace_message *m = walk_message(w, root);
    const struct trace_index *ix = trace_way_index(w->o, root);
    enum trace_program program = walk_program(w, root);

    if (program == TRACE_PROGRAM_SPLITMILTER) {
        trace_way_missing(w->way, "the lines of the MTA about %.*s", SLICE(m->id));
    } else if (program == TRACE_PROGRAM_SPLITRELAY) {
        for (uint32_t i = 0; i < ix->count; i++)
            if (ix->facts[i].queue_id.at != NULL)
                trace_way_missing(w->way, "the lines of the MTA about %.*s",
                                  SLICE(ix->facts[i].queue_id));
    } else if (!m->has_arrived && !is_notification(w->o->log, root)) {
        trace_way_missing(w->way, "the arrival of %.*s in %.*s", SLICE(m->id),
                          SLICE(walk_system(w, root)));
    }
}

/* Does splitrelay write the lines of the message? It names the number of recipients of a copy, and
 * the queue knows what became of them. */
static bool is_of_relay(const struct trace_log *log, uint32_t message)
{
    return log->systems[log->messages[message].system].program == TRACE_PROGRAM_SPLITRELAY;
}

size_t trace_ways(const struct trace_way_options *o, uint32_t root, struct trace_way **out)
{
    const struct trace_message *m = &o->log->messages[root];
    struct trace_recipients all = {0};
    /* a recipient that is asked for has a line */
    bool is_of_all = (m->is_named || m->is_wanted) && !is_of_relay(o->log, root);
    char *lacking = is_of_all ? trace_recipients_missing(o, root) : NULL;

    trace_recipients_read(o, root, &all);
    *out = mem_zalloc(all.count * sizeof **out);
    for (size_t i = 0; i < all.count; i++) {
        struct trace_recipient *r = &all.items[i];
        struct walk w = {.o = o, .way = &(*out)[i]};
        w.way->recipient = mem_strndup(r->name.at, r->name.len);
        for (size_t k = 0; k < r->names.count; k++)
            w.way->is_wanted |= trace_words_have(o->words, r->names.items[k]);
        trace_way_walk(&w, root, &r->names, (struct leg){0});
        end_mail(&w, root, &r->names);
        check_arrival(&w, root);
        if (lacking != NULL)
            trace_way_missing(w.way, "%s", lacking);
        for (size_t k = 0; k < o->unread_count; k++)
            trace_way_missing(w.way, "%s", o->unread[k]);
        trace_way_sort(w.way);
        free(w.visited);
    }
    size_t count = all.count;
    trace_recipients_clear(&all);
    free(lacking);
    return count;
}
