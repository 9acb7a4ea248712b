/* SPDX-License-Identifier: ISC */
/* Makes the changes of the envelope from the decisions about the recipients of a message. */
#include "base/mem.h"
#include "policy/policy.h"
#include "policy/policy_private.h"
#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct policy_reply reply_cannot_tag = {
    550, "5.1.3",
    "A recipient address cannot be routed through a content filter together with the others"};

/* A set of folded addresses: two addresses that differ only in case or quoting are the same member.
 * It is a hash table with open addressing over owned strings, at most half full. */
struct address_set {
    char **slots;
    size_t size; /* a power of two */
    size_t count;
};

static size_t slot_of(const struct address_set *set, const char *folded)
{
    size_t h = (size_t)hash_untrusted(folded) & (set->size - 1);

    while (set->slots[h] != NULL && strcmp(set->slots[h], folded) != 0)
        h = (h + 1) & (set->size - 1);
    return h;
}

static void set_grow(struct address_set *set)
{
    struct address_set bigger = {.size = set->size == 0 ? 32 : set->size * 2, .count = set->count};

    bigger.slots = mem_zalloc(bigger.size * sizeof *bigger.slots);
    for (size_t i = 0; i < set->size; i++) {
        if (set->slots[i] != NULL)
            bigger.slots[slot_of(&bigger, set->slots[i])] = set->slots[i];
    }
    free(set->slots);
    *set = bigger;
}

static char *fold(const char *text)
{
    struct address a;
    struct err ignored;
    struct buf folded = {0};

    if (address_parse(text, strlen(text), ADDRESS_LENIENT, &a, &ignored) != 0)
        return mem_strdup(text);
    address_fold(&a, &folded);
    return buf_take(&folded);
}

/* Add an address. False if it was in the set already. */
static bool set_add(struct address_set *set, const char *text)
{
    char *folded = fold(text);

    if (set->count * 2 >= set->size)
        set_grow(set);
    size_t slot = slot_of(set, folded);
    if (set->slots[slot] != NULL) {
        free(folded);
        return false;
    }
    set->slots[slot] = folded;
    set->count++;
    return true;
}

static bool set_has(const struct address_set *set, const char *text)
{
    if (set->size == 0)
        return false;
    char *folded = fold(text);
    bool found = set->slots[slot_of(set, folded)] != NULL;
    free(folded);
    return found;
}

static void set_clear(struct address_set *set)
{
    for (size_t i = 0; i < set->size; i++)
        free(set->slots[i]);
    free(set->slots);
}

struct planning {
    const struct policy *p;
    bool use_tags;
    enum policy_rewritten rewritten;
    struct policy_plan *plan;
    struct address_set originals; /* the recipients that the client gave */
    struct address_set ends;      /* the final addresses of the recipients that get no tag */
    struct address_set added;
};

/* False for a recipient that the milter refused, or that stays as it is because a table failed. */
static bool takes_part(const struct policy_decision *d)
{
    return d->reply.code == 0 && d->failed == POLICY_OK;
}

static bool is_tagged(const struct planning *g, const struct policy_decision *d)
{
    return g->use_tags && d->filter != NULL;
}

/* Do all recipients have the same filter, and is there no copy? The header acts on the whole
 * message (FILTER in header_checks(5)), so copies would go through the filter, too. A filter with
 * fallback needs the service of its own that only tags lead to. */
static bool fits_header(const struct policy_decision *decisions, size_t count)
{
    if (count == 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!takes_part(&decisions[i]) || decisions[i].filter == NULL ||
            decisions[i].filter != decisions[0].filter || decisions[i].copy_count > 0 ||
            decisions[i].filter->fallback.count > 0)
            return false;
    }
    return true;
}

static void add(struct planning *g, const char *address, const struct policy_decision *d,
                const char *notify)
{
    struct policy_plan *plan = g->plan;
    struct address original;
    struct err ignored;
    struct buf words = {0};

    if (!set_add(&g->added, address))
        return;
    if (address_parse(d->original, strlen(d->original), ADDRESS_LENIENT, &original, &ignored) == 0)
        dsn_words(&d->dsn, notify, &original, &words);
    plan->adds = mem_grow(plan->adds, plan->add_count + 1, sizeof *plan->adds);
    plan->adds[plan->add_count++] =
        (struct policy_add){.address = mem_strdup(address), .words = buf_take(&words)};
}

static int add_tagged(struct planning *g, const struct policy_decision *d,
                      const struct config_destination *copy, const char *notify)
{
    struct buf tagged = {0};
    struct err ignored;
    int rc = policy_tagged(g->p, d, copy, &tagged, &ignored);

    if (rc == 0)
        add(g, buf_str(&tagged), d, notify);
    else
        g->plan->reply = reply_cannot_tag;
    buf_clear(&tagged);
    return rc;
}

static int add_rewritten(struct planning *g, const struct policy_decision *d)
{
    struct buf tagged = {0};
    int rc = 0;

    if (set_has(&g->originals, d->final))
        return 0;
    if (g->rewritten == POLICY_REWRITTEN_PLAIN)
        add(g, d->final, d, d->dsn.notify);
    else if ((rc = policy_tagged_back(g->p, d, &tagged)) == 0)
        add(g, buf_str(&tagged), d, d->dsn.notify);
    else
        g->plan->reply = reply_cannot_tag;
    buf_clear(&tagged);
    return rc;
}

static int plan_recipient(struct planning *g, const struct policy_decision *d)
{
    if (is_tagged(g, d)) {
        if (add_tagged(g, d, NULL, d->dsn.notify) != 0)
            return -1;
    } else if (d->is_rewritten && add_rewritten(g, d) != 0) {
        return -1;
    }
    for (size_t i = 0; i < d->copy_count; i++) {
        if (add_tagged(g, d, d->copies[i], "NEVER") != 0)
            return -1;
    }
    return 0;
}

/* Is the path of RCPT TO the address alone, without source route? Postfix removes a source route
 * from a recipient, so the deletion of a path with a route has no effect there, and the recipient
 * would also get the mail unfiltered. Therefore the address alone is deleted, too. */
static bool is_plain_path(const struct policy_decision *d)
{
    size_t len = strlen(d->original);

    return *d->rcpt == '<' ? strncmp(d->rcpt + 1, d->original, len) == 0 && d->rcpt[len + 1] == '>'
                           : strcmp(d->rcpt, d->original) == 0;
}

/*
 * List the recipients to be deleted: those that get a tag or another address. But a recipient stays
 * if its address is the final address of another recipient, which needs that address in the
 * envelope. (An MTA deletes by text: if the address were added and then deleted, both would be
 * lost.)
 */
static void plan_deletes(struct planning *g, const struct policy_decision *decisions, size_t count)
{
    struct policy_plan *plan = g->plan;

    plan->deletes = mem_zalloc(3 * count * sizeof *plan->deletes);
    for (size_t i = 0; i < count; i++) {
        const struct policy_decision *d = &decisions[i];
        if (takes_part(d) && (is_tagged(g, d) || d->is_rewritten) &&
            !set_has(&g->ends, d->original)) {
            plan->deletes[plan->delete_count++] = d->rcpt;
            if (!is_plain_path(d))
                plan->deletes[plan->delete_count++] = d->original;
            if (d->written != NULL && d->rcpt[strspn(d->rcpt, "<")] == '@')
                plan->deletes[plan->delete_count++] = d->written;
        }
    }
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The client may have given the same recipient twice, and one deletion removes both. */
static void drop_double_deletes(struct policy_plan *plan)
{
    size_t kept = 0;

    qsort(plan->deletes, plan->delete_count, sizeof *plan->deletes, compare_strings);
    for (size_t i = 0; i < plan->delete_count; i++) {
        if (kept == 0 || strcmp(plan->deletes[kept - 1], plan->deletes[i]) != 0)
            plan->deletes[kept++] = plan->deletes[i];
    }
    plan->delete_count = kept;
}

void policy_plan(const struct policy *p, const struct policy_decision *decisions, size_t count,
                 enum policy_rewritten rewritten, struct policy_plan *out)
{
    struct planning g = {.p = p, .plan = out, .use_tags = true, .rewritten = rewritten};
    const struct config_milter *m = &p->config->milter;

    memset(out, 0, sizeof *out);
    if (m->filter_method == CONFIG_METHOD_HEADER && fits_header(decisions, count)) {
        g.use_tags = false;
        out->header_name = m->filter_header;
        out->header_value = decisions[0].filter->nexthop;
    }
    for (size_t i = 0; i < count; i++) {
        assert(policy_may_accept(p, &decisions[i]));
        set_add(&g.originals, decisions[i].original);
        if (!takes_part(&decisions[i]) || !is_tagged(&g, &decisions[i]))
            set_add(&g.ends, decisions[i].final);
    }
    for (size_t i = 0; i < count && out->reply.code == 0; i++) {
        if (takes_part(&decisions[i]))
            (void)!plan_recipient(&g, &decisions[i]); /* out->reply has the failure */
    }
    if (out->reply.code == 0) {
        plan_deletes(&g, decisions, count);
        drop_double_deletes(out);
    }
    set_clear(&g.originals);
    set_clear(&g.ends);
    set_clear(&g.added);
}

void policy_plan_clear(struct policy_plan *plan)
{
    for (size_t i = 0; i < plan->add_count; i++) {
        free(plan->adds[i].address);
        free(plan->adds[i].words);
    }
    free(plan->adds);
    free(plan->deletes);
    memset(plan, 0, sizeof *plan);
}

void policy_log_line(const struct policy_decision *d, struct buf *out)
{
    if (!d->is_rewritten && d->filter == NULL && d->copy_count == 0 && d->skip_count == 0)
        return;
    buf_addf(out, "to=<%s>", d->original);
    if (d->is_rewritten)
        buf_addf(out, ", canonical=<%s>", d->final);
    if (d->filter != NULL)
        buf_addf(out, ", filter=%s", d->filter->name);
    for (size_t i = 0; i < d->copy_count; i++)
        buf_addf(out, "%s%s", i == 0 ? ", copy=" : ",", d->copies[i]->name);
    if (d->skip_count > 0)
        buf_adds(out, ", skip=");
    policy_add_skips(d, out);
}
