/* SPDX-License-Identifier: ISC */
#include "base/json_value.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

json_t *json_value_text(const char *text)
{
    json_t *value = json_string(text);

    if (value != NULL)
        return value;
    char *copy = mem_strdup(text);
    log_sanitize(copy);
    value = json_string(copy);
    free(copy);
    if (value == NULL)
        abort();
    return value;
}

void json_value_set(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) < 0)
        abort();
}

void json_value_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0)
        abort();
}

static int add_bytes(const char *data, size_t len, void *ctx)
{
    buf_add(ctx, data, len);
    return 0;
}

void json_value_dump(json_t *value, struct buf *out)
{
    if (json_dump_callback(value, add_bytes, out,
                           JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII | JSON_COMPACT |
                               JSON_ENCODE_ANY) < 0)
        abort();
    json_decref(value);
}
