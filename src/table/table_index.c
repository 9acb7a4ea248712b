/* SPDX-License-Identifier: ISC */
#include "table/table_private.h"
#include "base/casefold.h"
#include "base/mem.h"
#include "base/ascii.h"
#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* entry: 0 for an empty slot, else the entry's number + 1. tag: a part of the key's hash; the texts
 * of keys are compared only where the tags are equal. */
struct table_slot {
    uint32_t tag;
    uint32_t entry;
};

void table_index_init(struct table_index *ix, char *block, size_t capacity)
{
    memset(ix, 0, sizeof *ix);
    ix->block = block;
    ix->cap = capacity;
    ix->entries = mem_grow(NULL, capacity, sizeof ix->entries[0]);
    ix->slot_count = capacity + capacity / 2 + 2;
    ix->slots = mem_zalloc(ix->slot_count * sizeof ix->slots[0]);
}

void table_index_clear(struct table_index *ix)
{
    free(ix->block);
    free(ix->entries);
    free(ix->slots);
    memset(ix, 0, sizeof *ix);
}

static bool is_ascii(const char *text)
{
    while (*text != '\0' && ((unsigned char)*text & 0x80) == 0)
        text++;
    return *text == '\0';
}

/* Is the key in the block the same as the folded key? In the block only ASCII letters are folded,
 * because other letters may become longer. */
static bool is_key(const char *in_block, const char *folded)
{
    struct buf whole = {0};

    if (is_ascii(in_block))
        return strcmp(in_block, folded) == 0;
    casefold_add(&whole, in_block, strlen(in_block));
    bool is_same = strcmp(buf_str(&whole), folded) == 0;
    buf_clear(&whole);
    return is_same;
}

/* The slot of the folded key, or the empty slot where it would be added. */
static struct table_slot *find_slot(const struct table_index *ix, const char *key, uint64_t hash)
{
    uint32_t tag = (uint32_t)hash;
    size_t at = (size_t)((hash >> 32) * ix->slot_count >> 32);

    for (;;) {
        struct table_slot *slot = &ix->slots[at];
        if (slot->entry == 0)
            return slot;
        if (slot->tag == tag && is_key(ix->block + ix->entries[slot->entry - 1].at, key))
            return slot;
        at = at + 1 == ix->slot_count ? 0 : at + 1;
    }
}

struct table_entry *table_index_add(struct table_index *ix, size_t at, unsigned line)
{
    char *key = ix->block + at;

    for (char *p = key; *p != '\0'; p++)
        *p = ascii_to_lower(*p);
    struct buf folded = {0};
    if (!is_ascii(key))
        casefold_add(&folded, key, strlen(key));
    const char *wanted = folded.len > 0 ? buf_str(&folded) : key;
    uint64_t hash = hash_string(wanted);
    struct table_slot *slot = find_slot(ix, wanted, hash);
    buf_clear(&folded);
    if (slot->entry != 0)
        return &ix->entries[slot->entry - 1];
    assert(ix->count < ix->cap);
    ix->entries[ix->count++] = (struct table_entry){(uint32_t)at, line};
    *slot = (struct table_slot){(uint32_t)hash, (uint32_t)ix->count};
    return NULL;
}

void table_index_shrink(struct table_index *ix)
{
    ix->entries = mem_grow(ix->entries, ix->count, sizeof ix->entries[0]);
    ix->cap = ix->count;
}

const struct table_entry *table_index_find(const struct table_index *ix, const char *key)
{
    const struct table_slot *slot = find_slot(ix, key, hash_string(key));

    return slot->entry == 0 ? NULL : &ix->entries[slot->entry - 1];
}

const char *table_index_key(const struct table_index *ix, const struct table_entry *e)
{
    return ix->block + e->at;
}

const char *table_index_value(const struct table_index *ix, const struct table_entry *e)
{
    const char *value = ix->block + e->at;

    value += strlen(value) + 1;
    while (table_is_space(*value))
        value++;
    return value;
}

enum table_result table_index_lookup(const struct table_index *ix, const char *key,
                                     struct table_match *m)
{
    const struct table_entry *e = table_index_find(ix, key);

    if (e == NULL)
        return TABLE_NOT_FOUND;
    buf_reset(&m->value);
    buf_adds(&m->value, table_index_value(ix, e));
    buf_reset(&m->key);
    buf_adds(&m->key, key);
    m->line = e->line;
    return TABLE_FOUND;
}

int table_index_each(const struct table_index *ix,
                     int (*fn)(const char *key, const char *value, unsigned line, void *ctx),
                     void *ctx)
{
    int rc = 0;

    for (size_t i = 0; i < ix->count && rc == 0; i++) {
        const struct table_entry *e = &ix->entries[i];
        rc = fn(table_index_key(ix, e), table_index_value(ix, e), e->line, ctx);
    }
    return rc;
}
