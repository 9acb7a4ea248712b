/* SPDX-License-Identifier: ISC */
#include "table/socketmap_reply.h"
#include "base/utf8.h"

#include <string.h>

#define DIGITS_MAX 20 /* of a length; leading zeros are allowed, within this limit */

void socketmap_reply_reset(struct socketmap_reply *r)
{
    buf_reset(&r->text);
    r->length = 0;
    r->digits = 0;
    r->has_length = r->is_complete = false;
}

void socketmap_reply_clear(struct socketmap_reply *r)
{
    buf_clear(&r->text);
    socketmap_reply_reset(r);
}

static int garbage(const char *what, struct err *err)
{
    err_set(err, "the reply is no netstring of at most %d bytes: %s", SOCKETMAP_REPLY_MAX, what);
    return -1;
}

static int add_to_length(struct socketmap_reply *r, char c, struct err *err)
{
    if (c == ':' && r->digits > 0) {
        r->has_length = true;
        return 0;
    }
    if (c < '0' || c > '9')
        return garbage("bad length", err);
    r->length = r->length * 10 + (size_t)(c - '0');
    if (r->length > SOCKETMAP_REPLY_MAX || ++r->digits > DIGITS_MAX)
        return garbage("too long", err);
    return 0;
}

int socketmap_reply_add(struct socketmap_reply *r, const char *data, size_t len, size_t *used_out,
                        struct err *err)
{
    size_t at = 0;

    while (at < len && !r->has_length)
        if (add_to_length(r, data[at++], err) != 0)
            return -1;
    if (r->has_length) {
        size_t missing = r->length - r->text.len, have = len - at;
        size_t n = have < missing ? have : missing;
        buf_add(&r->text, data + at, n);
        at += n;
    }
    if (at < len) {
        if (data[at++] != ',')
            return garbage("no comma at its end", err);
        r->is_complete = true;
    }
    *used_out = at;
    return 0;
}

/* Is `word` the first word of the reply? *rest_out: the text after the space, NULL if there is no
 * space. */
static bool has_word(const char *reply, const char *word, const char **rest_out)
{
    size_t len = strlen(word);

    if (strncmp(reply, word, len) != 0 || (reply[len] != ' ' && reply[len] != '\0'))
        return false;
    *rest_out = reply[len] == ' ' ? reply + len + 1 : NULL;
    return true;
}

enum socketmap_answer socketmap_reply_answer(const struct socketmap_reply *r,
                                             const char **value_out, struct err *err)
{
    const char *reply = buf_str(&r->text), *rest;

    if (has_word(reply, "NOTFOUND", &rest))
        return SOCKETMAP_NOT_FOUND;
    if (!has_word(reply, "OK", &rest)) {
        err_set(err, "the server answered \"%.200s\"", reply);
        return SOCKETMAP_FAILED;
    }
    if (rest == NULL)
        return SOCKETMAP_NOT_FOUND;
    if (!utf8_is_valid(rest, strlen(rest))) {
        err_set(err, "the result is not UTF-8");
        return SOCKETMAP_FAILED;
    }
    *value_out = rest;
    return SOCKETMAP_FOUND;
}
