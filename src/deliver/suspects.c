/* SPDX-License-Identifier: ISC */
#include "deliver/suspects.h"

#include <stdio.h>
#include <string.h>

/* The place of the id; SUSPECTS_MAX: there is none. */
static size_t find(const struct suspects *s, const char *id)
{
    size_t i = 0;

    while (i < SUSPECTS_MAX && strcmp(s->ids[i], id) != 0)
        i++;
    return i;
}

bool suspects_has(const struct suspects *s, const char *id)
{
    return id[0] != '\0' && find(s, id) < SUSPECTS_MAX;
}

void suspects_add(struct suspects *s, const char *id)
{
    if (find(s, id) < SUSPECTS_MAX)
        return;
    snprintf(s->ids[s->next], QUEUE_ID_SIZE, "%s", id);
    s->next = (s->next + 1) % SUSPECTS_MAX;
}

void suspects_remove(struct suspects *s, const char *id)
{
    size_t i = find(s, id);

    if (i < SUSPECTS_MAX)
        s->ids[i][0] = '\0';
}
