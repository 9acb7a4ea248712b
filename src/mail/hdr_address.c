/* SPDX-License-Identifier: ISC */
/*
 *   address-list = element *( "," element )          ; elements may be empty
 *   group        = phrase ":" [ address-list ] ";"    ; ":" and ";" end an element, too
 *   element      = addr-spec / [ phrase ] "<" [ route ] addr-spec ">"
 *   route        = "@" domain *( "," "@" domain ) ":"
 *   addr-spec    = word *( "." word ) "@" ( atom *( "." atom ) / literal )
 *
 * with comments and folding white space between any two tokens.
 */
#include "mail/hdr_address.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The kinds of tokens. The kind of a special character is the character. */
enum { KIND_SPACE = 1, KIND_COMMENT, KIND_ATOM, KIND_QUOTED, KIND_LITERAL };

struct token {
    int kind;
    const char *start;
    size_t len;
};

struct rewriter {
    struct token *tokens; /* of the element that is being read */
    size_t count, cap;
    hdr_address_map *map;
    void *ctx;
    struct buf *out;
    int replaced;
};

/* The length of the text at p from `open` to the `close` that belongs to it, both included; 0 if
 * there is no such `close`. nests: there may be further pairs inside. */
static size_t delimited_len(const char *p, char open, char close, bool nests)
{
    size_t level = 0;

    for (size_t i = 0; p[i] != '\0'; i++) {
        if (p[i] == '\\' && i > 0) {
            if (p[++i] == '\0')
                return 0;
        } else if (p[i] == open && (level == 0 || nests)) {
            level++;
        } else if (p[i] == close && --level == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* As delimited_len(), for a quoted string, which begins and ends with the same character. */
static size_t quoted_len(const char *p)
{
    for (size_t i = 1; p[i] != '\0'; i++) {
        if (p[i] == '\\') {
            if (p[++i] == '\0')
                return 0;
        } else if (p[i] == '"') {
            return i + 1;
        }
    }
    return 0;
}

/* The token at p, where the text does not end yet. Its len is 0 if the token is not closed. */
static struct token next_token(const char *p)
{
    static const char space[] = " \t\r\n", special[] = "<>,;:@.";

    if (strchr(space, *p) != NULL)
        return (struct token){KIND_SPACE, p, strspn(p, space)};
    if (*p == '(')
        return (struct token){KIND_COMMENT, p, delimited_len(p, '(', ')', true)};
    if (*p == '"')
        return (struct token){KIND_QUOTED, p, quoted_len(p)};
    if (*p == '[')
        return (struct token){KIND_LITERAL, p, delimited_len(p, '[', ']', false)};
    if (strchr(special, *p) != NULL)
        return (struct token){*p, p, 1};
    size_t len = strcspn(p + 1, " \t\r\n(\"[<>,;:@.") + 1;
    return (struct token){KIND_ATOM, p, len};
}

static void add_tokens(struct rewriter *r, const struct token *from, const struct token *end)
{
    for (; from < end; from++)
        buf_add(r->out, from->start, from->len);
}

/* Write out the collected tokens unchanged. */
static void add_all(struct rewriter *r)
{
    for (size_t i = 0; i < r->count; i++)
        buf_add(r->out, r->tokens[i].start, r->tokens[i].len);
}

static bool is_filler(const struct token *t)
{
    return t->kind == KIND_SPACE || t->kind == KIND_COMMENT;
}

/* Append the addr-spec of these tokens without comments and white space. False: the tokens are no
 * addr-spec. */
static bool read_address(const struct token *t, const struct token *end, struct buf *address)
{
    bool is_domain = false, after_word = false, has_local = false;

    for (; t < end; t++) {
        if (is_filler(t))
            continue;
        bool is_word = t->kind == KIND_ATOM || (t->kind == KIND_QUOTED && !is_domain) ||
                       (t->kind == KIND_LITERAL && is_domain);
        if (t->kind == '@' && !is_domain && has_local)
            is_domain = true;
        else if (!(is_word && !after_word) && t->kind != '.')
            return false;
        has_local = has_local || is_word;
        after_word = is_word;
        buf_add(address, t->start, t->len);
    }
    return is_domain && after_word;
}

/* Write out tokens. If they are an address, the map may replace it. -1: the map ended the
 * rewriting. */
static int write_address(struct rewriter *r, const struct token *t, const struct token *end)
{
    struct buf address = {0}, replacement = {0};
    const struct token *begin = t;
    int rc = 0;

    while (t < end && is_filler(t))
        t++;
    add_tokens(r, begin, t);
    const struct token *last = end;
    while (last > t && is_filler(last - 1))
        last--;
    if (read_address(t, last, &address))
        rc = r->map(buf_str(&address), &replacement, r->ctx);
    if (rc == 1) {
        r->replaced++;
        buf_add(r->out, buf_str(&replacement), replacement.len);
        for (; t < last; t++) {
            if (t->kind == KIND_COMMENT) {
                buf_addc(r->out, ' ');
                add_tokens(r, t, t + 1);
            }
        }
    } else {
        add_tokens(r, t, last);
    }
    add_tokens(r, last, end);
    buf_clear(&address);
    buf_clear(&replacement);
    return rc < 0 ? -1 : 0;
}

static const struct token *find_kind(const struct token *t, const struct token *end, int kind)
{
    while (t < end && t->kind != kind)
        t++;
    return t;
}

/* Write out the element whose tokens were collected. -1: the map ended the rewriting. */
static int flush(struct rewriter *r)
{
    if (r->count == 0)
        return 0;
    const struct token *t = r->tokens, *end = t + r->count;
    const struct token *open = find_kind(t, end, '<'), *close = find_kind(open, end, '>');

    r->count = 0;
    if (open == end)
        return write_address(r, t, end);
    const struct token *from = open + 1;
    if (close == end) {
        add_tokens(r, t, end);
        return 0;
    }
    while (from < close && is_filler(from))
        from++;
    const struct token *colon = find_kind(from, close, ':');
    from = from < close && from->kind == '@' && colon < close ? colon + 1 : open + 1;
    add_tokens(r, t, from);
    if (write_address(r, from, close) < 0)
        return -1;
    add_tokens(r, close, end);
    return 0;
}

static void keep_token(struct rewriter *r, const struct token *t)
{
    if (r->count == r->cap) {
        r->cap = r->cap == 0 ? 16 : r->cap * 2;
        r->tokens = mem_grow(r->tokens, r->cap, sizeof *r->tokens);
    }
    r->tokens[r->count++] = *t;
}

int hdr_address_rewrite(const char *body, hdr_address_map *map, void *ctx, struct buf *out)
{
    struct rewriter r = {.map = map, .ctx = ctx, .out = out};
    bool is_angle = false;
    int rc = 0;

    while (rc == 0 && *body != '\0') {
        struct token t = next_token(body);
        if (t.len == 0)
            break;
        body += t.len;
        is_angle = t.kind == '<' || (is_angle && t.kind != '>');
        if (!is_angle && (t.kind == ',' || t.kind == ';')) {
            rc = flush(&r);
            add_tokens(&r, &t, &t + 1);
        } else if (!is_angle && t.kind == ':') { /* the collected tokens are the name of a group */
            add_all(&r);
            add_tokens(&r, &t, &t + 1);
            r.count = 0;
        } else {
            keep_token(&r, &t);
        }
    }
    if (rc == 0 && *body == '\0')
        rc = flush(&r);
    else if (rc == 0)
        add_all(&r);
    buf_adds(out, body);
    free(r.tokens);
    return rc < 0 ? -1 : r.replaced;
}
