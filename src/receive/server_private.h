/* SPDX-License-Identifier: ISC */
/* server_private: what the files of server.h share: server.c has sockets and tasks,
 * server_admission.c has the limits on connections. */
#ifndef SPLIT_SERVER_PRIVATE_H
#define SPLIT_SERVER_PRIVATE_H

#include "receive/server.h"
#include "receive/session.h"

#include <pthread.h>
#include <sys/socket.h>

struct listener {
    struct server *server;
    int fd;
    char *name;          /* name of the section listener; NULL: relay.listen */
    char unix_path[108]; /* "": an inet socket, or is_inherited */
    /* the service manager opened the socket and keeps it for the next process, so shutdown(2) is
     * not allowed */
    bool is_inherited;
    struct task_event stop;
};

/* One client. */
struct connection {
    struct listener *listener;
    int fd;
    struct sockaddr_storage sa;
    struct stream *stream;
    struct primary *primary; /* NULL without section listener */
    struct session_presence presence;
    struct connection *next, **link; /* link: the pointer that points to this one */

    /* server_admission.c */
    unsigned char network[16]; /* IPv4 as IPv4-mapped address; of IPv6 the first 64 bits, or ::1 */
    bool is_unix, is_trusted;
    bool has_place; /* among max_connections; guarded by the server's lock */
};

struct server {
    struct runtime_slot *slot;
    struct queue *queue;
    struct task_pool *tasks;
    struct primary_pool *pool;
    struct listener *listeners;
    size_t listener_count;
    atomic_bool is_stopping;

    pthread_mutex_t lock; /* guards what follows */
    struct task_cond changed;
    struct connection *connections;
    unsigned connection_count; /* in the list */
    unsigned task_count;       /* tasks that accept, and tasks that serve */
};

/* Add the connection, whose stream is set, to the list. NULL: the client is admitted; if a limit
 * was reached, an idle client is disconnected for it. Else the name of the option whose limit is
 * reached, a static text: the caller refuses the client. server_remove() follows in both cases. */
const char *server_admit(struct server *s, struct connection *c, const struct config_relay *config)
    __attribute__((nonnull, warn_unused_result));

/* Take the connection out of the list. */
void server_remove(struct server *s, struct connection *c) __attribute__((nonnull));

#endif
