/* SPDX-License-Identifier: ISC */
#include "policy/policy.h"
#include "ctl/check.h"
#include "ctl/json.h"

#include <string.h>

struct reviewing {
    struct findings *findings;
    const char *where; /* "tables", "listener NAME" */
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

void check_tables(struct findings *f, const struct config *config)
{
    struct reviewing reviewing = {f, "tables"};
    unsigned errors = f->errors;
    struct policy_review review;

    policy_review(config, NULL, table_fault, &reviewing, &review);
    if (f->errors == errors)
        find(f, LEVEL_OK, "tables: %zu", review.tables);
    check_use(f, config, &review);
    policy_review_clear(&review);
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
