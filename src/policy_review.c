/* SPDX-License-Identifier: ISC */
/* All that is wrong with the tables of a configuration, not only the first fault. */
#include "mem.h"
#include "policy_choice.h"
#include "policy_private.h"

#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX 100 /* of one table */

struct reviewing {
    struct policy policy; /* has the configuration only */
    void (*fault)(bool is_warning, const char *text, void *ctx);
    void *ctx;
    struct policy_review *out;
    enum policy_map map;
    const struct table *table;
    unsigned faults;
};

static void use_filter(struct reviewing *r, const struct config_filter *f)
{
    if (f != NULL)
        r->out->filter_is_used[f - r->policy.config->filters] = true;
}

static void note_filters(struct reviewing *r, const char *value)
{
    const struct config *config = r->policy.config;
    const struct config_filter *whole;
    struct policy_choices choices;
    struct err ignored;

    if (policy_parse_filters(config, value, &whole, &choices, &ignored) != 0)
        return;
    use_filter(r, whole);
    for (size_t i = 0; i < choices.count; i++)
        use_filter(r, policy_find_filter(config, choices.items[i].name));
    policy_choices_clear(&choices);
}

static void note_copies(struct reviewing *r, const char *value)
{
    const struct config *config = r->policy.config;
    struct policy_choices choices;
    struct err ignored;

    if (policy_parse_copies(config, value, &choices, &ignored) != 0)
        return;
    for (size_t i = 0; i < choices.count; i++) {
        const struct config_destination *d = config_find_destination(config, choices.items[i].name);
        r->out->destination_is_used[d - config->destinations] = true;
    }
    policy_choices_clear(&choices);
}

static int review_value(const char *key, const char *value, unsigned line, void *arg)
{
    struct reviewing *r = arg;
    struct err err;

    if (policy_check_value(&r->policy, r->map, r->table, key, value, line, &err) != 0) {
        r->fault(false, err.text, r->ctx);
        return ++r->faults == FAULTS_MAX;
    }
    if (r->map == POLICY_FILTERS || r->map == POLICY_SENDER_FILTERS)
        note_filters(r, value);
    else if (r->map != POLICY_CANONICAL)
        note_copies(r, value);
    return 0;
}

static bool is_newer(const struct table_stamp *a, const struct table_stamp *b)
{
    return a->mtime.tv_sec != b->mtime.tv_sec ? a->mtime.tv_sec > b->mtime.tv_sec
                                              : a->mtime.tv_nsec > b->mtime.tv_nsec;
}

/* Has the source of a compiled table changed since? */
static void review_age(const struct reviewing *r, const struct table *t)
{
    char *source = table_source_path(t), *text = NULL;

    if (source == NULL)
        return;
    struct table_stamp of_source = table_stamp_of(source), own = table_stamp_of(table_path(t));
    if (of_source.exists && own.exists && is_newer(&of_source, &own)) {
        text = mem_printf("%s is older than its source %s: run postmap %s", table_path(t), source,
                          table_spec(t));
        r->fault(true, text, r->ctx);
    }
    free(text);
    free(source);
}

/* Does the server of a socketmap answer? */
static void review_server(const struct reviewing *r, const struct table *t)
{
    struct table_match match;
    struct err err;

    if (!table_asks_server(t))
        return;
    struct table_scratch *scratch = table_scratch_new();
    table_match_init(&match);
    if (table_find(t, scratch, "check@split.invalid", &match, &err) == TABLE_FAILED)
        r->fault(true, err.text, r->ctx);
    table_match_clear(&match);
    table_scratch_free(scratch);
}

static void review_table(struct reviewing *r, const char *spec)
{
    struct err err;
    struct table *t = table_open(spec, &err);

    if (t == NULL) {
        err_wrap(&err, "%s", policy_map_option(r->map));
        r->fault(false, err.text, r->ctx);
        r->out->sees_all = false;
        return;
    }
    r->out->tables++;
    r->out->sees_all = r->out->sees_all && !table_takes_whole_address(t);
    r->table = t;
    r->faults = 0;
    table_each_value(t, review_value, r);
    review_age(r, t);
    review_server(r, t);
    table_close(t);
}

void policy_review(const struct config *config,
                   void (*fault)(bool is_warning, const char *text, void *ctx), void *ctx,
                   struct policy_review *out)
{
    struct reviewing r = {.policy = {.config = config}, .fault = fault, .ctx = ctx, .out = out};

    *out = (struct policy_review){.sees_all = true};
    out->filter_is_used = mem_zalloc(config->filter_count * sizeof(bool));
    out->destination_is_used = mem_zalloc(config->destination_count * sizeof(bool));
    for (r.map = 0; r.map < POLICY_MAP_COUNT; r.map++) {
        const struct config_strings *specs = policy_map_specs(config, r.map);
        for (size_t i = 0; i < specs->count; i++)
            review_table(&r, specs->items[i]);
    }
}

void policy_review_clear(struct policy_review *r)
{
    free(r->filter_is_used);
    free(r->destination_is_used);
    memset(r, 0, sizeof *r);
}
