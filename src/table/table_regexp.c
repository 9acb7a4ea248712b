/* SPDX-License-Identifier: ISC */
/*
 * regexp: POSIX regular expressions, as in regexp_table(5). regexec(3) locks the compiled
 * expression itself, so many threads may search a table.
 *
 *   flag = "i" / "m" / "x"      ; i (ignore case) and x (extended syntax) are on
 */
#include "base/mem.h"
#include "table/table_rules.h"

#include <regex.h>
#include <stdlib.h>

struct regexp_table {
    struct table table;
    struct rules rules;
    char *path; /* for messages of look-ups */
};

static const struct rule_flag regexp_flags[] = {{'i', REG_ICASE, false},
                                                {'m', REG_NEWLINE, false},
                                                {'x', REG_EXTENDED, false},
                                                {'\0', 0, false}};

static void *regexp_compile(const char *regex, int options, bool needs_groups, struct err *why)
{
    regex_t *compiled = mem_zalloc(sizeof *compiled);
    char text[256];
    int rc = regcomp(compiled, regex, options | (needs_groups ? 0 : REG_NOSUB));

    if (rc == 0)
        return compiled;
    regerror(rc, compiled, text, sizeof text);
    err_set(why, "%s", text);
    free(compiled);
    return NULL;
}

static unsigned regexp_groups(const void *code)
{
    size_t groups = ((const regex_t *)code)->re_nsub;

    return groups > RULES_GROUP_MAX ? RULES_GROUP_MAX : (unsigned)groups;
}

static void regexp_release(void *code)
{
    if (code == NULL)
        return;
    regfree(code);
    free(code);
}

static const struct rule_engine engine = {
    .flags = regexp_flags,
    .default_options = REG_EXTENDED | REG_ICASE,
    .has_second = true,
    .compile = regexp_compile,
    .groups = regexp_groups,
    .release = regexp_release,
};

static void regexp_close(struct table *t)
{
    struct regexp_table *rt = (struct regexp_table *)t;

    rules_clear(&rt->rules);
    free(rt->path);
    free(rt);
}

static struct table *regexp_parse(const char *path, char *text, size_t size,
                                  const struct table_faults *faults, struct err *err)
{
    struct rules rules;
    int rc = rules_parse(&engine, path, text, size, faults, &rules, err);

    free(text);
    if (rc < 0)
        return NULL;
    struct regexp_table *t = mem_zalloc(sizeof *t);
    t->rules = rules;
    t->path = mem_strdup(path);
    return &t->table;
}

static enum rule_outcome regexp_match_one(void *ctx, const char *key, const struct rule *r,
                                          const struct rule_pattern *pattern, struct err *err)
{
    regmatch_t *groups = ctx;
    size_t count = r->max_group > 0 && pattern == &r->first ? r->max_group + 1 : 0;
    char text[256];
    int rc = regexec(pattern->code, key, count, groups, 0);

    if (rc == 0)
        return RULE_MATCHES;
    if (rc == REG_NOMATCH)
        return RULE_MATCHES_NOT;
    regerror(rc, pattern->code, text, sizeof text);
    err_set(err, "%s, with \"%s\"", text, key);
    return RULE_FAILS;
}

static size_t regexp_group(void *ctx, const char *key, unsigned group, const char **text_out)
{
    const regmatch_t *g = (const regmatch_t *)ctx + group;

    if (g->rm_so < 0 || g->rm_so >= g->rm_eo)
        return 0;
    *text_out = key + g->rm_so;
    return (size_t)(g->rm_eo - g->rm_so);
}

static enum table_result regexp_find(const struct table *table, struct table_scratch *s,
                                     const char *key, struct table_match *m, struct err *err)
{
    const struct regexp_table *t = (const struct regexp_table *)table;

    buf_reset(&s->groups);
    struct rules_search search = {
        .path = t->path,
        .key = key,
        .ctx = buf_reserve(&s->groups, (t->rules.max_group + 1) * sizeof(regmatch_t)),
        .match = regexp_match_one,
        .group = regexp_group};
    return rules_find(&t->rules, &search, m, err);
}

static int regexp_each_value(const struct table *table,
                             int (*fn)(const char *key, const char *value, unsigned line,
                                       void *ctx),
                             void *ctx)
{
    return rules_each(&((const struct regexp_table *)table)->rules, fn, ctx);
}

const struct table_type table_regexp = {
    .name = "regexp",
    .may_take_long = true,
    .takes_whole_address = true,
    .parse = regexp_parse,
    .file_max = 64 * 1024 * 1024,
    .close = regexp_close,
    .find = regexp_find,
    .each_value = regexp_each_value,
};
