/* SPDX-License-Identifier: ISC */
/*
 * destination: the workers of one destination, which are tasks, and its health. Each worker takes
 * copies from the queue and delivers them over its own connection; there are as many workers as
 * there is work for, up to `concurrency`, but at least one, which waits for copies. A destination
 * that does not answer is suspended as a whole, for a delay that doubles each time (retry_min to
 * retry_max), and then probed by one connection at a time. Other destinations are not affected.
 */
#ifndef SPLIT_DESTINATION_H
#define SPLIT_DESTINATION_H

#include "smtp/runtime.h"
#include "task/task.h"
#include "queue/queue.h"

struct destination;

/* Start working on the queue of d (found in the runtime's configuration; a reference to the
 * runtime is taken). NULL with `err`: there is no memory for a worker's stack. */
struct destination *destination_start(struct queue *q, struct task_pool *tasks,
                                      struct runtime *runtime, const struct config_destination *d,
                                      struct err *err) __attribute__((nonnull, warn_unused_result));

/* Use a new configuration for this destination (reload): connections that are opened from now on
 * use it. Ends a suspension. */
void destination_reconfigure(struct destination *dest, struct runtime *runtime,
                             const struct config_destination *d) __attribute__((nonnull));

/* End a suspension now (splitctl retry). */
void destination_resume(struct destination *dest) __attribute__((nonnull));

/* The suspension of a destination. Times are CLOCK_REALTIME seconds. */
struct destination_suspension {
    /* since 0: the destination is not suspended; until: the time of the next attempt, maybe now */
    time_t since, until;
    char reason[QUEUE_REASON_SIZE]; /* of the last fault; printable */
};
/* Fill *out with the present suspension. */
void destination_suspension(struct destination *dest, struct destination_suspension *out)
    __attribute__((nonnull));

/* The name of the destination's section; valid as long as dest. */
const char *destination_name(const struct destination *dest) __attribute__((nonnull));

/* Begin to stop: no new copies are taken. */
void destination_stop(struct destination *dest) __attribute__((nonnull));

/* Wait for the copies in flight, at most grace_ms, then cut the connections; release everything.
 * (In a build without c-ares it can take longer, if a resolver does not answer.) */
void destination_join(struct destination *dest, unsigned grace_ms) __attribute__((nonnull));

#endif
