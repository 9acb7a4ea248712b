/* SPDX-License-Identifier: ISC */
/*
 * compare_table: the messages of two sides, joined by their Message-IDs, with what each side says
 * of them. A message takes a fixed amount of memory, whatever is in it: its Message-ID is kept as a
 * hash of 128 bits whose key is chosen at random, so that a sender can neither find two Message-IDs
 * with the same hash nor fill one slot. One thread.
 */
#ifndef SPLIT_CTL_COMPARE_TABLE_H
#define SPLIT_CTL_COMPARE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum compare_side { COMPARE_A, COMPARE_B, COMPARE_SIDES };

enum compare_class {
    COMPARE_BOTH,      /* both sides have flagged the message */
    COMPARE_NEITHER,   /* neither has */
    COMPARE_ONLY_A,    /* A alone has */
    COMPARE_ONLY_B,    /* B alone has */
    COMPARE_DIFFERS,   /* a side has the message several times, flagged and not flagged */
    COMPARE_MISSING_B, /* only A has the message */
    COMPARE_MISSING_A, /* only B has the message */
    COMPARE_CLASSES
};

struct compare_entry {
    uint64_t id[2];               /* hash of the Message-ID */
    uint64_t file[COMPARE_SIDES]; /* key of the first file of each side (compare_maildir.h) */
    uint8_t seen[COMPARE_SIDES];  /* COMPARE_FLAGGED, COMPARE_PLAIN or both; 0: not there */
    bool is_in_time;              /* a file of it is of the time that is looked at */
};
#define COMPARE_FLAGGED 1U
#define COMPARE_PLAIN 2U

/* All zero: empty. */
struct compare_table {
    struct compare_entry *entries;
    size_t count, cap;
    uint32_t *slots; /* index of an entry + 1; 0: free */
    size_t slot_count;
};

/* A file with a message. */
struct compare_found {
    enum compare_side side;
    const char *id; /* the Message-ID, id_len bytes */
    size_t id_len;
    uint64_t file;
    bool is_flagged, is_in_time;
};

/* Hash a Message-ID as compare_entry.id. */
void compare_table_hash(const char *id, size_t len, uint64_t out[2]) __attribute__((nonnull));

/* Add a file. False: its side has had a file with this Message-ID before. */
bool compare_table_add(struct compare_table *t, const struct compare_found *f)
    __attribute__((nonnull));

/* Has the side the message both flagged and not flagged? */
bool compare_entry_differs(const struct compare_entry *e, enum compare_side side)
    __attribute__((nonnull));
enum compare_class compare_entry_class(const struct compare_entry *e) __attribute__((nonnull));

/* Free what the table owns. */
void compare_table_clear(struct compare_table *t) __attribute__((nonnull));

#endif
