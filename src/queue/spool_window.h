/* SPDX-License-Identifier: ISC */
/*
 * spool_window: the part of one destination's queue that is in memory: a bounded number of copies
 * that are ready, those that workers have, and those that are put aside after a local fault. Data
 * only: no I/O, no lock (the caller has one).
 *
 * Ready copies come from two sources, each with half of the room: `fresh` ones right from a commit,
 * and `found` ones from a scan of the disk. Taking prefers the found, which are older, but every
 * fourth is a fresh one: neither a backlog nor steady arrivals can starve the other.
 */
#ifndef SPLIT_SPOOL_WINDOW_H
#define SPLIT_SPOOL_WINDOW_H

#include "queue/spool.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum spool_source { SPOOL_FRESH, SPOOL_FOUND, SPOOL_SOURCES };

/* What is to be done with a copy when its worker gives it back: see queue_ops.change. */
struct spool_order {
    enum queue_action action;
    char to[QUEUE_DESTINATION_SIZE]; /* "" for none */
};

/* A copy that is known to be on disk. Owned by the window until it is forgotten. */
struct spool_node {
    char id[QUEUE_ID_SIZE];
    struct spool_due due;
    struct spool_copy *parked; /* what is remembered of a copy put aside, or NULL; owned */
    struct spool_order *order; /* or NULL; owned */
    time_t aside_until;
    time_t warm_until;  /* before that its file can be taken to be in memory */
    bool was_elsewhere; /* a pass found the copy in another directory */
    enum { SPOOL_READY, SPOOL_TAKEN, SPOOL_ASIDE } state;
    enum spool_source source;
    struct spool_node *hash_next, *prev, *next;
};

struct spool_list {
    struct spool_node *first, *last;
    size_t count;
};

struct spool_window {
    size_t limit; /* of ready copies */
    struct spool_node **buckets;
    struct spool_list ready[SPOOL_SOURCES], aside;
    unsigned turn;
};

/* An empty window of at most `limit` copies. _clear() frees the nodes. */
void spool_window_init(struct spool_window *w, size_t limit) __attribute__((nonnull));
void spool_window_clear(struct spool_window *w) __attribute__((nonnull));

/* The node of the copy with this id, or NULL. */
struct spool_node *spool_window_find(const struct spool_window *w, const char *id)
    __attribute__((nonnull));

/* How many more may be added from this source. */
size_t spool_window_room(const struct spool_window *w, enum spool_source source)
    __attribute__((nonnull));
size_t spool_window_ready(const struct spool_window *w) __attribute__((nonnull));

/* The id is not known yet. Behind the others. warm_until: see spool_node. */
void spool_window_add(struct spool_window *w, const char *id, const struct spool_due *due,
                      enum spool_source source, time_t warm_until) __attribute__((nonnull));

/* The id is not known yet. As if it had been taken right away. */
struct spool_node *spool_window_reserve(struct spool_window *w, const char *id,
                                        const struct spool_due *due) __attribute__((nonnull));

/* The next ready one, or NULL. It stays known. */
struct spool_node *spool_window_take(struct spool_window *w) __attribute__((nonnull));

/* Take this one, that is ready or put aside. */
void spool_window_claim(struct spool_window *w, struct spool_node *node) __attribute__((nonnull));

/* A taken one gets this order, unless it has one. False if it has. */
bool spool_node_order(struct spool_node *node, const struct spool_order *order)
    __attribute__((nonnull));

/* The same for all that are taken. How many got it. */
size_t spool_window_order(struct spool_window *w, const struct spool_order *order)
    __attribute__((nonnull));

/* A taken or put-aside one is ready again, before all others of its source (may go over the limit).
 */
void spool_window_return(struct spool_window *w, struct spool_node *node) __attribute__((nonnull));

/* A taken one is not to be handed out before `until`. */
void spool_window_put_aside(struct spool_window *w, struct spool_node *node, time_t until)
    __attribute__((nonnull));

/* One whose time has come, or lies beyond `horizon` (the clock was set back), state TAKEN; NULL if
 * there is none. */
struct spool_node *spool_window_take_aside(struct spool_window *w, time_t now, time_t horizon)
    __attribute__((nonnull));

/* When the first of them is due; fallback if there is none. */
time_t spool_window_aside_until(const struct spool_window *w, time_t fallback)
    __attribute__((nonnull));

/* All that are aside (id NULL), or this one, may go on at once. How many. */
size_t spool_window_hurry(struct spool_window *w, const char *id) __attribute__((nonnull(1)));

/* It is not known any more; node is released. */
void spool_window_forget(struct spool_window *w, struct spool_node *node) __attribute__((nonnull));

#endif
