/* SPDX-License-Identifier: ISC */
/* queue_open: the queue on a database (queue.h). */
#ifndef SPLIT_QUEUE_OPEN_H
#define SPLIT_QUEUE_OPEN_H

#include "base/err.h"
#include "queue/queue.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct queue_options {
    const char *spool_directory; /* borrowed for the call */
    const char *queue;           /* "sqlite" */
    uint64_t min_free_space_bytes;
    int64_t history_s;   /* how long the history keeps what became of a copy; 0: no history */
    int64_t delay_max_s; /* no copy is deferred for longer; 0: unknown. What is due later was
                            deferred before the clock was set back: it is due now */
    time_t (*clock)(void *ctx); /* CLOCK_REALTIME seconds; NULL: the system's */
    void *clock_ctx;
};

/*
 * Create what is missing (spool directory of mode 0700, queue.db, large/), take the lock, remove
 * what a crash left half done. NULL with `err`: another splitrelay has the spool; the directory
 * belongs to another user or others may write in it; a spool of version 0.1 is there (`queue/`,
 * `hold/` or `dead/` with files in it: it is to be drained by splitrelay 0.1); the database is
 * damaged or of another version. Released with ops->close, when no other function is running any
 * more and every copy and message was given back.
 */
struct queue *queue_open(const struct queue_options *options, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Other values from now on. q is one that queue_open() made. */
void queue_reconfigure(struct queue *q, int64_t delay_max_s, int64_t history_s)
    __attribute__((nonnull));

/* Figures of the database, for the metrics. */
struct queue_figures {
    uint64_t database_bytes, free_bytes, log_bytes;
    uint64_t commits;          /* so far */
    double commit_seconds;     /* spent in them */
    uint64_t commit_slower[8]; /* commits that took longer than 1, 5, 10, 50, 100, 500 ms, 1, 5 s */
    uint64_t unwritten;        /* outcomes that wait, because the database takes nothing */
};
void queue_get_figures(struct queue *q, struct queue_figures *out) __attribute__((nonnull));

/* -1 with `err`: copies of version 0.1 are in the directory (files in queue/, hold/ or dead/), or
 * it cannot be read. One that is not there passes. */
int queue_check_old_spool(const char *spool_directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
