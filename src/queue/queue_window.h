/* SPDX-License-Identifier: ISC */
/*
 * queue_window: the part of one destination's queue that is in memory. It does not use the
 * database. All functions are called with the window's lock, unless they say otherwise.
 *
 * The window knows a copy, by its id, as long as the copy is ready to be handed out, is in a
 * worker's hands, has an outcome that is being written, or is reserved. Copies that are ready are
 * in one of two lists. Each list is bounded in number and bytes of its copies. `found` has those
 * that were read from the database, in the order of due and id. `fresh` has those that were put in
 * directly after the commit that stored them.
 *
 * A look is one read of due copies from the database into the window (queue_look.c). It skips the
 * copies that the window knows. A look may have read a copy just before the copy was removed, so an
 * id that is forgotten during a look stays known until the look ends (`buried`).
 */
#ifndef SPLIT_QUEUE_WINDOW_H
#define SPLIT_QUEUE_WINDOW_H

#include "base/buf.h"
#include "queue/queue_private.h"
#include "task/task.h"

#include <sys/queue.h>

#define QUEUE_WINDOW_BUCKETS 1024           /* a power of two */
#define QUEUE_WINDOW_READY_MAX 500          /* in each list */
#define QUEUE_WINDOW_BYTES_MAX (512 * 1024) /* of each list */

enum queue_known_state {
    QUEUE_IDLE,      /* none of the others; reserved, or about to be forgotten */
    QUEUE_READY,     /* in one of the lists */
    QUEUE_TAKEN,     /* in a worker's hands */
    QUEUE_RETURNING, /* given back; the outcome is being written */
};

struct queue_known {
    struct queue_known *hash_next, *buried_next;
    TAILQ_ENTRY(queue_known) link; /* of its list, while READY */
    int64_t id;
    enum queue_known_state state;
    bool is_fresh, is_buried;
    /* The row of the copy was changed or has an order, or may soon; or the lease of the copy has
     * run out. The copy does not become READY again before a look has read its row. */
    bool is_marked;
    unsigned reserved;         /* number of reservations */
    struct queue_ready *ready; /* owned; set in the state READY only */
};

struct queue_ready_list {
    TAILQ_HEAD(queue_known_list, queue_known) nodes;
    size_t count, bytes;
};

struct queue_window {
    struct queue_window *next;
    char *name;           /* of the destination */
    pthread_mutex_t lock; /* guards all that follows */
    struct task_cond changed;
    struct queue_known *buckets[QUEUE_WINDOW_BUCKETS];
    size_t known;                         /* how many */
    struct queue_ready_list found, fresh; /* read from the database; stored just now */
    struct queue_known *buried;
    unsigned turn, wakes; /* copies handed out, and calls of wake(), so far */
    unsigned drops;       /* number of calls of queue_next_drop() so far */
    unsigned batch;       /* how many copies a look reads ahead: as many as fitted the last time */
    bool is_looking, has_workers;
    bool is_leaving;   /* the leases are being given back; no look is made meanwhile */
    bool leaves_again; /* give the leases back once more, after the look or request under way */
    bool is_untold;    /* other nodes are still to be told that there are copies without an owner */
    int64_t told_at_ms; /* when they were told last */
    bool has_more;  /* the database may have due copies that are not known, and that a look under
                       way may miss */
    time_t look_at; /* the time for a look even if has_more is false */
    time_t fault_log_at;
    bool is_suspended;
    time_t suspended_until; /* 0: until it is resumed */
};

/* --- the windows of a queue (queue_next.c) --- */

/* Return the window of a destination, locked. It is made if there is none. */
struct queue_window *queue_window_lock(struct db_queue *q, const char *destination);
/* Return the first window. The others follow; they are added at the front only. Without a lock. */
struct queue_window *queue_window_first(struct db_queue *q);

/* --- one window --- */

/* Make an empty window. has_more is set, so the first queue_next() makes a look. */
struct queue_window *queue_window_new(const char *destination);
/* Free the window and the copies in it. */
void queue_window_free(struct queue_window *w);

/* Return the entry of a copy, or NULL if the copy is not known. */
struct queue_known *queue_window_find(struct queue_window *w, int64_t id);
/* Return the entry of a copy. If the copy is not known, add an entry in the state IDLE. */
struct queue_known *queue_window_know(struct queue_window *w, int64_t id);
/* Append the ids of all copies that are known to a text, as "{1,2,3}". */
void queue_window_list(const struct queue_window *w, struct buf *out);
/* Forget a copy and free its entry; during a look this is done when the look ends. Nothing happens
 * unless the copy is IDLE and not reserved. */
void queue_window_forget(struct queue_window *w, struct queue_known *n);
/* End a look: clear is_looking, and forget the copies that were buried during the look. */
void queue_window_end_look(struct queue_window *w);

/* Set has_more, and wake a worker for the look. */
void queue_window_want_look(struct queue_window *w);

/* Return an estimate of the bytes that a ready copy occupies. */
size_t queue_window_cost(const struct queue_ready *r);
/* Return true if one more copy fits into the list. An empty list has room for any copy. */
bool queue_window_has_room(const struct queue_ready_list *l, const struct queue_ready *more);
/* Make a copy READY: add it to `fresh` (is_fresh) or `found`, at the head (is_first) or the end.
 * The window owns `ready` from now on. */
void queue_window_add(struct queue_window *w, struct queue_known *n, struct queue_ready *ready,
                      bool is_fresh, bool is_first);
/* Remove a READY copy from its list and give it this state. Returns the copy, which is the
 * caller's. */
struct queue_ready *queue_window_remove(struct queue_window *w, struct queue_known *n,
                                        enum queue_known_state state);
/* Take the next copy: the first one of `found`, and every fourth time the first one of `fresh`. If
 * that list is empty, it is the first one of the other list. Returns the copy, which is TAKEN and
 * the caller's, or NULL if both lists are empty. */
struct queue_ready *queue_window_take(struct queue_window *w);

#endif
