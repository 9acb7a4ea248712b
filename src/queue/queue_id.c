/* SPDX-License-Identifier: ISC */
#include "queue/queue_id.h"

#include "base/ascii.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define UNIT_US 16
#define TIME_SHIFT 15
#define NODE_SHIFT 9

void queue_id_source_init(struct queue_id_source *s, unsigned node, int64_t last)
{
    /* A `last` that was written by hand, and leaves no room for later ids, is ignored. */
    const int64_t room = (int64_t)1 << 40;

    s->node = node;
    atomic_init(&s->last,
                last >> TIME_SHIFT > (INT64_MAX >> TIME_SHIFT) - room ? 0 : last >> TIME_SHIFT);
}

int64_t queue_id_next(struct queue_id_source *s)
{
    int64_t now = clock_realtime_us() / UNIT_US;
    int64_t last = atomic_load(&s->last);
    int64_t next;

    do {
        next = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak(&s->last, &last, next));
    return next << TIME_SHIFT | (int64_t)s->node << NODE_SHIFT;
}

int64_t queue_id_message(int64_t copy)
{
    return copy & ~(int64_t)QUEUE_ID_COPIES_MAX;
}

void queue_id_format(int64_t id, char out[QUEUE_ID_SIZE])
{
    snprintf(out, QUEUE_ID_SIZE, "%" PRIX64, (uint64_t)id);
}

bool queue_id_parse(const char *text, int64_t *out)
{
    uint64_t id = 0;
    size_t len = strlen(text);

    if (len == 0 || len > 16 || text[0] == '0')
        return false;
    for (size_t i = 0; i < len; i++) {
        int digit = ascii_hex_value(text[i]);
        if (digit < 0)
            return false;
        id = id << 4 | (unsigned)digit;
    }
    if (id > INT64_MAX)
        return false;
    *out = (int64_t)id;
    return true;
}

bool queue_destination_is_valid(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return len > 0 && len < QUEUE_DESTINATION_SIZE && name[len] == '\0';
}
