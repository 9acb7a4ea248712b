/* SPDX-License-Identifier: ISC */
#include "ctl/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

json_t *ctl_json_text(const char *text)
{
    json_t *value = json_string(text);

    if (value != NULL)
        return value;
    char *copy = mem_strdup(text);
    log_sanitize(copy);
    value = json_string(copy);
    free(copy);
    return value;
}

void ctl_json_set(json_t *object, const char *name, json_t *value)
{
    /* only a lack of memory makes this fail */
    if (json_object_set_new(object, name, value) < 0)
        abort();
}

void ctl_json_line(json_t *object)
{
    /* JSON_ENSURE_ASCII also escapes characters from U+007F on, some of which control a
     * terminal. */
    (void)json_dumpf(object, stdout, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
    putchar('\n');
    json_decref(object);
}
