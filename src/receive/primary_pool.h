/* SPDX-License-Identifier: ISC */
/*
 * primary_pool: connections to primaries between two sessions. A session that ends leaves its
 * connection here, if nothing is under way on it, for the next session of the same listener.
 * Bounded by pool_connections of the listener; what is not used for pool_idle_time is closed, and
 * so is what is older than PRIMARY_POOL_AGE_MS, so that a primary that was down is gone back to.
 *
 * A connection belongs to a listener of one configuration, whose snapshot it keeps alive. Nothing
 * else that a session said lasts on it: XFORWARD is said anew, with all of its attributes, before
 * each message. Any thread; a thread of its own closes what is too old.
 */
#ifndef SPLIT_PRIMARY_POOL_H
#define SPLIT_PRIMARY_POOL_H

#include "policy/snapshot.h"

#include <stdbool.h>

#define PRIMARY_POOL_AGE_MS 300000 /* Postfix: smtp_connection_reuse_time_limit */

struct connection_detached;
struct smtp_features;
struct primary_pool;

/* NULL with `err` when there is no thread to be had. */
struct primary_pool *primary_pool_new(struct err *err) __attribute__((nonnull, warn_unused_result));

/* QUIT to all that is left, its reply not waited for. */
void primary_pool_free(struct primary_pool *pool);

/* The connection that was used last; whether it still works is for the caller to see. The caller
 * owns it. NULL: there is none. */
struct connection_detached *primary_pool_take(struct primary_pool *pool,
                                              const struct config_listener *listener)
    __attribute__((nonnull, warn_unused_result));

/* Takes the connection over. False: there is no room, it stays the caller's. snapshot: that of the
 * listener; one more reference is taken. */
bool primary_pool_give(struct primary_pool *pool, struct snapshot *snapshot,
                       const struct config_listener *listener,
                       struct connection_detached *connection)
    __attribute__((nonnull, warn_unused_result));

/* What the primaries of a listener offer, for when none of them can be asked: the last that was
 * seen. False: nothing was seen since the configuration was read. */
void primary_pool_learn(struct primary_pool *pool, const struct config_listener *listener,
                        const struct smtp_features *features) __attribute__((nonnull));
bool primary_pool_known(struct primary_pool *pool, const struct config_listener *listener,
                        struct smtp_features *out) __attribute__((nonnull, warn_unused_result));

/* Close all of them, and forget what was learnt: the configuration has changed. */
void primary_pool_empty(struct primary_pool *pool) __attribute__((nonnull));

#endif
