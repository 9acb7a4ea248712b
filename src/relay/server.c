/* SPDX-License-Identifier: ISC */
#include "server.h"
#include "../inherited.h"
#include "../log.h"
#include "../mem.h"
#include "../stream.h"
#include "../tls.h"
#include "counters.h"
#include "session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 1024
#define SOCKETS_PER_ENDPOINT 16
#define UNIX_MODE 0666 /* the directory decides who may connect, as with Postfix's sockets */
#define STACK_SIZE (256 * 1024)
#define IDLE_MAX 16               /* threads per socket that may wait for a client */
#define COMMAND_TIMEOUT_MS 300000 /* RFC 5321 4.5.3.2.7: at least 5 minutes */
#define REFUSE_TIMEOUT_MS 1000
#define ACCEPT_PAUSE_S 1 /* when descriptors or memory have run out */

struct listener {
    struct server *server;
    int fd;
    char *name;          /* of the section listener; NULL: relay.listen */
    unsigned idle;       /* threads in accept(2) */
    char unix_path[108]; /* "" for inet */
};

/* One client, in the stack of the thread that serves it. */
struct connection {
    struct stream *stream;
    struct primary *primary; /* NULL without section listener */
    atomic_bool is_in_message;
    struct connection *next, **link; /* link: what points to this one */
};

struct server {
    struct snapshot_slot *slot;
    struct queue *queue;
    struct primary_pool *pool;
    struct listener *listeners;
    size_t listener_count;
    atomic_bool is_stopping;
    pthread_attr_t thread_attr;

    pthread_mutex_t lock; /* guards what follows, and idle */
    pthread_cond_t changed;
    struct connection *connections;
    unsigned connection_count, thread_count;
};

/* A client's address as text; IPv4 in its own form also where it came through an IPv6 socket. */
static unsigned describe_client(const struct sockaddr_storage *sa, char *out, size_t size)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

    if (sa->ss_family == AF_INET) {
        inet_ntop(AF_INET, &in4->sin_addr, out, (socklen_t)size);
        return ntohs(in4->sin_port);
    }
    if (sa->ss_family == AF_INET6) {
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, out, (socklen_t)size);
        else
            inet_ntop(AF_INET6, &in6->sin6_addr, out, (socklen_t)size);
        return ntohs(in6->sin6_port);
    }
    memcpy(out, "unix", sizeof "unix");
    return 0;
}

static bool is_trusted(const struct config_relay *c, const struct sockaddr_storage *sa)
{
    if (sa->ss_family == AF_UNIX)
        return true;
    for (size_t i = 0; i < c->trusted_network_count; i++) {
        if (endpoint_network_has(&c->trusted_networks[i], (const struct sockaddr *)sa))
            return true;
    }
    return false;
}

/* Returns how many connections there are now. */
static unsigned enter(struct server *s, struct connection *c)
{
    pthread_mutex_lock(&s->lock);
    c->next = s->connections;
    c->link = &s->connections;
    if (c->next != NULL)
        c->next->link = &c->next;
    s->connections = c;
    unsigned count = ++s->connection_count;
    pthread_mutex_unlock(&s->lock);
    counters_client_entered();
    return count;
}

static void leave(struct server *s, struct connection *c)
{
    counters_client_left();
    pthread_mutex_lock(&s->lock);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    s->connection_count--;
    if (s->is_stopping)
        pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void refuse(struct stream *stream, const char *hostname, const char *why)
{
    counters_refused("421 4.3.2");
    stream_set_deadline(stream, REFUSE_TIMEOUT_MS);
    if (stream_printf(stream, "421 4.3.2 %s %s\r\n", hostname, why) == STREAM_OK)
        (void)!stream_flush(stream); /* whether it hears it or not, it goes */
}

/* What the section says now. False: it is gone. */
static bool find_listener(struct snapshot *snapshot, const char *name, struct primary_pool *pool,
                          struct session_options *o, struct connection *c)
{
    if (name == NULL)
        return true;
    o->listener = config_find_listener(snapshot->config, name);
    if (o->listener == NULL)
        return false;
    o->copies = snapshot->listener_copies[o->listener - snapshot->config->listeners];
    o->primary = primary_new(snapshot, o->listener, pool);
    c->primary = o->primary;
    return true;
}

static void serve(struct listener *l, int fd, const struct sockaddr_storage *sa)
{
    struct server *s = l->server;
    struct snapshot *snapshot = snapshot_slot_get(s->slot);
    const struct config_relay *config = &snapshot->config->relay;
    struct connection c = {.stream = stream_new(fd)};
    char client[INET6_ADDRSTRLEN];
    unsigned port = describe_client(sa, client, sizeof client);
    struct session_options options = {
        .snapshot = snapshot,
        .queue = s->queue,
        .client_addr = client,
        .client_port = port,
        .is_trusted = is_trusted(config, sa),
        .is_stopping = &s->is_stopping,
        .is_in_message = &c.is_in_message,
        .command_timeout_ms = COMMAND_TIMEOUT_MS,
    };

    bool is_known = find_listener(snapshot, l->name, s->pool, &options, &c);
    if (enter(s, &c) > config->max_connections) {
        log_warning("refused connection from [%s]: more than max_connections (%u)", client,
                    config->max_connections);
        refuse(c.stream, config->hostname, "Too many connections");
    } else if (!is_known) {
        log_warning("refused connection from [%s]: listener %s is no longer configured", client,
                    l->name);
        refuse(c.stream, config->hostname, "Not configured");
    } else {
        session_run(c.stream, &options);
    }
    leave(s, &c);
    primary_free(c.primary); /* before the client sees the end: the next one may need it */
    stream_free(c.stream);
    snapshot_unref(snapshot);
}

static void pause_accepting(struct server *s)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ACCEPT_PAUSE_S;
    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping && pthread_cond_timedwait(&s->changed, &s->lock, &end) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&s->lock);
}

/* The next client, or -1 to end. */
static int next_client(struct listener *l, struct sockaddr_storage *sa)
{
    struct server *s = l->server;

    while (!atomic_load(&s->is_stopping)) {
        socklen_t len = sizeof *sa;
        memset(sa, 0, sizeof *sa);
        int fd = accept4(l->fd, (struct sockaddr *)sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd != -1)
            return fd;
        /* accept(2): faults of a connection that was about to be are reported here, too. */
        bool is_ours = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ||
                       errno == EINVAL;
        if (is_ours && !atomic_load(&s->is_stopping)) {
            log_warning("accept: %s", strerror(errno));
            pause_accepting(s);
        }
    }
    return -1;
}

static void *worker(void *arg);

/* With the lock held. */
static int start_worker(struct listener *l)
{
    pthread_t thread;
    int error = pthread_create(&thread, &l->server->thread_attr, worker, l);

    if (error != 0)
        return error;
    l->idle++;
    l->server->thread_count++;
    return 0;
}

/* This thread has a client: others must wait for the next one. */
static void replace_worker(struct listener *l)
{
    struct server *s = l->server;
    int error = 0;

    pthread_mutex_lock(&s->lock);
    if (--l->idle == 0 && !s->is_stopping)
        error = start_worker(l);
    pthread_mutex_unlock(&s->lock);
    if (error != 0) /* nobody accepts until some thread is free again */
        log_warning("cannot start a thread: %s", strerror(error));
}

static void *worker(void *arg)
{
    struct listener *l = arg;
    struct server *s = l->server;
    struct sockaddr_storage sa;
    bool is_needed = true;
    int fd;

    /* idle counts this thread already. */
    while (is_needed && (fd = next_client(l, &sa)) != -1) {
        replace_worker(l);
        serve(l, fd, &sa);
        pthread_mutex_lock(&s->lock);
        is_needed = l->idle < IDLE_MAX;
        l->idle++;
        pthread_mutex_unlock(&s->lock);
    }
    tls_thread_end();
    pthread_mutex_lock(&s->lock);
    l->idle--;
    s->thread_count--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void close_listeners(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        close(s->listeners[i].fd);
        if (s->listeners[i].unix_path[0] != '\0')
            unlink(s->listeners[i].unix_path);
        free(s->listeners[i].name);
    }
    free(s->listeners);
}

static int open_endpoints(struct server *s, const struct endpoint *list, size_t count,
                          const char *name, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct endpoint *e = &list[i];
        int fds[SOCKETS_PER_ENDPOINT];
        int n = inherited_take(e, fds, SOCKETS_PER_ENDPOINT);
        bool is_inherited = n > 0; /* its file belongs to who opened it */
        if (!is_inherited)
            n = endpoint_listen(e, BACKLOG, UNIX_MODE, fds, SOCKETS_PER_ENDPOINT, err);
        if (n == -1)
            return -1;
        s->listeners = mem_grow(s->listeners, s->listener_count + (size_t)n, sizeof *s->listeners);
        for (int k = 0; k < n; k++) {
            struct listener *l = &s->listeners[s->listener_count++];
            *l = (struct listener){
                .server = s, .fd = fds[k], .name = name == NULL ? NULL : mem_strdup(name)};
            if (e->kind == ENDPOINT_UNIX && !is_inherited)
                memcpy(l->unix_path, e->path, sizeof l->unix_path);
        }
    }
    return 0;
}

static int open_listeners(struct server *s, const struct config *config, struct err *err)
{
    if (open_endpoints(s, config->relay.listen, config->relay.listen_count, NULL, err) != 0)
        return -1;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        if (open_endpoints(s, l->listen, l->listen_count, l->name, err) != 0)
            return -1;
    }
    return 0;
}

static void server_init(struct server *s)
{
    pthread_condattr_t attr;

    pthread_attr_init(&s->thread_attr);
    pthread_attr_setstacksize(&s->thread_attr, STACK_SIZE);
    pthread_attr_setdetachstate(&s->thread_attr, PTHREAD_CREATE_DETACHED);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
}

struct server *server_start(struct snapshot_slot *slot, struct queue *q, struct err *err)
{
    struct server *s = mem_zalloc(sizeof *s);
    struct snapshot *snapshot = snapshot_slot_get(slot);
    int error = 0;

    s->slot = slot;
    s->queue = q;
    server_init(s);
    s->pool = primary_pool_new(err);
    int status = s->pool == NULL ? -1 : open_listeners(s, snapshot->config, err);
    snapshot_unref(snapshot);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->listener_count && status == 0; i++) {
        error = start_worker(&s->listeners[i]);
        if (error != 0) {
            err_set(err, "cannot start a thread: %s", strerror(error));
            status = -1;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (status == 0)
        return s;
    server_stop(s, 0);
    return NULL;
}

void server_reloaded(struct server *s)
{
    primary_pool_empty(s->pool);
}

/* Wake up the sessions that only wait, or all. */
static void cut(struct server *s, bool is_all)
{
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (is_all || !atomic_load(&c->is_in_message))
            stream_shutdown_read(c->stream);
        if (is_all && c->primary != NULL)
            primary_interrupt(c->primary);
    }
}

void server_stop(struct server *s, unsigned grace_ms)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += grace_ms / 1000;
    end.tv_nsec += (long)(grace_ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    atomic_store(&s->is_stopping, true);
    for (size_t i = 0; i < s->listener_count; i++)
        shutdown(s->listeners[i].fd, SHUT_RDWR); /* wakes accept(2) */

    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->changed);
    cut(s, false);
    while (s->connection_count > 0 &&
           pthread_cond_timedwait(&s->changed, &s->lock, &end) != ETIMEDOUT) {
    }
    if (s->connection_count > 0)
        log_warning("cutting %u connections that did not end in time", s->connection_count);
    /* A commit that has begun is still waited for: the disk ends it, and its 250 counts. */
    cut(s, true);
    while (s->thread_count > 0)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);

    close_listeners(s);
    primary_pool_free(s->pool);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    pthread_attr_destroy(&s->thread_attr);
    free(s);
}
