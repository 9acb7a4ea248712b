/* SPDX-License-Identifier: ISC */
#include "base/base64.h"

#include <stdbool.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const char *data, size_t len, struct buf *out)
{
    char *to = buf_reserve(out, (len + 2) / 3 * 4);
    const unsigned char *from = (const unsigned char *)data;

    for (size_t i = 0; i < len; i += 3) {
        size_t here = len - i < 3 ? len - i : 3;
        unsigned bits = (unsigned)from[i] << 16;
        if (here > 1)
            bits |= (unsigned)from[i + 1] << 8;
        if (here > 2)
            bits |= (unsigned)from[i + 2];
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = here > 1 ? digits[bits >> 6 & 63] : '=';
        *to++ = here > 2 ? digits[bits & 63] : '=';
    }
    *to = '\0';
    out->len = (size_t)(to - out->data);
}

/* The value of the four digits at `text`, whose last `padding` digits are '='; -1: one is no digit.
 */
static int value_of(const char *text, size_t padding)
{
    int bits = 0;

    for (size_t i = 0; i < 4; i++) {
        const char *digit = i < 4 - padding ? strchr(digits, text[i]) : digits;
        if (digit == NULL || *digit == '\0')
            return -1;
        bits = bits << 6 | (int)(digit - digits);
    }
    return bits;
}

int base64_decode(const char *text, size_t len, struct buf *out)
{
    size_t before = out->len;

    if (len % 4 != 0)
        return -1;
    for (size_t i = 0; i < len; i += 4) {
        bool is_last = i + 4 == len;
        size_t padding = !is_last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        int bits = value_of(text + i, padding);
        if (bits == -1) {
            if (out->len > before)
                buf_truncate(out, before);
            return -1;
        }
        for (size_t k = 0; k < 3 - padding; k++)
            buf_addc(out, (char)(bits >> (16 - 8 * k) & 0xff));
    }
    return 0;
}
