/* SPDX-License-Identifier: ISC */
#include "xtext.h"
#include "utf8.h"

#include <string.h>

static const char hex_digits[] = "0123456789ABCDEF";

/* RFC 3461 xchar: what stands for itself. */
static bool is_xchar(unsigned char c)
{
    return c >= 33 && c <= 126 && c != '+' && c != '=';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

void xtext_encode(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (is_xchar(c)) {
            buf_addc(out, (char)c);
        } else {
            buf_addc(out, '+');
            buf_addc(out, hex_digits[c >> 4]);
            buf_addc(out, hex_digits[c & 15]);
        }
    }
}

/* The next value of an xtext, in *byte_out: returns the bytes it takes, 0 if there is a fault. */
static size_t next_value(const char *text, size_t len, char *byte_out)
{
    if (is_xchar((unsigned char)text[0])) {
        *byte_out = text[0];
        return 1;
    }
    if (text[0] != '+' || len < 3)
        return 0;
    int high = hex_value(text[1]), low = hex_value(text[2]);
    if (high < 0 || low < 0)
        return 0;
    *byte_out = (char)(high << 4 | low);
    return 3;
}

int xtext_decode(const char *text, size_t len, struct buf *out)
{
    size_t before = out->len;

    while (len > 0) {
        char byte;
        size_t n = next_value(text, len, &byte);
        if (n == 0) {
            buf_truncate(out, before);
            return -1;
        }
        buf_addc(out, byte);
        text += n;
        len -= n;
    }
    return 0;
}

bool xtext_is_valid(const char *text, size_t len)
{
    if (len == 0)
        return false;
    while (len > 0) {
        char byte;
        size_t n = next_value(text, len, &byte);
        if (n == 0)
            return false;
        text += n;
        len -= n;
    }
    return true;
}

static bool is_ascii(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s > 127)
            return false;
    return true;
}

/* RFC 6533 utf-8-addr-xtext: QCHAR stands for itself, anything else is an EmbeddedUnicodeChar of at
 * least two digits. */
static void encode_utf8_addr(const char *s, size_t len, struct buf *out)
{
    while (len > 0) {
        uint32_t code;
        size_t n = utf8_decode(s, len, &code);
        if (n == 0) {
            code = 0xfffd;
            n = 1;
        }
        if (code < 128 && is_xchar((unsigned char)code) && code != '\\')
            buf_addc(out, (char)code);
        else
            buf_addf(out, "\\x{%02X}", (unsigned)code);
        s += n;
        len -= n;
    }
}

void xtext_encode_orcpt(const char *address, struct buf *out)
{
    size_t len = strlen(address);

    if (is_ascii(address)) {
        buf_adds(out, "rfc822;");
        xtext_encode(address, len, out);
    } else {
        buf_adds(out, "utf-8;");
        encode_utf8_addr(address, len, out);
    }
}
