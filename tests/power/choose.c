/* SPDX-License-Identifier: ISC */
#include "choose.h"

#include <string.h>

static uint64_t roll(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15U;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

static uint64_t below(uint64_t *seed, uint64_t limit)
{
    return roll(seed) % limit;
}

/* A write that is there in part. Nothing else can be. */
static struct disk_choice tear(const struct disk_entry *e, uint64_t *seed)
{
    uint64_t unit = below(seed, 2) == 0 ? DISK_SECTOR : 8 * DISK_SECTOR;
    uint64_t first = e->offset / unit + 1, last = (e->offset + e->len - 1) / unit;
    struct disk_choice choice = {.fate = DISK_MISSING};

    if (e->type != RECORD_WRITE)
        return choice;
    if (below(seed, 4) == 0) {
        choice.fate = DISK_ZERO;
    } else if (first <= last) {
        choice.fate = below(seed, 2) == 0 ? DISK_HEAD : DISK_TAIL;
        choice.cut = (first + below(seed, last - first + 1)) * unit;
    }
    return choice;
}

static void set_all(struct disk_choice *out, size_t count, enum disk_fate fate)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (struct disk_choice){.fate = fate};
}

/* One of them is other than the rest. */
static void choose_one(const struct disk_change *changes, size_t count, enum disk_fate rest,
                       uint64_t *seed, struct disk_choice *out)
{
    size_t one = below(seed, count);

    /* There are many of those bytes with which SQLite makes a file larger. */
    for (int i = 0;
         i < 8 && changes[one].entry->type == RECORD_WRITE && changes[one].entry->len == 1; i++)
        one = below(seed, count);
    set_all(out, count, rest);
    if (below(seed, 2) == 0)
        out[one] = tear(changes[one].entry, seed);
    else
        out[one].fate = rest == DISK_THERE ? DISK_MISSING : DISK_THERE;
}

static void choose_any(const struct disk_change *changes, size_t count, uint64_t *seed,
                       struct disk_choice *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = (struct disk_choice){.fate = below(seed, 2) == 0 ? DISK_THERE : DISK_MISSING};
        if (below(seed, 8) == 0)
            out[i] = tear(changes[i].entry, seed);
    }
}

/* The changes of one file or directory. */
static void choose_in_object(const struct disk_change *changes, size_t count, uint64_t *seed,
                             struct disk_choice *out)
{
    size_t first;

    switch (below(seed, 7)) {
    case 0:
    case 1:
        set_all(out, count, DISK_THERE);
        return;
    case 2:
        set_all(out, count, DISK_MISSING);
        return;
    case 3: /* the first ones */
        first = below(seed, count + 1);
        set_all(out, first, DISK_THERE);
        set_all(out + first, count - first, DISK_MISSING);
        if (first < count && below(seed, 2) == 0)
            out[first] = tear(changes[first].entry, seed);
        return;
    case 4:
        choose_one(changes, count, DISK_THERE, seed, out);
        return;
    case 5:
        choose_one(changes, count, DISK_MISSING, seed, out);
        return;
    default:
        choose_any(changes, count, seed, out);
    }
}

void choose(const struct disk_change *changes, size_t count, uint64_t seed, uint64_t place,
            uint64_t round, struct disk_choice *out)
{
    size_t end;

    if (count == 0)
        return;
    seed ^= place * 0xd1342543de82ef95U ^ round * 0xaf251af3b0f025b5U;
    set_all(out, count, round == 0 ? DISK_THERE : DISK_MISSING);
    if (round < 2)
        return;
    switch (below(&seed, 4)) {
    case 0:
        choose_one(changes, count, DISK_THERE, &seed, out);
        return;
    case 1:
        choose_one(changes, count, DISK_MISSING, &seed, out);
        return;
    default:
        break;
    }
    for (size_t begin = 0; begin < count; begin = end) {
        end = begin + 1;
        while (end < count && changes[end].object == changes[begin].object)
            end++;
        choose_in_object(changes + begin, end - begin, &seed, out + begin);
    }
}
