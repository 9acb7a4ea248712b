/* SPDX-License-Identifier: ISC */
/*
 * suspects: copies during whose last attempt the connection broke. A server that closes the
 * connection because of the content (some reply 421 to a lone CR, each time) must not be taken for
 * a server that is down. Only the last SUSPECTS_MAX such copies are kept, in memory: a copy that is
 * forgotten is merely not suspected. The lock is the caller's.
 */
#ifndef SPLIT_SUSPECTS_H
#define SPLIT_SUSPECTS_H

#include "queue/queue.h"

#include <stdbool.h>

#define SUSPECTS_MAX 64

/* Plain data; all zero is empty. */
struct suspects {
    char ids[SUSPECTS_MAX][QUEUE_ID_SIZE]; /* "": free */
    size_t next;                           /* to be overwritten */
};

/* Ask for, add and remove the id of a copy. Where all places are taken, a new id replaces the
 * one that was added first. */
bool suspects_has(const struct suspects *s, const char *id) __attribute__((nonnull));
void suspects_add(struct suspects *s, const char *id) __attribute__((nonnull));
void suspects_remove(struct suspects *s, const char *id) __attribute__((nonnull));

#endif
