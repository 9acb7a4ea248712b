/* SPDX-License-Identifier: ISC */
/*
 * inline: a table written out in the configuration.
 *
 *   argument  = "{" *separator item *( 1*separator item ) *separator "}"
 *   item      = pair / "{" pair "}"
 *   pair      = key *white-space "=" *white-space value
 *   key       = 1*( quoted-text / "\" any / any but white-space and "=" )
 *   separator = "," / SP / TAB / CR / LF
 *
 * In an item without braces around it, only text in balanced braces may contain separators. Quotes
 * and backslashes stay in the key. A later pair replaces an earlier one with the same key.
 */
#include "table/table_private.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

struct inline_table {
    struct table table;
    struct table_index index;
};

/* The length of the text in balanced braces at the start of `s`; 0 if the braces are not
 * balanced. */
static size_t balanced_len(const char *s, size_t len)
{
    size_t level = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '{')
            level++;
        else if (s[i] == '}' && --level == 0)
            return i + 1;
    }
    return 0;
}

static void trim(const char **s, size_t *len)
{
    while (*len > 0 && table_is_space((*s)[*len - 1]))
        --*len;
    while (*len > 0 && table_is_space(**s)) {
        ++*s;
        --*len;
    }
}

int table_strip_braces(const char *text, size_t len, const char **inner_out, size_t *inner_len_out)
{
    if (len == 0 || text[0] != '{' || balanced_len(text, len) != len)
        return -1;
    *inner_out = text + 1;
    *inner_len_out = len - 2;
    trim(inner_out, inner_len_out);
    return 0;
}

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Take the next item off the text; false if there is none. */
static bool next_item(const char **text, size_t *len, const char **item, size_t *item_len)
{
    size_t level = 0, n = 0;

    while (*len > 0 && is_separator(**text)) {
        ++*text;
        --*len;
    }
    for (; n < *len && (level > 0 || !is_separator((*text)[n])); n++) {
        if ((*text)[n] == '{')
            level++;
        else if ((*text)[n] == '}' && level > 0)
            level--;
    }
    *item = *text;
    *item_len = n;
    *text += n;
    *len -= n;
    return n > 0;
}

/* The length of the key at the start of the pair; -1 when its quotes are not balanced. */
static ssize_t key_len(const char *pair, size_t len)
{
    bool in_quotes = false;
    size_t n = 0;

    for (; n < len; n++) {
        if (pair[n] == '\\') {
            if (++n == len)
                break;
        } else if (pair[n] == '"') {
            in_quotes = !in_quotes;
        } else if (!in_quotes && (table_is_space(pair[n]) || pair[n] == '=')) {
            break;
        }
    }
    return in_quotes ? -1 : (ssize_t)n;
}

/* Append "key NUL value NUL". Returns NULL, or what is wrong. */
static const char *add_pair(const char *pair, size_t len, struct buf *block)
{
    trim(&pair, &len);
    if (len == 0)
        return "no key found; expected format: key = value";
    ssize_t n = key_len(pair, len);
    if (n < 0)
        return "unbalanced '\"'";
    const char *value = pair + n;
    size_t value_len = len - (size_t)n;
    trim(&value, &value_len);
    if (value_len == 0 || value[0] != '=')
        return "missing '=' after the key";
    value++;
    value_len--;
    trim(&value, &value_len);
    buf_add(block, pair, (size_t)n);
    buf_addc(block, '\0');
    buf_add(block, value, value_len);
    buf_addc(block, '\0');
    return NULL;
}

/* Append all pairs to block, and count them. Returns NULL, or what is wrong. */
static const char *parse_items(const char *text, size_t len, struct buf *block, size_t *count_out)
{
    const char *item, *fault = NULL;
    size_t item_len;

    while (fault == NULL && next_item(&text, &len, &item, &item_len)) {
        if (item[0] == '{' && table_strip_braces(item, item_len, &item, &item_len) < 0)
            return "missing '}', or text after it";
        fault = add_pair(item, item_len, block);
        ++*count_out;
    }
    return fault == NULL && *count_out == 0 ? "the table is empty" : fault;
}

static struct table *inline_open(const char *argument, struct err *err)
{
    size_t len = strlen(argument), count = 0;
    struct buf block = {0};
    const char *fault;

    if (!utf8_is_valid(argument, len))
        fault = "the text is not UTF-8";
    else if (len < 2 || balanced_len(argument, len) != len)
        fault = "braces are missing or not balanced";
    else
        fault = parse_items(argument + 1, len - 2, &block, &count);
    if (fault != NULL) {
        err_set(err, "inline:%s: %s; expected inline:{ key=value, { key = text } }", argument,
                fault);
        buf_clear(&block);
        return NULL;
    }
    struct inline_table *it = mem_zalloc(sizeof *it);
    size_t block_len = block.len;
    table_index_init(&it->index, buf_take(&block), count);
    for (size_t at = 0; at < block_len;) {
        struct table_entry *known = table_index_add(&it->index, at, 0);
        if (known != NULL)
            known->at = (uint32_t)at;
        at += strlen(it->index.block + at) + 1;
        at += strlen(it->index.block + at) + 1;
    }
    return &it->table;
}

static void inline_close(struct table *t)
{
    struct inline_table *it = (struct inline_table *)t;

    table_index_clear(&it->index);
    free(it);
}

static enum table_result inline_find(const struct table *t, struct table_scratch *s,
                                     const char *key, struct table_match *m, struct err *err)
{
    (void)s;
    (void)err;
    return table_index_lookup(&((const struct inline_table *)t)->index, key, m);
}

static int inline_each_value(const struct table *t,
                             int (*fn)(const char *key, const char *value, unsigned line,
                                       void *ctx),
                             void *ctx)
{
    return table_index_each(&((const struct inline_table *)t)->index, fn, ctx);
}

const struct table_type table_inline = {
    .name = "inline",
    .open = inline_open,
    .close = inline_close,
    .find = inline_find,
    .each_value = inline_each_value,
};
