/* SPDX-License-Identifier: ISC */
/*
 * spool_depth: how much waits in a spool, told from names and sizes alone: no file is opened, no
 * lock is needed, nothing is changed. Works beside a running splitrelay and without one. One thread
 * at a time for each object.
 *
 * A directory that has not changed since it was counted last is not read again: what is remembered
 * is a few numbers for each directory, never anything for each copy.
 */
#ifndef SPLIT_SPOOL_DEPTH_H
#define SPLIT_SPOOL_DEPTH_H

#include "base/err.h"
#include "queue/queue.h"

#include <stdatomic.h>
#include <time.h>

struct spool_depth;

/* What is kept from one count to the next. spool_depth_free(NULL) is legal. */
struct spool_depth *spool_depth_new(void) __attribute__((returns_nonnull, warn_unused_result));
void spool_depth_free(struct spool_depth *d);

/* Count what is below root_fd (the spool directory); `now` tells due from deferred. 0: out->items
 * is to free(). -1 with `err`, also when *stop becomes true (NULL: it does not). */
int spool_depth_read(struct spool_depth *d, int root_fd, time_t now, const atomic_bool *stop,
                     struct queue_depths *out, struct err *err)
    __attribute__((nonnull(1, 5, 6), warn_unused_result));

/* Add b to a. */
void spool_depth_add(struct queue_amount *a, const struct queue_amount *b) __attribute__((nonnull));

#endif
