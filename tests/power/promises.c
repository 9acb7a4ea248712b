/* SPDX-License-Identifier: ISC */
#include "promises.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct promise *promises_find(struct promises *p, const char *id)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].id, id) == 0)
            return &p->items[i];
    return NULL;
}

void promises_take(struct promises *p, const char *mark, size_t len)
{
    struct promise now = {.recipient_count = 0};
    char states[80];
    char *rest = states, *one;

    snprintf(p->last_note, sizeof p->last_note, "%.*s", (int)len, mark);
    if (strncmp(p->last_note, "copy ", 5) != 0)
        return;
    if (sscanf(p->last_note, "copy %23s %31s %zu %191s %7s %79s", now.id, now.tag, &now.size,
               now.destinations, now.places, states) != 6) {
        fprintf(stderr, "promises: not a mark: %s\n", p->last_note);
        exit(70);
    }
    while ((one = strsep(&rest, ",")) != NULL && now.recipient_count < PROMISE_RECIPIENTS_MAX)
        snprintf(now.states[now.recipient_count++], sizeof now.states[0], "%.7s", one);
    struct promise *old = promises_find(p, now.id);
    if (old == NULL) {
        if (p->count == p->size) {
            p->size = p->size * 2 + 16;
            p->items = mem_grow(p->items, p->size, sizeof *p->items);
        }
        old = &p->items[p->count++];
    }
    *old = now;
    p->version++;
}

void promises_clear(struct promises *p)
{
    p->count = 0;
    p->version = 0;
    p->last_note[0] = '\0';
}
