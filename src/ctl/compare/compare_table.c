/* SPDX-License-Identifier: ISC */
#include "ctl/compare/compare_table.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_FIRST 1024

void compare_table_hash(const char *id, size_t len, uint64_t out[2])
{
    struct buf second = {0};

    buf_addc(&second, '\0');
    buf_add(&second, id, len);
    out[0] = hash_untrusted_bytes(id, len);
    out[1] = hash_untrusted_bytes(buf_str(&second), second.len);
    buf_clear(&second);
}

/* The slot of a Message-ID, or the free one where it belongs. */
static uint32_t *slot_of(const struct compare_table *t, const uint64_t id[2])
{
    size_t i = id[0] & (t->slot_count - 1);

    for (; t->slots[i] != 0; i = (i + 1) & (t->slot_count - 1))
        if (memcmp(t->entries[t->slots[i] - 1].id, id, sizeof t->entries->id) == 0)
            break;
    return &t->slots[i];
}

/* Make room for twice the entries; half of the slots stay free. */
static void grow(struct compare_table *t)
{
    t->cap = t->cap == 0 ? ENTRIES_FIRST : t->cap * 2;
    if (t->cap > UINT32_MAX)
        abort(); /* memory ends before */
    t->entries = mem_grow(t->entries, t->cap, sizeof *t->entries);
    free(t->slots);
    t->slot_count = t->cap * 2;
    t->slots = mem_zalloc(t->slot_count * sizeof *t->slots);
    for (size_t i = 0; i < t->count; i++)
        *slot_of(t, t->entries[i].id) = (uint32_t)i + 1;
}

bool compare_table_add(struct compare_table *t, const struct compare_found *f)
{
    uint64_t id[2];

    if (t->count == t->cap)
        grow(t);
    compare_table_hash(f->id, f->id_len, id);
    uint32_t *slot = slot_of(t, id);
    if (*slot == 0) {
        t->entries[t->count] = (struct compare_entry){.id = {id[0], id[1]}};
        *slot = (uint32_t)++t->count;
    }
    struct compare_entry *e = &t->entries[*slot - 1];
    bool is_first = e->seen[f->side] == 0;
    if (is_first)
        e->file[f->side] = f->file;
    e->seen[f->side] |= f->is_flagged ? COMPARE_FLAGGED : COMPARE_PLAIN;
    e->is_in_time = e->is_in_time || f->is_in_time;
    return is_first;
}

bool compare_entry_differs(const struct compare_entry *e, enum compare_side side)
{
    return e->seen[side] == (COMPARE_FLAGGED | COMPARE_PLAIN);
}

enum compare_class compare_entry_class(const struct compare_entry *e)
{
    if (e->seen[COMPARE_A] == 0)
        return COMPARE_MISSING_A;
    if (e->seen[COMPARE_B] == 0)
        return COMPARE_MISSING_B;
    if (compare_entry_differs(e, COMPARE_A) || compare_entry_differs(e, COMPARE_B))
        return COMPARE_DIFFERS;
    if (e->seen[COMPARE_A] == e->seen[COMPARE_B])
        return e->seen[COMPARE_A] == COMPARE_FLAGGED ? COMPARE_BOTH : COMPARE_NEITHER;
    return e->seen[COMPARE_A] == COMPARE_FLAGGED ? COMPARE_ONLY_A : COMPARE_ONLY_B;
}

void compare_table_clear(struct compare_table *t)
{
    free(t->entries);
    free(t->slots);
    memset(t, 0, sizeof *t);
}
