/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_word.h"
#include "base/ascii.h"
#include "base/mem.h"
#include "ctl/trace/trace_log.h"

#include <stdlib.h>
#include <string.h>

#define WORD_MAX_LEN 2000

struct trace_words {
    const char *tag_domain;
    char **words; /* owned; in lower case */
    char **exact; /* borrowed; as they were given */
    size_t count;
    uint32_t *slots; /* hash table: number of a word, or TRACE_NONE */
    size_t slot_count;
    bool lengths[WORD_MAX_LEN + 1]; /* is there a word of this length? */
};

static uint32_t *slot_of(const struct trace_words *w, struct slice s)
{
    size_t i = slice_hash_same(s) & (w->slot_count - 1);

    for (; w->slots[i] != TRACE_NONE; i = (i + 1) & (w->slot_count - 1)) {
        const char *word = w->words[w->slots[i]];
        if (strlen(word) == s.len && ascii_equal_n(word, s.at, s.len))
            break;
    }
    return &w->slots[i];
}

struct trace_words *trace_words_new(char **words, int count, const char *tag_domain)
{
    struct trace_words *w = mem_zalloc(sizeof *w);

    w->tag_domain = tag_domain;
    w->exact = words;
    w->count = (size_t)count;
    w->words = mem_zalloc((w->count + 1) * sizeof *w->words);
    for (w->slot_count = 64; w->slot_count < 4 * w->count; w->slot_count *= 2)
        continue;
    w->slots = mem_grow(NULL, w->slot_count, sizeof *w->slots);
    memset(w->slots, 0xff, w->slot_count * sizeof *w->slots);
    for (size_t i = 0; i < w->count; i++) {
        size_t len = strlen(words[i]);
        bool has_brackets = len >= 2 && words[i][0] == '<' && words[i][len - 1] == '>';
        w->words[i] = mem_strndup(words[i] + has_brackets, len - 2U * has_brackets);
        struct slice s = {w->words[i], strlen(w->words[i])};
        *slot_of(w, s) = (uint32_t)i;
        if (s.len <= WORD_MAX_LEN)
            w->lengths[s.len] = true;
    }
    return w;
}

void trace_words_free(struct trace_words *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->count; i++)
        free(w->words[i]);
    free(w->words);
    free(w->slots);
    free(w);
}

/* The length of the text without the suffix; 0: it has another end. */
static size_t without(struct slice s, const char *suffix)
{
    size_t len = strlen(suffix);

    return s.len > len && ascii_equal_n(s.at + s.len - len, suffix, len) ? s.len - len : 0;
}

enum trace_route trace_word_untag(struct slice address, const char *tag_domain,
                                  struct slice *plain_out, struct slice *name_out)
{
    static const struct {
        const char *suffix;
        enum trace_route route;
    } kinds[] = {{".filter.", TRACE_ROUTE_FILTER}, {".copy.", TRACE_ROUTE_COPY}};

    *plain_out = address;
    *name_out = (struct slice){address.at, 0};
    size_t len = address.at == NULL ? 0 : without(address, tag_domain);
    for (size_t i = 0; len > 0 && i < 2; i++) {
        size_t rest = without((struct slice){address.at, len}, kinds[i].suffix), dot = rest;
        while (dot > 0 && address.at[dot - 1] != '.')
            dot--;
        if (dot < 2)
            continue;
        *plain_out = (struct slice){address.at, dot - 1};
        *name_out = (struct slice){address.at + dot, rest - dot};
        return kinds[i].route;
    }
    return TRACE_ROUTE_NONE;
}

static bool is_word(const struct trace_words *w, struct slice s)
{
    return s.at != NULL && s.len <= WORD_MAX_LEN && w->lengths[s.len] &&
           *slot_of(w, s) != TRACE_NONE;
}

bool trace_words_have(const struct trace_words *w, struct slice address)
{
    struct slice plain, name;

    return is_word(w, address) ||
           (trace_word_untag(address, w->tag_domain, &plain, &name) != TRACE_ROUTE_NONE &&
            is_word(w, plain));
}

/* Is a word among the values in brackets? */
static bool is_in_brackets(const struct trace_words *w, struct slice s)
{
    const char *at = s.at, *end = s.at + s.len;

    while ((at = memchr(at, '<', (size_t)(end - at))) != NULL) {
        const char *close = memchr(at, '>', (size_t)(end - at));
        if (close == NULL)
            return false;
        if (trace_words_have(w, (struct slice){at + 1, (size_t)(close - at) - 1}))
            return true;
        at++;
    }
    return false;
}

bool trace_words_mention(const struct trace_words *w, enum trace_program program,
                         enum trace_kind kind, struct slice body)
{
    struct trace_facts f;

    if (body.len == 0)
        return false;
    if (memchr(body.at, '<', body.len) != NULL)
        return is_in_brackets(w, body);
    if (kind != TRACE_KIND_DELIVERY)
        return false;
    /* Sendmail may write addresses without brackets */
    trace_facts_read_line(program, kind, body, &f);
    return f.to.len > 0 && trace_words_have(w, f.to);
}

size_t trace_words_count(const struct trace_words *w)
{
    return w->count;
}

const char *trace_words_get(const struct trace_words *w, size_t i)
{
    return w->exact[i];
}

static void mark_event(const struct trace_words *w, struct trace_log *log, uint32_t event)
{
    const struct trace_event *e = &log->kept.events[event];
    struct trace_message *m = &log->messages[e->message];
    struct trace_facts f;

    if (!e->noted.is_mentioned)
        return;
    m->is_touched = true;
    if (m->is_wanted || e->kind == TRACE_KIND_DELIVERY || e->kind == TRACE_KIND_DECIDED)
        return;
    trace_log_facts(log, e, &f);
    m->is_wanted = (f.from.len > 0 && is_word(w, f.from) && e->kind != TRACE_KIND_REFUSED) ||
                   (f.message_id.len > 0 && is_word(w, f.message_id));
}

static void mark_id(struct trace_log *log, const char *word)
{
    uint32_t m = trace_log_find(log, (struct slice){word, strlen(word)});

    for (; m != TRACE_NONE; m = log->messages[m].older)
        log->messages[m].is_named = true;
}

void trace_words_mark(const struct trace_words *w, struct trace_log *log)
{
    for (uint32_t i = 0; i < log->message_count; i++)
        log->messages[i].is_named = log->messages[i].is_wanted = log->messages[i].is_touched =
            false;
    for (size_t i = 0; i < w->count; i++) {
        mark_id(log, w->exact[i]);
        char *upper = mem_strdup(w->exact[i]); /* the ids of copies */
        for (char *c = upper; *c != '\0'; c++)
            *c = ascii_to_upper(*c);
        if (strcmp(upper, w->exact[i]) != 0)
            mark_id(log, upper);
        free(upper);
    }
    for (uint32_t i = 0; i < log->kept.count; i++)
        if (log->kept.events[i].message != TRACE_NONE)
            mark_event(w, log, i);
}
