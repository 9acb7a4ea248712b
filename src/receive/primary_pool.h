/* SPDX-License-Identifier: ISC */
/*
 * primary_pool: keeps connections to primaries between two sessions. A session that ends gives its
 * idle connection to the pool, for the next session of the same listener. A listener has at most
 * pool_connections of them. A connection is closed when it was not used for pool_idle_time, and
 * when it is older than PRIMARY_POOL_AGE_MS: otherwise a host that is tried first, but was down for
 * a while, would not be used again.
 *
 * A connection belongs to a listener of one configuration, whose runtime it keeps alive. No state
 * of a session stays on it: XFORWARD is sent anew, with all of its attributes, before each message.
 * Any thread; a thread of the pool closes connections that are too old.
 */
#ifndef SPLIT_PRIMARY_POOL_H
#define SPLIT_PRIMARY_POOL_H

#include "smtp/runtime.h"

#include <stdbool.h>

#define PRIMARY_POOL_AGE_MS 300000 /* Postfix: smtp_connection_reuse_time_limit */

struct connection_detached;
struct smtp_features;
struct primary_pool;

/* Make a pool and start its thread. NULL with `err`: the thread cannot be started. */
struct primary_pool *primary_pool_new(struct err *err) __attribute__((nonnull, warn_unused_result));

/* Send QUIT on all connections without waiting for replies, and close them. NULL is legal. */
void primary_pool_free(struct primary_pool *pool);

/* Take the connection that was used last; the caller owns it, and has to check that it still works.
 * NULL: there is none. */
struct connection_detached *primary_pool_take(struct primary_pool *pool,
                                              const struct config_listener *listener)
    __attribute__((nonnull, warn_unused_result));

/* Give a connection to the pool. False: the pool has no room, or the connection is too old; the
 * caller still owns it. runtime: that of the listener; the pool takes a reference. */
bool primary_pool_give(struct primary_pool *pool, struct runtime *runtime,
                       const struct config_listener *listener,
                       struct connection_detached *connection)
    __attribute__((nonnull, warn_unused_result));

/* Note what a listener's primary offers, for times when it cannot be reached. */
void primary_pool_learn(struct primary_pool *pool, const struct config_listener *listener,
                        const struct smtp_features *features) __attribute__((nonnull));

/* What was noted last. False: nothing was noted since the configuration was read. */
bool primary_pool_known(struct primary_pool *pool, const struct config_listener *listener,
                        struct smtp_features *out) __attribute__((nonnull, warn_unused_result));

/* Close all connections and forget what was noted: the configuration has changed. */
void primary_pool_empty(struct primary_pool *pool) __attribute__((nonnull));

#endif
