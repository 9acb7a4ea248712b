/* SPDX-License-Identifier: ISC */
#include "base/string_list.h"

#include <stdlib.h>

void string_list_clear(struct string_list *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i]);
    free(s->items);
    free(s->places);
}
