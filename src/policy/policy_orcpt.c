/* SPDX-License-Identifier: ISC */
/*
 * Behind a filter, the recipient as the client gave it is in ORCPT alone, because canonical_maps
 * were applied before the filter. But the client may choose ORCPT, and must not choose by it which
 * copies are made. So ORCPT counts only if orcpt_maps rewrite it to the present recipient: then the
 * client could as well have written to that address.
 */
#include "mail/xtext.h"
#include "policy/policy_private.h"

#include <string.h>

static bool is_same(const struct address *a, const struct address *b)
{
    struct buf folded_a = {0}, folded_b = {0};

    address_fold(a, &folded_a);
    address_fold(b, &folded_b);
    bool is = strcmp(buf_str(&folded_a), buf_str(&folded_b)) == 0;
    buf_clear(&folded_a);
    buf_clear(&folded_b);
    return is;
}

static bool parse(const struct policy *p, const char *orcpt, struct address *out)
{
    struct buf text = {0};
    struct err ignored;
    bool is = xtext_decode_orcpt(orcpt, &text) == 0 &&
              !address_leads_into(buf_str(&text), text.len, p->config->tag_domain) &&
              address_parse(buf_str(&text), text.len, ADDRESS_LENIENT, out, &ignored) == 0 &&
              !address_is_ambiguous(out) && out->text[out->domain_at] != '\0';

    buf_clear(&text);
    return is;
}

enum table_result policy_find_original(const struct policy *p, struct table_scratch *s,
                                       const char *orcpt, const struct address *rcpt,
                                       struct address *out, struct err *err)
{
    struct table_match match;
    struct address end;

    if (p->maps[POLICY_ORCPT].count == 0 || !parse(p, orcpt, out))
        return TABLE_NOT_FOUND;
    table_match_init(&match);
    enum table_result r = lookup_canonical(&p->maps[POLICY_ORCPT], s, out,
                                           p->config->recipient_delimiter, &end, &match, err);
    table_match_clear(&match);
    if (r == TABLE_FAILED)
        return r;
    err->text[0] = '\0';
    return r == TABLE_FOUND && is_same(&end, rcpt) ? TABLE_FOUND : TABLE_NOT_FOUND;
}
