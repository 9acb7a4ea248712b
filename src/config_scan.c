/* SPDX-License-Identifier: ISC */
/*
 * The tokens of libconfuse, as its lexer.l has them:
 *
 *     file    = *( space / comment / string / variable / word / bracket / "=" / "+=" / "," )
 *     comment = ( "#" / "//" ) to the end of the line  /  "/" "*" ... "*" "/"
 *     string  = DQUOTE *( any / "\" any / variable ) DQUOTE  /  "'" *( any / "\" any ) "'"
 *     variable = "${" *( any but "}" ) "}"
 *     bracket = "{" / "}" / "(" / ")"
 *     word    = 1*( any but space, quotes, brackets and #=+,* )
 */
#include "config_scan.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define NESTING_MAX 16

struct scan {
    char *at, *end;
    unsigned line;
    char open[NESTING_MAX]; /* brackets that wait for their partner */
    unsigned open_line[NESTING_MAX];
    size_t depth;
    unsigned *line_out;
    struct err *err;
};

static int fail(struct scan *s, unsigned line, const char *text)
{
    *s->line_out = line;
    err_set(s->err, "%s", text);
    return -1;
}

static bool is_at(const struct scan *s, const char *text)
{
    size_t len = strlen(text);

    return (size_t)(s->end - s->at) >= len && memcmp(s->at, text, len) == 0;
}

static void blank_line_comment(struct scan *s)
{
    while (s->at < s->end && *s->at != '\n')
        *s->at++ = ' ';
}

static int blank_block_comment(struct scan *s)
{
    unsigned begin = s->line;

    while (!is_at(s, "*/")) {
        if (s->at == s->end)
            return fail(s, begin, "unterminated comment: no \"*/\" follows");
        if (*s->at == '\n')
            s->line++;
        else
            *s->at = ' ';
        s->at++;
    }
    *s->at++ = ' ';
    *s->at++ = ' ';
    return 0;
}

/* At "${". A quote inside is refused: libconfuse would search for the brace far behind it. */
static int skip_variable(struct scan *s)
{
    size_t len = strcspn(s->at, "}\n\"'");

    if (s->at[len] != '}')
        return fail(s, s->line, "\"${\" without \"}\": write ${NAME} or ${NAME:-default}");
    s->at += len + 1;
    return 0;
}

static int skip_string(struct scan *s)
{
    unsigned begin = s->line;
    char quote = *s->at++;

    while (s->at < s->end && *s->at != quote) {
        if (quote == '"' && is_at(s, "${")) {
            if (skip_variable(s) < 0)
                return -1;
            continue;
        }
        if (*s->at == '\\' && s->at + 1 < s->end) {
            s->at++;
            if (quote == '"' && isdigit((unsigned char)*s->at))
                return fail(s, s->line,
                            "escape sequences with digits are not allowed in strings; write \\\\ "
                            "for a backslash, or quote the string with '...'");
        }
        if (*s->at == '\n')
            s->line++;
        s->at++;
    }
    if (s->at == s->end)
        return fail(s, begin, "unterminated string: no closing quote follows");
    s->at++;
    return 0;
}

static int see_bracket(struct scan *s)
{
    char c = *s->at++;

    if (c == '{' || c == '(') {
        if (s->depth == NESTING_MAX)
            return fail(s, s->line, "braces are nested too deeply");
        s->open[s->depth] = c == '{' ? '}' : ')';
        s->open_line[s->depth++] = s->line;
        return 0;
    }
    if (s->depth == 0 || s->open[s->depth - 1] != c)
        return fail(s, s->line,
                    c == '}' ? "unexpected '}': no open '{' before it"
                             : "unexpected ')': no open '(' before it");
    s->depth--;
    return 0;
}

static int skip_token(struct scan *s)
{
    char c = *s->at;

    if (c == '\n')
        s->line++;
    if (c == '#' || is_at(s, "//")) {
        blank_line_comment(s);
        return 0;
    }
    if (is_at(s, "/*"))
        return blank_block_comment(s);
    if (c == '"' || c == '\'')
        return skip_string(s);
    if (is_at(s, "${"))
        return skip_variable(s);
    if (strchr("{}()", c) != NULL)
        return see_bracket(s);
    if (c == '*')
        return fail(s, s->line, "'*' must stand in quotes");
    if (c == '+' && !is_at(s, "+="))
        return fail(s, s->line, "'+' must stand in quotes, or be \"+=\"");
    if (c == '+')
        s->at++;
    s->at += strchr(" \t\r\n=+,", c) != NULL ? 1 : strcspn(s->at, " #\"'\t\n\r={}()+,*");
    return 0;
}

int config_scan(char *text, size_t len, unsigned *line_out, struct err *err)
{
    struct scan s = {.at = text, .end = text + len, .line = 1, .line_out = line_out, .err = err};

    const char *nul = memchr(text, '\0', len);
    if (nul != NULL) {
        for (const char *p = text; p < nul; p++)
            s.line += *p == '\n';
        return fail(&s, s.line, "the file holds a NUL byte");
    }
    while (s.at < s.end)
        if (skip_token(&s) < 0)
            return -1;
    if (s.depth > 0)
        return fail(&s, s.open_line[s.depth - 1],
                    s.open[s.depth - 1] == '}' ? "'{' is never closed: a '}' is missing"
                                               : "'(' is never closed: a ')' is missing");
    return 0;
}
