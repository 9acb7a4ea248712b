/* SPDX-License-Identifier: ISC */
#include "ctl/json.h"

#include <stdio.h>

json_t *ctl_json_text(const char *text)
{
    return json_value_text(text);
}

void ctl_json_set(json_t *object, const char *name, json_t *value)
{
    json_value_set(object, name, value);
}

void ctl_json_line(json_t *object)
{
    /* JSON_ENSURE_ASCII also escapes characters from U+007F on, some of which control a
     * terminal. */
    (void)json_dumpf(object, stdout, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
    putchar('\n');
    json_decref(object);
}
