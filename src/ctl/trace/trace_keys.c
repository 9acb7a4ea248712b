/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_keys.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void trace_keys_clear(struct trace_keys *k)
{
    free(k->slots);
    memset(k, 0, sizeof *k);
}

/* The slot of a key, or the free one where it belongs. 0 marks free slots; the key 0 is 1. */
static uint64_t *slot_of(uint64_t *slots, size_t slot_count, uint64_t key)
{
    size_t i = key & (slot_count - 1);

    while (slots[i] != 0 && slots[i] != key)
        i = (i + 1) & (slot_count - 1);
    return &slots[i];
}

static void grow(struct trace_keys *k)
{
    size_t slot_count = k->slot_count == 0 ? 256 : k->slot_count * 2;
    uint64_t *slots = mem_zalloc(slot_count * sizeof *slots);

    for (size_t i = 0; i < k->slot_count; i++)
        if (k->slots[i] != 0)
            *slot_of(slots, slot_count, k->slots[i]) = k->slots[i];
    free(k->slots);
    k->slots = slots;
    k->slot_count = slot_count;
}

bool trace_keys_add(struct trace_keys *k, uint64_t key)
{
    key = key == 0 ? 1 : key;
    if (k->count >= k->slot_count / 2)
        grow(k);
    uint64_t *slot = slot_of(k->slots, k->slot_count, key);
    if (*slot == key)
        return false;
    *slot = key;
    k->count++;
    return true;
}

bool trace_keys_have(const struct trace_keys *k, uint64_t key)
{
    return k->count > 0 && *slot_of(k->slots, k->slot_count, key == 0 ? 1 : key) != 0;
}
