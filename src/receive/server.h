/* SPDX-License-Identifier: ISC */
/*
 * server: the listening sockets of splitrelay, and the tasks that serve them: one that accepts for
 * each socket, one for each connection (session.h), up to max_connections.
 */
#ifndef SPLIT_SERVER_H
#define SPLIT_SERVER_H

#include "base/err.h"
#include "smtp/runtime.h"
#include "task/task.h"
#include "queue/queue.h"

struct server;

/* Open the sockets of the present configuration and serve. Sessions take their runtime from
 * `slot`. NULL with `err`. */
struct server *server_start(struct runtime_slot *slot, struct queue *q, struct task_pool *tasks,
                            struct err *err) __attribute__((nonnull, warn_unused_result));

/* The slot has another configuration: close the pooled connections of the former one. */
void server_reloaded(struct server *s) __attribute__((nonnull));

/* Stop accepting; sessions that wait for a command get 421 and end, those within a message may
 * finish within grace_ms; then all are cut. Releases everything. */
void server_stop(struct server *s, unsigned grace_ms) __attribute__((nonnull));

#endif
