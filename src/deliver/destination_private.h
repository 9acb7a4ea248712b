/* SPDX-License-Identifier: ISC */
/*
 * destination_private: what destination.c (workers and copies) and destination_health.c (when
 * workers may take copies) share. Health of a destination:
 *
 *     HEALTHY --- no worker has a connection, or 3 broke in a row ---> SUSPENDED
 *     SUSPENDED --- the delay is over ---> PROBING (the only worker left tries one copy)
 *     PROBING --- a fault ---> SUSPENDED, for twice as long
 *     any --- a conversation that worked, destination_resume() ---> HEALTHY
 *
 * A worker that gets no connection while other workers deliver only pauses, because a server may
 * limit the number of connections. When the server is down, all workers pause one after the other,
 * and the last one suspends the destination.
 *
 * A connection that breaks while a copy is sent is a fault of the destination or of the copy. If a
 * connection broke with the same copy before, the break says nothing about the destination
 * (suspects.h). A probe prefers a copy that is no suspect.
 */
#ifndef SPLIT_DESTINATION_PRIVATE_H
#define SPLIT_DESTINATION_PRIVATE_H

#include "deliver/delivery.h"
#include "deliver/destination.h"
#include "deliver/flow.h"
#include "deliver/suspects.h"
#include "deliver/transport.h"

#include <pthread.h>

#define DESTINATION_PAUSE_S 10 /* no new connection for so long after a failed one */

enum destination_health { DESTINATION_HEALTHY, DESTINATION_SUSPENDED, DESTINATION_PROBING };

struct destination_worker {
    struct destination *dest;
    struct destination_worker *next; /* guarded by dest->lock */
    struct transport *transport;     /* changed by its worker alone, under dest->lock */
    bool is_ready;                   /* waits for a copy, or is about to */
    bool is_busy;                    /* has a copy */
    bool has_no_connection;          /* its last attempt to connect failed */
    bool is_counted;                 /* its connection is counted as open */

    struct runtime *runtime;
    const struct config_destination *config; /* in that runtime */
    unsigned generation;

    uint32_t random; /* state of destination_random() */
    struct outcome *outcomes;
    size_t outcome_cap;
};

struct destination {
    struct queue *queue;
    struct task_pool *tasks;
    char *name;

    pthread_mutex_t lock; /* guards all below; never held across I/O or calls of the queue */
    struct task_cond changed;
    struct runtime *runtime;
    const struct config_destination *config;
    unsigned generation;                /* number of the configuration */
    struct destination_worker *workers; /* all tasks that are not over yet */
    unsigned worker_count;              /* workers that have not decided to end */
    unsigned ready_count;               /* workers that wait for a copy, or are about to */
    unsigned busy_count;                /* workers with a copy */
    unsigned limited_count;             /* workers that wait for their turn by rate_limit */
    bool is_stopping;

    struct flow flow;
    struct suspects suspects;
    enum destination_health health;
    int64_t suspended_until_ms; /* CLOCK_MONOTONIC, like the next two */
    int64_t paused_until_ms;
    int64_t last_success_ms;
    unsigned suspensions;   /* in a row */
    time_t suspended_since; /* CLOCK_REALTIME of the first of them */
    char suspension_reason[QUEUE_REASON_SIZE];
    unsigned connection_faults; /* in a row */
};

/* A random number for jitter, which spreads the attempts of destinations and copies. It is not safe
 * from guessing, and need not be. */
uint32_t destination_random(struct destination_worker *w) __attribute__((nonnull));

/* With the lock held: wait on `changed`, at most until until_ms (clock_now_ms()). */
void destination_wait(struct destination *dest, int64_t until_ms) __attribute__((nonnull));

/* With the lock held: milliseconds until rate_limit allows the next copy; 0: now. */
int64_t destination_turn_in_ms(const struct destination *dest) __attribute__((nonnull));

/* With the lock held: note whether this worker waits for a copy, or is about to. */
void destination_set_ready(struct destination_worker *w, bool is_ready) __attribute__((nonnull));

/* With the lock held: note that this worker ends. The lock must not be released between the
 * decision to end and this call: otherwise two workers could end, each because the other one
 * stays. */
void destination_end_worker(struct destination_worker *w) __attribute__((nonnull));

/*
 * With the lock held, for a worker that has taken a copy: wait until rate_limit allows to deliver
 * it. *has_waited_out: rate_limit delays the copies, so another worker would not help. False: the
 * copy is to be given back, because the destination stops, or was suspended meanwhile.
 */
bool destination_await_turn(struct destination *dest, bool *has_waited_out)
    __attribute__((nonnull, warn_unused_result));

/* With the lock held: wait until this worker may take a copy. True: the worker is noted as ready,
 * and may take one; false: the worker is to end. */
bool destination_may_work(struct destination_worker *w) __attribute__((nonnull));

/* With the lock held: may a worker deliver the copy that it has just taken? False if the
 * destination was suspended while the worker waited for a copy, or if another worker probes. */
bool destination_may_deliver(const struct destination *dest) __attribute__((nonnull));

/* Update the health of the destination after an attempt with the copy of this id; log a suspension
 * and its end. Takes the lock. */
void destination_update_health(struct destination_worker *w, const char *id,
                               const struct outcome_report *report) __attribute__((nonnull));

/* With the lock held: end a suspension, set the count of faults to 0, and begin anew with few
 * connections (flow_reset()). */
void destination_set_healthy(struct destination *dest) __attribute__((nonnull));

/* Is the destination suspended, and not about to stop? Takes the lock. */
bool destination_is_suspended(struct destination *dest) __attribute__((nonnull));

#endif
