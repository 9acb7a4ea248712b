/* SPDX-License-Identifier: ISC */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_abort(void *p)
{
    if (p == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_zalloc(size_t size)
{
    return or_abort(calloc(1, size == 0 ? 1 : size));
}

void *mem_grow(void *p, size_t count, size_t size)
{
    return or_abort(reallocarray(p, count == 0 ? 1 : count, size));
}

char *mem_strdup(const char *s)
{
    return or_abort(strdup(s));
}

char *mem_strndup(const char *s, size_t len)
{
    return or_abort(strndup(s, len));
}

void mem_copy_string(char *out, size_t size, const char *s)
{
    size_t len = strlen(s);

    if (len >= size) {
        fprintf(stderr, "a string of %zu bytes does not fit into %zu\n", len, size);
        abort();
    }
    memcpy(out, s, len + 1);
}

char *mem_printf(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&out, fmt, ap);
    va_end(ap);
    return or_abort(n < 0 ? NULL : out);
}
