/* SPDX-License-Identifier: ISC */
/* queue_node_private: the declarations that the files of queue_node share. queue_node.c has the row
 * of the node and its lease. queue_node_listen.c has the thread, notifications, and the state of
 * replication. */
#ifndef SPLIT_QUEUE_NODE_PRIVATE_H
#define SPLIT_QUEUE_NODE_PRIVATE_H

#include "queue/db_pgsql.h"
#include "queue/queue_private.h"

struct queue_node {
    struct db_queue *q;
    unsigned number;
    int64_t since; /* when this splitrelay started */
    struct db *db; /* the connection of the thread; NULL: it is to be opened */
    int wake_fds[2];
    pthread_t thread;
    bool has_thread;
    atomic_bool is_stopping;

    struct writer_request beat, leave;
    atomic_bool is_beating; /* the writer has `beat`, which is not submitted again meanwhile */
    int64_t beat_at_ms;     /* when `beat` was submitted last */
    int64_t was_alive;      /* 1 if the lease was still valid just before the heartbeat, else 0 */
    _Atomic int64_t leased_until_ms;
    atomic_ullong leases_lost;
    atomic_bool is_cut_off; /* the thread is not listening, so orders may be missed */
    pthread_mutex_t lock;   /* guards what follows */
    struct db_replication replication;
    int64_t looked_at_ms; /* when `replication` and `alive` were read */
    int64_t alive;        /* number of nodes that are alive */
};

/* Submit a heartbeat, which renews the lease, unless the last one is under way. */
void queue_node_submit_beat(struct queue_node *n);
/* Open the connection for notifications, and read the state of replication. */
enum db_status queue_node_open_listener(struct queue_node *n, struct err *err);
/* Close the connection, if there is one. */
void queue_node_close_listener(struct queue_node *n);
/* The function of the thread. It returns when is_stopping is set; a byte in wake_fds wakes it. */
void *queue_node_main(void *arg);

#endif
