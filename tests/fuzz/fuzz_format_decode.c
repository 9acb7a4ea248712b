/* SPDX-License-Identifier: ISC */
/*
 * Text of header fields: the first line of the input is a Content-Type, the rest the text. There is
 * no NUL in the result, it is not much longer than the text, and text without encoded words that is
 * UTF-8 stays as it is.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "format/format_decode.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    const char *lf = memchr(p, '\n', size);
    size_t len = lf != NULL ? (size_t)(lf - p) : size;
    char *type = mem_strndup(p, len);
    struct buf out = {0};

    len += lf != NULL;
    p += len;
    size -= len;
    format_decode(p, size, format_decode_charset_of(type), &out);
    require(strlen(buf_str(&out)) == out.len);
    require(out.len <= 6 * size);
    if (memmem(p, size, "=?", 2) == NULL && memchr(p, '\0', size) == NULL && utf8_is_valid(p, size))
        require(out.len == size && memcmp(buf_str(&out), p, size) == 0);
    buf_clear(&out);
    free(type);
    return 0;
}
