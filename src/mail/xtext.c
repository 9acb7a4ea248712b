/* SPDX-License-Identifier: ISC */
#include "mail/xtext.h"
#include "base/utf8.h"
#include "base/ascii.h"

#include <string.h>

static const char hex_digits[] = "0123456789ABCDEF";

/* Is the byte an xchar of RFC 3461, a character that is not encoded? */
static bool is_xchar(unsigned char c)
{
    return c >= 33 && c <= 126 && c != '+' && c != '=';
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

/* Decode the next byte of an xtext into *byte_out. Returns the length of its encoding, 0 for a
 * fault. */
static size_t next_value(const char *text, size_t len, char *byte_out)
{
    if (is_xchar((unsigned char)text[0])) {
        *byte_out = text[0];
        return 1;
    }
    if (text[0] != '+' || len < 3)
        return 0;
    int high = ascii_hex_value(text[1]), low = ascii_hex_value(text[2]);
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

void xtext_encode_orcpt(const char *address, struct buf *out)
{
    buf_adds(out, "rfc822;");
    xtext_encode(address, strlen(address), out);
}

static void add_utf8(uint32_t code, struct buf *out)
{
    if (code < 0x80) {
        buf_addc(out, (char)code);
        return;
    }
    if (code < 0x800) {
        buf_addc(out, (char)(0xc0 | code >> 6));
    } else {
        if (code < 0x10000) {
            buf_addc(out, (char)(0xe0 | code >> 12));
        } else {
            buf_addc(out, (char)(0xf0 | code >> 18));
            buf_addc(out, (char)(0x80 | (code >> 12 & 0x3f)));
        }
        buf_addc(out, (char)(0x80 | (code >> 6 & 0x3f)));
    }
    buf_addc(out, (char)(0x80 | (code & 0x3f)));
}

/* Decode the "\x{HEX}", with 2 to 6 digits, at the start of the text. Returns its length, 0 if
 * there is none. */
static size_t embedded_character(const char *text, size_t len, uint32_t *code_out)
{
    size_t i = 3;

    *code_out = 0;
    if (len < 6 || memcmp(text, "\\x{", 3) != 0)
        return 0;
    for (; i < len && i < 9 && ascii_hex_value(text[i]) >= 0; i++)
        *code_out = *code_out << 4 | (uint32_t)ascii_hex_value(text[i]);
    return i >= 5 && i < len && text[i] == '}' && *code_out > 0 && *code_out < 0x110000 ? i + 1 : 0;
}

/* Append the next character of an address of RFC 6533, which may be in any form of that RFC.
 * Returns the length of the form, 0 for a fault. */
static size_t next_character(const char *text, size_t len, struct buf *out)
{
    uint32_t code;
    size_t n;
    char byte;

    if (text[0] == '\\') {
        if ((n = embedded_character(text, len, &code)) > 0)
            add_utf8(code, out);
    } else if (text[0] == '+') { /* plain xtext, which some clients use */
        if ((n = next_value(text, len, &byte)) > 0)
            buf_addc(out, byte);
    } else if ((n = utf8_decode(text, len, &code)) > 0) {
        buf_add(out, text, n);
        if (code <= 0x20 || code == '=' || (code >= 0x7f && code < 0xa0))
            n = 0;
    }
    return n;
}

/* Append the decoded address. -1: it is no address of RFC 6533; out keeps what was appended. */
static int decode_utf8_address(const char *text, size_t len, struct buf *out)
{
    size_t before = out->len;

    for (size_t at = 0, n; at < len; at += n)
        if ((n = next_character(text + at, len - at, out)) == 0)
            return -1;
    /* An embedded character may be a surrogate, which UTF-8 does not allow. */
    return utf8_is_valid(out->data + before, out->len - before) ? 0 : -1;
}

int xtext_decode_orcpt(const char *orcpt, struct buf *out)
{
    size_t before = out->len;
    const char *address = strchr(orcpt, ';');
    int rc = -1;

    if (address == NULL || *++address == '\0')
        return -1;
    if (ascii_equal_n(orcpt, "rfc822;", 7))
        rc = xtext_decode(address, strlen(address), out);
    else if (ascii_equal_n(orcpt, "utf-8;", 6))
        rc = decode_utf8_address(address, strlen(address), out);
    if (rc == 0 && memchr(out->data + before, '\0', out->len - before) != NULL)
        rc = -1;
    if (rc != 0)
        buf_truncate(out, before);
    return rc;
}
