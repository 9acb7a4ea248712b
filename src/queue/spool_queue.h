/* SPDX-License-Identifier: ISC */
/*
 * spool_queue: queue.h on a spool directory. Knows which copy is next; the files are spool.c's.
 *
 * Per destination only a bounded window of ready copies is in memory; what does not fit in is found
 * on disk when the window runs low, oldest directory first. Memory does not grow with the number of
 * copies queued, opening does not look at them, and what an administrator moves into a queue by
 * hand is found within SPOOL_QUEUE_PASS_S seconds. No lock is held during I/O.
 *
 * The clock may be set: a copy that is due later than it can have been deferred to is due.
 *
 * Local faults: a copy that cannot be read, marked or moved stays where it is, is put aside in
 * memory together with what is known of its recipients, and tried again. It is logged once per
 * fault. With very many of them the destination stops, rather than sending what it cannot remove.
 */
#ifndef SPLIT_SPOOL_QUEUE_H
#define SPLIT_SPOOL_QUEUE_H

#include "base/err.h"
#include "queue/queue.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SPOOL_QUEUE_WINDOW 1000 /* default of window */
#define SPOOL_QUEUE_PASS_S 300

struct spool_queue_options {
    const char *directory; /* borrowed for the call */
    uint64_t min_free_space_bytes;
    int64_t delay_max_s;        /* no copy is deferred for longer; 0: unknown. What is due later was
                                   deferred before the clock was set back */
    size_t window;              /* ready copies in memory per destination; 0: the default */
    time_t (*clock)(void *ctx); /* CLOCK_REALTIME seconds; NULL: the system's */
    void *clock_ctx;
};

/* NULL with `err`, also when another splitrelay has the spool. Released with ops->close, when no
 * other function is running any more and every copy and message was given back. */
struct queue *spool_queue_open(const struct spool_queue_options *options, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Another delay_max_s from now on. q is one that spool_queue_open() made. */
void spool_queue_set_delay_max(struct queue *q, int64_t delay_max_s) __attribute__((nonnull));

#endif
