/* SPDX-License-Identifier: ISC */
/* trace_keys: sets of hashes. Two texts with the same hash of 64 bits are taken for one. One
 * thread. */
#ifndef SPLIT_CTL_TRACE_KEYS_H
#define SPLIT_CTL_TRACE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: an empty set. */
struct trace_keys {
    uint64_t *slots;
    size_t slot_count, count;
};

/* Remove all keys. */
void trace_keys_clear(struct trace_keys *k) __attribute__((nonnull));

/* Add a key. False: it was there. */
bool trace_keys_add(struct trace_keys *k, uint64_t key) __attribute__((nonnull));
bool trace_keys_have(const struct trace_keys *k, uint64_t key) __attribute__((nonnull));

#endif
