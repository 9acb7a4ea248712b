/* SPDX-License-Identifier: ISC */
#include "format/format_decode.h"

#include "base/ascii.h"
#include "base/base64.h"
#include "base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define UTF8 "UTF-8"
#define PIECE 256 /* bytes that are converted at a time */

/* Where a second name is given, the converter of that name covers the charset, and what mail
 * programs wrongly declare as it. Bytes of US-ASCII above 127 are often UTF-8. */
static const struct {
    const char *name, *converter; /* NULL: the same */
} charsets[] = {
    {UTF8, NULL},
    {"UTF8", UTF8},
    {"US-ASCII", UTF8},
    {"ASCII", UTF8},
    {"ISO-8859-1", NULL},
    {"LATIN1", "ISO-8859-1"},
    {"ISO-8859-2", NULL},
    {"ISO-8859-3", NULL},
    {"ISO-8859-4", NULL},
    {"ISO-8859-5", NULL},
    {"ISO-8859-6", NULL},
    {"ISO-8859-7", NULL},
    {"ISO-8859-8", NULL},
    {"ISO-8859-8-I", "ISO-8859-8"},
    {"ISO-8859-9", NULL},
    {"ISO-8859-10", NULL},
    {"ISO-8859-13", NULL},
    {"ISO-8859-14", NULL},
    {"ISO-8859-15", NULL},
    {"ISO-8859-16", NULL},
    {"WINDOWS-874", "CP874"},
    {"WINDOWS-1250", "CP1250"},
    {"WINDOWS-1251", "CP1251"},
    {"WINDOWS-1252", "CP1252"},
    {"WINDOWS-1253", "CP1253"},
    {"WINDOWS-1254", "CP1254"},
    {"WINDOWS-1255", "CP1255"},
    {"WINDOWS-1256", "CP1256"},
    {"WINDOWS-1257", "CP1257"},
    {"WINDOWS-1258", "CP1258"},
    {"CP1250", NULL},
    {"CP1251", NULL},
    {"CP1252", NULL},
    {"KOI8-R", NULL},
    {"KOI8-U", NULL},
    {"IBM866", "CP866"},
    {"CP866", NULL},
    {"TIS-620", "CP874"},
    {"GB2312", "GB18030"},
    {"GBK", "GB18030"},
    {"GB18030", NULL},
    {"BIG5", "BIG5-HKSCS"},
    {"BIG5-HKSCS", NULL},
    {"ISO-2022-JP", NULL},
    {"SHIFT_JIS", "CP932"},
    {"EUC-JP", NULL},
    {"EUC-KR", "CP949"},
    {"KS_C_5601-1987", "CP949"},
};

const char *format_decode_charset(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof charsets / sizeof charsets[0]; i++) {
        const char *known = charsets[i].name;
        if (strlen(known) == len && ascii_equal_n(known, name, len))
            return charsets[i].converter != NULL ? charsets[i].converter : known;
    }
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

const char *format_decode_charset_of(const char *content_type)
{
    static const char name[] = "charset";
    const char *p = content_type;

    while ((p = strchr(p, ';')) != NULL) {
        for (p++; is_blank(*p);)
            p++;
        if (!ascii_equal_n(p, name, strlen(name)))
            continue;
        for (p += strlen(name); is_blank(*p);)
            p++;
        if (*p != '=')
            continue;
        for (p++; is_blank(*p) || *p == '"';)
            p++;
        return format_decode_charset(p, strcspn(p, " \t\";"));
    }
    return NULL;
}

static size_t count_blanks(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && is_blank(text[n]))
        n++;
    return n;
}

static void add_bytes(const char *data, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++)
        buf_addc(out, data[i] != '\0' ? data[i] : '?');
}

static void convert(const char *charset, const char *data, size_t len, struct buf *out)
{
    iconv_t cd = strcmp(charset, UTF8) != 0 ? iconv_open(UTF8, charset) : (iconv_t)-1;
    char *from = (char *)(uintptr_t)data; /* iconv(3) does not change it */

    if (cd == (iconv_t)-1) { /* UTF-8, or a C library without this converter */
        add_bytes(data, len, out);
        return;
    }
    for (bool is_last = false; !is_last;) {
        char piece[PIECE], *to = piece;
        size_t room = sizeof piece;
        is_last = len == 0;
        /* The last call gets the character that a converter holds back until it has the next. */
        bool is_done = iconv(cd, is_last ? NULL : &from, &len, &to, &room) != (size_t)-1;
        bool is_wrong = !is_done && errno != E2BIG; /* EILSEQ, or EINVAL: cut off at the end */
        add_bytes(piece, sizeof piece - room, out);
        if (is_wrong && len > 0) {
            buf_addc(out, '?');
            from++;
            len--;
        }
    }
    iconv_close(cd);
}

struct word {
    const char *charset; /* for convert() */
    size_t len;
};

static void decode_q(const char *text, size_t len, struct buf *bytes)
{
    for (size_t i = 0; i < len; i++) {
        int high = text[i] == '=' && len - i > 2 ? ascii_hex_value(text[i + 1]) : -1;
        int low = high != -1 ? ascii_hex_value(text[i + 2]) : -1;
        if (low != -1) {
            buf_addc(bytes, (char)(high << 4 | low));
            i += 2;
        } else {
            buf_addc(bytes, text[i] == '_' ? ' ' : text[i]);
        }
    }
}

/* Decode base64 as mail programs write it: with blanks, or without padding. */
static bool decode_b(const char *text, size_t len, struct buf *bytes)
{
    struct buf digits = {0};

    while (len > 0 && (text[len - 1] == '=' || is_blank(text[len - 1])))
        len--;
    for (size_t i = 0; i < len; i++)
        if (!is_blank(text[i]))
            buf_addc(&digits, text[i]);
    if (digits.len % 4 == 1) /* 6 bits are no byte */
        buf_truncate(&digits, digits.len - 1);
    while (digits.len % 4 != 0)
        buf_addc(&digits, '=');
    bool is_valid = base64_decode(buf_str(&digits), digits.len, bytes) == 0;
    buf_clear(&digits);
    return is_valid;
}

/* If a word begins at the text, append its bytes, and fill *w. */
static bool take_word(const char *text, size_t len, struct word *w, struct buf *bytes)
{
    const char *end = text + len, *charset = text + 2, *p = charset;

    if (len < 2 || text[0] != '=' || text[1] != '?')
        return false;
    while (p < end && (ascii_is_alnum(*p) || ascii_is_punctuation(*p)) && *p != '?')
        p++;
    const char *language = memchr(charset, '*', (size_t)(p - charset));
    size_t name_len = (size_t)((language != NULL ? language : p) - charset);
    if (end - p < 3 || p[0] != '?' || p[2] != '?')
        return false;
    char encoding = ascii_to_upper(p[1]);
    const char *body = p + 3;
    p = memchr(body, '?', (size_t)(end - body));
    if (p == NULL || end - p < 2 || p[1] != '=')
        return false;
    *w = (struct word){format_decode_charset(charset, name_len), (size_t)(p + 2 - text)};
    if (w->charset == NULL)
        return false;
    if (encoding == 'B')
        return decode_b(body, (size_t)(p - body), bytes);
    if (encoding != 'Q')
        return false;
    decode_q(body, (size_t)(p - body), bytes);
    return true;
}

/* Append the words that begin at the text and have one charset, and what is between them. Returns
 * their length in the text; 0: there is no word. */
static size_t add_words(const char *text, size_t len, struct buf *out)
{
    struct buf bytes = {0};
    struct word first, next;
    size_t at = 0;

    if (take_word(text, len, &first, &bytes)) {
        at = first.len;
        for (;;) {
            size_t begin = at + count_blanks(text + at, len - at);
            size_t before = bytes.len;
            if (!take_word(text + begin, len - begin, &next, &bytes))
                break;
            if (next.charset != first.charset) {
                buf_truncate(&bytes, before);
                break;
            }
            at = begin + next.len;
        }
        convert(first.charset, buf_str(&bytes), bytes.len, out);
    }
    buf_clear(&bytes);
    return at;
}

static void add_plain(const char *text, size_t len, const char *charset, struct buf *out)
{
    if (charset == NULL || utf8_is_valid(text, len))
        charset = UTF8;
    convert(charset, text, len, out);
}

void format_decode(const char *text, size_t len, const char *charset, struct buf *out)
{
    size_t plain = 0; /* where the text begins that is not appended yet */
    bool after_word = false;

    for (size_t at = 0; at < len;) {
        struct buf words = {0};
        size_t n = text[at] == '=' ? add_words(text + at, len - at, &words) : 0;
        if (n > 0) {
            if (!after_word || count_blanks(text + plain, at - plain) < at - plain)
                add_plain(text + plain, at - plain, charset, out);
            buf_add(out, words.data, words.len);
            after_word = true;
            at += n;
            plain = at;
        } else {
            at++;
        }
        buf_clear(&words);
    }
    add_plain(text + plain, len - plain, charset, out);
}
