/* SPDX-License-Identifier: ISC */
/* Finds all faults in the tables of a configuration, not only the first one. */
#include "base/mem.h"
#include "policy/policy_choice.h"
#include "policy/policy_private.h"

#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX 100 /* errors that are reported of one table */

struct reviewing {
    struct policy policy; /* only `config` is set */
    void (*fault)(const struct policy_fault *fault, void *ctx);
    void *ctx;
    struct policy_review *out;
    enum policy_map map;
    const struct table *table;
    unsigned faults;
    /* for review_loops(): those of canonical_maps that have no errors, ask no server, and cannot
     * take long */
    struct lookup_list canonical;
    struct table_scratch *scratch;
};

/* Report a fault of r->table. line: a line of its file, or 0. */
static void blame(const struct reviewing *r, bool is_warning, unsigned line, const char *text)
{
    const char *path = r->table == NULL ? NULL : table_path(r->table);
    struct policy_fault fault = {is_warning, path == NULL ? "" : path, line, text};

    r->fault(&fault, r->ctx);
}

/* Report a fault that does not prevent the use of a table (table_faults.each). */
static void note_fault(void *ctx, const char *path, unsigned line, const char *text)
{
    const struct reviewing *r = ctx;
    char *placed = line > 0 ? mem_printf("%s:%u: %s", path, line, text)
                            : mem_printf("%s%s%s", path, path[0] == '\0' ? "" : ": ", text);
    struct policy_fault fault = {true, path, line, placed};

    r->fault(&fault, r->ctx);
    free(placed);
}

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

    if (policy_parse_copies(config, r->map, value, &choices, &ignored) != 0)
        return;
    for (size_t i = 0; i < choices.count; i++) {
        const struct config_destination *d = config_find_destination(config, choices.items[i].name);
        r->out->destination_is_used[d - config->destinations] = true;
    }
    policy_choices_clear(&choices);
}

/* Warn of the results error, discard and retry: they have an effect in Postfix alone. */
static void review_verdict(struct reviewing *r, const char *key, const char *value, unsigned line)
{
    const struct config *config = r->policy.config;
    bool takes_effect_there;
    char *text;

    if (policy_find_filter(config, value) != NULL ||
        !policy_is_unfiltered(config, value, &takes_effect_there) || !takes_effect_there)
        return;
    const char *path = table_path(r->table);
    char *place = line > 0 ? mem_printf("%s:%u", path == NULL ? "" : path, line)
                           : mem_strdup(table_spec(r->table));
    text = mem_printf("%s: result of \"%s\": \"%s\" is no filter, and means none: it takes effect "
                      "only if the table is in transport_maps of Postfix, too",
                      place, key, value);
    blame(r, true, line, text);
    free(text);
    free(place);
}

static int review_value(const char *key, const char *value, unsigned line, void *arg)
{
    struct reviewing *r = arg;
    struct err err;

    if (policy_check_value(r->policy.config, r->map, r->table, key, value, line, &err) != 0) {
        blame(r, false, line, err.text);
        return ++r->faults == FAULTS_MAX;
    }
    if (r->map == POLICY_FILTERS || r->map == POLICY_SENDER_FILTERS) {
        note_filters(r, value);
        review_verdict(r, key, value, line);
    } else if (r->map == POLICY_COPIES || r->map == POLICY_SENDER_COPIES)
        note_copies(r, value);
    return 0;
}

static bool is_newer(const struct table_stamp *a, const struct table_stamp *b)
{
    return a->mtime.tv_sec != b->mtime.tv_sec ? a->mtime.tv_sec > b->mtime.tv_sec
                                              : a->mtime.tv_nsec > b->mtime.tv_nsec;
}

/* Warn of a compiled table that is older than its source. */
static void review_age(const struct reviewing *r, const struct table *t)
{
    char *source = table_source_path(t), *text = NULL;

    if (source == NULL)
        return;
    struct table_stamp of_source = table_stamp_of(source), own = table_stamp_of(table_path(t));
    if (of_source.exists && own.exists && is_newer(&of_source, &own)) {
        text = mem_printf("%s is older than its source %s: run postmap %s", table_path(t), source,
                          table_spec(t));
        blame(r, true, 0, text);
    }
    free(text);
    free(source);
}

/* The address from which the mapping of an entry is followed: its key, or its result when the key
 * is no address (a domain, a pattern). False: the result is no address either, which review_value()
 * reports. */
static bool parse_start(const char *key, const char *value, struct address *out)
{
    struct err ignored;

    if (key[0] != '@' && address_parse(key, strlen(key), ADDRESS_LENIENT, out, &ignored) == 0 &&
        out->text[out->domain_at] != '\0')
        return true;
    char *text = value[0] == '@' ? mem_printf("user%s", value) : mem_strdup(value);
    bool is = address_parse(text, strlen(text), ADDRESS_LENIENT, out, &ignored) == 0;
    free(text);
    return is;
}

/* Report an entry whose mapping does not end. */
static int follow(const char *key, const char *value, unsigned line, void *arg)
{
    struct reviewing *r = arg;
    struct address start, end;
    struct table_match match;
    struct err err;
    int rc = 0;

    if (!parse_start(key, value, &start))
        return 0;
    table_match_init(&match);
    if (lookup_canonical(&r->canonical, r->scratch, &start, r->policy.config->recipient_delimiter,
                         &end, &match, &err) == TABLE_FAILED) {
        if (line > 0 && table_path(r->table) != NULL)
            err_wrap(&err, "%s:%u", table_path(r->table), line);
        else
            err_wrap(&err, "%s", table_spec(r->table));
        blame(r, false, line, err.text);
        rc = ++r->faults == FAULTS_MAX;
    }
    table_match_clear(&match);
    return rc;
}

/* Follow all mappings. Called after the review of all tables, because only tables without errors
 * can be followed. */
static void review_loops(struct reviewing *r)
{
    r->scratch = table_scratch_new();
    for (size_t i = 0; i < r->canonical.count; i++) {
        r->table = r->canonical.tables[i];
        r->faults = 0;
        table_each_value(r->table, follow, r);
    }
    table_scratch_free(r->scratch);
    lookup_close(&r->canonical);
}

static void keep_canonical(struct reviewing *r, struct table *t)
{
    struct lookup_list *list = &r->canonical;

    if (r->map != POLICY_CANONICAL || table_asks_server(t) || table_may_take_long(t) ||
        r->faults > 0)
        return;
    list->tables = mem_grow(list->tables, list->count + 1, sizeof(struct table *));
    list->tables[list->count++] = table_ref(t);
}

static void review_table(struct reviewing *r, const char *spec, const char *option)
{
    const struct table_faults faults = {note_fault, r};
    struct err err;
    struct table *t = table_open_reporting(spec, &faults, &err);

    r->table = t;
    r->faults = 0;
    if (t == NULL) {
        err_wrap(&err, "%s", option);
        (void)config_place_fail(config_table_place(r->policy.config, spec), &err);
        blame(r, false, 0, err.text);
        r->out->sees_all = false;
        return;
    }
    table_set_timeout(t, r->policy.config->milter.lookup_timeout_ms);
    r->out->tables++;
    r->out->sees_all = r->out->sees_all && !table_takes_whole_address(t) && !table_asks_server(t);
    table_each_value(t, review_value, r);
    review_age(r, t);
    table_try_hosts(t, "check@split.invalid", &faults);
    keep_canonical(r, t);
    r->table = NULL;
    table_close(t);
}

static void review_tables(struct reviewing *r, const struct string_list *specs, const char *option)
{
    for (size_t i = 0; i < specs->count; i++)
        review_table(r, specs->items[i], option);
}

void policy_review(const struct config *config, const struct config_listener *listener,
                   void (*fault)(const struct policy_fault *fault, void *ctx), void *ctx,
                   struct policy_review *out)
{
    struct reviewing r = {.policy = {.config = config}, .fault = fault, .ctx = ctx, .out = out};

    *out = (struct policy_review){.sees_all = true};
    out->filter_is_used = mem_zalloc(config->filter_count * sizeof(bool));
    out->destination_is_used = mem_zalloc(config->destination_count * sizeof(bool));
    if (listener != NULL) {
        char *option = mem_printf("listener %s: copy_maps", listener->name);
        r.map = POLICY_LISTENER_COPIES;
        review_tables(&r, &listener->copy_maps, option);
        free(option);
        return;
    }
    for (r.map = 0; r.map < POLICY_MAP_COUNT; r.map++)
        review_tables(&r, policy_map_specs(config, r.map), policy_map_option(r.map));
    review_loops(&r);
}

void policy_review_clear(struct policy_review *r)
{
    free(r->filter_is_used);
    free(r->destination_is_used);
    memset(r, 0, sizeof *r);
}
