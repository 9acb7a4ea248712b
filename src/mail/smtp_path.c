/* SPDX-License-Identifier: ISC */
/*
 *     inside   = cfws [ [ phrase ] "<" cfws mailbox ">" cfws / mailbox ]
 *     mailbox  = [ route ] local [ "@" domain ]
 *     route    = "@" *( "@" / "," / "." / atom / literal ) ":"
 *     phrase   = *( word / "." )
 *     local    = *"." word *( 1*"." word ) *"."        servers accept dots at either end
 *     word     = 1*( atext / "\\" any ) / quoted-string
 *     domain   = literal / atom *( "." atom ) [ "." ]
 *     literal  = "[" *( any but "[", "]", "\\" and blanks ) "]"
 *     cfws     = *( " " / TAB / comment )              between all of these
 */
#include "mail/smtp_path.h"

#include <string.h>

#define COMMENT_DEPTH_MAX 100

struct reader {
    const char *at, *end;
    const char *fault; /* NULL as long as there is none */
};

static bool fail(struct reader *r, const char *why)
{
    r->fault = why;
    return false;
}

/* The next character; '\0' at the end. The text has no '\0'. */
static char next(const struct reader *r)
{
    return r->at < r->end ? *r->at : '\0';
}

/* May the character be in a word or a label? Octets above 127 may. */
static bool is_atom_char(char c)
{
    return ((unsigned char)c > ' ' && c != '\x7f' && strchr("()<>[]:;,@\\\".", c) == NULL);
}

static bool skip_comment(struct reader *r)
{
    unsigned depth = 0;

    do {
        char c = next(r);
        if (c == '\\' && r->at + 1 < r->end)
            c = *++r->at == '<' || *r->at == '>' ? *r->at : ' ';
        if (c == '\0' || c == '<' || c == '>')
            return fail(r, "a comment does not end, or holds a bracket");
        if (c == '(' && ++depth > COMMENT_DEPTH_MAX)
            return fail(r, "too many comments in each other");
        depth -= c == ')';
        r->at++;
    } while (depth > 0);
    return true;
}

/* Skip blanks and comments. */
static bool skip(struct reader *r)
{
    for (char c = next(r); c == ' ' || c == '\t' || c == '('; c = next(r)) {
        if (c != '(')
            r->at++;
        else if (!skip_comment(r))
            return false;
    }
    return true;
}

/* --- the local part --- */

struct words {
    struct buf value; /* without quotes and backslashes; with its dots */
    unsigned words, dots;
    const char *quoted; /* the last quoted string as written, with its quotes; NULL: none */
    size_t quoted_len;
    bool has_gap; /* there are two words without a dot between them */
};

static bool read_quoted(struct reader *r, struct words *w)
{
    w->quoted = r->at;
    for (r->at++; next(r) != '"'; r->at++) {
        if (next(r) == '\\')
            r->at++;
        if (r->at >= r->end)
            return fail(r, "a quoted string does not end");
        buf_addc(&w->value, *r->at);
    }
    r->at++;
    w->quoted_len = (size_t)(r->at - w->quoted);
    return true;
}

static bool read_atom(struct reader *r, struct words *w)
{
    for (;;) {
        if (next(r) == '\\') {
            if (++r->at == r->end)
                return fail(r, "there is nothing behind a backslash");
        } else if (!is_atom_char(next(r))) {
            return true;
        }
        buf_addc(&w->value, *r->at++);
    }
}

/* Read words and dots, up to any other character. */
static bool read_words(struct reader *r, struct words *w)
{
    bool is_behind_word = false;

    buf_reset(&w->value);
    *w = (struct words){.value = w->value};
    for (;;) {
        if (!skip(r))
            return false;
        char c = next(r);
        if (c == '.') {
            buf_addc(&w->value, c);
            w->dots++;
            r->at++;
            is_behind_word = false;
            continue;
        }
        if (c != '"' && c != '\\' && !is_atom_char(c))
            return true;
        w->has_gap = w->has_gap || is_behind_word;
        w->words++;
        is_behind_word = true;
        if (!(c == '"' ? read_quoted(r, w) : read_atom(r, w)))
            return false;
    }
}

static void add_local(const struct words *w, struct buf *out)
{
    const char *value = buf_str(&w->value);
    bool is_plain = true;

    for (size_t i = 0; i < w->value.len; i++)
        is_plain = is_plain && (value[i] == '.' || is_atom_char(value[i]));
    if (w->quoted != NULL && w->words == 1 && w->dots == 0) {
        buf_add(out, w->quoted, w->quoted_len);
    } else if (is_plain) {
        buf_add(out, value, w->value.len);
    } else {
        buf_addc(out, '"');
        for (size_t i = 0; i < w->value.len; i++) {
            if (value[i] == '"' || value[i] == '\\')
                buf_addc(out, '\\');
            buf_addc(out, value[i]);
        }
        buf_addc(out, '"');
    }
}

/* --- route, domain and brackets --- */

static bool skip_route(struct reader *r)
{
    bool is_in_literal = false;

    for (; next(r) != ':' || is_in_literal; r->at++) {
        char c = next(r);
        if (c == '[' || c == ']')
            is_in_literal = c == '[';
        else if (c == '\0' || (!is_atom_char(c) && strchr("@,. \t:", c) == NULL))
            return fail(r, "there is no local part");
    }
    r->at++;
    return skip(r);
}

static bool read_literal(struct reader *r, struct buf *out)
{
    for (buf_addc(out, *r->at++); next(r) != ']'; buf_addc(out, *r->at++))
        if (next(r) == '\0' || strchr("[ \t\\", next(r)) != NULL)
            return fail(r, "an address literal does not end");
    buf_addc(out, *r->at++);
    return skip(r);
}

static bool read_domain(struct reader *r, struct buf *out)
{
    size_t from = out->len;

    if (!skip(r))
        return false;
    if (next(r) == '[')
        return read_literal(r, out);
    for (;;) {
        size_t label = out->len;
        while (is_atom_char(next(r)))
            buf_addc(out, *r->at++);
        if (!skip(r))
            return false;
        if (next(r) != '.')
            break;
        if (out->len == label)
            return fail(r, "a label of the domain is empty");
        buf_addc(out, *r->at++);
        if (!skip(r))
            return false;
    }
    if (out->len == from)
        return fail(r, "there is no domain");
    if (out->data[out->len - 1] == '.')
        buf_truncate(out, out->len - 1);
    return true;
}

/* Write the words as the local part, and read the domain behind them. */
static bool finish_mailbox(struct reader *r, const struct words *w, struct buf *out)
{
    if (w->words + w->dots == 0)
        return fail(r, "there is no local part");
    if (w->has_gap)
        return fail(r, "the local part has a blank or a quote in it");
    add_local(w, out);
    if (next(r) == '@') {
        buf_addc(out, *r->at++);
        return read_domain(r, out);
    }
    /* Refuse a quoted "@" without a domain behind the quotes: some servers drop the quotes, and
     * take the text behind the "@" as the domain. */
    if (w->value.len == 0 || memchr(w->value.data, '@', w->value.len) != NULL)
        return fail(r, "there is no domain");
    return true;
}

static bool read_mailbox(struct reader *r, struct words *w, struct buf *out)
{
    if (!skip(r) || (next(r) == '@' && !skip_route(r)) || !read_words(r, w))
        return false;
    return finish_mailbox(r, w, out);
}

static bool read_inside(struct reader *r, struct words *w, struct buf *out)
{
    if (!skip(r))
        return false;
    if (r->at == r->end) /* the null path */
        return true;
    if (next(r) == '@')
        return read_mailbox(r, w, out);
    if (!read_words(r, w))
        return false;
    if (next(r) != '<')
        return finish_mailbox(r, w, out);
    r->at++; /* words before the bracket were a display name */
    if (!read_mailbox(r, w, out))
        return false;
    if (next(r) != '>')
        return fail(r, "a bracket is not closed");
    r->at++;
    return skip(r);
}

const char *smtp_path_read(const char *text, size_t len, struct buf *out)
{
    struct reader r = {.at = text, .end = text + len};
    struct words w = {0};

    buf_reset(out);
    if (read_inside(&r, &w, out) && r.at != r.end)
        (void)fail(&r, "it is not one address");
    buf_clear(&w.value);
    return r.fault;
}

/* --- the end of a path --- */

/* The place behind the bracket that closes the bracket at p. NULL: no bracket closes it, or neither
 * a blank nor the end of the text follows. is_nested: inner brackets come in pairs, and a backslash
 * outside quotes escapes a character, too. */
static const char *after_brackets(const char *p, bool is_nested)
{
    unsigned depth = 0;
    bool is_quoted = false;

    for (; *p != '\0'; p++) {
        if (*p == '\\' && p[1] != '\0' && (is_quoted || is_nested))
            p++;
        else if (*p == '"')
            is_quoted = !is_quoted;
        else if (!is_quoted && *p == '<' && (is_nested || depth == 0))
            depth++;
        else if (!is_quoted && *p == '>' && --depth == 0)
            return p[1] == '\0' || p[1] == ' ' ? p + 1 : NULL;
    }
    return NULL;
}

/* The first character of `stop` from p on that is neither quoted nor behind a backslash, or the end
 * of the text. NULL: a quoted string does not end. */
static const char *after_word(const char *p, const char *stop)
{
    bool is_quoted = false;

    for (; *p != '\0' && (is_quoted || strchr(stop, *p) == NULL); p++) {
        if (*p == '"')
            is_quoted = !is_quoted;
        else if (*p == '\\' && p[1] != '\0')
            p++;
    }
    return is_quoted ? NULL : p;
}

/* The bracket behind the display name that the text begins with. NULL: there is no display name. A
 * "<" in the value of a parameter, behind a path without brackets, is not taken for such a bracket,
 * because an "=" is before it. */
static const char *after_display_name(const char *p)
{
    const char *end = after_word(p, "<>@=()[]:;,");

    return end != NULL && *end == '<' ? end : NULL;
}

size_t smtp_path_len(const char *text)
{
    const char *bracket = text[0] == '<' ? text : after_display_name(text);
    const char *end;

    if (bracket != NULL) {
        end = after_brackets(bracket, true);
        if (end == NULL)
            end = after_brackets(bracket, false);
    } else {
        end = after_word(text, " ");
    }
    return end == NULL ? 0 : (size_t)(end - text);
}
