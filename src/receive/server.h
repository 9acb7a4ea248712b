/* SPDX-License-Identifier: ISC */
/*
 * server: the listening sockets of splitrelay and the tasks that serve them. Each socket has a task
 * that accepts connections, and each connection a task that runs its session (session.h); there are
 * at most max_connections.
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

/* Call after the slot got another configuration: closes the pooled connections of the former
 * one. */
void server_reloaded(struct server *s) __attribute__((nonnull));

/* Stop accepting connections. Sessions that wait for a command get 421 and end; sessions within a
 * message may finish it within grace_ms; then all are cut. Releases everything. */
void server_stop(struct server *s, unsigned grace_ms) __attribute__((nonnull));

#endif
