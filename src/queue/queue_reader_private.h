/* SPDX-License-Identifier: ISC */
/* queue_reader_private: the declarations that the files of queue_reader share. No file outside of
 * this folder includes it. */
#ifndef SPLIT_QUEUE_READER_PRIVATE_H
#define SPLIT_QUEUE_READER_PRIVATE_H

#include "queue/db.h"
#include "queue/large.h"
#include "queue/queue_reader.h"

struct queue_reader {
    struct db *db;       /* NULL: there is no database yet, or it has no tables */
    struct db *bare;     /* a connection to a PostgreSQL that has no tables; otherwise NULL */
    struct large *large; /* NULL: not opened yet, or not there */
    char *spool_directory;
    uint64_t total; /* of copies, for the progress; 0: not counted yet */
    bool is_watched;
    int64_t step;     /* number of rows of the present step */
    int64_t position; /* queue_reader_position() */
};

/* Reading goes by steps, each of which is a transaction. Set the size of the first step; change the
 * size after a step that began at began_ms (CLOCK_MONOTONIC). Only a reader that is watched has
 * steps of different sizes. */
void queue_reader_begin_steps(struct queue_reader *r) __attribute__((nonnull));
void queue_reader_end_step(struct queue_reader *r, int64_t began_ms) __attribute__((nonnull));

/* Return the directory of large contents. The first call opens it. NULL with `err`. */
struct large *queue_reader_large(struct queue_reader *r, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Call progress, unless it is NULL. False: stop. */
bool queue_reader_tell(struct queue_reader *r, queue_reader_progress *progress, void *ctx,
                       uint64_t looked_at) __attribute__((nonnull(1)));

#endif
