/* SPDX-License-Identifier: ISC */
/* trace_way_recipients: the recipients of a root, and how many of them have no line. */
#include "base/ascii.h"
#include "base/mem.h"
#include "ctl/trace/trace_way_private.h"

#include <stdlib.h>
#include <string.h>

/* --- recipients --- */

/* The slot of a key in the table, or the free one where it belongs. */
static struct trace_recipient_slot *slot_of(const struct trace_recipients *all, uint64_t key)
{
    size_t i = key & (all->slot_count - 1);

    while (all->slots[i].n != 0 && all->slots[i].key != key)
        i = (i + 1) & (all->slot_count - 1);
    return &all->slots[i];
}

/* Have the key mean the recipient of this number, unless it means an earlier one. */
static void map(struct trace_recipients *all, uint64_t key, size_t n)
{
    if (all->used >= all->slot_count / 2) {
        struct trace_recipients old = *all;
        all->slot_count = all->slot_count == 0 ? 64 : 2 * all->slot_count;
        all->slots = mem_zalloc(all->slot_count * sizeof *all->slots);
        for (size_t i = 0; i < old.slot_count; i++)
            if (old.slots[i].n != 0)
                *slot_of(all, old.slots[i].key) = old.slots[i];
        free(old.slots);
    }
    struct trace_recipient_slot *slot = slot_of(all, key);
    if (slot->n != 0)
        return;
    *slot = (struct trace_recipient_slot){key, n + 1};
    all->used++;
}

static struct trace_recipient *look_up(const struct trace_recipients *all, uint64_t key)
{
    size_t n = all->slot_count == 0 ? 0 : slot_of(all, key)->n;

    return n == 0 ? NULL : &all->items[n - 1];
}

/* Find the recipient that has this address among its names. */
static struct trace_recipient *find(const struct trace_recipients *all, struct slice address)
{
    return address.at == NULL ? NULL : look_up(all, slice_hash_same(address));
}

/* Find the recipient that the client gave so. */
static struct trace_recipient *find_original(const struct trace_recipients *all,
                                             struct slice address)
{
    return look_up(all, ~slice_hash_same(address));
}

static void add_name(struct trace_recipients *all, struct trace_recipient *r, struct slice name)
{
    if (name.at == NULL)
        return;
    names_add(&r->names, name);
    map(all, slice_hash_same(name), (size_t)(r - all->items));
}

static struct trace_recipient *add(struct trace_recipients *all, struct slice name)
{
    if (all->items == NULL || (all->count & (all->count - 1)) == 0)
        all->items = mem_grow(all->items, all->count == 0 ? 1 : all->count * 2, sizeof *all->items);
    struct trace_recipient *r = &all->items[all->count++];
    *r = (struct trace_recipient){.name = name};
    add_name(all, r, name);
    map(all, ~slice_hash_same(name), all->count - 1);
    return r;
}

static void add_decided(struct trace_recipients *all, const struct trace_facts *f)
{
    if (f->to.at == NULL)
        return;
    /* two recipients may get the same canonical address: so only the original is looked up */
    struct trace_recipient *r = find_original(all, f->to);
    if (r == NULL)
        r = add(all, f->to);
    add_name(all, r, f->canonical);
}

static void add_delivered(const struct trace_way_options *o, struct trace_recipients *all,
                          const struct trace_facts *f)
{
    struct slice one, plain, name;

    for (size_t at = 0; trace_facts_address(f->to, &at, &one);) {
        (void)trace_word_untag(one, o->tag_domain, &plain, &name);
        bool has_original = f->orig_to.at != NULL && f->orig_to.len > 0;
        if (find(all, f->orig_to) == NULL && find(all, plain) == NULL && find(all, one) == NULL)
            add_name(all, add(all, has_original ? f->orig_to : plain), plain);
    }
}

/* The lines of these kinds name a recipient. */
static bool is_action(enum trace_kind kind)
{
    return kind == TRACE_KIND_REFUSED || kind == TRACE_KIND_DISCARDED || kind == TRACE_KIND_HELD;
}

static void read_events(const struct trace_way_options *o, uint32_t message, bool is_decided,
                        struct trace_recipients *out)
{
    const struct trace_index *ix = trace_way_index(o, message);

    for (uint32_t n = 0; n < ix->count; n++) {
        enum trace_kind kind = (enum trace_kind)o->log->kept.events[ix->events[n]].kind;
        const struct trace_facts *f = &ix->facts[n];
        if (is_decided && kind == TRACE_KIND_DECIDED)
            add_decided(out, f);
        else if (!is_decided && kind == TRACE_KIND_DELIVERY)
            add_delivered(o, out, f);
        else if (!is_decided && is_action(kind) && f->to.at != NULL && find(out, f->to) == NULL)
            (void)add(out, f->to);
    }
}

static void read_message(const struct trace_way_options *o, uint32_t message, unsigned depth,
                         struct trace_recipients *out)
{
    const struct trace_log *log = o->log;

    read_events(o, message, true, out);
    read_events(o, message, false, out);
    /* the lines about its deliveries are missing: what came after it may have some */
    for (uint32_t i = log->messages[message].out;
         out->count == 0 && i != TRACE_NONE && depth < DEPTH_MAX; i = log->edges[i].next_out)
        if (log->edges[i].kind != TRACE_EDGE_NOTIFICATION)
            read_message(o, log->edges[i].to, depth + 1, out);
}

void trace_recipients_read(const struct trace_way_options *o, uint32_t root,
                           struct trace_recipients *out)
{
    memset(out, 0, sizeof *out);
    read_message(o, root, 0, out);
    if (out->count == 0)
        (void)add(out, (struct slice){"", 0});
}

void trace_recipients_clear(struct trace_recipients *all)
{
    free(all->items);
    free(all->slots);
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
        uint64_t hash = slice_hash(one);
        if (f->orig_to.len > 0)
            hash += 3 * slice_hash(f->orig_to);
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

char *trace_recipients_missing(const struct trace_way_options *o, uint32_t root)
{
    const struct trace_log *log = o->log;
    const struct trace_message *m = &log->messages[root];
    const struct trace_index *ix = trace_way_index(o, root);
    struct tally t = {0};
    char *text = NULL;

    for (uint32_t n = 0; n < ix->count; n++) {
        const struct trace_facts *f = &ix->facts[n];
        uint8_t kind = log->kept.events[ix->events[n]].kind;
        if (t.counted == 0 && f->nrcpt.at != NULL)
            t.counted = number_of(f->nrcpt);
        if (kind == TRACE_KIND_DELIVERY)
            tally_delivery(o, &t, f);
        if (kind != TRACE_KIND_DECIDED || f->to.at == NULL)
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
