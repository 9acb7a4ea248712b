/* SPDX-License-Identifier: ISC */
/*
 * static: one value for every key.
 *
 *   argument = value / "{" value "}"
 */
#include "table/table_private.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

struct static_table {
    struct table table;
    char *value;
};

static struct table *static_open(const char *argument, struct err *err)
{
    const char *value = argument;
    size_t len = strlen(argument);

    if (argument[0] == '{' && table_strip_braces(argument, len, &value, &len) < 0) {
        err_set(err, "static:%s: missing '}', or text after it", argument);
        return NULL;
    }
    if (!utf8_is_valid(value, len)) {
        err_set(err, "static:%s: the value is not UTF-8", argument);
        return NULL;
    }
    struct static_table *st = mem_zalloc(sizeof *st);
    st->value = mem_strndup(value, len);
    return &st->table;
}

static void static_close(struct table *t)
{
    struct static_table *st = (struct static_table *)t;

    free(st->value);
    free(st);
}

static enum table_result static_find(const struct table *t, struct table_scratch *s,
                                     const char *key, struct table_match *m, struct err *err)
{
    (void)s;
    (void)err;
    buf_reset(&m->value);
    buf_adds(&m->value, ((const struct static_table *)t)->value);
    buf_reset(&m->key);
    buf_adds(&m->key, key);
    m->line = 0;
    return TABLE_FOUND;
}

static int static_each_value(const struct table *t,
                             int (*fn)(const char *key, const char *value, unsigned line,
                                       void *ctx),
                             void *ctx)
{
    return fn("*", ((const struct static_table *)t)->value, 0, ctx);
}

const struct table_type table_static = {
    .name = "static",
    .open = static_open,
    .close = static_close,
    .find = static_find,
    .each_value = static_each_value,
};
