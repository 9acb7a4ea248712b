/* SPDX-License-Identifier: ISC */
#include "base/slice.h"
#include "base/ascii.h"
#include "base/hash.h"

#include <string.h>

bool slice_is(struct slice s, const char *text)
{
    return s.at != NULL && strlen(text) == s.len && memcmp(s.at, text, s.len) == 0;
}

bool slice_begins(struct slice s, const char *prefix)
{
    size_t len = strlen(prefix);

    return s.len >= len && (len == 0 || memcmp(s.at, prefix, len) == 0);
}

const char *slice_find(struct slice s, const char *text)
{
    return s.len == 0 ? NULL : memmem(s.at, s.len, text, strlen(text));
}

const char *slice_find_last(struct slice s, const char *text)
{
    size_t len = strlen(text);

    for (size_t end = s.len; end >= len && end > 0; end--)
        if (memcmp(s.at + end - len, text, len) == 0)
            return s.at + end - len;
    return NULL;
}

bool slice_is_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool slice_is_same(struct slice a, struct slice b)
{
    return a.at != NULL && b.at != NULL && a.len == b.len && ascii_equal_n(a.at, b.at, a.len);
}

void slice_skip(struct slice *s, size_t n)
{
    s->at += n;
    s->len -= n;
}

struct slice slice_from(struct slice s, const char *at)
{
    return (struct slice){at, (size_t)(s.at + s.len - at)};
}

uint64_t slice_hash(struct slice s)
{
    return hash_untrusted_bytes(s.len == 0 ? "" : s.at, s.len);
}

uint64_t slice_hash_same(struct slice s)
{
    char lower[1000];
    size_t len = s.len < sizeof lower ? s.len : sizeof lower;

    for (size_t i = 0; i < len; i++)
        lower[i] = ascii_to_lower(s.at[i]);
    return hash_untrusted_bytes(lower, len);
}
