/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_way_private.h"
#include "base/ascii.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A recipient of a root, with the addresses that it has there. */
struct recipient {
    struct slice name;
    struct names names;
};

struct recipients {
    struct recipient *items;
    size_t count;
};

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

/* --- recipients --- */

static struct recipient *find(struct recipients *all, struct slice address)
{
    for (size_t i = 0; address.at != NULL && i < all->count; i++)
        if (names_have(&all->items[i].names, address))
            return &all->items[i];
    return NULL;
}

static struct recipient *add(struct recipients *all, struct slice name)
{
    if ((all->count & (all->count - 1)) == 0)
        all->items = mem_grow(all->items, all->count == 0 ? 1 : all->count * 2, sizeof *all->items);
    struct recipient *r = &all->items[all->count++];
    *r = (struct recipient){.name = name};
    names_add(&r->names, name);
    return r;
}

static void add_decided(struct recipients *all, const struct trace_facts *f)
{
    if (f->to.at == NULL)
        return;
    /* two recipients may get the same canonical address: so only the original is looked up */
    struct recipient *r = NULL;
    for (size_t i = 0; i < all->count && r == NULL; i++)
        if (slice_is_same(all->items[i].name, f->to))
            r = &all->items[i];
    if (r == NULL)
        r = add(all, f->to);
    names_add(&r->names, f->canonical);
}

static void add_delivered(const struct trace_way_options *o, struct recipients *all,
                          const struct trace_facts *f)
{
    struct slice one, plain, name;

    for (size_t at = 0; trace_facts_address(f->to, &at, &one);) {
        (void)trace_word_untag(one, o->tag_domain, &plain, &name);
        bool has_original = f->orig_to.at != NULL && f->orig_to.len > 0;
        if (find(all, f->orig_to) == NULL && find(all, plain) == NULL && find(all, one) == NULL)
            names_add(&add(all, has_original ? f->orig_to : plain)->names, plain);
    }
}

/* The lines of these kinds name a recipient. */
static bool is_action(enum trace_kind kind)
{
    return kind == TRACE_KIND_REFUSED || kind == TRACE_KIND_DISCARDED || kind == TRACE_KIND_HELD;
}

/* Collect the recipients: first from splitmilter's decisions, which have the addresses that the
 * client gave, then from deliveries and refusals. depth: 0 for the root itself. */
static void read_recipients(const struct trace_way_options *o, uint32_t root, unsigned depth,
                            struct recipients *out)
{
    const struct trace_log *log = o->log;
    const struct trace_facts *facts = trace_way_facts(o, root);

    for (int pass = 0; pass < 2; pass++) {
        const struct trace_facts *f = facts;
        for (uint32_t e = log->messages[root].first; e != TRACE_NONE;
             e = log->kept.events[e].next, f++) {
            if (pass == 0 && log->kept.events[e].kind == TRACE_KIND_DECIDED)
                add_decided(out, f);
            else if (pass == 1 && log->kept.events[e].kind == TRACE_KIND_DELIVERY)
                add_delivered(o, out, f);
            else if (pass == 1 && is_action((enum trace_kind)log->kept.events[e].kind) &&
                     f->to.at != NULL && find(out, f->to) == NULL)
                (void)add(out, f->to);
        }
    }
    /* the lines about deliveries of the root are missing: what came after it may have some */
    for (uint32_t i = log->messages[root].out;
         out->count == 0 && i != TRACE_NONE && depth < DEPTH_MAX; i = log->edges[i].next_out)
        if (log->edges[i].kind != TRACE_EDGE_NOTIFICATION)
            read_recipients(o, log->edges[i].to, depth + 1, out);
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
    const struct trace_facts *f = trace_way_facts(w->o, root);
    enum trace_program program = walk_program(w, root);

    if (program == TRACE_PROGRAM_SPLITMILTER) {
        trace_way_missing(w->way, "the lines of the MTA about %.*s", SLICE(m->id));
    } else if (program == TRACE_PROGRAM_SPLITRELAY) {
        for (uint32_t i = 0; i < m->event_count; i++)
            if (f[i].queue_id.at != NULL)
                trace_way_missing(w->way, "the lines of the MTA about %.*s", SLICE(f[i].queue_id));
    } else if (!m->has_arrived && !is_notification(w->o->log, root)) {
        trace_way_missing(w->way, "the arrival of %.*s in %.*s", SLICE(m->id),
                          SLICE(walk_system(w, root)));
    }
}

/* --- how many recipients --- */

/* What the lines of a message say about the number of its recipients. */
struct tally {
    uint64_t *delivered; /* hashes of the recipients of deliveries; bit 0: to a filter; owned */
    size_t delivered_count;
    size_t decided;  /* by splitmilter, with the copies that it has added */
    size_t replaced; /* by splitmilter: nrcpt= still counts the original */
    size_t counted;  /* nrcpt=; 0: not known */
};

static size_t number_of(struct slice s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len && ascii_is_digit(s.at[i]) && n < 1000000; i++)
        n = n * 10 + (size_t)(s.at[i] - '0');
    return n;
}

static size_t items_in(struct slice list)
{
    size_t count = list.len > 0;

    for (size_t i = 0; i < list.len; i++)
        count += list.at[i] == ',';
    return count;
}

static void tally_delivery(const struct trace_way_options *o, struct tally *t,
                           const struct trace_facts *f)
{
    struct slice one, plain, name;

    for (size_t at = 0; trace_facts_address(f->to, &at, &one);) {
        if ((t->delivered_count & (t->delivered_count - 1)) == 0)
            t->delivered =
                mem_grow(t->delivered, t->delivered_count == 0 ? 1 : 2 * t->delivered_count,
                         sizeof *t->delivered);
        uint64_t hash = hash_untrusted_bytes(one.at, one.len);
        if (f->orig_to.len > 0)
            hash += 3 * hash_untrusted_bytes(f->orig_to.at, f->orig_to.len);
        bool is_filter = trace_word_untag(one, o->tag_domain, &plain, &name) == TRACE_ROUTE_FILTER;
        t->delivered[t->delivered_count++] = (hash & ~UINT64_C(1)) | is_filter;
    }
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* The number of different recipients that the lines name. Those of filters were replaced by
 * splitmilter, even if its lines are missing. */
static size_t count_named(struct tally *t)
{
    size_t count = 0, filtered = 0;

    if (t->delivered_count > 0)
        qsort(t->delivered, t->delivered_count, sizeof *t->delivered, by_number);
    for (size_t i = 0; i < t->delivered_count; i++)
        if (i == 0 || t->delivered[i] != t->delivered[i - 1]) {
            count++;
            filtered += t->delivered[i] & 1;
        }
    t->replaced = t->replaced > filtered ? t->replaced : filtered;
    return count > t->decided ? count : t->decided;
}

/* The text that names how many recipients of the message have no line; NULL: none. For the caller
 * to free. */
static char *missing_recipients(const struct trace_way_options *o, uint32_t root)
{
    const struct trace_log *log = o->log;
    const struct trace_message *m = &log->messages[root];
    const struct trace_facts *f = trace_way_facts(o, root);
    struct tally t = {0};
    char *text = NULL;

    for (uint32_t e = m->first; e != TRACE_NONE; e = log->kept.events[e].next, f++) {
        if (t.counted == 0 && f->nrcpt.at != NULL)
            t.counted = number_of(f->nrcpt);
        if (log->kept.events[e].kind == TRACE_KIND_DELIVERY)
            tally_delivery(o, &t, f);
        if (log->kept.events[e].kind != TRACE_KIND_DECIDED || f->to.at == NULL)
            continue;
        t.decided += 1 + items_in(f->copy);
        t.replaced += f->canonical.at != NULL || f->filter.at != NULL;
    }
    size_t named = count_named(&t);
    if (t.counted > named + t.replaced)
        text = mem_printf("lines about %zu of the %zu recipients of %.*s in %.*s, unless a milter "
                          "has removed them",
                          t.counted - t.replaced - named, t.counted - t.replaced, SLICE(m->id),
                          SLICE(log->systems[m->system].name));
    free(t.delivered);
    return text;
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
    struct recipients all = {0};
    /* a recipient that is asked for has a line */
    bool is_of_all = (m->is_named || m->is_wanted) && !is_of_relay(o->log, root);
    char *lacking = is_of_all ? missing_recipients(o, root) : NULL;

    read_recipients(o, root, 0, &all);
    if (all.count == 0)
        (void)add(&all, (struct slice){"", 0});
    *out = mem_zalloc(all.count * sizeof **out);
    for (size_t i = 0; i < all.count; i++) {
        struct recipient *r = &all.items[i];
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
    free(all.items);
    free(lacking);
    return all.count;
}
