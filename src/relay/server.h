/* SPDX-License-Identifier: ISC */
/*
 * server: the listening sockets of splitrelay and the threads that serve them, one per connection,
 * up to max_connections. A thread waits in accept(2), serves the connection (session.h), and waits
 * again; whoever was the last to wait starts another before it serves.
 */
#ifndef SPLIT_SERVER_H
#define SPLIT_SERVER_H

#include "../err.h"
#include "../snapshot.h"
#include "queue.h"

struct server;

/* Open the sockets of the present configuration and serve. Sessions take their snapshot from
 * `slot`. NULL with `err`. */
struct server *server_start(struct snapshot_slot *slot, struct queue *q, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* There is another configuration in the slot: drop what was kept for the former. */
void server_reloaded(struct server *s) __attribute__((nonnull));

/* Stop accepting; sessions that wait for a command get 421 and end, those within a message may
 * finish within grace_ms; then all are cut. Releases everything. */
void server_stop(struct server *s, unsigned grace_ms) __attribute__((nonnull));

#endif
