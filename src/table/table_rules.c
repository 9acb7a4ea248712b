/* SPDX-License-Identifier: ISC */
/*
 * pcre: and regexp: rules with regular expressions, tried from first to last, as in pcre_table(5)
 * and regexp_table(5) of Postfix.
 *
 *   line        = match / if / endif
 *   match       = pattern [ "!" pattern ] 1*white-space replacement ; a second one: regexp only
 *   if          = "if" *white-space pattern       ; the lines up to its endif apply if it matches
 *   endif       = "endif"
 *   pattern     = *( "!" / white-space ) delimiter regex delimiter *flag
 *   flag        = one of the engine's; each toggles an option
 *   replacement = *( text / "$$" / "$" number / "${" number "}" / "$(" number ")" )
 *
 * In the regex the byte after a backslash is never the delimiter. As in Postfix, each line that is
 * wrong is skipped with a warning.
 */
#include "table/table_rules.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/ascii.h"

#include <stdlib.h>
#include <string.h>

/* The state of reading the rules. */
struct reader {
    struct rules *rules;
    struct table_lines lines;
    long *open_ifs; /* indices of ifs without endif, outermost first */
    size_t depth;
};

static void rule_clear(const struct rule_engine *engine, struct rule *r)
{
    engine->release(r->first.code);
    engine->release(r->second.code);
    free(r->text);
    free(r->literal);
    free(r->parts);
    memset(r, 0, sizeof *r);
}

/* --- replacement ---------------------------------------------------------------------------- */

/* Read the name of a substitution; p is after its '$'. Returns the position after the substitution,
 * NULL when a bracket is not closed. */
static const char *macro_name(const char *p, const char **name_out, size_t *len_out)
{
    char open = *p, close = open == '(' ? ')' : '}';
    size_t level = 1;

    if (open != '(' && open != '{') {
        *name_out = p;
        while (ascii_is_alnum(*p) || *p == '_')
            p++;
        *len_out = (size_t)(p - *name_out);
        return p;
    }
    *name_out = ++p;
    for (; *p != '\0'; p++) {
        if (*p == open)
            level++;
        else if (*p == close && --level == 0)
            break;
    }
    if (*p == '\0')
        return NULL;
    *len_out = (size_t)(p - *name_out);
    return p + 1;
}

/* The number of a group; 0 when the name is no number from 1 to RULES_GROUP_MAX. */
static unsigned group_number(const char *name, size_t len)
{
    unsigned long n = 0;

    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9' || n > RULES_GROUP_MAX)
            return 0;
        n = n * 10 + (unsigned long)(name[i] - '0');
    }
    return n > RULES_GROUP_MAX ? 0 : (unsigned)n;
}

static void add_part(struct rule *r, unsigned group, size_t at, size_t len)
{
    if (group == 0 && len == 0)
        return;
    r->parts = mem_grow(r->parts, r->part_count + 1, sizeof r->parts[0]);
    r->parts[r->part_count++] = (struct rule_part){group, at, len};
    if (group > r->max_group)
        r->max_group = group;
}

/* Parse the replacement at p into r. Returns NULL, or what is wrong. */
static const char *parse_replacement(struct rule *r, const char *p)
{
    struct buf literal = {0};
    const char *name, *fault = NULL;
    size_t name_len, start = 0;

    while (*p != '\0' && fault == NULL) {
        if (p[0] != '$') {
            buf_addc(&literal, *p++);
        } else if (p[1] == '$') {
            buf_addc(&literal, '$');
            p += 2;
        } else if ((p = macro_name(p + 1, &name, &name_len)) == NULL) {
            fault = "truncated $ reference";
            break;
        } else {
            unsigned group = group_number(name, name_len);
            if (group == 0)
                fault = "$ is followed by no group number; \"$$\" stands for a \"$\"";
            add_part(r, 0, start, literal.len - start);
            start = literal.len;
            add_part(r, group, 0, 0);
        }
    }
    add_part(r, 0, start, literal.len - start);
    r->literal = buf_take(&literal);
    return fault;
}

/* --- patterns ------------------------------------------------------------------------------- */

/* A pattern that is not compiled yet. */
struct source {
    char *regex; /* NULL: the rule has no such pattern */
    int options;
    bool is_negated;
};

/* Read the flags up to the next white space or second pattern into *options. False with a warning
 * when a flag is unknown. */
static bool parse_flags(struct reader *rd, unsigned line, char **p, int *options)
{
    const struct rule_engine *engine = rd->rules->engine;

    *options = engine->default_options;
    for (; **p != '\0' && !table_is_space(**p) && !(engine->has_second && **p == '!'); ++*p) {
        const struct rule_flag *f = engine->flags;
        while (f->flag != '\0' && f->flag != **p)
            f++;
        if (f->flag == '\0') {
            table_lines_warn(&rd->lines, line, "unknown regexp option \"%c\": skipping this rule",
                             **p);
            return false;
        }
        if (f->is_obsolete)
            table_lines_warn(&rd->lines, line, "ignoring obsolete regexp option \"%c\"", **p);
        *options ^= f->option;
    }
    return true;
}

/* Read the pattern at *p and move *p after it. *end_out: its closing delimiter, which the caller
 * replaces by NUL to end the regex. False with a warning. */
static bool parse_pattern(struct reader *rd, unsigned line, char **p, struct source *out,
                          char **end_out)
{
    *out = (struct source){NULL, 0, false};
    for (; **p == '!' || table_is_space(**p); ++*p)
        if (**p == '!')
            out->is_negated = !out->is_negated;
    char delimiter = **p;
    if (delimiter == '\0') {
        table_lines_warn(&rd->lines, line, "no regexp: skipping this rule");
        return false;
    }
    char *end = out->regex = ++*p;
    for (; *end != '\0'; end++) {
        if (*end == '\\') {
            if (*++end == '\0')
                break;
        } else if (*end == delimiter) {
            break;
        }
    }
    if (*end == '\0') {
        table_lines_warn(&rd->lines, line, "no closing regexp delimiter \"%c\": skipping this rule",
                         delimiter);
        return false;
    }
    *p = end + 1;
    *end_out = end;
    return parse_flags(rd, line, p, &out->options);
}

/* Read the one or two patterns of a rule at *p, move *p after them, and set r->text. second: NULL
 * if the rule may have only one. False with a warning. */
static bool parse_patterns(struct reader *rd, struct rule *r, char **p, struct source *first,
                           struct source *second)
{
    char *start = *p, *first_end, *second_end = NULL;

    if (!parse_pattern(rd, r->line, p, first, &first_end))
        return false;
    if (second != NULL && rd->rules->engine->has_second && **p == '!' &&
        !parse_pattern(rd, r->line, p, second, &second_end))
        return false;
    r->text = mem_strndup(start, (size_t)(*p - start));
    *first_end = '\0';
    if (second_end != NULL)
        *second_end = '\0';
    return true;
}

static bool compile(struct reader *rd, const struct rule *r, const struct source *source,
                    bool needs_groups, struct rule_pattern *out)
{
    struct err why;

    if (source->regex == NULL)
        return true;
    out->is_negated = source->is_negated;
    out->code = rd->rules->engine->compile(source->regex, source->options, needs_groups, &why);
    if (rd->rules->engine->needs != NULL)
        out->needs = rd->rules->engine->needs(source->regex, source->options);
    if (out->code == NULL)
        table_lines_warn(&rd->lines, r->line, "error in regexp: %s: skipping this rule", why.text);
    return out->code != NULL;
}

/* --- lines ---------------------------------------------------------------------------------- */

static char *skip_space(char *p)
{
    while (table_is_space(*p))
        p++;
    return p;
}

/* parse_match(), parse_if() and parse_endif() each read one kind of line into r. False with a
 * warning if the line is skipped. */
static bool parse_match(struct reader *rd, struct rule *r, char *p)
{
    struct source first, second = {NULL, 0, false};

    r->op = RULE_MATCH;
    if (!parse_patterns(rd, r, &p, &first, &second))
        return false;
    p = skip_space(p);
    if (*p == '\0')
        table_lines_warn(&rd->lines, r->line, "no replacement text: using empty string");
    const char *fault = parse_replacement(r, p);
    if (fault == NULL && r->max_group > 0 && first.is_negated)
        fault = "$number found in negative match replacement text";
    if (fault == NULL && (!compile(rd, r, &first, r->max_group > 0, &r->first) ||
                          !compile(rd, r, &second, false, &r->second)))
        return false;
    if (fault == NULL && r->max_group > 0 &&
        r->max_group > rd->rules->engine->groups(r->first.code))
        fault = "$number is larger than the number of groups";
    if (fault != NULL)
        table_lines_warn(&rd->lines, r->line, "%s: skipping this rule", fault);
    return fault == NULL;
}

static bool parse_if(struct reader *rd, struct rule *r, char *p)
{
    struct source source;

    r->op = RULE_IF;
    r->endif = RULES_NO_ENDIF;
    p = skip_space(p);
    if (!parse_patterns(rd, r, &p, &source, NULL))
        return false;
    p = skip_space(p);
    if (*p != '\0')
        table_lines_warn(&rd->lines, r->line,
                         "ignoring extra text after IF statement: \"%.100s\"; do not prepend "
                         "whitespace to statements between IF and ENDIF",
                         p);
    return compile(rd, r, &source, false, &r->first);
}

static bool parse_endif(struct reader *rd, struct rule *r, char *p)
{
    r->op = RULE_ENDIF;
    if (rd->depth == 0) {
        table_lines_warn(&rd->lines, r->line, "ignoring ENDIF without matching IF");
        return false;
    }
    if (*skip_space(p) != '\0')
        table_lines_warn(&rd->lines, r->line, "ignoring extra text after ENDIF");
    return true;
}

static bool parse_rule(struct reader *rd, struct rule *r, char *p)
{
    if (!ascii_is_alnum(*p))
        return parse_match(rd, r, p);
    if (ascii_equal_n(p, "if", 2) && !ascii_is_alnum(p[2]))
        return parse_if(rd, r, p + 2);
    if (ascii_equal_n(p, "endif", 5) && !ascii_is_alnum(p[5]))
        return parse_endif(rd, r, p + 5);
    table_lines_warn(&rd->lines, r->line, "ignoring unrecognized request");
    return false;
}

static void add_line(struct reader *rd, const struct table_line *line)
{
    struct rules *rules = rd->rules;
    struct rule r = {.line = line->number};

    if (!parse_rule(rd, &r, line->text)) {
        rule_clear(rules->engine, &r);
        return;
    }
    long index = (long)rules->count;
    if (r.op == RULE_IF) {
        rd->open_ifs = mem_grow(rd->open_ifs, rd->depth + 1, sizeof rd->open_ifs[0]);
        rd->open_ifs[rd->depth++] = index;
    } else if (r.op == RULE_ENDIF) {
        rules->items[rd->open_ifs[--rd->depth]].endif = index;
    }
    if (r.max_group > rules->max_group)
        rules->max_group = r.max_group;
    rules->items = mem_grow(rules->items, rules->count + 1, sizeof rules->items[0]);
    rules->items[rules->count++] = r;
}

void rules_clear(struct rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        rule_clear(rules->engine, &rules->items[i]);
    free(rules->items);
    memset(rules, 0, sizeof *rules);
}

int rules_parse(const struct rule_engine *engine, const char *path, char *text, size_t size,
                const struct table_faults *faults, struct rules *rules_out, struct err *err)
{
    struct reader rd = {.rules = rules_out, .lines = table_lines_of(path, text, size, faults)};
    struct table_line line;
    int rc;

    *rules_out = (struct rules){.engine = engine};
    while ((rc = table_lines_next(&rd.lines, &line, err)) > 0)
        add_line(&rd, &line);
    while (rd.depth > 0)
        table_lines_warn(&rd.lines, rules_out->items[rd.open_ifs[--rd.depth]].line,
                         "IF has no matching ENDIF");
    table_lines_finish(&rd.lines);
    free(rd.open_ifs);
    if (rc < 0)
        rules_clear(rules_out);
    return rc;
}

/* --- look-up -------------------------------------------------------------------------------- */

static enum table_result fill_match(const struct rules_search *s, const struct rule *r,
                                    struct table_match *m, struct err *err)
{
    const char *text;

    buf_reset(&m->value);
    for (size_t i = 0; i < r->part_count; i++) {
        const struct rule_part *part = &r->parts[i];
        if (part->group == 0) {
            buf_add(&m->value, r->literal + part->at, part->len);
        } else {
            size_t len = s->group(s->ctx, s->key, part->group, &text);
            if (len > 0)
                buf_add(&m->value, text, len);
        }
    }
    if (!utf8_is_valid(buf_str(&m->value), m->value.len)) {
        err_set(err, "%s:%u: the result for \"%s\" is not UTF-8", s->path, r->line, s->key);
        /* With a group the key may be the cause: $1 may cut a character of it. */
        return r->max_group > 0 ? TABLE_LIMIT : TABLE_FAILED;
    }
    buf_reset(&m->key);
    buf_adds(&m->key, r->text);
    m->line = r->line;
    return TABLE_FOUND;
}

/* Does a rule apply: do both patterns match, with their negations? */
static enum rule_outcome try_rule(const struct rules_search *s, const struct rule *r,
                                  struct err *err)
{
    const struct rule_pattern *patterns[] = {&r->first, &r->second};

    for (size_t i = 0; i < 2 && patterns[i]->code != NULL; i++) {
        const struct rule_needs *needs = &patterns[i]->needs;
        bool lacks = ((needs->pairs & ~s->has.pairs) | (needs->triples & ~s->has.triples)) != 0;
        enum rule_outcome o =
            lacks ? RULE_MATCHES_NOT : s->match(s->ctx, s->key, r, patterns[i], err);
        if (o == RULE_FAILS)
            return o;
        if ((o == RULE_MATCHES) == patterns[i]->is_negated)
            return RULE_MATCHES_NOT;
    }
    return RULE_MATCHES;
}

enum table_result rules_find(const struct rules *rules, const struct rules_search *search,
                             struct table_match *m, struct err *err)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *r = &rules->items[i];
        if (r->op == RULE_ENDIF)
            continue;
        enum rule_outcome o = try_rule(search, r, err);
        if (o == RULE_FAILS) {
            err_wrap(err, "%s:%u", search->path, r->line);
            return TABLE_LIMIT; /* the key is the cause, because the pattern was compiled */
        }
        if (o == RULE_MATCHES && r->op == RULE_MATCH)
            return fill_match(search, r, m, err);
        if (o == RULE_MATCHES_NOT && r->op == RULE_IF) {
            if (r->endif == RULES_NO_ENDIF)
                return TABLE_NOT_FOUND;
            i = (size_t)r->endif;
        }
    }
    return TABLE_NOT_FOUND;
}

int rules_each(const struct rules *rules,
               int (*fn)(const char *key, const char *value, unsigned line, void *ctx), void *ctx)
{
    int rc = 0;

    for (size_t i = 0; i < rules->count && rc == 0; i++) {
        const struct rule *r = &rules->items[i];
        if (r->op == RULE_MATCH && r->max_group == 0)
            rc = fn(r->text, r->literal, r->line, ctx);
    }
    return rc;
}
