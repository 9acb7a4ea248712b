/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b)
{
    memset(b, 0, sizeof *b);
}

void buf_clear(struct buf *b)
{
    free(b->data);
    buf_init(b);
}

void buf_reset(struct buf *b)
{
    buf_truncate(b, 0);
}

char *buf_reserve(struct buf *b, size_t more)
{
    assert(more < SIZE_MAX / 2 - b->len);
    size_t need = b->len + more + 1;
    if (need > b->cap) {
        size_t cap = b->cap == 0 ? 64 : b->cap;
        while (cap < need)
            cap *= 2;
        b->data = mem_grow(b->data, cap, 1);
        b->cap = cap;
    }
    return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    char *end = buf_reserve(b, len);

    if (len > 0)
        memcpy(end, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    assert(n >= 0);
    char *end = buf_reserve(b, (size_t)n);
    vsnprintf(end, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    buf_truncate(b, b->len - n);
}

void buf_truncate(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->len = len;
    if (b->data != NULL)
        b->data[len] = '\0';
}

void buf_replace(struct buf *b, const char *from, const char *to)
{
    struct buf out = {0};
    const char *rest = buf_str(b), *at;

    for (; (at = strstr(rest, from)) != NULL; rest = at + strlen(from)) {
        buf_add(&out, rest, (size_t)(at - rest));
        buf_adds(&out, to);
    }
    buf_adds(&out, rest);
    buf_clear(b);
    *b = out;
}

const char *buf_str(const struct buf *b)
{
    return b->data == NULL ? "" : b->data;
}

char *buf_take(struct buf *b)
{
    char *out = b->data == NULL ? mem_strdup("") : b->data;

    buf_init(b);
    return out;
}
