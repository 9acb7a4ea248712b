/* SPDX-License-Identifier: ISC */
/* queue_open: open a queue (queue.h), and get figures of its database. */
#ifndef SPLIT_QUEUE_OPEN_H
#define SPLIT_QUEUE_OPEN_H

#include "base/err.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct queue_options {
    const char *spool_directory; /* borrowed for the call */
    const char *queue;           /* relay.queue (config_queue.h); borrowed for the call */
    const char *node;            /* name of this node at PostgreSQL; borrowed for the call */
    bool must_replicate;         /* refuse a PostgreSQL that does not replicate synchronously */
    uint64_t min_free_space_bytes;
    int64_t history_s;   /* how long a row of the history is kept; 0: there is no history */
    int64_t delay_max_s; /* the longest time for which a copy is deferred; 0: unknown. A copy that
                            is due later than that from now was deferred before the clock was set
                            back, and counts as due */
    time_t (*clock)(void *ctx); /* CLOCK_REALTIME seconds; NULL: the system's */
    void *clock_ctx;
};

/*
 * Open the queue: create what is missing (the spool directory with mode 0700, queue.db, large/),
 * take the lock, and remove messages that a crash left incomplete. Released with ops->close, when
 * no other function runs and all copies and messages have been given back. Returns NULL with `err`
 * if
 *   - another splitrelay has the lock,
 *   - the directory belongs to another user, or other users may write in it,
 *   - copies of version 0.1 are in it (queue_check_old_spool()),
 *   - the database is damaged or of another version,
 *   - with PostgreSQL: another splitrelay has the name of this node, or must_replicate is set and
 *     the database does not replicate.
 */
struct queue *queue_open(const struct queue_options *options, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Change two options of an open queue. */
void queue_reconfigure(struct queue *q, int64_t delay_max_s, int64_t history_s)
    __attribute__((nonnull));

/* Figures of the database, for the metrics. */
struct queue_figures {
    uint64_t database_bytes, free_bytes, log_bytes;
    uint64_t commits;          /* so far */
    double commit_seconds;     /* sum of their times */
    uint64_t commit_slower[8]; /* commits that took longer than 1, 5, 10, 50, 100, 500 ms, 1, 5 s */
    uint64_t unwritten;        /* outcomes that wait, because the database takes nothing */

    bool is_shared;       /* the database is PostgreSQL; the rest is about it */
    bool is_replicated;   /* a synchronous standby has what is committed */
    double standby_lag_s; /* of the synchronous standby that is least behind */
    uint64_t standby_lag_bytes;
    unsigned nodes;       /* number of those that are alive, this one included */
    uint64_t leases_lost; /* copies that another node could take while this one had them */
};
/* Get the figures. Does not wait. */
void queue_get_figures(struct queue *q, struct queue_figures *out) __attribute__((nonnull));

/* Check that the directory has no copies of version 0.1: files in queue/, hold/ or dead/. They can
 * be delivered by splitrelay 0.1 only. A missing directory passes. -1 with `err`. */
int queue_check_old_spool(const char *spool_directory, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
