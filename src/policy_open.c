/* SPDX-License-Identifier: ISC */
/* The tables of a policy: opened, checked as far as their results can be seen, replaced. */
#include "mem.h"
#include "policy_choice.h"
#include "policy_private.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct config_filter *policy_find_filter(const struct config *c, const char *name)
{
    const struct config_filter *f = config_find_filter(c, name);

    return f != NULL ? f : config_find_nexthop(c, name);
}

/* Is `value` this transport, without a next hop? "smtp", "smtp:". */
static bool is_transport(const char *value, const char *name)
{
    size_t len = strlen(name);

    return strncmp(value, name, len) == 0 && strcmp(value + len, value[len] == ':' ? ":" : "") == 0;
}

bool policy_is_unfiltered(const struct config *config, const char *value,
                          bool *takes_effect_there_out)
{
    static const char *const deliveries[] = {"smtp", "relay", "lmtp", "local", "virtual"};
    static const char *const verdicts[] = {"error", "discard", "retry"};

    *takes_effect_there_out = false;
    if (strcmp(value, ":") == 0 || config_is_unfiltered_nexthop(config, value))
        return true;
    for (size_t i = 0; i < sizeof deliveries / sizeof deliveries[0]; i++)
        if (is_transport(value, deliveries[i]))
            return true;
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
        size_t len = strlen(verdicts[i]);
        if (strncmp(value, verdicts[i], len) == 0 && (value[len] == ':' || value[len] == '\0')) {
            *takes_effect_there_out = true;
            return true;
        }
    }
    return false;
}

/* A word among choices. */
static int check_choice(const struct config *config, const char *name, struct err *err)
{
    bool ignored;

    if (strcasecmp(name, "none") == 0 || policy_find_filter(config, name) != NULL ||
        policy_is_unfiltered(config, name, &ignored))
        return 0;
    err_set(err, "\"%s\" is neither a declared filter, nor the nexthop of one, nor none%s", name,
            strchr(name, ':') == NULL
                ? ""
                : "; if Postfix delivers there without a filter, add it to unfiltered_nexthops");
    return -1;
}

int policy_parse_filters(const struct config *config, const char *value,
                         const struct config_filter **whole_out, struct policy_choices *choices,
                         struct err *err)
{
    bool ignored;

    choices->count = 0;
    *whole_out = policy_find_filter(config, value);
    if (*whole_out != NULL || policy_is_unfiltered(config, value, &ignored))
        return 0;
    if (policy_choices_parse(value, choices, err) != 0)
        return -1;
    for (size_t i = 0; i < choices->count; i++) {
        if (check_choice(config, choices->items[i].name, err) != 0) {
            policy_choices_clear(choices);
            return -1;
        }
    }
    return 0;
}

int policy_parse_copies(const struct config *config, const char *value,
                        struct policy_choices *choices, struct err *err)
{
    if (policy_choices_parse(value, choices, err) != 0)
        return -1;
    for (size_t i = 0; i < choices->count; i++) {
        const char *name = choices->items[i].name;
        if (config_find_destination(config, name) == NULL) {
            err_set(err, "\"%s\" is not a declared destination", name);
            policy_choices_clear(choices);
            return -1;
        }
    }
    return 0;
}

struct check_context {
    const struct policy *policy;
    const struct table *table;
    struct err *err;
};

/* `reason` is in ctx->err: put the place in the table before it. */
static int bad_value(const struct check_context *ctx, const char *key, unsigned line)
{
    const char *path = table_path(ctx->table);

    if (path != NULL && line > 0) {
        err_wrap(ctx->err, "%s:%u: result of \"%s\"", path, line, key);
        return -1;
    }
    const char *spec = table_spec(ctx->table);
    err_wrap(ctx->err, "%s: result of \"%s\"", spec, key);
    return config_place_fail(config_table_place(ctx->policy->config, spec), ctx->err);
}

static int check_filter(const char *key, const char *value, unsigned line, void *arg)
{
    struct check_context *ctx = arg;
    const struct config_filter *whole;
    struct policy_choices choices;

    if (policy_parse_filters(ctx->policy->config, value, &whole, &choices, ctx->err) != 0)
        return bad_value(ctx, key, line);
    policy_choices_clear(&choices);
    return 0;
}

static int check_copies(const char *key, const char *value, unsigned line, void *arg)
{
    struct check_context *ctx = arg;
    struct policy_choices choices;

    if (policy_parse_copies(ctx->policy->config, value, &choices, ctx->err) != 0)
        return bad_value(ctx, key, line);
    policy_choices_clear(&choices);
    return 0;
}

static int check_canonical(const char *key, const char *value, unsigned line, void *arg)
{
    struct check_context *ctx = arg;
    struct address parsed;
    char *with_local = *value == '@' ? mem_printf("user%s", value) : mem_strdup(value);
    int rc = address_parse(with_local, strlen(with_local), ADDRESS_LENIENT, &parsed, ctx->err);

    free(with_local);
    if (rc == 0 && parsed.text[parsed.domain_at] == '\0') {
        err_set(ctx->err, "\"%s\" has no domain", value);
        rc = -1;
    }
    return rc == 0 ? 0 : bad_value(ctx, key, line);
}

static const struct {
    const char *option;
    size_t specs; /* offset of the struct config_strings in struct config_milter */
    int (*check)(const char *key, const char *value, unsigned line, void *arg);
} maps[POLICY_MAP_COUNT] = {
    [POLICY_CANONICAL] = {"canonical_maps", offsetof(struct config_milter, canonical_maps),
                          check_canonical},
    [POLICY_FILTERS] = {"filter_maps", offsetof(struct config_milter, filter_maps), check_filter},
    [POLICY_COPIES] = {"copy_maps", offsetof(struct config_milter, copy_maps), check_copies},
    [POLICY_SENDER_FILTERS] = {"sender_filter_maps",
                               offsetof(struct config_milter, sender_filter_maps), check_filter},
    [POLICY_SENDER_COPIES] = {"sender_copy_maps", offsetof(struct config_milter, sender_copy_maps),
                              check_copies},
};

const char *policy_map_option(enum policy_map map)
{
    return maps[map].option;
}

const struct config_strings *policy_map_specs(const struct config *config, enum policy_map map)
{
    return (const void *)((const char *)&config->milter + maps[map].specs);
}

int policy_check_value(const struct policy *p, enum policy_map map, const struct table *t,
                       const char *key, const char *value, unsigned line, struct err *err)
{
    struct check_context ctx = {p, t, err};

    return maps[map].check(key, value, line, &ctx);
}

static int check_table(const struct policy *p, enum policy_map map, const struct table *t,
                       struct err *err)
{
    struct check_context ctx = {p, t, err};

    return table_each_value(t, maps[map].check, &ctx) == 0 ? 0 : -1;
}

static int open_map(struct policy *p, enum policy_map map, const struct config_strings *specs,
                    struct err *err)
{
    struct lookup_list *list = &p->maps[map];

    for (size_t i = 0; i < specs->count; i++)
        if (lookup_add(list, specs->items[i], err) < 0) {
            err_wrap(err, "%s", maps[map].option);
            return config_place_fail(specs->places[i], err);
        }
    for (size_t i = 0; i < list->count; i++)
        if (check_table(p, map, list->tables[i], err) != 0)
            return -1;
    return 0;
}

struct policy *policy_open(const struct config *config, struct err *err)
{
    struct policy *p = mem_zalloc(sizeof *p);

    p->config = config;
    p->address_flags = ADDRESS_LENIENT;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        if (open_map(p, map, policy_map_specs(config, map), err) != 0) {
            policy_close(p);
            return NULL;
        }
    }
    return p;
}

struct policy *policy_open_copies(const struct config *config,
                                  const struct config_strings *copy_maps, struct err *err)
{
    struct policy *p = mem_zalloc(sizeof *p);

    p->config = config;
    p->address_flags = ADDRESS_LENIENT | ADDRESS_OCTETS; /* the primary decides about those */
    if (open_map(p, POLICY_COPIES, copy_maps, err) == 0)
        return p;
    policy_close(p);
    return NULL;
}

void policy_close(struct policy *p)
{
    if (p == NULL)
        return;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++)
        lookup_close(&p->maps[map]);
    free(p);
}

/* One table of the new policy: opened anew and checked if it comes from this file. */
static struct table *replace_table(const struct policy *p, enum policy_map map, struct table *t,
                                   const char *path, struct err *err)
{
    const char *own_path = table_path(t);

    if (own_path == NULL || strcmp(own_path, path) != 0)
        return table_ref(t);
    struct table *fresh = table_open(table_spec(t), err);
    if (fresh != NULL && check_table(p, map, fresh, err) != 0) {
        table_close(fresh);
        fresh = NULL;
    }
    return fresh;
}

struct policy *policy_replace(const struct policy *p, const char *path, struct err *err)
{
    struct policy *next = mem_zalloc(sizeof *next);

    next->config = p->config;
    next->address_flags = p->address_flags;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        const struct lookup_list *from = &p->maps[map];
        struct lookup_list *to = &next->maps[map];
        to->tables = mem_zalloc(from->count * sizeof(struct table *));
        for (; to->count < from->count; to->count++) {
            struct table *t = replace_table(p, map, from->tables[to->count], path, err);
            if (t == NULL) {
                policy_close(next);
                return NULL;
            }
            to->tables[to->count] = t;
        }
    }
    return next;
}

const struct table *policy_table(const struct policy *p, size_t index)
{
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        if (index < p->maps[map].count)
            return p->maps[map].tables[index];
        index -= p->maps[map].count;
    }
    return NULL;
}
