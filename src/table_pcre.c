/* SPDX-License-Identifier: ISC */
#include "table_pcre.h"
#include "mem.h"
#include "table_private.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* What one pattern may cost before the look-up is given up: far above what an address needs with
 * any pattern that does not explode. */
enum { MATCH_LIMIT = 1000000, HEAP_LIMIT_KIB = 8192 };
enum { JIT_STACK_MIN = 32 * 1024, JIT_STACK_MAX = 512 * 1024 };

struct pcre_table {
    struct table table;
    struct pcre_rules rules;
    char *path; /* for messages of look-ups */
};

struct pcre_scratch {
    pcre2_match_data *data;
    uint32_t pairs;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static void pcre_close(struct table *t)
{
    struct pcre_table *pt = (struct pcre_table *)t;

    pcre_rules_clear(&pt->rules);
    free(pt->path);
    free(pt);
}

static struct table *pcre_parse(const char *path, char *text, size_t size, struct err *err)
{
    struct pcre_rules rules;
    int rc = pcre_rules_parse(path, text, size, &rules, err);

    free(text);
    if (rc < 0)
        return NULL;
    struct pcre_table *t = mem_zalloc(sizeof *t);
    t->rules = rules;
    t->path = mem_strdup(path);
    return &t->table;
}

void table_pcre_scratch_free(struct pcre_scratch *p)
{
    if (p == NULL)
        return;
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    pcre2_jit_stack_free(p->stack);
    free(p);
}

/* pcre2 reports lack of memory; nothing else in these calls can fail. */
static void *or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static struct pcre_scratch *scratch_for(struct table_scratch *s, uint32_t pairs)
{
    struct pcre_scratch *p = s->pcre;

    if (p == NULL) {
        p = s->pcre = mem_zalloc(sizeof *p);
        p->context = or_abort(pcre2_match_context_create(NULL));
        pcre2_set_match_limit(p->context, MATCH_LIMIT);
        pcre2_set_heap_limit(p->context, HEAP_LIMIT_KIB);
        p->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
        pcre2_jit_stack_assign(p->context, NULL, p->stack);
    }
    if (p->pairs < pairs) {
        pcre2_match_data_free(p->data);
        p->data = or_abort(pcre2_match_data_create(pairs, NULL));
        p->pairs = pairs;
    }
    return p;
}

static void substitute(const struct pcre_rule *r, const struct pcre_scratch *p, const char *key,
                       uint32_t set_pairs, struct buf *out)
{
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(p->data);

    for (size_t i = 0; i < r->part_count; i++) {
        const struct pcre_part *part = &r->parts[i];
        if (part->group == 0) {
            buf_add(out, r->literal + part->at, part->len);
        } else if (part->group < set_pairs) {
            PCRE2_SIZE start = ends[2 * part->group], end = ends[2 * part->group + 1];
            if (start != PCRE2_UNSET && start < end)
                buf_add(out, key + start, end - start);
        }
    }
}

static enum table_result fill_match(const struct pcre_table *t, const struct pcre_rule *r,
                                    const struct pcre_scratch *p, const char *key, int rc,
                                    struct table_match *m, struct err *err)
{
    buf_reset(&m->value);
    substitute(r, p, key, rc > 0 ? (uint32_t)rc : p->pairs, &m->value);
    if (!utf8_is_valid(buf_str(&m->value), m->value.len)) {
        err_set(err, "%s:%u: the result for \"%s\" is not UTF-8", t->path, r->line, key);
        return TABLE_FAILED;
    }
    buf_reset(&m->key);
    buf_adds(&m->key, r->pattern);
    m->line = r->line;
    return TABLE_FOUND;
}

static enum table_result match_failed(const struct pcre_table *t, const struct pcre_rule *r,
                                      const char *key, int rc, struct err *err)
{
    PCRE2_UCHAR text[256];

    pcre2_get_error_message(rc, text, sizeof text);
    err_set(err, "%s:%u: %s, with \"%s\"", t->path, r->line, (const char *)text, key);
    return TABLE_FAILED;
}

static enum table_result pcre_find(const struct table *table, struct table_scratch *s,
                                   const char *key, struct table_match *m, struct err *err)
{
    const struct pcre_table *t = (const struct pcre_table *)table;
    const struct pcre_scratch *p = scratch_for(s, t->rules.max_group + 1);
    size_t len = strlen(key);

    for (size_t i = 0; i < t->rules.count; i++) {
        const struct pcre_rule *r = &t->rules.items[i];
        if (r->op == PCRE_RULE_ENDIF)
            continue;
        int rc = pcre2_match(r->code, (PCRE2_SPTR)key, len, 0, 0, p->data, p->context);
        if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
            return match_failed(t, r, key, rc, err);
        bool is_match = (rc >= 0) != r->is_negated;
        if (is_match && r->op == PCRE_RULE_MATCH)
            return fill_match(t, r, p, key, rc, m, err);
        if (!is_match && r->op == PCRE_RULE_IF) {
            if (r->endif == PCRE_NO_ENDIF)
                return TABLE_NOT_FOUND;
            i = (size_t)r->endif;
        }
    }
    return TABLE_NOT_FOUND;
}

static int pcre_each_value(const struct table *table,
                           int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                           void *ctx)
{
    const struct pcre_table *t = (const struct pcre_table *)table;
    int rc = 0;

    for (size_t i = 0; i < t->rules.count && rc == 0; i++) {
        const struct pcre_rule *r = &t->rules.items[i];
        if (r->op == PCRE_RULE_MATCH && r->max_group == 0)
            rc = fn(r->pattern, r->literal, r->line, ctx);
    }
    return rc;
}

const struct table_type table_pcre = {
    .name = "pcre",
    .takes_whole_address = true,
    .parse = pcre_parse,
    .file_max = 64 * 1024 * 1024,
    .close = pcre_close,
    .find = pcre_find,
    .each_value = pcre_each_value,
};
