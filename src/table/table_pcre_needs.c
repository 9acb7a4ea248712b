/* SPDX-License-Identifier: ISC */
/*
 * Only this part of the syntax of a regex is read:
 *
 *   regex  = *item                   ; "|" at this level: nothing is known
 *   item   = atom [ ( "*" / "?" / "+" / "{" *( digit / "," ) "}" ) [ "?" / "+" ] ]
 *   atom   = literal / "\" no-letter-or-digit / "\" one of "dDwWsSbBAzZ"
 *          / "." / "^" / "$" / class / "(" [ "?:" ] regex ")"
 *
 * Literals that follow each other, none of them optional, are a run, and each text that matches
 * contains each run. Groups are skipped. Any other syntax ends the reading. What was found before
 * it counts, unless a "|" follows. The last item does not count, because its quantifier may follow
 * the unknown syntax. Upper and lower case of ASCII letters are treated as equal; pcre2 decides
 * about texts that differ only in case.
 */
#include "table/table_pcre_needs.h"
#include "base/ascii.h"

#include <string.h>

static bool is_literal(char c)
{
    return ascii_is_alnum(c) || (c != '\0' && strchr("@-_=,:;%&~'\"<>!/ #]}", c) != NULL);
}

/* --- sets --- */

/* The sets that were found so far, and the last two bytes and the length of the present text or
 * run. */
struct grams {
    struct rule_needs set;
    unsigned char before[2];
    unsigned len;
};

static void add_byte(struct grams *g, char c)
{
    unsigned char b = (unsigned char)ascii_to_lower(c);
    unsigned pair = g->before[1] * 31u + b, triple = (g->before[0] * 31u + g->before[1]) * 31u + b;

    if (g->len >= 1)
        g->set.pairs |= (uint64_t)1 << (pair * 2654435769u >> 26);
    if (g->len >= 2)
        g->set.triples |= (uint64_t)1 << (triple * 2654435769u >> 26);
    g->before[0] = g->before[1];
    g->before[1] = b;
    g->len++;
}

struct rule_needs table_pcre_has(const char *text, size_t len)
{
    struct grams g = {.len = 0};

    for (size_t i = 0; i < len; i++)
        add_byte(&g, text[i]);
    return g.set;
}

/* --- regex --- */

/* The position after a class whose "[" is before p. NULL: unknown syntax. */
static const char *skip_class(const char *p)
{
    if (*p == '^')
        p++;
    if (*p == ']')
        p++;
    for (; *p != '\0' && *p != ']'; p++) {
        if (*p == '[' || (*p == '\\' && (p[1] == '\0' || strchr("QEc", p[1]) != NULL)))
            return NULL; /* perhaps a named class, whose "]" does not end this one */
        if (*p == '\\')
            p++;
    }
    return *p == ']' ? p + 1 : NULL;
}

/* The position after a group whose "(" is before p. NULL: unknown syntax. */
static const char *skip_group(const char *p)
{
    unsigned depth = 1;

    for (; p != NULL && depth > 0;) {
        char c = *p++;
        if (c == '\0' || (c == '\\' && (*p == '\0' || *p == 'Q' || *p == 'c')))
            return NULL;
        if (c == '\\') {
            p++;
        } else if (c == '[') {
            p = skip_class(p);
        } else if (c == ')') {
            depth--;
        } else if (c == '(') {
            if (*p == '*' || (*p == '?' && p[1] != ':'))
                return NULL;
            depth++;
        }
    }
    return p;
}

/* Skip the quantifier of an atom, if there is one. Returns the position after it. NULL: unknown
 * syntax. */
static const char *skip_quantifier(const char *p, bool *is_optional_out, bool *is_there_out)
{
    *is_there_out = *p == '*' || *p == '?' || *p == '+' || *p == '{';
    *is_optional_out = *is_there_out && *p != '+';
    if (!*is_there_out)
        return p;
    if (*p++ == '{') {
        const char *begin = p;
        while (ascii_is_digit(*p) || *p == ',')
            p++;
        if (*p++ != '}' || !ascii_is_digit(*begin))
            return NULL;
    }
    return *p == '?' || *p == '+' ? p + 1 : p;
}

/* Read one atom. *literal_out: the byte that it stands for; 0: it is no literal. Returns the
 * position after it; NULL: unknown syntax. */
static const char *read_atom(const char *p, char *literal_out)
{
    char c = *p++;

    *literal_out = '\0';
    if (c == '.' || c == '^' || c == '$')
        return p;
    if (c == '[')
        return skip_class(p);
    if (c == '(')
        return *p == '*' || (*p == '?' && p[1] != ':') ? NULL : skip_group(p);
    if (c == '\\' && *p != '\0' && strchr("dDwWsSbBAzZ", *p) != NULL)
        return p + 1;
    if (c == '\\' && (*p <= ' ' || *p == 0x7f || ascii_is_alnum(*p)))
        return NULL; /* also bytes beyond ASCII, where char is signed */
    if (c == '\\')
        c = *p++;
    else if (!is_literal(c))
        return NULL;
    *literal_out = c;
    return (unsigned char)c < 0x80 ? p : NULL;
}

struct rule_needs table_pcre_needs(const char *regex, bool is_extended)
{
    static const struct rule_needs none;
    struct grams g = {.len = 0}, before = g;
    const char *p = regex, *next = regex;

    if (is_extended)
        return none;
    while (*p != '\0' && *p != '|' && next != NULL) {
        bool is_optional, is_quantified;
        char literal;
        next = read_atom(p, &literal);
        if (next != NULL)
            next = skip_quantifier(next, &is_optional, &is_quantified);
        if (next == NULL) {
            g = before;
            break;
        }
        before = g;
        if (literal != '\0' && !is_optional)
            add_byte(&g, literal);
        if (literal == '\0' || is_quantified)
            g.len = 0; /* the next literal begins another run */
        p = next;
    }
    return strchr(p, '|') == NULL ? g.set : none;
}
