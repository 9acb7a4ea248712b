/* SPDX-License-Identifier: ISC */
#include "format/format_word.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

#define LINE_MAX_COLUMNS 76 /* of a line that holds an encoded word: RFC 2047 section 2 */

static void add_base64(const char *text, size_t len, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)text;

    for (; len > 0; p += 3) {
        unsigned second = len > 1 ? p[1] : 0;
        unsigned third = len > 2 ? p[2] : 0;
        buf_addc(out, digits[p[0] >> 2]);
        buf_addc(out, digits[(p[0] & 3) << 4 | second >> 4]);
        buf_addc(out, len > 1 ? digits[(second & 15) << 2 | third >> 6] : '=');
        buf_addc(out, len > 2 ? digits[third & 63] : '=');
        len -= len > 2 ? 3 : len;
    }
}

/* The number of bytes that can be taken from the start of the text, at most max, without cutting a
 * character. */
static size_t whole_characters(const char *text, size_t len, size_t max)
{
    size_t n = 0;

    while (n < len) {
        uint32_t code;
        size_t size = utf8_decode(text + n, len - n, &code);
        if (size == 0 || n + size > max)
            break;
        n += size;
    }
    return n;
}

void format_word_encode(const char *text, size_t column, struct buf *out)
{
    static const char begin[] = "=?utf-8?B?", end[] = "?=";
    size_t len = strlen(text);
    bool is_ascii = true;

    for (size_t i = 0; i < len; i++)
        is_ascii = is_ascii && (unsigned char)text[i] < 0x80;
    if (is_ascii) {
        buf_add(out, text, len);
        return;
    }
    while (len > 0) {
        size_t room = LINE_MAX_COLUMNS - column - strlen(begin) - strlen(end);
        size_t n = whole_characters(text, len, room / 4 * 3);
        if (n == 0)
            break;
        buf_adds(out, begin);
        add_base64(text, n, out);
        buf_adds(out, end);
        text += n;
        len -= n;
        if (len > 0)
            buf_adds(out, "\r\n ");
        column = 1;
    }
}
