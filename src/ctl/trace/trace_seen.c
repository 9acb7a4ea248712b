/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_seen.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>

/* A hash table of keys; 0 is no key. */
struct trace_seen {
    uint64_t *slots;
    size_t slot_count, count;
};

struct trace_seen *trace_seen_new(void)
{
    return mem_zalloc(sizeof(struct trace_seen));
}

void trace_seen_free(struct trace_seen *f)
{
    if (f != NULL)
        free(f->slots);
    free(f);
}

/* Add the key. False: it was there. */
static bool add(uint64_t *slots, size_t slot_count, uint64_t key)
{
    size_t i = key & (slot_count - 1);

    for (; slots[i] != 0; i = (i + 1) & (slot_count - 1))
        if (slots[i] == key)
            return false;
    slots[i] = key;
    return true;
}

static void grow(struct trace_seen *f)
{
    size_t slot_count = f->slot_count == 0 ? 256 : f->slot_count * 2;
    uint64_t *slots = mem_zalloc(slot_count * sizeof *slots);

    for (size_t i = 0; i < f->slot_count; i++)
        if (f->slots[i] != 0)
            (void)add(slots, slot_count, f->slots[i]);
    free(f->slots);
    f->slots = slots;
    f->slot_count = slot_count;
}

bool trace_seen_is_new(struct trace_seen *f, uint32_t serial, const char *recipient)
{
    uint64_t key = hash_untrusted(recipient) ^ (serial * UINT64_C(0x9e3779b97f4a7c15));

    if (f->count >= f->slot_count / 2)
        grow(f);
    if (!add(f->slots, f->slot_count, key == 0 ? 1 : key))
        return false;
    f->count++;
    return true;
}
