/* SPDX-License-Identifier: ISC */
#include "format/format_word.h"

#include "base/base64.h"
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

#define LINE_MAX_COLUMNS 76 /* of a line that holds an encoded word: RFC 2047 section 2 */

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
    bool is_plain = strstr(text, "=?") == NULL;

    for (size_t i = 0; i < len; i++)
        is_plain = is_plain && (unsigned char)text[i] < 0x80;
    if (is_plain) {
        buf_add(out, text, len);
        return;
    }
    while (len > 0) {
        size_t room = LINE_MAX_COLUMNS - column - strlen(begin) - strlen(end);
        size_t n = whole_characters(text, len, room / 4 * 3);
        if (n == 0)
            break;
        buf_adds(out, begin);
        base64_encode(text, n, out);
        buf_adds(out, end);
        text += n;
        len -= n;
        if (len > 0)
            buf_adds(out, "\r\n ");
        column = 1;
    }
}
