/* SPDX-License-Identifier: ISC */
/* trace_way_index: the facts of a message's events, and which of them are about a recipient. */
#include "base/mem.h"
#include "ctl/trace/trace_way_private.h"

#include <stdlib.h>

static void add_naming(struct trace_index *ix, struct slice address, uint32_t n)
{
    if (address.at == NULL)
        return;
    if ((ix->naming_count & (ix->naming_count - 1)) == 0)
        ix->namings = mem_grow(ix->namings, ix->naming_count == 0 ? 1 : 2 * ix->naming_count,
                               sizeof *ix->namings);
    ix->namings[ix->naming_count++] = (struct trace_naming){slice_hash_same(address), n};
}

/* Add the addresses that trace_way_belongs() compares. */
static void add_namings(const struct trace_way_options *o, struct trace_index *ix, uint32_t n)
{
    const struct trace_facts *f = &ix->facts[n];
    struct slice one, plain, name;

    add_naming(ix, f->orig_to, n);
    for (size_t at = 0; trace_facts_address(f->to, &at, &one);) {
        add_naming(ix, one, n);
        if (trace_word_untag(one, o->tag_domain, &plain, &name) != TRACE_ROUTE_NONE)
            add_naming(ix, plain, n);
    }
}

static int by_hash(const void *a, const void *b)
{
    const struct trace_naming *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->n < y->n ? -1 : x->n > y->n;
}

/* Is the event about one recipient, or some, and not about the whole message? */
static bool is_of_recipient(const struct trace_event *e, const struct trace_facts *f)
{
    static const char *const stages[] = {"reject: RCPT ", "proxy-reject: RCPT ",
                                         "milter-reject: RCPT "};

    if (e->kind == TRACE_KIND_DECIDED || e->kind == TRACE_KIND_DELIVERY)
        return f->to.at != NULL;
    for (size_t i = 0; e->kind == TRACE_KIND_REFUSED && i < sizeof stages / sizeof stages[0]; i++)
        if (slice_begins(f->reply, stages[i]))
            return true;
    return false;
}

const struct trace_index *trace_way_index(const struct trace_way_options *o, uint32_t message)
{
    struct trace_message *m = &o->log->messages[message];

    if (m->index != NULL)
        return m->index;
    struct trace_index *ix = m->index = mem_zalloc(sizeof *ix);
    ix->facts = mem_zalloc((m->event_count + 1) * sizeof *ix->facts);
    ix->events = mem_zalloc((m->event_count + 1) * sizeof *ix->events);
    ix->common = mem_zalloc((m->event_count + 1) * sizeof *ix->common);
    for (uint32_t i = m->first; i != TRACE_NONE; i = o->log->kept.events[i].next) {
        const struct trace_event *e = &o->log->kept.events[i];
        trace_log_facts(o->log, e, &ix->facts[ix->count]);
        ix->events[ix->count] = i;
        ix->has_delivery |= e->kind == TRACE_KIND_DELIVERY;
        if (is_of_recipient(e, &ix->facts[ix->count]))
            add_namings(o, ix, ix->count);
        else
            ix->common[ix->common_count++] = ix->count;
        ix->count++;
    }
    if (ix->naming_count > 0)
        qsort(ix->namings, ix->naming_count, sizeof *ix->namings, by_hash);
    return ix;
}

/* The number of addresses with a lower hash. */
static uint32_t lower_than(const struct trace_index *ix, uint64_t hash)
{
    uint32_t low = 0, high = ix->naming_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ix->namings[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

size_t trace_way_own(const struct trace_way_options *o, uint32_t message, const struct names *names,
                     uint32_t **out)
{
    const struct trace_index *ix = trace_way_index(o, message);
    size_t count = 0, kept = 0;

    *out = NULL;
    for (size_t i = 0; i < names->count; i++) {
        uint64_t hash = slice_hash_same(names->items[i]);
        for (uint32_t k = lower_than(ix, hash); k < ix->naming_count && ix->namings[k].hash == hash;
             k++) {
            if ((count & (count - 1)) == 0)
                *out = mem_grow(*out, count == 0 ? 1 : 2 * count, sizeof **out);
            (*out)[count++] = ix->namings[k].n;
        }
    }
    if (count > 0)
        qsort(*out, count, sizeof **out, by_number);
    for (size_t i = 0; i < count; i++)
        if ((kept == 0 || (*out)[kept - 1] != (*out)[i]) &&
            trace_way_belongs(o, &ix->facts[(*out)[i]], names))
            (*out)[kept++] = (*out)[i];
    return kept;
}
