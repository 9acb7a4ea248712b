/* SPDX-License-Identifier: ISC */
#include "envelope.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static int add_recipient(SMFICTX *ctx, const struct policy_add *a)
{
    char *address = mem_printf("<%s>", a->address);
    int rc =
        *a->words == '\0' ? smfi_addrcpt(ctx, address) : smfi_addrcpt_par(ctx, address, a->words);

    free(address);
    return rc;
}

/* Delete a recipient, with brackets around the path. In RCPT an MTA may accept a path without
 * brackets, but in a deletion Sendmail would split such a path at a comma. */
static int delete_recipient(SMFICTX *ctx, const char *path)
{
    char *bracketed = *path == '<' ? mem_strdup(path) : mem_printf("<%s>", path);
    int rc = smfi_delrcpt(ctx, bracketed);

    free(bracketed);
    return rc;
}

static int make_changes(SMFICTX *ctx, const struct policy_plan *plan)
{
    for (size_t i = 0; i < plan->add_count; i++) {
        if (add_recipient(ctx, &plan->adds[i]) != MI_SUCCESS)
            return -1;
    }
    if (plan->header_name != NULL &&
        smfi_addheader(ctx, (char *)plan->header_name, (char *)plan->header_value) != MI_SUCCESS)
        return -1;
    for (size_t i = 0; i < plan->delete_count; i++) {
        if (delete_recipient(ctx, plan->deletes[i]) != MI_SUCCESS)
            return -1;
    }
    return 0;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_deleted(const struct policy_plan *plan, const struct policy_decision *d)
{
    const char *rcpt = d->rcpt;

    return plan->delete_count > 0 && bsearch(&rcpt, plan->deletes, plan->delete_count,
                                             sizeof *plan->deletes, compare_strings) != NULL;
}

/* Add a recipient again, with the DSN parameters that the client gave. */
static int add_again(SMFICTX *ctx, const struct policy_decision *d)
{
    struct policy_add again = {.address = d->is_from_orcpt ? d->final : d->original};
    struct address original;
    struct err ignored;
    struct buf words = {0};

    if ((*d->dsn.notify != '\0' || *d->dsn.orcpt != '\0') &&
        address_parse(d->original, strlen(d->original), ADDRESS_LENIENT, &original, &ignored) == 0)
        dsn_words(&d->dsn, d->dsn.notify, &original, &words);
    again.words = buf_take(&words);
    int rc = add_recipient(ctx, &again);
    free(again.words);
    return rc;
}

/*
 * When a milter deletes or refuses a recipient, Sendmail compares what addresses resolve to, and
 * may remove another recipient that resolves to the same: local domains share their users, virtual
 * users end at one address, and "a@b.." is a@b. So a recipient that stays, and that resolves to the
 * same as one that was deleted or refused, is added again; this changes nothing if Sendmail still
 * has it. Other recipients are not added again, because another milter may have deleted them.
 */
struct hits {
    const char **list; /* sorted */
    size_t count;
    bool is_any; /* it is not known what one of the deleted or refused recipients resolves to */
};

static void add_hit(struct hits *h, const char *target)
{
    if (target == NULL)
        h->is_any = true;
    else
        h->list[h->count++] = target;
}

/* Collect what the deleted and refused recipients resolve to. The caller frees h->list. */
static void collect_hits(const struct conn *c, const struct policy_plan *plan, struct hits *h)
{
    *h = (struct hits){.list = mem_zalloc((c->count + c->refused.count + 1) * sizeof *h->list)};
    for (size_t i = 0; i < c->count; i++) {
        if (is_deleted(plan, &c->decisions[i]))
            add_hit(h, c->accepted.list[i]);
    }
    for (size_t i = 0; i < c->refused.count; i++)
        add_hit(h, c->refused.list[i]);
    qsort(h->list, h->count, sizeof *h->list, compare_strings);
}

/* May Sendmail have removed a recipient that resolves to this? */
static bool may_be_hit(const struct hits *h, const char *target)
{
    if (h->is_any || (target == NULL && h->count > 0))
        return true;
    return h->count > 0 &&
           bsearch(&target, h->list, h->count, sizeof *h->list, compare_strings) != NULL;
}

/* Add the recipients again that Sendmail may have removed. */
static int restore(SMFICTX *ctx, const struct conn *c, const struct policy_plan *plan)
{
    struct hits hits;
    int rc = 0;

    collect_hits(c, plan, &hits);
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        if (!is_deleted(plan, &c->decisions[i]) && may_be_hit(&hits, c->accepted.list[i]) &&
            add_again(ctx, &c->decisions[i]) != MI_SUCCESS)
            rc = -1;
    }
    free(hits.list);
    return rc;
}

int envelope_apply(SMFICTX *ctx, const struct conn *c, const struct policy_plan *plan)
{
    if (make_changes(ctx, plan) != 0)
        return -1;
    return c->mta == MTA_SENDMAIL ? restore(ctx, c, plan) : 0;
}
