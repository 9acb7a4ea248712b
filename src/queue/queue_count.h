/* SPDX-License-Identifier: ISC */
/*
 * queue_count: the amounts of copies of all destinations. They are counted in steps: short read
 * transactions, so that the writer's checkpoints do not have to wait. All functions block.
 */
#ifndef SPLIT_QUEUE_COUNT_H
#define SPLIT_QUEUE_COUNT_H

#include "base/err.h"
#include "queue/db.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <time.h>

#define QUEUE_COUNT_STEP 5000 /* copies in one step, which takes some milliseconds */

/* Count all copies. now: copies that are due later count as deferred. go_on (NULL: not called) is
 * called between two steps; false stops the counting, and *out is empty then. The caller frees
 * out->items. -1 with `err`. */
int queue_count(struct db *db, time_t now, bool (*go_on)(void *ctx), void *ctx,
                struct queue_depths *out, struct err *err)
    __attribute__((nonnull(1, 5, 6), warn_unused_result));

/* Find the end of a step: *last_out is the highest id of the next `count` copies after `after`. 0:
 * there are no more copies. */
enum db_status queue_count_step(struct db *db, int64_t after, int64_t count, int64_t *last_out,
                                struct err *err) __attribute__((nonnull, warn_unused_result));

/* Read all suspensions, as queue_ops.suspensions. */
enum db_status queue_count_suspended(struct db *db, struct queue_suspension **out,
                                     size_t *count_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Add *a to *sum. sum->oldest becomes the earlier one of the two. */
void queue_amount_add(struct queue_amount *sum, const struct queue_amount *a)
    __attribute__((nonnull));

#endif
