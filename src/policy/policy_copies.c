/* SPDX-License-Identifier: ISC */
#include "policy/policy_copies.h"

#include "base/mem.h"
#include "policy/policy_private.h"

#include <stdlib.h>
#include <string.h>

/* Octets that are not UTF-8 are accepted here, because the primary decides about them. */
#define ADDRESS_FLAGS (ADDRESS_LENIENT | ADDRESS_OCTETS)

struct policy_copies {
    const struct config *config;
    struct lookup_list tables;
};

struct policy_copies *policy_copies_open(const struct config *config,
                                         const struct string_list *copy_maps, struct err *err)
{
    struct policy_copies *p = mem_zalloc(sizeof *p);

    p->config = config;
    if (policy_open_map(config, POLICY_COPIES, copy_maps, &p->tables, err) == 0)
        return p;
    policy_copies_close(p);
    return NULL;
}

void policy_copies_close(struct policy_copies *p)
{
    if (p == NULL)
        return;
    lookup_close(&p->tables);
    free(p);
}

struct policy_copies *policy_copies_replace(const struct policy_copies *p, const char *path,
                                            struct err *err)
{
    struct policy_copies *next = mem_zalloc(sizeof *next);

    next->config = p->config;
    if (policy_replace_map(p->config, POLICY_COPIES, &p->tables, path, &next->tables, err) == 0)
        return next;
    policy_copies_close(next);
    return NULL;
}

const struct table *policy_copies_table(const struct policy_copies *p, size_t index)
{
    return index < p->tables.count ? p->tables.tables[index] : NULL;
}

bool policy_copies_may_take_long(const struct policy_copies *p)
{
    for (size_t i = 0; i < p->tables.count; i++)
        if (table_may_take_long(p->tables.tables[i]))
            return true;
    return false;
}

static enum table_result ask(const struct policy_copies *p, struct table_scratch *s,
                             const struct address *a, struct table_match *match,
                             struct policy_copies_decision *out)
{
    enum table_result r =
        lookup_transport(&p->tables, s, a, p->config->recipient_delimiter, match, &out->failure);

    if (r == TABLE_FOUND && policy_add_copies(p->config, a, buf_str(&match->value), &out->copies,
                                              &out->copy_count, &out->failure) != 0)
        return policy_bad_answer(match, &out->failure);
    return r;
}

void policy_copies_decide(const struct policy_copies *p, struct table_scratch *s, const char *path,
                          struct policy_copies_decision *out)
{
    struct table_match match;
    struct address a;
    struct err ignored;
    size_t len = strlen(path);

    *out = (struct policy_copies_decision){.failed = POLICY_OK};
    if (address_leads_into(path, len, p->config->tag_domain) ||
        address_parse(path, len, ADDRESS_FLAGS, &a, &ignored) != 0)
        return;
    table_match_init(&match);
    enum table_result r = ask(p, s, &a, &match, out);
    table_match_clear(&match);
    out->has_result = r == TABLE_FOUND;
    out->failed = policy_failed_of(r);
    if (out->failed != POLICY_OK)
        out->copy_count = 0;
}

void policy_copies_decision_clear(struct policy_copies_decision *d)
{
    free(d->copies);
    memset(d, 0, sizeof *d);
}
