/* SPDX-License-Identifier: ISC */
/*
 * queue_window: the copies of one destination that are known, of bounded number and size: ready to
 * be handed out, in a worker's hands, being written, or reserved. Knows no database. All functions
 * are called with the window's lock.
 *
 * While a look at the database goes on, what is not needed any more stays known until the look is
 * over (`buried`): it may have read the copy before that was removed.
 */
#ifndef SPLIT_QUEUE_WINDOW_H
#define SPLIT_QUEUE_WINDOW_H

#include "queue/queue_private.h"
#include "task/task.h"

#include <sys/queue.h>

#define QUEUE_WINDOW_BUCKETS 1024           /* a power of two */
#define QUEUE_WINDOW_READY_MAX 500          /* in each list */
#define QUEUE_WINDOW_BYTES_MAX (512 * 1024) /* of each list */

enum queue_node_state { QUEUE_IDLE, QUEUE_READY, QUEUE_TAKEN, QUEUE_RETURNING };

struct queue_node {
    struct queue_node *hash_next, *buried_next;
    TAILQ_ENTRY(queue_node) link; /* of its list, while READY */
    int64_t id;
    enum queue_node_state state;
    bool is_fresh, is_buried;
    unsigned reserved;         /* reservations */
    struct queue_ready *ready; /* READY */
    struct queue_order *order; /* TAKEN; NULL: none */
};

struct queue_ready_list {
    TAILQ_HEAD(queue_nodes, queue_node) nodes;
    size_t count, bytes;
};

struct queue_window {
    struct queue_window *next;
    char *name;           /* of the destination */
    pthread_mutex_t lock; /* all below */
    struct task_cond changed;
    struct queue_node *buckets[QUEUE_WINDOW_BUCKETS];
    size_t known;
    struct queue_ready_list found, fresh; /* read from the database; stored just now */
    struct queue_node *buried;
    unsigned turn, wakes;
    bool is_looking;
    bool has_more;  /* there may be due copies that are not known and that a present look misses */
    time_t look_at; /* time for a look in any case */
    time_t fault_log_at;
    bool is_suspended;
    time_t suspended_until; /* 0: until it is resumed */
};

/* Nothing is known; a look is to be made. */
struct queue_window *queue_window_new(const char *destination);
void queue_window_free(struct queue_window *w);

/* NULL: it is not known. */
struct queue_node *queue_window_find(struct queue_window *w, int64_t id);
/* Made (IDLE) where it is not known. */
struct queue_node *queue_window_know(struct queue_window *w, int64_t id);
/* Forget it, if it is IDLE and not reserved. */
void queue_window_forget(struct queue_window *w, struct queue_node *n);
/* is_looking is false now. */
void queue_window_end_look(struct queue_window *w);

/* Bytes that a ready copy occupies. */
size_t queue_window_cost(const struct queue_ready *r);
bool queue_window_has_room(const struct queue_ready_list *l, const struct queue_ready *more);
/* n is READY; the window owns `ready`. */
void queue_window_add(struct queue_window *w, struct queue_node *n, struct queue_ready *ready,
                      bool is_fresh, bool is_first);
/* n is in this state; `ready` is the caller's. */
struct queue_ready *queue_window_remove(struct queue_window *w, struct queue_node *n,
                                        enum queue_node_state state);
/* The next one, TAKEN, or NULL: the oldest found one, but each fourth is a fresh one. */
struct queue_ready *queue_window_take(struct queue_window *w);

#endif
