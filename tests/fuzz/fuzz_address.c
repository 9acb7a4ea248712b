/* SPDX-License-Identifier: ISC */
/* Addresses from clients. An address with a suffix added and removed again is the same as before,
 * and address_leads_into() is true for each address that has a suffix. */
#include "mail/address.h"
#include "mail/dsn.h"
#include "mail/xtext.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

static void tag_round_trip(const struct address *a)
{
    struct address tagged, plain;
    struct buf text = {0}, name = {0};
    struct err err;

    if (address_tag(a, "archive", "copy", "split.invalid", &text, &err) == 0) {
        require(text.len <= ADDRESS_TAGGED_MAX);
        require(address_parse(buf_str(&text), text.len, ADDRESS_LENIENT, &tagged, &err) == 0);
        require(address_leads_into(buf_str(&text), text.len, "split.invalid"));
        require(address_untag(&tagged, "copy", "split.invalid", &plain, &name));
        require(strcmp(buf_str(&name), "archive") == 0);
        require(strcmp(plain.text, a->text) == 0);
    }
    buf_clear(&text);
    buf_clear(&name);
}

static void orcpt_round_trip(const struct address *a)
{
    struct dsn d;
    struct buf words = {0};
    struct err err;

    dsn_init(&d);
    dsn_words(&d, "NEVER", a, &words);
    require(strncmp(buf_str(&words), "NOTIFY=NEVER", 12) == 0);
    if (words.len > 12 && *a->text != '\0') { /* else it was too long */
        require(strncmp(buf_str(&words), "NOTIFY=NEVER ORCPT=", 19) == 0);
        require(strpbrk(buf_str(&words) + 13, " \r\n") == NULL);
        require(dsn_parse_word(&d, buf_str(&words) + 13, &err) == 1);
    }
    buf_clear(&words);
    dsn_clear(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct address a, plain;
    struct buf out = {0};
    struct err err;

    for (unsigned flags = 0; flags < 4; flags++) {
        if (address_parse(text, size, flags, &a, &err) != 0)
            continue;
        require(memchr(a.text, '\r', strlen(a.text)) == NULL);
        require(a.domain_at <= strlen(a.text) && a.local_len <= a.domain_at);
        buf_reset(&out);
        address_fold(&a, &out);
        require(out.len <= strlen(a.text) + 1);
        tag_round_trip(&a);
        orcpt_round_trip(&a);
        buf_reset(&out);
        if (address_untag(&a, "copy", "split.invalid", &plain, &out))
            require(address_leads_into(text, size, "split.invalid"));
    }
    buf_reset(&out);
    if (xtext_decode(text, size, &out) == 0) {
        struct buf again = {0}, back = {0};
        xtext_encode(buf_str(&out), out.len, &again);
        require(xtext_decode(buf_str(&again), again.len, &back) == 0);
        require(back.len == out.len && memcmp(buf_str(&back), buf_str(&out), out.len) == 0);
        buf_clear(&again);
        buf_clear(&back);
    }
    buf_clear(&out);
    return 0;
}
