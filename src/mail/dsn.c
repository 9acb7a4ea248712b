/* SPDX-License-Identifier: ISC */
#include "mail/dsn.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mail/xtext.h"
#include "base/ascii.h"

#include <stdlib.h>
#include <string.h>

#define ORCPT_MAX 500 /* RFC 3461 4.2 */

void dsn_init(struct dsn *d)
{
    d->notify = mem_strdup("");
    d->orcpt = mem_strdup("");
}

void dsn_clear(struct dsn *d)
{
    free(d->notify);
    free(d->orcpt);
    d->notify = d->orcpt = NULL;
}

static bool is_notify(const char *value)
{
    static const char *const words[] = {"SUCCESS", "FAILURE", "DELAY"};
    bool seen[3] = {false, false, false};

    if (ascii_equal(value, "NEVER"))
        return true;
    for (;;) {
        size_t n = strcspn(value, ",");
        unsigned i = 0;
        while (i < 3 && (strlen(words[i]) != n || !ascii_equal_n(value, words[i], n)))
            i++;
        if (i == 3 || seen[i])
            return false;
        seen[i] = true;
        if (value[n] == '\0')
            return true;
        value += n + 1;
    }
}

/* Is the text utf-8-addr-unitext of RFC 6533: printable UTF-8 without '+' and '='? */
static bool is_unitext(const char *s)
{
    size_t len = strlen(s);

    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c;
        n = utf8_decode(s + i, len - i, &c);
        if (n == 0 || c <= 0x20 || (c >= 0x7f && c < 0xa0) || c == '+' || c == '=')
            return false;
    }
    return len > 0;
}

static bool is_orcpt(const char *value)
{
    size_t type_len = strcspn(value, ";");

    if (strlen(value) > ORCPT_MAX || type_len == 0 || value[type_len] == '\0')
        return false;
    for (size_t i = 0; i < type_len; i++) {
        if (!ascii_is_alnum(value[i]) && value[i] != '-')
            return false;
    }
    const char *address = value + type_len + 1;
    if (xtext_is_valid(address, strlen(address)))
        return true;
    return type_len == 5 && ascii_equal_n(value, "utf-8", 5) && is_unitext(address);
}

static int store(char **slot, const char *keyword, const char *value, bool is_valid,
                 struct err *err)
{
    if (!is_valid) {
        err_set(err, "bad %s parameter", keyword);
        return -1;
    }
    if (**slot != '\0') {
        err_set(err, "%s given twice", keyword);
        return -1;
    }
    free(*slot);
    *slot = mem_strdup(value);
    return 1;
}

int dsn_parse_word(struct dsn *d, const char *word, struct err *err)
{
    if (ascii_equal_n(word, "NOTIFY=", 7))
        return store(&d->notify, "NOTIFY", word + 7, is_notify(word + 7), err);
    if (ascii_equal_n(word, "ORCPT=", 6))
        return store(&d->orcpt, "ORCPT", word + 6, is_orcpt(word + 6), err);
    return 0;
}

static void add_orcpt(const struct dsn *d, const struct address *original, struct buf *out)
{
    struct buf decoded = {0};

    if (ascii_equal_n(d->orcpt, "utf-8;", 6) && xtext_decode_orcpt(d->orcpt, &decoded) == 0)
        xtext_encode_orcpt(buf_str(&decoded), out);
    else if (*d->orcpt != '\0' && !ascii_equal_n(d->orcpt, "utf-8;", 6))
        buf_adds(out, d->orcpt);
    else
        xtext_encode_orcpt(original->text, out);
    buf_clear(&decoded);
}

void dsn_words(const struct dsn *d, const char *notify, const struct address *original,
               struct buf *out)
{
    struct buf orcpt = {0};

    add_orcpt(d, original, &orcpt);
    if (*notify != '\0')
        buf_addf(out, "NOTIFY=%s", notify);
    if (orcpt.len <= ORCPT_MAX)
        buf_addf(out, "%sORCPT=%s", *notify == '\0' ? "" : " ", buf_str(&orcpt));
    buf_clear(&orcpt);
}
