/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_way_private.h"
#include "base/buf.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void names_add(struct names *n, struct slice address)
{
    if (address.at != NULL && n->count < NAMES_MAX && !names_have(n, address))
        n->items[n->count++] = address;
}

bool names_have(const struct names *n, struct slice address)
{
    for (size_t i = 0; i < n->count; i++)
        if (slice_is_same(n->items[i], address))
            return true;
    return false;
}

bool trace_way_belongs(const struct trace_way_options *o, const struct trace_facts *f,
                       const struct names *names)
{
    struct slice one, plain, name;

    if (names_have(names, f->orig_to))
        return true;
    for (size_t at = 0; trace_facts_address(f->to, &at, &one);) {
        (void)trace_word_untag(one, o->tag_domain, &plain, &name);
        if (names_have(names, one) || names_have(names, plain))
            return true;
    }
    return false;
}

/* Format a text for the caller to free. */
static char *format(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
static char *format(const char *fmt, va_list ap)
{
    struct buf text = {0};

    buf_vaddf(&text, fmt, ap);
    return buf_take(&text);
}

void trace_way_step(const struct trace_way_options *o, struct trace_way *w,
                    const struct trace_event *e, const char *fmt, ...)
{
    va_list ap;

    w->steps = mem_grow(w->steps, w->step_count + 1, sizeof *w->steps);
    struct trace_step *s = &w->steps[w->step_count];
    va_start(ap, fmt);
    *s = (struct trace_step){.us = e->us,
                             .is_undated = e->is_undated,
                             .message = e->message,
                             .serial = e->serial,
                             .system = o->log->tags[e->tag].system,
                             .order = (uint32_t)w->step_count,
                             .kind = (enum trace_kind)e->kind,
                             .text = format(fmt, ap)};
    va_end(ap);
    w->step_count++;
}

void trace_way_missing(struct trace_way *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *text = format(fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < w->missing_count; i++)
        if (strcmp(w->missing[i], text) == 0) {
            free(text);
            return;
        }
    w->missing = mem_grow(w->missing, w->missing_count + 1, sizeof *w->missing);
    w->missing[w->missing_count++] = text;
}

struct trace_end *trace_way_end(struct trace_way *w, enum trace_end_state state)
{
    w->ends = mem_grow(w->ends, w->end_count + 1, sizeof *w->ends);
    struct trace_end *end = &w->ends[w->end_count++];
    *end = (struct trace_end){.state = state,
                              .message = TRACE_NONE,
                              .name = mem_strdup(""),
                              .address = mem_strdup(""),
                              .relay = mem_strdup(""),
                              .why = mem_strdup(""),
                              .id = mem_strdup("")};
    return end;
}

static int by_time(const void *a, const void *b)
{
    const struct trace_step *x = a, *y = b;

    if (x->us != y->us)
        return x->us < y->us ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

void trace_way_sort(struct trace_way *w)
{
    if (w->step_count > 0)
        qsort(w->steps, w->step_count, sizeof *w->steps, by_time);
}

void trace_copy_clear(struct trace_copy *c)
{
    free(c->destination);
    free(c->why);
    free(c->relay);
    memset(c, 0, sizeof *c);
}

void trace_ways_free(struct trace_way *ways, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct trace_way *w = &ways[i];
        for (size_t k = 0; k < w->step_count; k++)
            free(w->steps[k].text);
        for (size_t k = 0; k < w->end_count; k++) {
            struct trace_end *e = &w->ends[k];
            free(e->name);
            free(e->address);
            free(e->relay);
            free(e->why);
            free(e->id);
        }
        for (size_t k = 0; k < w->missing_count; k++)
            free(w->missing[k]);
        free(w->steps);
        free(w->ends);
        free(w->missing);
        free(w->recipient);
    }
    free(ways);
}
