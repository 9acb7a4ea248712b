/* SPDX-License-Identifier: ISC */
/*
 * pcre: rules with Perl-compatible regular expressions, tried from first to last, as pcre_table(5)
 * of Postfix has them.
 *
 *   line        = match / if / endif
 *   match       = pattern 1*white-space replacement
 *   if          = "if" *white-space pattern       ; the lines up to its endif apply if it matches
 *   endif       = "endif"
 *   pattern     = *( "!" / white-space ) delimiter regex delimiter *flag
 *   flag        = "i" / "m" / "s" / "x" / "A" / "E" / "U" / "X"   ; toggles; i and s are on
 *   replacement = *( text / "$$" / "$" number / "${" number "}" / "$(" number ")" )
 *
 * In the regex a backslash takes the next byte, so that the delimiter may be written. Lines that
 * are wrong are warned about and left out, one by one, as Postfix does it.
 */
#include "table_pcre.h"
#include "mem.h"
#include "table_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The rules while they are read. */
struct reader {
    struct pcre_rules *rules;
    struct table_lines lines;
    long *open_ifs; /* indices of ifs without endif, outermost first */
    size_t depth;
};

static void rule_clear(struct pcre_rule *r)
{
    pcre2_code_free(r->code);
    free(r->pattern);
    free(r->literal);
    free(r->parts);
    memset(r, 0, sizeof *r);
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* --- replacement ---------------------------------------------------------------------------- */

/* The name of a substitution; p is behind its '$'. Returns what is behind it, NULL when a bracket
 * is not closed. */
static const char *macro_name(const char *p, const char **name_out, size_t *len_out)
{
    char open = *p, close = open == '(' ? ')' : '}';
    size_t level = 1;

    if (open != '(' && open != '{') {
        *name_out = p;
        while (is_alnum(*p) || *p == '_')
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

/* 0 when the name is no number from 1 to PCRE_GROUP_MAX. */
static unsigned group_number(const char *name, size_t len)
{
    unsigned long n = 0;

    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9' || n > PCRE_GROUP_MAX)
            return 0;
        n = n * 10 + (unsigned long)(name[i] - '0');
    }
    return n > PCRE_GROUP_MAX ? 0 : (unsigned)n;
}

static void add_part(struct pcre_rule *r, unsigned group, size_t at, size_t len)
{
    if (group == 0 && len == 0)
        return;
    r->parts = mem_grow(r->parts, r->part_count + 1, sizeof r->parts[0]);
    r->parts[r->part_count++] = (struct pcre_part){group, at, len};
    if (group > r->max_group)
        r->max_group = group;
}

/* NULL, or what is wrong. */
static const char *parse_replacement(struct pcre_rule *r, const char *p)
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

/* The options of the flags up to the next white space; false with a warning when one is unknown. */
static bool parse_flags(struct reader *rd, unsigned line, char **p, uint32_t *options)
{
    static const struct {
        char flag;
        uint32_t option;
    } flags[] = {{'i', PCRE2_CASELESS}, {'m', PCRE2_MULTILINE},
                 {'s', PCRE2_DOTALL},   {'x', PCRE2_EXTENDED},
                 {'A', PCRE2_ANCHORED}, {'E', PCRE2_DOLLAR_ENDONLY},
                 {'U', PCRE2_UNGREEDY}, {'X', 0}};
    const size_t count = sizeof flags / sizeof flags[0];

    *options = PCRE2_CASELESS | PCRE2_DOTALL;
    for (; **p != '\0' && !table_is_space(**p); ++*p) {
        size_t i = 0;
        while (i < count && flags[i].flag != **p)
            i++;
        if (i == count) {
            table_lines_warn(&rd->lines, line, "unknown regexp option \"%c\": skipping this rule",
                             **p);
            return false;
        }
        if (flags[i].option == 0)
            table_lines_warn(&rd->lines, line, "ignoring obsolete regexp option \"%c\"", **p);
        *options ^= flags[i].option;
    }
    return true;
}

static bool compile(struct reader *rd, struct pcre_rule *r, const char *regex, uint32_t options)
{
    int code;
    PCRE2_SIZE offset;
    PCRE2_UCHAR text[256];

    r->code =
        pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, options, &code, &offset, NULL);
    if (r->code == NULL) {
        pcre2_get_error_message(code, text, sizeof text);
        table_lines_warn(&rd->lines, r->line,
                         "error in regexp at offset %zu: %s: skipping this rule", (size_t)offset,
                         (const char *)text);
        return false;
    }
    /* Without JIT (not supported here, or not for this pattern) it is interpreted. */
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
    return true;
}

/* Read and compile the pattern at *p; *p is then behind it. False with a warning. */
static bool parse_pattern(struct reader *rd, struct pcre_rule *r, char **p)
{
    char *start = *p, *regex, *end;
    uint32_t options;

    for (; **p == '!' || table_is_space(**p); ++*p)
        if (**p == '!')
            r->is_negated = !r->is_negated;
    char delimiter = **p;
    if (delimiter == '\0') {
        table_lines_warn(&rd->lines, r->line, "no regexp: skipping this rule");
        return false;
    }
    regex = end = ++*p;
    for (; *end != '\0'; end++) {
        if (*end == '\\') {
            if (*++end == '\0')
                break;
        } else if (*end == delimiter) {
            break;
        }
    }
    if (*end == '\0') {
        table_lines_warn(&rd->lines, r->line,
                         "no closing regexp delimiter \"%c\": skipping this rule", delimiter);
        return false;
    }
    *p = end + 1;
    if (!parse_flags(rd, r->line, p, &options))
        return false;
    r->pattern = mem_strndup(start, (size_t)(*p - start));
    *end = '\0';
    return compile(rd, r, regex, options);
}

/* --- lines ---------------------------------------------------------------------------------- */

static char *skip_space(char *p)
{
    while (table_is_space(*p))
        p++;
    return p;
}

/* The functions below read one kind of line into r: false with a warning if it is left out. */
static bool parse_match(struct reader *rd, struct pcre_rule *r, char *p)
{
    uint32_t groups = 0;

    r->op = PCRE_RULE_MATCH;
    if (!parse_pattern(rd, r, &p))
        return false;
    p = skip_space(p);
    if (*p == '\0')
        table_lines_warn(&rd->lines, r->line, "no replacement text: using empty string");
    const char *fault = parse_replacement(r, p);
    if (fault == NULL && r->max_group > 0 && r->is_negated)
        fault = "$number found in negative match replacement text";
    if (fault == NULL && pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &groups) == 0 &&
        r->max_group > groups)
        fault = "$number is larger than the number of groups";
    if (fault != NULL)
        table_lines_warn(&rd->lines, r->line, "%s: skipping this rule", fault);
    return fault == NULL;
}

static bool parse_if(struct reader *rd, struct pcre_rule *r, char *p)
{
    r->op = PCRE_RULE_IF;
    r->endif = PCRE_NO_ENDIF;
    p = skip_space(p);
    if (!parse_pattern(rd, r, &p))
        return false;
    p = skip_space(p);
    if (*p != '\0')
        table_lines_warn(&rd->lines, r->line,
                         "ignoring extra text after IF statement: \"%.100s\"; do not prepend "
                         "whitespace to statements between IF and ENDIF",
                         p);
    return true;
}

static bool parse_endif(struct reader *rd, struct pcre_rule *r, char *p)
{
    r->op = PCRE_RULE_ENDIF;
    if (rd->depth == 0) {
        table_lines_warn(&rd->lines, r->line, "ignoring ENDIF without matching IF");
        return false;
    }
    if (*skip_space(p) != '\0')
        table_lines_warn(&rd->lines, r->line, "ignoring extra text after ENDIF");
    return true;
}

static bool parse_rule(struct reader *rd, struct pcre_rule *r, char *p)
{
    if (!is_alnum(*p))
        return parse_match(rd, r, p);
    if (strncasecmp(p, "if", 2) == 0 && !is_alnum(p[2]))
        return parse_if(rd, r, p + 2);
    if (strncasecmp(p, "endif", 5) == 0 && !is_alnum(p[5]))
        return parse_endif(rd, r, p + 5);
    table_lines_warn(&rd->lines, r->line, "ignoring unrecognized request");
    return false;
}

static void add_line(struct reader *rd, const struct table_line *line)
{
    struct pcre_rules *rules = rd->rules;
    struct pcre_rule r = {.line = line->number};

    if (!parse_rule(rd, &r, line->text)) {
        rule_clear(&r);
        return;
    }
    long index = (long)rules->count;
    if (r.op == PCRE_RULE_IF) {
        rd->open_ifs = mem_grow(rd->open_ifs, rd->depth + 1, sizeof rd->open_ifs[0]);
        rd->open_ifs[rd->depth++] = index;
    } else if (r.op == PCRE_RULE_ENDIF) {
        rules->items[rd->open_ifs[--rd->depth]].endif = index;
    }
    if (r.max_group > rules->max_group)
        rules->max_group = r.max_group;
    rules->items = mem_grow(rules->items, rules->count + 1, sizeof rules->items[0]);
    rules->items[rules->count++] = r;
}

void pcre_rules_clear(struct pcre_rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        rule_clear(&rules->items[i]);
    free(rules->items);
    memset(rules, 0, sizeof *rules);
}

int pcre_rules_parse(const char *path, char *text, size_t size, struct pcre_rules *rules_out,
                     struct err *err)
{
    struct reader rd = {.rules = rules_out, .lines = table_lines_of(path, text, size)};
    struct table_line line;
    int rc;

    memset(rules_out, 0, sizeof *rules_out);
    while ((rc = table_lines_next(&rd.lines, &line, err)) > 0)
        add_line(&rd, &line);
    while (rd.depth > 0)
        table_lines_warn(&rd.lines, rules_out->items[rd.open_ifs[--rd.depth]].line,
                         "IF has no matching ENDIF");
    table_lines_finish(&rd.lines);
    free(rd.open_ifs);
    if (rc < 0)
        pcre_rules_clear(rules_out);
    return rc;
}
