/* SPDX-License-Identifier: ISC */
/*
 * pcre: Perl-compatible regular expressions, as in pcre_table(5).
 *
 *   flag = "i" / "m" / "s" / "x" / "A" / "E" / "U" / "X"   ; i and s are on
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/mem.h"
#include "table/table_pcre_needs.h"
#include "table/table_rules.h"

#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

/* Limits of one match; a look-up that reaches them fails. An address stays far below them with
 * every pattern that does not backtrack exponentially. */
enum { MATCH_LIMIT = 1000000, HEAP_LIMIT_KIB = 8192 };
enum { JIT_STACK_MIN = 32 * 1024, JIT_STACK_MAX = 512 * 1024 };

struct pcre_table {
    struct table table;
    struct rules rules;
    char *path; /* for messages of look-ups */
};

struct pcre_scratch {
    pcre2_match_data *data;
    uint32_t pairs;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    size_t key_len;     /* of the look-up in progress */
    uint32_t set_pairs; /* offset pairs that the last match of this look-up has set */
};

static const struct rule_flag pcre_flags[] = {{'i', PCRE2_CASELESS, false},
                                              {'m', PCRE2_MULTILINE, false},
                                              {'s', PCRE2_DOTALL, false},
                                              {'x', PCRE2_EXTENDED, false},
                                              {'A', (int)PCRE2_ANCHORED, false},
                                              {'E', PCRE2_DOLLAR_ENDONLY, false},
                                              {'U', PCRE2_UNGREEDY, false},
                                              {'X', 0, true},
                                              {'\0', 0, false}};

struct pcre_pattern {
    pcre2_code *code;
    bool has_jit; /* pcre2_jit_match() may be called */
};

static struct rule_needs pcre_needs(const char *regex, int options)
{
    return table_pcre_needs(regex, ((uint32_t)options & PCRE2_EXTENDED) != 0);
}

static void *pcre_compile(const char *regex, int options, bool needs_groups, struct err *why)
{
    int code;
    PCRE2_SIZE offset;
    PCRE2_UCHAR text[256];

    (void)needs_groups;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                                         (uint32_t)options, &code, &offset, NULL);
    if (compiled == NULL) {
        pcre2_get_error_message(code, text, sizeof text);
        err_set(why, "%s at offset %zu", (const char *)text, (size_t)offset);
        return NULL;
    }
    struct pcre_pattern *p = mem_zalloc(sizeof *p);
    p->code = compiled;
    /* A pattern without JIT code (not supported by this machine or for this pattern) is
     * interpreted. A pattern with "(*UTF)" needs pcre2_match(), which checks that the key is
     * UTF-8. */
    uint32_t all_options = PCRE2_UTF;
    p->has_jit = pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) == 0 &&
                 pcre2_pattern_info(compiled, PCRE2_INFO_ALLOPTIONS, &all_options) == 0 &&
                 (all_options & PCRE2_UTF) == 0;
    return p;
}

static unsigned pcre_groups(const void *code)
{
    const struct pcre_pattern *p = code;
    uint32_t groups = 0;

    return pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &groups) == 0 ? groups : 0;
}

static void pcre_release(void *code)
{
    struct pcre_pattern *p = code;

    if (p == NULL)
        return;
    pcre2_code_free(p->code);
    free(p);
}

static const struct rule_engine engine = {
    .flags = pcre_flags,
    .default_options = PCRE2_CASELESS | PCRE2_DOTALL,
    .compile = pcre_compile,
    .needs = pcre_needs,
    .groups = pcre_groups,
    .release = pcre_release,
};

static void pcre_close(struct table *t)
{
    struct pcre_table *pt = (struct pcre_table *)t;

    rules_clear(&pt->rules);
    free(pt->path);
    free(pt);
}

static struct table *pcre_parse(const char *path, char *text, size_t size,
                                const struct table_faults *faults, struct err *err)
{
    struct rules rules;
    int rc = rules_parse(&engine, path, text, size, faults, &rules, err);

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

/* These calls of pcre2 fail only when there is no memory. */
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

static enum rule_outcome pcre_match_one(void *ctx, const char *key, const struct rule *r,
                                        const struct rule_pattern *pattern, struct err *err)
{
    struct pcre_scratch *p = ctx;
    const struct pcre_pattern *compiled = pattern->code;
    PCRE2_SPTR subject = (PCRE2_SPTR)key;
    PCRE2_UCHAR text[256];
    int rc;

    (void)r;
    if (compiled->has_jit) /* pcre2_match() uses the same code, but takes twice the time */
        rc = pcre2_jit_match(compiled->code, subject, p->key_len, 0, 0, p->data, p->context);
    else
        rc = pcre2_match(compiled->code, subject, p->key_len, 0, 0, p->data, p->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return RULE_MATCHES_NOT;
    if (rc < 0) {
        pcre2_get_error_message(rc, text, sizeof text);
        err_set(err, "%s, with \"%s\"", (const char *)text, key);
        return RULE_FAILS;
    }
    p->set_pairs = rc > 0 ? (uint32_t)rc : p->pairs;
    return RULE_MATCHES;
}

static size_t pcre_group(void *ctx, const char *key, unsigned group, const char **text_out)
{
    const struct pcre_scratch *p = ctx;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(p->data);

    if (group >= p->set_pairs || ends[2 * group] == PCRE2_UNSET ||
        ends[2 * group] >= ends[2 * group + 1])
        return 0;
    *text_out = key + ends[2 * group];
    return ends[2 * group + 1] - ends[2 * group];
}

static enum table_result pcre_find(const struct table *table, struct table_scratch *s,
                                   const char *key, struct table_match *m, struct err *err)
{
    const struct pcre_table *t = (const struct pcre_table *)table;
    struct pcre_scratch *p = scratch_for(s, t->rules.max_group + 1);
    struct rules_search search = {
        .path = t->path, .key = key, .ctx = p, .match = pcre_match_one, .group = pcre_group};

    p->key_len = strlen(key);
    search.has = table_pcre_has(key, p->key_len);
    return rules_find(&t->rules, &search, m, err);
}

static int pcre_each_value(const struct table *table,
                           int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                           void *ctx)
{
    return rules_each(&((const struct pcre_table *)table)->rules, fn, ctx);
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
