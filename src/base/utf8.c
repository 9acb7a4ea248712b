/* SPDX-License-Identifier: ISC */
#include "base/utf8.h"

size_t utf8_decode(const char *text, size_t len, uint32_t *code_out)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    size_t need;
    uint32_t code;

    if (len == 0)
        return 0;
    if (s[0] < 0x80) {
        *code_out = s[0];
        return 1;
    }
    if ((s[0] & 0xe0) == 0xc0) {
        need = 2;
        code = s[0] & 0x1f;
    } else if ((s[0] & 0xf0) == 0xe0) {
        need = 3;
        code = s[0] & 0x0f;
    } else if ((s[0] & 0xf8) == 0xf0) {
        need = 4;
        code = s[0] & 0x07;
    } else {
        return 0;
    }
    if (len < need)
        return 0;
    for (size_t i = 1; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < smallest[need] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *code_out = code;
    return need;
}

bool utf8_is_valid(const char *text, size_t len)
{
    uint32_t code;

    while (len > 0) {
        size_t n = utf8_decode(text, len, &code);
        if (n == 0)
            return false;
        text += n;
        len -= n;
    }
    return true;
}
