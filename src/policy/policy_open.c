/* SPDX-License-Identifier: ISC */
/* Opens and replaces the tables of a policy, and checks the results that can be seen without a
 * look-up. */
#include "base/mem.h"
#include "policy/policy_choice.h"
#include "policy/policy_private.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct check_context {
    const struct config *config;
    enum policy_map map;
    const struct table *table;
    struct err *err;
};

/* Put the place of the entry in front of the text of ctx->err, which has the reason. Returns -1. */
static int bad_value(const struct check_context *ctx, const char *key, unsigned line)
{
    const char *path = table_path(ctx->table);

    if (path != NULL && line > 0) {
        err_wrap(ctx->err, "%s:%u: result of \"%s\"", path, line, key);
        return -1;
    }
    const char *spec = table_spec(ctx->table);
    err_wrap(ctx->err, "%s: result of \"%s\"", spec, key);
    return config_place_fail(config_table_place(ctx->config, spec), ctx->err);
}

static int check_value(const char *key, const char *value, unsigned line, void *arg)
{
    struct check_context *ctx = arg;

    if (policy_value_check(ctx->config, ctx->map, value, ctx->err) != 0)
        return bad_value(ctx, key, line);
    return 0;
}

static const struct {
    const char *option;
    size_t specs; /* offset of the struct string_list in struct config_milter */
} maps[] = {
    [POLICY_CANONICAL] = {"canonical_maps", offsetof(struct config_milter, canonical_maps)},
    [POLICY_FILTERS] = {"filter_maps", offsetof(struct config_milter, filter_maps)},
    [POLICY_COPIES] = {"copy_maps", offsetof(struct config_milter, copy_maps)},
    [POLICY_SENDER_FILTERS] = {"sender_filter_maps",
                               offsetof(struct config_milter, sender_filter_maps)},
    [POLICY_SENDER_COPIES] = {"sender_copy_maps", offsetof(struct config_milter, sender_copy_maps)},
    [POLICY_ORCPT] = {"orcpt_maps", offsetof(struct config_milter, orcpt_maps)},
    [POLICY_LISTENER_COPIES] = {"copy_maps", 0}, /* in struct config_listener */
};

const char *policy_map_option(enum policy_map map)
{
    return maps[map].option;
}

const struct string_list *policy_map_specs(const struct config *config, enum policy_map map)
{
    return (const void *)((const char *)&config->milter + maps[map].specs);
}

int policy_check_value(const struct config *config, enum policy_map map, const struct table *t,
                       const char *key, const char *value, unsigned line, struct err *err)
{
    struct check_context ctx = {config, map, t, err};

    return check_value(key, value, line, &ctx);
}

static int check_table(const struct config *config, enum policy_map map, const struct table *t,
                       struct err *err)
{
    struct check_context ctx = {config, map, t, err};

    return table_each_value(t, check_value, &ctx) == 0 ? 0 : -1;
}

int policy_open_map(const struct config *config, enum policy_map map,
                    const struct string_list *specs, struct lookup_list *out, struct err *err)
{
    for (size_t i = 0; i < specs->count; i++)
        if (lookup_add(out, specs->items[i], err) < 0) {
            err_wrap(err, "%s", maps[map].option);
            return config_place_fail(specs->places[i], err);
        }
    for (size_t i = 0; i < out->count; i++) {
        table_set_timeout(out->tables[i], config->milter.lookup_timeout_ms);
        if (check_table(config, map, out->tables[i], err) != 0)
            return -1;
    }
    return 0;
}

struct policy *policy_open(const struct config *config, struct err *err)
{
    struct policy *p = mem_zalloc(sizeof *p);

    p->config = config;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        if (policy_open_map(config, map, policy_map_specs(config, map), &p->maps[map], err) != 0) {
            policy_close(p);
            return NULL;
        }
    }
    return p;
}

void policy_close(struct policy *p)
{
    if (p == NULL)
        return;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++)
        lookup_close(&p->maps[map]);
    free(p);
}

/* Return the table that takes the place of t in the new list: if t was read from `path`, the table
 * that is opened again and checked, else t itself with one more reference. NULL with `err`. */
static struct table *replace_table(const struct config *config, enum policy_map map,
                                   struct table *t, const char *path, struct err *err)
{
    const char *own_path = table_path(t);

    if (own_path == NULL || strcmp(own_path, path) != 0)
        return table_ref(t);
    struct table *fresh = table_open(table_spec(t), err);
    if (fresh == NULL)
        return NULL;
    table_set_timeout(fresh, config->milter.lookup_timeout_ms);
    if (check_table(config, map, fresh, err) == 0)
        return fresh;
    table_close(fresh);
    return NULL;
}

int policy_replace_map(const struct config *config, enum policy_map map,
                       const struct lookup_list *from, const char *path, struct lookup_list *out,
                       struct err *err)
{
    out->tables = mem_zalloc(from->count * sizeof(struct table *));
    for (out->count = 0; out->count < from->count; out->count++) {
        struct table *t = replace_table(config, map, from->tables[out->count], path, err);
        if (t == NULL)
            return -1;
        out->tables[out->count] = t;
    }
    return 0;
}

struct policy *policy_replace(const struct policy *p, const char *path, struct err *err)
{
    struct policy *next = mem_zalloc(sizeof *next);

    next->config = p->config;
    for (enum policy_map map = 0; map < POLICY_MAP_COUNT; map++) {
        if (policy_replace_map(p->config, map, &p->maps[map], path, &next->maps[map], err) != 0) {
            policy_close(next);
            return NULL;
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
