/* SPDX-License-Identifier: ISC */
/* spool_queue_private: shared by spool_queue.c (putting, taking), spool_return.c (giving back),
 * spool_pass.c (what is on disk), spool_change.c and spool_retry.c (what administrators want).
 * Nobody else includes it. */
#ifndef SPLIT_SPOOL_QUEUE_PRIVATE_H
#define SPLIT_SPOOL_QUEUE_PRIVATE_H

#include "task/task.h"
#include "queue/spool_depth.h"
#include "queue/spool_queue.h"
#include "queue/spool_window.h"

#include <pthread.h>
#include <stdatomic.h>

#define ASIDE_S 60      /* until a copy is looked at again after a local fault */
#define ASIDE_MAX 1000  /* then the destination stops */
#define SPOOL_WARM_S 60 /* a file that was written or looked at stays in memory for so long */
#define FAULT_LOG_S 60  /* between two log lines about directories that cannot be read */

/* Reading the disk from the oldest directory on to what is due now. Its fields belong to whoever
 * set is_scanning. */
struct spool_pass {
    bool is_active;
    struct spool_due *due; /* directories, and the one at hand */
    size_t count, at;
    struct spool_scan *scan;
};

struct spool_destination {
    struct spool_destination *next;
    char name[SPOOL_DESTINATION_MAX + 1];
    pthread_mutex_t lock; /* all below */
    struct task_cond changed;
    struct spool_window window;
    bool has_more; /* there may be due copies on disk that are not known and that the present pass
                      may miss */
    bool is_scanning; /* a worker is at the pass, without the lock */
    struct spool_pass pass;
    time_t pass_at;      /* time for another pass in any case: the first deferred copies become due,
                            or SPOOL_QUEUE_PASS_S is over */
    time_t fault_log_at; /* no log line about faults of a pass before this */
    const struct spool_order *order; /* for all that are taken while a change of all goes on */
    uint64_t ordered;                /* how many got it */
    unsigned wakes;
};

/* Who counts the copies, and what came of it last: spool_sample.c. */
struct spool_sampler {
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread, is_wanted, has_last;
    atomic_bool is_stopping;
    struct queue_depths last;
    struct err fault; /* "" or why the last attempt failed */
    uint64_t serial;  /* attempts that ended */
    int64_t made_ms, cost_ms;
};

struct spool_queue {
    struct queue base; /* first */
    struct spool *spool;
    struct spool_queue_options options;
    _Atomic int64_t delay_max_s; /* in place of the one in options */
    pthread_mutex_t lock;        /* the list; destinations are never removed before close */
    struct spool_destination *destinations;
    pthread_mutex_t all_lock;  /* one change or retry of all at a time; before the next */
    pthread_mutex_t move_lock; /* changes and retries do not move what another one is moving */
    struct spool_sampler sampler;
};

/* The time of day in seconds, by the clock of the options. */
time_t spool_queue_now(const struct spool_queue *q);

/* The minute in which new copies are due. */
struct spool_due spool_queue_minute(const struct spool_queue *q);

/* Made when it is not there. */
struct spool_destination *spool_queue_destination(struct spool_queue *q, const char *name);

/* Committed, or moved there: have it handed out. */
void spool_queue_make_known(struct spool_queue *q, const char *destination, const char *id,
                            const struct spool_due *due);

/* Take all_lock; waits a few seconds for it. -1 with `err`. */
int spool_queue_lock_all(struct spool_queue *q, struct err *err);

/* Forget a node; if a pass saw the copy elsewhere, another pass is to find it there. With the lock.
 */
void spool_queue_forget(struct spool_destination *d, struct spool_node *node);

/* --- spool_pass.c --- */

/* Is it worth the while to read on? With the lock. */
bool spool_pass_is_wanted(const struct spool_queue *q, const struct spool_destination *d);

/* Read a bit. Called and returns with the lock; does its I/O without it. */
void spool_pass_step(struct spool_queue *q, struct spool_destination *d);

/* Close what it reads and free what it owns. */
void spool_pass_clear(struct spool_pass *p);

/* --- spool_return.c: the ops done, later, dead, release --- */

/* queue_ops.done, later, dead, release. */
void spool_return_done(struct queue *base, struct queue_copy *c);
void spool_return_later(struct queue *base, struct queue_copy *c, time_t when);
void spool_return_dead(struct queue *base, struct queue_copy *c);
void spool_return_release(struct queue *base, struct queue_copy *c);

/* Is a recipient of the copy still to be delivered? */
bool spool_return_has_pending(const struct queue_copy *c);

/* --- spool_sample.c: the op depths --- */

/* The sampler that counts for spool_sample_depths(), which is queue_ops.depths. */
void spool_sampler_init(struct spool_sampler *s);
void spool_sampler_clear(struct spool_sampler *s);
int spool_sample_depths(struct queue *base, struct queue_depths *out, struct err *err);

/* --- spool_change.c: the op change --- */

/* queue_ops.change. */
int spool_change(struct queue *base, const struct queue_change *change, struct queue_changed *out,
                 struct err *err);

/* Carry out an order for a copy that is the caller's, where it lies now. False: it still lies there
 * (logged). */
bool spool_change_carry_out(struct spool_queue *q, const struct spool_place *place, const char *id,
                            const struct spool_order *order);

/* --- spool_retry.c --- */

/* queue_ops.retry. */
long spool_retry(struct queue *base, const char *destination, const char *id, struct err *err);

#endif
