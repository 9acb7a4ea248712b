/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_pool.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE (64U << 10)

/* Copy a text, with a NUL behind it. */
static const char *keep(struct trace_pool *p, const char *text, size_t len)
{
    if (p->block_count == 0 || p->used + len + 1 > p->size) {
        p->blocks = mem_grow(p->blocks, p->block_count + 1, sizeof *p->blocks);
        p->size = len + 1 > BLOCK_SIZE ? len + 1 : BLOCK_SIZE;
        p->blocks[p->block_count++] = mem_grow(NULL, p->size, 1);
        p->used = 0;
        p->bytes += p->size;
    }
    char *at = p->blocks[p->block_count - 1] + p->used;
    memcpy(at, text, len);
    at[len] = '\0';
    p->used += len + 1;
    return at;
}

void trace_pool_add(struct trace_pool *p, const struct trace_event *e)
{
    if (p->count == p->cap) {
        uint32_t more = p->cap < 512 ? 512 : p->cap / 2;
        p->cap += more;
        p->bytes += more * sizeof *p->events;
        p->events = mem_grow(p->events, p->cap, sizeof *p->events);
    }
    p->events[p->count] = *e;
    p->events[p->count++].text = keep(p, e->text, e->len);
}

void trace_pool_clear(struct trace_pool *p)
{
    for (size_t i = 0; i < p->block_count; i++)
        free(p->blocks[i]);
    free(p->blocks);
    free(p->events);
    memset(p, 0, sizeof *p);
}
