/* SPDX-License-Identifier: ISC */
#include "policy/policy.h"
#include "base/mem.h"
#include "ctl/check.h"
#include "ctl/json.h"

#include <stdlib.h>
#include <string.h>

struct reviewing {
    struct findings *findings;
    const char *where; /* "tables", "tables of milter NAME", "listener NAME" */
};

static void table_fault(const struct policy_fault *fault, void *ctx)
{
    const struct reviewing *r = ctx;
    json_t *more = json_object();
    struct err text;

    err_set(&text, "%s: %s", r->where, fault->text);
    if (fault->path[0] != '\0')
        ctl_json_set(more, "path", ctl_json_text(fault->path));
    if (fault->line > 0)
        ctl_json_set(more, "line", json_integer(fault->line));
    find_more(r->findings, fault->is_warning ? LEVEL_WARNING : LEVEL_ERROR, text.text, more);
}

/* True if a listener copies to this destination, or may do so because it has copy_maps. */
static bool listener_uses(const struct config *config, const char *destination)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        if (l->copy_maps.count > 0)
            return true;
        for (size_t k = 0; k < l->copies.count; k++)
            if (strcmp(l->copies.items[k], destination) == 0)
                return true;
    }
    return false;
}

static void ignore(const struct policy_fault *fault, void *ctx)
{
    (void)fault;
    (void)ctx;
}

/* Add what the tables of the other milters use. */
static void add_use(const struct config *config, struct policy_review *review)
{
    for (size_t m = 1; m <= config->other_milter_count; m++) {
        struct config view = config_of_milter(config, m);
        struct policy_review other;
        policy_review(&view, NULL, ignore, NULL, &other);
        for (size_t i = 0; i < config->filter_count; i++)
            review->filter_is_used[i] |= other.filter_is_used[i];
        for (size_t i = 0; i < config->destination_count; i++)
            review->destination_is_used[i] |= other.destination_is_used[i];
        review->sees_all &= other.sees_all;
        policy_review_clear(&other);
    }
}

/* Report filters and destinations that no table names. */
static void check_use(struct findings *f, const struct config *config,
                      const struct policy_review *review)
{
    const char *more = review->sees_all ? "" : ", as far as can be seen without look-ups";

    for (size_t i = 0; i < config->filter_count; i++)
        if (!review->filter_is_used[i])
            find(f, LEVEL_NOTE, "%s:%u: filter %s: no table names it%s",
                 config->filters[i].place.file, config->filters[i].place.line,
                 config->filters[i].name, more);
    for (size_t i = 0; i < config->destination_count; i++)
        if (!review->destination_is_used[i] && !listener_uses(config, config->destinations[i].name))
            find(f, LEVEL_NOTE, "%s:%u: destination %s: no table names it%s",
                 config->destinations[i].place.file, config->destinations[i].place.line,
                 config->destinations[i].name, more);
}

/* Report the destinations in the tables of this milter whose direction has no effect as it is
 * meant, because no domain is local: all mail from inside is outbound then. */
static void check_directions(struct findings *f, const struct config *config,
                             const struct policy_review *review)
{
    const struct config_milter *m = &config->milter;

    for (size_t i = 0; i < config->destination_count && m->local_domains.count == 0; i++) {
        const struct config_destination *d = &config->destinations[i];
        bool takes_internal = config_destination_takes(d, CONFIG_INTERNAL);
        if (takes_internal == config_destination_takes(d, CONFIG_OUTBOUND) ||
            (!review->destination_is_used[i] && review->sees_all))
            continue;
        find(f, takes_internal ? LEVEL_WARNING : LEVEL_NOTE,
             "%s:%u: destination %s: no mail is internal, because local_domains of section %s is "
             "empty: mail to colleagues is outbound, and is %s",
             d->place.file, d->place.line, d->name, m->label,
             takes_internal ? "not copied" : "copied, too");
    }
}

void check_tables(struct findings *f, const struct config *config)
{
    const struct config_milter *m = &config->milter;
    char *where = m->name[0] == '\0' ? mem_strdup("tables") : mem_printf("tables of %s", m->label);
    struct reviewing reviewing = {f, where};
    unsigned errors = f->errors;
    struct policy_review review;

    policy_review(config, NULL, table_fault, &reviewing, &review);
    if (f->errors == errors)
        find(f, LEVEL_OK, "%s: %zu", where, review.tables);
    check_directions(f, config, &review);
    if (m->name[0] == '\0') {
        add_use(config, &review);
        check_use(f, config, &review);
    }
    policy_review_clear(&review);
    free(where);
}

void check_listener_tables(struct findings *f, const struct config *config,
                           const struct config_listener *l)
{
    struct err where;
    struct reviewing reviewing = {f, where.text};
    struct policy_review review;

    err_set(&where, "listener %s", l->name);
    policy_review(config, l, table_fault, &reviewing, &review);
    policy_review_clear(&review);
}
