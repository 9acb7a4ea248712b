/* SPDX-License-Identifier: ISC */
#include "receive/server_private.h"
#include "net/inherited.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/stream.h"
#include "task/task.h"
#include "metrics/counters.h"
#include "deliver/maillog.h"
#include "base/fdio.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
#define SOCKETS_PER_ENDPOINT 16
#define UNIX_MODE 0666 /* the directory's mode restricts access, as with Postfix's sockets */
#define COMMAND_TIMEOUT_MS 300000 /* RFC 5321 4.5.3.2.7: at least 5 minutes */
#define REFUSE_TIMEOUT_MS 1000
#define ACCEPT_IN_A_ROW 16   /* connections, then other tasks run */
#define ACCEPT_PAUSE_MS 1000 /* after descriptors or memory have run out */

/* Write a client's address as text; an IPv4-mapped IPv6 address is written as IPv4. Returns the
 * port. */
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

static void refuse(struct stream *stream, const char *hostname, const char *dsn, const char *why)
{
    counters_refused("421 4.3.2");
    stream_set_deadline(stream, REFUSE_TIMEOUT_MS);
    if (stream_printf(stream, "421 %s %s %s\r\n", dsn, hostname, why) == STREAM_OK)
        (void)!stream_flush(stream); /* the connection is closed in any case */
}

/* Set the members of *o that belong to the listener with this name (NULL: relay.listen, for which
 * nothing is set). False: the present configuration has no such listener any more. */
static bool find_listener(struct runtime *runtime, const char *name, struct primary_pool *pool,
                          struct session_options *o, struct connection *c)
{
    if (name == NULL)
        return true;
    o->listener = config_find_listener(runtime_config(runtime), name);
    if (o->listener == NULL)
        return false;
    o->copies =
        runtime->snapshot->listener_copies[o->listener - runtime_config(runtime)->listeners];
    o->primary = primary_new(runtime, o->listener, pool);
    c->primary = o->primary;
    return true;
}

static void serve(struct connection *c)
{
    struct listener *l = c->listener;
    struct server *s = l->server;
    struct runtime *runtime = runtime_slot_get(s->slot);
    const struct config_relay *config = &runtime_config(runtime)->relay;
    char client[INET6_ADDRSTRLEN];
    unsigned port = describe_client(&c->sa, client, sizeof client);
    struct session_options options = {
        .runtime = runtime,
        .queue = s->queue,
        .client_addr = client,
        .client_port = port,
        .is_stopping = &s->is_stopping,
        .presence = &c->presence,
        .command_timeout_ms = COMMAND_TIMEOUT_MS,
    };

    c->stream = stream_new(c->fd);
    bool is_known = find_listener(runtime, l->name, s->pool, &options, c);
    const char *obstacle = server_admit(s, c, config);
    options.is_trusted = c->is_trusted;
    options.is_unix = c->is_unix;
    if (obstacle != NULL) {
        if (maillog_has_room())
            log_warning("refused connection from [%s]: more than %s", client, obstacle);
        bool is_of_client = strcmp(obstacle, "client_connection_limit") == 0;
        refuse(c->stream, config->hostname, is_of_client ? "4.7.0" : "4.3.2",
               "Too many connections");
    } else if (!is_known) {
        log_warning("refused connection from [%s]: listener %s is no longer configured", client,
                    l->name);
        refuse(c->stream, config->hostname, "4.3.2", "Not configured");
    } else {
        session_run(c->stream, &options);
    }
    server_remove(s, c);
    /* Release the connection to the primary before the client's connection is closed: it may go to
     * the pool, and the next session may need it there. */
    primary_free(c->primary);
    stream_free(c->stream);
    runtime_unref(runtime);
}

/* --- tasks --- */

static int start_task(struct server *s, void (*run)(void *), void *arg)
{
    pthread_mutex_lock(&s->lock);
    s->task_count++;
    pthread_mutex_unlock(&s->lock);
    int error = task_start(s->tasks, run, arg);
    if (error == 0)
        return 0;
    pthread_mutex_lock(&s->lock);
    s->task_count--;
    pthread_mutex_unlock(&s->lock);
    return error;
}

static void end_task(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    s->task_count--;
    task_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void serve_task(void *arg)
{
    struct connection *c = arg;
    struct server *s = c->listener->server;

    serve(c);
    free(c);
    end_task(s);
}

/* Descriptors or memory have run out: wait for ACCEPT_PAUSE_MS, or until the server stops. */
static void pause_accepting(struct server *s, int error)
{
    int64_t until_ms = task_now_ms() + ACCEPT_PAUSE_MS;

    log_warning("accept: %s", strerror(error));
    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping && task_cond_wait(&s->changed, &s->lock, until_ms)) {
    }
    pthread_mutex_unlock(&s->lock);
}

/* Accept the next client, and start a task for it. Returns 0 or an errno. */
static int accept_one(struct listener *l)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof sa;
    int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd == -1)
        return errno;
    struct connection *c = mem_zalloc(sizeof *c);
    c->listener = l;
    c->fd = fd;
    c->sa = sa;
    int error = start_task(l->server, serve_task, c);
    if (error != 0) {
        close(fd);
        free(c);
    }
    return error;
}

/* Is this error of accept(2) about this host or the socket? accept(2) also reports errors of the
 * connection that was to be accepted. */
static bool is_our_fault(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EINVAL;
}

static void accept_task(void *arg)
{
    struct listener *l = arg;
    struct server *s = l->server;
    unsigned in_a_row = 0;
    struct task_fd io;

    task_fd_init(&io, l->fd);
    while (!atomic_load(&s->is_stopping)) {
        int error = accept_one(l);
        bool is_idle = error == EAGAIN || error == EWOULDBLOCK;
        if (is_idle && task_poll_or_event(&io, POLLIN, &l->stop) != -1)
            continue; /* a fault of the socket shows at the next accept(2) */
        if (is_idle)
            error = errno; /* epoll(7) has no room: try accept(2) after each pause */
        if ((is_idle || is_our_fault(error)) && !atomic_load(&s->is_stopping))
            pause_accepting(s, error);
        else if (++in_a_row % ACCEPT_IN_A_ROW == 0)
            task_yield();
    }
    task_fd_detach(&io);
    end_task(s);
}

static void close_listeners(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        close(s->listeners[i].fd);
        if (s->listeners[i].unix_path[0] != '\0')
            unlink(s->listeners[i].unix_path);
        task_event_clear(&s->listeners[i].stop);
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
        bool is_inherited = n > 0; /* the file of a unix socket is the service manager's */
        if (!is_inherited)
            n = endpoint_listen(e, BACKLOG, UNIX_MODE, fds, SOCKETS_PER_ENDPOINT, err);
        if (n == -1)
            return -1;
        for (int k = 0; k < n; k++)
            (void)fdio_set_nonblocking(fds[k]);
        s->listeners = mem_grow(s->listeners, s->listener_count + (size_t)n, sizeof *s->listeners);
        for (int k = 0; k < n; k++) {
            struct listener *l = &s->listeners[s->listener_count++];
            *l = (struct listener){.server = s,
                                   .fd = fds[k],
                                   .name = name == NULL ? NULL : mem_strdup(name),
                                   .is_inherited = is_inherited};
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

struct server *server_start(struct runtime_slot *slot, struct queue *q, struct task_pool *tasks,
                            struct err *err)
{
    struct server *s = mem_zalloc(sizeof *s);
    struct runtime *runtime = runtime_slot_get(slot);

    s->slot = slot;
    s->queue = q;
    s->tasks = tasks;
    pthread_mutex_init(&s->lock, NULL);
    task_cond_init(&s->changed);
    s->pool = primary_pool_new(err);
    int status = s->pool == NULL ? -1 : open_listeners(s, runtime_config(runtime), err);
    runtime_unref(runtime);
    for (size_t i = 0; i < s->listener_count; i++) /* the array does not move any more */
        task_event_init(&s->listeners[i].stop);
    for (size_t i = 0; i < s->listener_count && status == 0; i++) {
        int error = start_task(s, accept_task, &s->listeners[i]);
        if (error != 0) {
            err_set(err, "cannot accept connections: %s", strerror(error));
            status = -1;
        }
    }
    if (status == 0)
        return s;
    server_stop(s, 0);
    return NULL;
}

void server_reloaded(struct server *s)
{
    primary_pool_empty(s->pool);
}

/* Shut down reading for the sessions that are not within a message. is_all: for all sessions, and
 * interrupt their connections to the primaries. */
static void cut(struct server *s, bool is_all)
{
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (is_all || !atomic_load(&c->presence.is_in_message))
            stream_shutdown_read(c->stream);
        if (is_all && c->primary != NULL)
            primary_interrupt(c->primary);
    }
}

/* From here on, connections to our own sockets are refused at once. Connections to an inherited
 * socket wait in its backlog for the next process: shutdown(2) would end the socket for the service
 * manager, too. */
static void stop_accepting(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        if (!s->listeners[i].is_inherited)
            shutdown(s->listeners[i].fd, SHUT_RDWR);
        task_event_set(&s->listeners[i].stop);
    }
}

void server_stop(struct server *s, unsigned grace_ms)
{
    int64_t end_ms = task_now_ms() + grace_ms;

    atomic_store(&s->is_stopping, true);
    stop_accepting(s);
    pthread_mutex_lock(&s->lock);
    task_cond_broadcast(&s->changed);
    cut(s, false);
    while (s->connection_count > 0 && task_cond_wait(&s->changed, &s->lock, end_ms)) {
    }
    if (s->connection_count > 0)
        log_warning("closing %u connections that did not end in time", s->connection_count);
    /* A commit that has begun is not cut off: the server waits as long as the disk takes, and the
     * copies are then in the queue. */
    cut(s, true);
    while (s->task_count > 0)
        task_cond_wait(&s->changed, &s->lock, TASK_FOREVER);
    pthread_mutex_unlock(&s->lock);

    close_listeners(s);
    primary_pool_free(s->pool);
    task_cond_clear(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
