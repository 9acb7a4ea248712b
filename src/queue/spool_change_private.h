/* SPDX-License-Identifier: ISC */
/* spool_change_private: between spool_change.c (which copies) and spool_change_batch.c (what is
 * done with them). Nobody else includes it. */
#ifndef SPLIT_SPOOL_CHANGE_PRIVATE_H
#define SPLIT_SPOOL_CHANGE_PRIVATE_H

#include "queue/spool_queue_private.h"

#define SPOOL_BATCH 128
#define SPOOL_BATCH_ANEW 16 /* of copies that are written anew */

/* One call of queue_ops.change. */
struct spool_work {
    struct spool_queue *q;
    const struct queue_change *change;
    struct spool_order order;
    unsigned places;
    bool is_moving; /* a copy was left alone since a worker is just moving it */
    struct queue_changed *sum;
    struct err *err;
};

/* Copies of one place. */
struct spool_batch {
    struct spool_destination *d;
    struct spool_place from, to; /* to: where the action moves copies */
    size_t count;
    struct spool_item items[SPOOL_BATCH];
    struct spool_node *nodes[SPOOL_BATCH];  /* claimed or reserved for the copy; NULL: none */
    struct spool_copy *parked[SPOOL_BATCH]; /* what memory knows better than the disk */
};

/* Are the copies written anew, for another destination? */
bool spool_change_is_anew(const struct spool_order *order);

/* Work on count items of d's place `from`, whose ids are set, and add to w->sum. */
void spool_change_batch(struct spool_work *w, struct spool_batch *b);

#endif
