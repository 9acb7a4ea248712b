/* SPDX-License-Identifier: ISC */
#include "metrics/metrics_http_private.h"

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/mem.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 64
#define UNIX_MODE 0666 /* the mode of the directory decides which users may connect */
#define CONNECTION_MEMORY 8192
#define SILENCE_MAX_S 10U
#define CLOSE_MIN_MS 10 /* between two connections that are closed for others */

/* Wait until the last connection that was closed for another is CLOSE_MIN_MS ago. The socket's
 * thread does nothing meanwhile, so many clients that connect again and again take little of the
 * processors; others wait in the backlog. */
static void pace(struct metrics_http_socket *s)
{
    int64_t wait_ms = s->closed_ms + CLOSE_MIN_MS - clock_now_ms();
    const struct timespec wait = {.tv_nsec = wait_ms * 1000000};

    if (s->closed_ms != 0 && wait_ms > 0)
        (void)nanosleep(&wait, NULL);
    s->closed_ms = clock_now_ms();
}

/* Close the oldest connection. One that waits for a document is left alone: libmicrohttpd does not
 * look at it meanwhile, so its place would not become free. Few can wait (WAITING_MAX). */
static void close_oldest(struct metrics_http_socket *s)
{
    pace(s);
    for (size_t i = 0; i < s->count; i++) {
        if (s->are_waiting[i])
            continue;
        (void)shutdown(s->fds[i], SHUT_RDWR);
        return;
    }
}

void metrics_http_set_waiting(struct metrics_http_socket *s, const struct MHD_Connection *c,
                              bool is_waiting)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->connections[i] == c)
            s->are_waiting[i] = is_waiting;
}

static void add_connection(struct metrics_http_socket *s, const struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info((struct MHD_Connection *)c, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (info == NULL || s->count == METRICS_HTTP_CONNECTIONS_MAX)
        return;
    s->connections[s->count] = c;
    s->are_waiting[s->count] = false;
    s->fds[s->count++] = info->connect_fd;
    /* When the last place is taken, the oldest connection is closed. Otherwise silent clients could
     * keep all others out. */
    if (s->count == METRICS_HTTP_CONNECTIONS_MAX)
        close_oldest(s);
}

static void remove_connection(struct metrics_http_socket *s, const struct MHD_Connection *c)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->connections[i] != c)
            continue;
        s->count--;
        memmove(&s->connections[i], &s->connections[i + 1],
                (s->count - i) * sizeof(const struct MHD_Connection *));
        memmove(&s->fds[i], &s->fds[i + 1], (s->count - i) * sizeof s->fds[0]);
        memmove(&s->are_waiting[i], &s->are_waiting[i + 1],
                (s->count - i) * sizeof s->are_waiting[0]);
        return;
    }
}

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_state,
                          enum MHD_ConnectionNotificationCode code)
{
    (void)socket_state;
    switch (code) {
    case MHD_CONNECTION_NOTIFY_STARTED:
        add_connection(cls, c);
        return;
    case MHD_CONNECTION_NOTIFY_CLOSED:
        remove_connection(cls, c);
        return;
    }
}

/* Serve at fd, which belongs to the socket from now on; on failure it is closed here. */
static int start_socket(struct metrics_http *h, const struct endpoint *e, int fd, struct err *err)
{
    struct metrics_http_socket *s = &h->sockets[h->socket_count];

    /* A client may close its connection after poll(2) has reported it and before accept(2), which
     * must not block then. */
    if (fdio_set_nonblocking(fd) != 0) {
        err_set_errno(err, "fcntl");
        close(fd);
        return -1;
    }
    s->http = h;
    s->is_loopback = endpoint_is_loopback(e);
    if (e->kind == ENDPOINT_UNIX)
        memcpy(s->unix_path, e->path, strlen(e->path) + 1);
    s->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        metrics_http_answer, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)METRICS_HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, SILENCE_MAX_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, s, MHD_OPTION_NOTIFY_COMPLETED, metrics_http_completed, NULL,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)METRICS_HTTP_STACK_SIZE, MHD_OPTION_END);
    if (s->daemon == NULL) {
        err_set_errno(err, "libmicrohttpd does not start");
        close(fd);
        return -1;
    }
    h->socket_count++;
    return 0;
}

static int open_endpoint(struct metrics_http *h, const struct endpoint *wanted, struct err *err)
{
    struct endpoint e = *wanted;
    char text[300];
    int fds[METRICS_HTTP_SOCKETS_MAX];
    int status = 0;

    if (e.kind == ENDPOINT_INET && e.host[0] == '\0')
        mem_copy_string(e.host, sizeof e.host, "127.0.0.1");
    int count = endpoint_listen(&e, BACKLOG, UNIX_MODE, fds,
                                METRICS_HTTP_SOCKETS_MAX - h->socket_count, err);
    for (int i = 0; i < count; i++) {
        if (status == 0)
            status = start_socket(h, &e, fds[i], err);
        else
            close(fds[i]);
    }
    if (count <= 0 || status != 0) {
        err_wrap(err, "metrics");
        return -1;
    }
    endpoint_format(&e, text, sizeof text);
    if (e.kind == ENDPOINT_UNIX)
        log_info("metrics at %s", text);
    else
        log_info("metrics at http://%s/metrics", text);
    if (h->o.site != NULL && h->o.site->access == NULL && !endpoint_is_loopback(&e))
        log_info("no page at http://%s/: page_password_file is not set", text);
    return 0;
}

struct metrics_http *metrics_http_start(const struct metrics_http_options *o, struct err *err)
{
    struct metrics_http *h = mem_zalloc(sizeof *h);
    sigset_t all, former;
    int status;

    h->o = *o;
    h->access = o->site == NULL ? NULL : o->site->access;
    h->wants_passwords = h->access != NULL;
    pthread_mutex_init(&h->page_lock, NULL);
    /* Block all signals in the threads, which inherit the mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    status = metrics_http_documents_start(h, err);
    for (size_t i = 0; i < o->listen_count && status == 0; i++)
        status = open_endpoint(h, &o->listen[i], err);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (status == 0)
        return h;
    metrics_http_stop(h);
    return NULL;
}

void metrics_http_set_access(struct metrics_http *h, const struct http_access *access)
{
    pthread_mutex_lock(&h->lock);
    h->access = access;
    pthread_mutex_unlock(&h->lock);
}

void metrics_http_stop(struct metrics_http *h)
{
    if (h == NULL)
        return;
    metrics_http_documents_stop(h);
    for (size_t i = 0; i < h->socket_count; i++) {
        MHD_stop_daemon(h->sockets[i].daemon);
        if (h->sockets[i].unix_path[0] != '\0')
            unlink(h->sockets[i].unix_path);
    }
    pthread_mutex_destroy(&h->page_lock);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
    free(h);
}
