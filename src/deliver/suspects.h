/* SPDX-License-Identifier: ISC */
/*
 * suspects: copies during whose last attempt the connection broke. A server that closes the
 * connection because of the content (some reply 421 to a lone CR, each time) must not be taken for
 * a server that is down. Only the last SUSPECTS_MAX such copies are kept, and in memory alone. A
 * copy that was forgotten can count against the destination once more. The caller has the lock.
 */
#ifndef SPLIT_SUSPECTS_H
#define SPLIT_SUSPECTS_H

#include "queue/queue.h"

#include <stdbool.h>

#define SUSPECTS_MAX 64

/* Plain data; all zero is empty. */
struct suspects {
    char ids[SUSPECTS_MAX][QUEUE_ID_SIZE]; /* "": not used */
    size_t next;                           /* the place of the next id */
};

/* Ask for, add and remove the id of a copy. The places are used in turn, so a new id replaces the
 * one that was added SUSPECTS_MAX ids before. */
bool suspects_has(const struct suspects *s, const char *id) __attribute__((nonnull));
void suspects_add(struct suspects *s, const char *id) __attribute__((nonnull));
void suspects_remove(struct suspects *s, const char *id) __attribute__((nonnull));

#endif
