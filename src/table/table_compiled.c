/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "table/table_private.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum table_result table_compiled_match(const char *path, const char *key, const void *value,
                                       size_t len, struct table_match *m, struct err *err)
{
    size_t text_len = strnlen(value, len);

    if (!utf8_is_valid(value, text_len)) {
        err_set(err, "%s: the result for \"%s\" is not UTF-8", path, key);
        return TABLE_FAILED;
    }
    buf_reset(&m->value);
    buf_add(&m->value, value, text_len);
    buf_reset(&m->key);
    buf_adds(&m->key, key);
    m->line = 0;
    return TABLE_FOUND;
}

int table_compiled_visit(const void *key, size_t key_len, const void *value, size_t value_len,
                         int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                         void *ctx)
{
    char *key_text = mem_strndup(key, strnlen(key, key_len));
    char *value_text = mem_strndup(value, strnlen(value, value_len));
    int rc = fn(key_text, value_text, 0, ctx);

    free(key_text);
    free(value_text);
    return rc;
}
