/* SPDX-License-Identifier: ISC */
/* The direction of a message for a recipient, and the copies that are skipped because of it. */
#include "base/casefold.h"
#include "base/mem.h"
#include "policy/policy_private.h"

#include <string.h>

/* Is the domain one of local_domains: a `domain`, or below a `.domain`? Case is folded as in
 * look-ups. */
static bool is_local(const struct string_list *local_domains, const char *domain)
{
    struct buf folded = {0};
    bool is = false;

    casefold_add(&folded, domain, strlen(domain));
    for (size_t i = 0; i < local_domains->count && !is; i++) {
        const char *local = local_domains->items[i];
        size_t len = strlen(local), before = 0;
        if (local[0] == '.' && folded.len > len)
            before = folded.len - len;
        is = strcmp(buf_str(&folded) + before, local) == 0;
    }
    buf_clear(&folded);
    return is;
}

enum config_direction policy_direction(const struct config *config, bool is_outbound,
                                       const struct address *to)
{
    if (!is_outbound)
        return CONFIG_INBOUND;
    return is_local(&config->milter.local_domains, to->text + to->domain_at) ? CONFIG_INTERNAL
                                                                             : CONFIG_OUTBOUND;
}

void policy_skip_copies(struct policy_decision *d)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->copy_count; i++) {
        if (config_destination_takes(d->copies[i], d->direction)) {
            d->copies[kept++] = d->copies[i];
            continue;
        }
        d->skips = mem_grow(d->skips, d->skip_count + 1, sizeof(struct config_destination *));
        d->skips[d->skip_count++] = d->copies[i];
    }
    d->copy_count = kept;
}

void policy_add_skips(const struct policy_decision *d, struct buf *out)
{
    for (size_t i = 0; i < d->skip_count; i++)
        buf_addf(out, "%s%s(direction=%s)", i == 0 ? "" : ",", d->skips[i]->name,
                 config_direction_name(d->direction));
}
