/* SPDX-License-Identifier: ISC */
#include "metrics/metrics_http.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/fdio.h"

#include <microhttpd.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64
#define SOCKETS_MAX 16
#define UNIX_MODE 0666 /* the mode of the directory decides which users may connect */
#define CONNECTIONS_MAX 32
#define CONNECTION_MEMORY 8192
#define SILENCE_MAX_S 10U
#define STACK_SIZE (256 * 1024)

/* One listening socket and its thread. */
struct site {
    struct metrics_http *http;
    struct MHD_Daemon *daemon;
    char unix_path[108]; /* "" for inet */
    /* The open connections, oldest first; only the site's own thread uses them. */
    const struct MHD_Connection *connections[CONNECTIONS_MAX];
    int fds[CONNECTIONS_MAX];
    size_t count;
};

struct metrics_http {
    struct metrics_http_options o;
    pthread_mutex_t page_lock;
    struct site sites[SOCKETS_MAX];
    size_t site_count;
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type,
                              struct buf *body)
{
    size_t len = body->len;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, buf_take(body), MHD_RESPMEM_MUST_FREE);

    if (r == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status, const char *text)
{
    struct buf body = {0};

    buf_addf(&body, "%s\n", text);
    return answer(c, status, "text/plain; charset=utf-8", &body);
}

static enum MHD_Result answer_ready(const struct metrics_http *h, struct MHD_Connection *c)
{
    struct err why = {""};

    if (h->o.is_ready(h->o.ctx, &why))
        return answer_text(c, MHD_HTTP_OK, "ready");
    log_sanitize(why.text);
    return answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, why.text);
}

/* libmicrohttpd calls this for the first time when it has read the headers. The answer is given at
 * once, so libmicrohttpd reads no body, and closes the connection. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    const struct site *site = cls;
    struct metrics_http *h = site->http;
    struct buf body = {0};

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)state;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only");
    if (strcmp(url, "/healthz") == 0)
        return answer_text(c, MHD_HTTP_OK, "ok");
    if (strcmp(url, "/readyz") == 0)
        return answer_ready(h, c);
    if (strcmp(url, "/metrics") != 0)
        return answer_text(c, MHD_HTTP_NOT_FOUND, "/metrics, /healthz and /readyz are here");
    pthread_mutex_lock(&h->page_lock);
    h->o.page(h->o.ctx, &body);
    pthread_mutex_unlock(&h->page_lock);
    return answer(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
}

static void add_connection(struct site *site, const struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info((struct MHD_Connection *)c, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (info == NULL || site->count == CONNECTIONS_MAX)
        return;
    site->connections[site->count] = c;
    site->fds[site->count++] = info->connect_fd;
    /* When the last place is taken, the oldest connection is closed. Otherwise silent clients could
     * keep all others out. */
    if (site->count == CONNECTIONS_MAX)
        (void)shutdown(site->fds[0], SHUT_RDWR);
}

static void remove_connection(struct site *site, const struct MHD_Connection *c)
{
    for (size_t i = 0; i < site->count; i++) {
        if (site->connections[i] != c)
            continue;
        site->count--;
        memmove(&site->connections[i], &site->connections[i + 1],
                (site->count - i) * sizeof(const struct MHD_Connection *));
        memmove(&site->fds[i], &site->fds[i + 1], (site->count - i) * sizeof site->fds[0]);
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

/* Serve at fd, which belongs to the site from now on; on failure it is closed here. */
static int start_site(struct metrics_http *h, int fd, struct err *err)
{
    struct site *site = &h->sites[h->site_count];

    /* A client may close its connection after poll(2) has reported it and before accept(2), which
     * must not block then. */
    if (fdio_set_nonblocking(fd) != 0) {
        err_set_errno(err, "fcntl");
        close(fd);
        return -1;
    }
    site->http = h;
    site->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, on_request, site,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, SILENCE_MAX_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_CONNECTION, on_connection, site,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_SIZE, MHD_OPTION_END);
    if (site->daemon == NULL) {
        err_set_errno(err, "libmicrohttpd does not start");
        close(fd);
        return -1;
    }
    h->site_count++;
    return 0;
}

static int open_endpoint(struct metrics_http *h, const struct endpoint *wanted, struct err *err)
{
    struct endpoint e = *wanted;
    char text[300];
    int fds[SOCKETS_MAX];
    int status = 0;

    if (e.kind == ENDPOINT_INET && e.host[0] == '\0')
        mem_copy_string(e.host, sizeof e.host, "127.0.0.1");
    int count = endpoint_listen(&e, BACKLOG, UNIX_MODE, fds, SOCKETS_MAX - h->site_count, err);
    for (int i = 0; i < count; i++) {
        if (status == 0)
            status = start_site(h, fds[i], err);
        else
            close(fds[i]);
    }
    if (count <= 0 || status != 0) {
        err_wrap(err, "metrics");
        return -1;
    }
    if (e.kind == ENDPOINT_UNIX)
        memcpy(h->sites[h->site_count - 1].unix_path, e.path, strlen(e.path) + 1);
    endpoint_format(&e, text, sizeof text);
    if (e.kind == ENDPOINT_UNIX)
        log_info("metrics at %s", text);
    else
        log_info("metrics at http://%s/metrics", text);
    return 0;
}

struct metrics_http *metrics_http_start(const struct metrics_http_options *o, struct err *err)
{
    struct metrics_http *h = mem_zalloc(sizeof *h);
    sigset_t all, former;
    int status = 0;

    h->o = *o;
    pthread_mutex_init(&h->page_lock, NULL);
    /* Block all signals in the threads, which inherit the mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    for (size_t i = 0; i < o->listen_count && status == 0; i++)
        status = open_endpoint(h, &o->listen[i], err);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (status == 0)
        return h;
    metrics_http_stop(h);
    return NULL;
}

void metrics_http_stop(struct metrics_http *h)
{
    if (h == NULL)
        return;
    for (size_t i = 0; i < h->site_count; i++) {
        MHD_stop_daemon(h->sites[i].daemon);
        if (h->sites[i].unix_path[0] != '\0')
            unlink(h->sites[i].unix_path);
    }
    pthread_mutex_destroy(&h->page_lock);
    free(h);
}
