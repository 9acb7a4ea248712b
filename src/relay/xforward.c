/* SPDX-License-Identifier: ISC */
#include "xforward.h"
#include "../log.h"
#include "../smtp_command.h"
#include "../xtext.h"

#include <string.h>
#include <strings.h>

#define VALUE_MAX 255 /* XFORWARD_README: of any attribute, after decoding */

/* Decode into out; unknown values become "". */
static int decode(const char *value, char *out, size_t size, struct err *err)
{
    struct buf decoded = {0};
    int status = -1;

    if (strcasecmp(value, "[UNAVAILABLE]") == 0 || strcasecmp(value, "[TEMPUNAVAIL]") == 0) {
        out[0] = '\0';
        return 0;
    }
    if (xtext_decode(value, strlen(value), &decoded) != 0 ||
        memchr(buf_str(&decoded), '\0', decoded.len) != NULL) {
        err_set(err, "malformed attribute value");
    } else if (decoded.len >= size) {
        err_set(err, "attribute value is too long");
    } else {
        memcpy(out, buf_str(&decoded), decoded.len + 1);
        log_sanitize(out);
        status = 0;
    }
    buf_clear(&decoded);
    return status;
}

static int set_addr(struct xforward *x, const char *value, struct err *err)
{
    static const char ipv6[] = "IPV6:";

    if (strncasecmp(value, ipv6, sizeof ipv6 - 1) == 0)
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
