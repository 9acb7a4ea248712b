/* SPDX-License-Identifier: ISC */
/*
 *     condition = name ":" *WSP value *WSP
 *     name      = 1*ftext                      RFC 5322 3.6.8
 *     value     = 1*( any character but a control character )
 */
#include "mail/header_condition.h"
#include "base/ascii.h"
#include "base/utf8.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Append text, with each run of white space as one space, and without white space at the beginning
 * of `out`. Stops before `out` is longer than max; returns the number of bytes that were taken. */
static size_t add_squeezed(struct buf *out, const char *text, size_t len, size_t max)
{
    size_t i = 0;

    for (; i < len && out->len < max; i++) {
        if (!is_blank(text[i]))
            buf_addc(out, text[i]);
        else if (out->len > 0 && out->data[out->len - 1] != ' ')
            buf_addc(out, ' ');
    }
    return i;
}

static size_t name_length(const char *text)
{
    size_t len = 0;

    while (text[len] > ' ' && text[len] < '\x7f' && text[len] != ':')
        len++;
    return len;
}

static bool is_printable(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if (((unsigned char)*p < ' ' && *p != '\t') || *p == '\x7f')
            return false;
    return utf8_is_valid(text, strlen(text));
}

char *header_condition_parse(const char *text, struct err *err)
{
    size_t name = name_length(text);
    const char *wrong = NULL;
    struct buf out = {0};

    if (strlen(text) > HEADER_CONDITION_MAX)
        wrong = "is too long";
    else if (strchr(text, ':') == NULL)
        wrong = "has no ':'";
    else if (text[0] == ':')
        wrong = "has no name before the ':'";
    else if (text[name] != ':')
        wrong = "has a character before the ':' that no name of a header field has";
    else if (!is_printable(text + name))
        wrong = "has a character that is not printable, or is not UTF-8";
    if (wrong == NULL) {
        struct buf value = {0};
        add_squeezed(&value, text + name + 1, strlen(text + name + 1), HEADER_CONDITION_MAX);
        if (value.len > 0 && value.data[value.len - 1] == ' ')
            buf_truncate(&value, value.len - 1);
        if (value.len == 0)
            wrong = "has no value after the ':'";
        buf_addf(&out, "%.*s: %s", (int)name, text, buf_str(&value));
        buf_clear(&value);
    }
    if (wrong == NULL)
        return buf_take(&out);
    buf_clear(&out);
    err_set(err,
            "'%s' %s; allowed: \"NAME: VALUE\" with at most %d bytes, like \"X-Spam-Flag: YES\"; "
            "'*' in VALUE is any text",
            text, wrong, HEADER_CONDITION_MAX);
    return NULL;
}

bool header_condition_has_name(const char *condition, const char *name, size_t name_len)
{
    return ascii_equal_n(condition, name, name_len) && condition[name_len] == ':';
}

void header_value_add(struct header_value *v, const char *text, size_t len, bool is_cut)
{
    if (v->is_cut)
        return;
    v->is_cut = add_squeezed(&v->text, text, len, HEADER_VALUE_MAX) < len || is_cut;
}

void header_value_reset(struct header_value *v)
{
    buf_reset(&v->text);
    v->is_cut = false;
}

/* Does the pattern match the text? After a mismatch the last `*` takes one byte more, so the time
 * is at most the product of both lengths. */
static bool matches(const char *pattern, const char *text, size_t len)
{
    const char *star = NULL;
    size_t at = 0, star_at = 0;

    while (at < len) {
        if (*pattern == '*') {
            star = ++pattern;
            star_at = at;
        } else if (*pattern != '\0' && ascii_to_lower(*pattern) == ascii_to_lower(text[at])) {
            pattern++;
            at++;
        } else if (star != NULL) {
            pattern = star;
            at = ++star_at;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool header_condition_is_met(const char *condition, const struct header_value *value)
{
    const char *pattern = strchr(condition, ':') + 2;
    size_t len = value->text.len;

    if (value->is_cut && pattern[strlen(pattern) - 1] != '*')
        return false;
    if (len > 0 && value->text.data[len - 1] == ' ')
        len--;
    return matches(pattern, buf_str(&value->text), len);
}
