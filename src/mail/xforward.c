/* SPDX-License-Identifier: ISC */
#include "mail/xforward.h"
#include "base/log.h"
#include "mail/smtp_command.h"
#include "mail/xtext.h"
#include "base/ascii.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX 255 /* bytes of a value after decoding (XFORWARD_README) */

/* Decode a value into out, of `size` bytes; "" for a value that the MTA does not know. */
static int decode(const char *value, char *out, size_t size, struct err *err)
{
    struct buf quoted = {0};
    struct buf decoded = {0};
    int status = -1;

    if (ascii_equal(value, "[UNAVAILABLE]") || ascii_equal(value, "[TEMPUNAVAIL]")) {
        out[0] = '\0';
        return 0;
    }
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '=') /* not allowed in xtext, but Postfix does not encode it */
            buf_adds(&quoted, "+3D");
        else
            buf_addc(&quoted, *p);
    }
    if (xtext_decode(buf_str(&quoted), quoted.len, &decoded) != 0 ||
        memchr(buf_str(&decoded), '\0', decoded.len) != NULL) {
        err_set(err, "malformed attribute value");
    } else {
        /* A longer value is cut, not refused: it may be a HELO name, which the MTA's client has
         * chosen, and a 501 would also discard the queue id in the same command. */
        snprintf(out, size, "%s", buf_str(&decoded));
        log_sanitize(out);
        status = 0;
    }
    buf_clear(&quoted);
    buf_clear(&decoded);
    return status;
}

static int set_addr(struct xforward *x, const char *value, struct err *err)
{
    static const char ipv6[] = "IPV6:";

    if (ascii_equal_n(value, ipv6, sizeof ipv6 - 1))
        value += sizeof ipv6 - 1;
    return decode(value, x->addr, sizeof x->addr, err);
}

int xforward_set(struct xforward *x, const char *word, struct err *err)
{
    char ignored[VALUE_MAX + 1];
    const char *value;

    x->is_set = true;
    if (strchr(word, '=') == NULL) {
        err_set(err, "attribute without value");
        return -1;
    }
    if (smtp_command_word(word, "NAME", &value))
        return decode(value, x->name, sizeof x->name, err);
    if (smtp_command_word(word, "ADDR", &value))
        return set_addr(x, value, err);
    if (smtp_command_word(word, "PROTO", &value))
        return decode(value, x->proto, sizeof x->proto, err);
    if (smtp_command_word(word, "HELO", &value))
        return decode(value, x->helo, sizeof x->helo, err);
    if (smtp_command_word(word, "IDENT", &value))
        return decode(value, x->ident, sizeof x->ident, err);
    if (smtp_command_word(word, "PORT", &value) || smtp_command_word(word, "SOURCE", &value))
        return decode(value, ignored, sizeof ignored, err);
    err_set(err, "unknown attribute");
    return -1;
}
