/* SPDX-License-Identifier: ISC */
/*
 * slice: a part of a text, without a NUL at its end. A slice is passed by value, and borrows the
 * text. Pure functions; any thread.
 */
#ifndef SPLIT_SLICE_H
#define SPLIT_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *at; /* NULL: absent, and then len is 0 */
    size_t len;
};

/* The arguments for "%.*s". */
#define SLICE(s) (int)(s).len, (s).at == NULL ? "" : (s).at

/* Is the slice equal to the text? An absent slice is not equal to "". */
bool slice_is(struct slice s, const char *text) __attribute__((nonnull));
bool slice_begins(struct slice s, const char *prefix) __attribute__((nonnull));

/* Where the text is in the slice for the first or the last time; NULL: it is not. */
const char *slice_find(struct slice s, const char *text) __attribute__((nonnull));
const char *slice_find_last(struct slice s, const char *text) __attribute__((nonnull));

/* Are two slices equal? An absent one is equal to an empty one. */
bool slice_is_equal(struct slice a, struct slice b);
/* Are both present, and equal without regard to the case of ASCII letters? */
bool slice_is_same(struct slice a, struct slice b);

/* Remove the first n bytes (n <= len). */
void slice_skip(struct slice *s, size_t n) __attribute__((nonnull));
/* What begins at a place in the slice. */
struct slice slice_from(struct slice s, const char *at) __attribute__((nonnull));

/* Hashes for tables in memory (hash_untrusted() in hash.h): of slices that are equal, or the same.
 * Of a slice_hash_same() beyond 1000 bytes only the first ones count. */
uint64_t slice_hash(struct slice s);
uint64_t slice_hash_same(struct slice s);

#endif
