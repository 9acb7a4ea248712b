/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_select.h"
#include "base/ascii.h"
#include "base/mem.h"
#include "ctl/trace/trace_keys.h"
#include "ctl/trace/trace_word.h"
#include "queue/queue_id.h"

#include <stdlib.h>
#include <string.h>

#define COPY_ID_MIN 14 /* digits; the ids of Postfix are shorter */

/* Two ids that a line connects. */
struct pair {
    uint64_t a, b;
};

struct pairs {
    struct pair *items;
    size_t count, cap;
};

struct trace_select {
    const struct trace_words *words;
    struct trace_keys selected;
    struct pairs recent, older;
    bool is_frozen;
    size_t closed; /* selected.count after the last trace_select_close() */
};

/* The hash of an id. The copies of one message of splitrelay have the same one. */
static uint64_t key_of(struct slice id)
{
    char text[QUEUE_ID_SIZE];
    int64_t number;

    if (id.len >= COPY_ID_MIN && id.len < sizeof text) {
        memcpy(text, id.at, id.len);
        text[id.len] = '\0';
        if (queue_id_parse(text, &number)) {
            number = queue_id_message(number);
            id = (struct slice){(const char *)&number, sizeof number};
        }
    }
    uint64_t key = slice_hash(id);
    return key == 0 ? 1 : key;
}

void trace_select_want(struct trace_select *s, struct slice id)
{
    (void)trace_keys_add(&s->selected, key_of(id));
}

struct trace_select *trace_select_new(const struct trace_words *words)
{
    struct trace_select *s = mem_zalloc(sizeof *s);

    s->words = words;
    for (size_t i = 0; i < trace_words_count(words); i++) {
        const char *word = trace_words_get(words, i);
        char *upper = mem_strdup(word); /* the ids of copies */
        for (char *c = upper; *c != '\0'; c++)
            *c = ascii_to_upper(*c);
        trace_select_want(s, (struct slice){word, strlen(word)});
        trace_select_want(s, (struct slice){upper, strlen(upper)});
        free(upper);
    }
    return s;
}

void trace_select_free(struct trace_select *s)
{
    if (s == NULL)
        return;
    trace_keys_clear(&s->selected);
    free(s->recent.items);
    free(s->older.items);
    free(s);
}

/* --- connections --- */

static void connect_ids(struct trace_select *s, uint64_t a, uint64_t b)
{
    struct pairs *p = &s->recent;

    if (s->is_frozen || a == b ||
        (p->count > 0 && p->items[p->count - 1].a == a && p->items[p->count - 1].b == b))
        return;
    if (p->count == p->cap) {
        p->cap = p->cap == 0 ? 1024 : p->cap + p->cap / 2;
        p->items = mem_grow(p->items, p->cap, sizeof *p->items);
    }
    p->items[p->count++] = (struct pair){a, b};
}

/* The ids that the line of a delivery names (as trace_join.c has it). */
static void note_delivery(struct trace_select *s, uint64_t key, enum trace_program program,
                          struct slice body)
{
    struct trace_facts f;
    struct slice id;

    if (slice_find(body, "queued as ") == NULL && slice_find(body, "forwarded as ") == NULL &&
        slice_find(body, "accepted for delivery") == NULL)
        return;
    trace_facts_read_line(program, TRACE_KIND_DELIVERY, body, &f);
    for (size_t at = 0; trace_facts_queued_as(&f, &at, &id);)
        connect_ids(s, key, key_of(id));
}

static void note_source(struct trace_select *s, uint64_t key, enum trace_program program,
                        enum trace_kind kind, struct slice body)
{
    struct trace_facts f;

    if (slice_find(body, "queue_id=") == NULL && slice_find(body, "orig_id=") == NULL)
        return;
    trace_facts_read_line(program, kind, body, &f);
    if (f.queue_id.at != NULL)
        connect_ids(s, key, key_of(f.queue_id));
}

/* A line of amavis has the id that the message had before, and those that it has got. Returns the
 * first one; 0: there is none. */
static uint64_t note_filtered(struct trace_select *s, enum trace_program program, struct slice body)
{
    struct trace_facts f;

    trace_facts_read_line(program, TRACE_KIND_FILTERED, body, &f);
    if (f.queue_id.at == NULL)
        return 0;
    uint64_t key = key_of(f.queue_id);
    for (size_t at = 0; at < f.reply.len;) {
        size_t n = 0;
        while (at + n < f.reply.len && f.reply.at[at + n] != '/')
            n++;
        connect_ids(s, key, key_of((struct slice){f.reply.at + at, n}));
        at += n + 1;
    }
    return key;
}

struct trace_noted trace_select_note(struct trace_select *s, enum trace_program program,
                                     enum trace_kind kind, struct slice id, struct slice body)
{
    struct trace_noted out = {0};

    if (id.len > 0 && !slice_is(id, "NOQUEUE"))
        out.key = key_of(id);
    if (kind == TRACE_KIND_FILTERED)
        out.key = note_filtered(s, program, body);
    else if (out.key != 0 && kind == TRACE_KIND_DELIVERY)
        note_delivery(s, out.key, program, body);
    else if (out.key != 0 && (kind == TRACE_KIND_ARRIVED || kind == TRACE_KIND_SENDER))
        note_source(s, out.key, program, kind, body);
    else if (out.key != 0 && kind == TRACE_KIND_NOTIFIED)
        connect_ids(s, out.key, key_of(trace_facts_notification(body)));
    out.is_mentioned = trace_words_mention(s->words, program, kind, body);
    if (out.is_mentioned && out.key != 0)
        (void)trace_keys_add(&s->selected, out.key);
    return out;
}

void trace_select_freeze(struct trace_select *s, bool is_frozen)
{
    s->is_frozen = is_frozen;
    if (!is_frozen)
        return;
    free(s->recent.items);
    free(s->older.items);
    s->recent = s->older = (struct pairs){0};
}

/* --- selection --- */

/* Select what pairs connect with a selected id, once. Pairs of which both are selected go. */
static void close_pairs(struct trace_select *s, struct pairs *p)
{
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        struct pair one = p->items[i];
        bool has_a = trace_keys_have(&s->selected, one.a);
        bool has_b = trace_keys_have(&s->selected, one.b);
        if (has_a != has_b)
            (void)trace_keys_add(&s->selected, has_a ? one.b : one.a);
        else if (!has_a)
            p->items[kept++] = one;
    }
    p->count = kept;
}

bool trace_select_close(struct trace_select *s)
{
    size_t before, former = s->closed;

    do {
        before = s->selected.count;
        close_pairs(s, &s->older);
        close_pairs(s, &s->recent);
    } while (s->selected.count > before);
    s->closed = s->selected.count;
    return s->closed > former;
}

bool trace_select_has(const struct trace_select *s, const struct trace_noted *line)
{
    return line->is_mentioned || (line->key != 0 && trace_keys_have(&s->selected, line->key));
}

void trace_select_age(struct trace_select *s)
{
    free(s->older.items);
    s->older = s->recent;
    s->recent = (struct pairs){0};
}

size_t trace_select_bytes(const struct trace_select *s)
{
    return (s->recent.cap + s->older.cap) * sizeof(struct pair) +
           s->selected.slot_count * sizeof(uint64_t);
}
