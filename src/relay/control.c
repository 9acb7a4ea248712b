/* SPDX-License-Identifier: ISC */
#include "relay/control.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/stream.h"
#include "relay/control_line.h"
#include "base/clock.h"
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENT_TIMEOUT_MS 5000 /* for a request, and for taking the reply */
#define STACK_SIZE (256 * 1024)
#define BACKLOG 16
#define PROGRESS_MS 500

struct control {
    struct control_actions actions;
    struct sockaddr_un address;
    int listen_fd;
    int stop_fds[2]; /* a pipe: readable when the thread is to end */
    pthread_t thread;

    pthread_mutex_t lock; /* guards the members below */
    pthread_cond_t changed;
    struct stream *clients[CONTROL_CLIENTS_MAX]; /* NULL: a free place */
    atomic_bool is_stopping;
};

/* The connection of a client. It belongs to the thread that serves the client. */
struct client {
    struct control *control;
    struct stream *stream;
    size_t at; /* index in control.clients */
    int64_t progress_at_ms;
};

static int socket_address(const char *spool_directory, struct sockaddr_un *sa, struct err *err)
{
    memset(sa, 0, sizeof *sa);
    sa->sun_family = AF_UNIX;
    int n = snprintf(sa->sun_path, sizeof sa->sun_path, "%s/control", spool_directory);
    if (n < 0 || (size_t)n >= sizeof sa->sun_path) {
        err_set(err, "%s/control: path too long for a socket", spool_directory);
        return -1;
    }
    return 0;
}

/* queue_change.go_on: report the progress to the client. False: the client has disconnected or
 * takes no more lines, or splitrelay stops. */
static bool go_on(void *ctx, const struct queue_changed *so_far)
{
    struct client *client = ctx;

    if (atomic_load(&client->control->is_stopping) || stream_is_stale(client->stream))
        return false;
    if (clock_now_ms() < client->progress_at_ms)
        return true;
    client->progress_at_ms = clock_now_ms() + PROGRESS_MS;
    stream_set_deadline(client->stream, CLIENT_TIMEOUT_MS);
    return stream_printf(client->stream, "progress %" PRIu64 "\n", so_far->changed) == STREAM_OK &&
           stream_flush(client->stream) == STREAM_OK;
}

/* Reply "ok", because splitrelay runs. If the queue takes no messages now, the reason follows. */
static void do_ping(const struct control *c, struct buf *reply, struct err *err)
{
    buf_adds(reply, "ok");
    if (c->actions.has_room(c->actions.ctx, err) != QUEUE_PUT_OK) {
        log_sanitize(err->text);
        buf_addf(reply, " %s", err->text);
    }
    buf_addc(reply, '\n');
}

static void do_health(const struct control *c, const struct control_line *line, struct buf *reply)
{
    struct destination_suspension s;

    c->actions.health(c->actions.ctx, line->destination, &s);
    buf_addf(reply, "ok %lld %lld%s%s\n", (long long)s.since, (long long)s.until,
             s.reason[0] == '\0' ? "" : " ", s.reason);
}

static void do_change(struct client *client, struct control_line *line, struct buf *reply,
                      struct err *err)
{
    const struct control *c = client->control;
    struct queue_changed changed = {0};

    line->change.go_on = go_on;
    line->change.ctx = client;
    client->progress_at_ms = clock_now_ms() + PROGRESS_MS;
    if (c->actions.change(c->actions.ctx, &line->change, &changed, err) < 0)
        return;
    if (changed.is_stopped) {
        err_set(err, "stopped after %" PRIu64 " copies", changed.changed);
        return;
    }
    buf_adds(reply, "ok ");
    control_line_changed(&changed, err->text, reply);
    buf_addc(reply, '\n');
}

static void do_suspend(const struct control *c, struct control_line *line, struct buf *reply,
                       struct err *err)
{
    line->suspension.since = clock_realtime().tv_sec;
    if (c->actions.suspend(c->actions.ctx, &line->suspension, err) == 0)
        buf_adds(reply, "ok\n");
}

static void do_resume(const struct control *c, const struct control_line *line, struct buf *reply,
                      struct err *err)
{
    int was_suspended = c->actions.resume(c->actions.ctx, line->destination, err);

    if (was_suspended >= 0)
        buf_addf(reply, "ok %d\n", was_suspended);
}

static void handle(struct client *client, const char *request, struct buf *reply)
{
    struct control_line line;
    struct err err = {""};

    buf_reset(reply);
    if (control_line_parse(request, &line, &err) == 0) {
        switch (line.verb) {
        case CONTROL_PING:
            do_ping(client->control, reply, &err);
            break;
        case CONTROL_HEALTH:
            do_health(client->control, &line, reply);
            break;
        case CONTROL_SUSPEND:
            do_suspend(client->control, &line, reply, &err);
            break;
        case CONTROL_RESUME:
            do_resume(client->control, &line, reply, &err);
            break;
        case CONTROL_CHANGE:
            do_change(client, &line, reply, &err);
            break;
        }
    }
    control_line_clear(&line);
    if (reply->len == 0) {
        log_sanitize(err.text);
        buf_addf(reply, "error %s\n", err.text);
    }
}

/* Read a line, and remove its LF. False: there is no line, or it has a NUL. */
static bool read_line(struct stream *s, struct buf *line, enum stream_status *status_out)
{
    *status_out = stream_read_line(s, line, CONTROL_LINE_SIZE);
    if (*status_out != STREAM_OK || memchr(line->data, '\0', line->len) != NULL)
        return false;
    buf_truncate(line, line->len - 1);
    return true;
}

static void converse(struct client *client)
{
    struct stream *s = client->stream;
    struct buf line = {0};
    struct buf reply = {0};
    enum stream_status status;

    stream_set_deadline(s, CLIENT_TIMEOUT_MS);
    if (read_line(s, &line, &status)) {
        handle(client, buf_str(&line), &reply);
        stream_set_deadline(s, CLIENT_TIMEOUT_MS);
        status = stream_write(s, reply.data, reply.len);
        if (status == STREAM_OK)
            status = stream_flush(s);
    }
    if (status != STREAM_OK)
        log_debug("control: %s", stream_status_text(s, status));
    buf_clear(&line);
    buf_clear(&reply);
}

static void *client_main(void *arg)
{
    struct client *client = arg;
    struct control *c = client->control;

    converse(client);
    pthread_mutex_lock(&c->lock);
    c->clients[client->at] = NULL;
    stream_free(client->stream);
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
    free(client);
    return NULL;
}

/* Wait for a free place in clients[]. Called with the lock. */
static size_t find_place(struct control *c)
{
    for (;;) {
        for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
            if (c->clients[i] == NULL)
                return i;
        pthread_cond_wait(&c->changed, &c->lock);
    }
}

static void serve(struct control *c, int fd)
{
    struct client *client = mem_zalloc(sizeof *client);
    pthread_attr_t attr;
    pthread_t thread;

    client->control = c;
    client->stream = stream_new(fd);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_mutex_lock(&c->lock);
    client->at = find_place(c);
    c->clients[client->at] = client->stream;
    pthread_mutex_unlock(&c->lock);
    int error = pthread_create(&thread, &attr, client_main, client);
    pthread_attr_destroy(&attr);
    if (error != 0) {
        log_error("control: cannot start a thread: %s", strerror(error));
        client_main(client);
    }
}

static void *control_main(void *arg)
{
    struct control *c = arg;

    for (;;) {
        struct pollfd p[] = {{.fd = c->listen_fd, .events = POLLIN},
                             {.fd = c->stop_fds[0], .events = POLLIN}};
        if (poll(p, 2, -1) == -1 && errno != EINTR) {
            log_error("control: poll: %s", strerror(errno));
            return NULL;
        }
        if (p[1].revents != 0)
            return NULL;
        if (p[0].revents == 0)
            continue;
        int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd != -1) {
            serve(c, fd);
        } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            /* Probably there is no free descriptor. Wait for connections to be closed. */
            log_warning("control: accept: %s", strerror(errno));
            if (poll(&p[1], 1, 1000) > 0)
                return NULL;
        }
    }
}

/* Open the socket. The caller has the lock of the spool, so an existing socket is a leftover and is
 * replaced. */
static int open_socket(struct control *c, struct err *err)
{
    const char *path = c->address.sun_path;

    c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->listen_fd == -1) {
        err_set_errno(err, "socket");
        return -1;
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        err_set_errno(err, "%s: unlink", path);
        return -1;
    }
    /* On Linux bind(2) makes the file with the mode of the descriptor, so no other user can connect
     * before chmod(2). The directory is closed to other users anyway. */
    if (fchmod(c->listen_fd, S_IRUSR | S_IWUSR) != 0 ||
        bind(c->listen_fd, (struct sockaddr *)&c->address, sizeof c->address) != 0 ||
        chmod(path, S_IRUSR | S_IWUSR) != 0 || listen(c->listen_fd, BACKLOG) != 0) {
        err_set_errno(err, "%s: cannot listen", path);
        return -1;
    }
    return 0;
}

static void close_all(struct control *c)
{
    const int fds[] = {c->listen_fd, c->stop_fds[0], c->stop_fds[1]};

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] != -1)
            close(fds[i]);
    }
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static int start_thread(struct control *c, struct err *err)
{
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    errno = pthread_create(&c->thread, &attr, control_main, c);
    pthread_attr_destroy(&attr);
    if (errno == 0)
        return 0;
    err_set_errno(err, "cannot start a thread");
    return -1;
}

struct control *control_start(const char *spool_directory, const struct control_actions *actions,
                              struct err *err)
{
    struct control *c = mem_zalloc(sizeof *c);

    c->actions = *actions;
    c->listen_fd = c->stop_fds[0] = c->stop_fds[1] = -1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    if (socket_address(spool_directory, &c->address, err) != 0 || open_socket(c, err) != 0)
        goto fail;
    if (pipe2(c->stop_fds, O_CLOEXEC) != 0) {
        err_set_errno(err, "pipe");
        goto fail;
    }
    if (start_thread(c, err) != 0)
        goto fail;
    return c;
fail:
    close_all(c);
    return NULL;
}

/* Shut down the connections of all clients for reading, so that their threads end. Called with the
 * lock. False: there is no client. */
static bool hurry_clients(struct control *c)
{
    bool is_any = false;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->clients[i] != NULL) {
            stream_shutdown_read(c->clients[i]);
            is_any = true;
        }
    return is_any;
}

void control_stop(struct control *c)
{
    atomic_store(&c->is_stopping, true);
    (void)!fdio_write_all(c->stop_fds[1], "", 1); /* a byte in an empty pipe always has room */
    pthread_mutex_lock(&c->lock);
    (void)hurry_clients(c); /* the thread may wait in find_place() */
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_mutex_lock(&c->lock);
    while (hurry_clients(c))
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    unlink(c->address.sun_path);
    close_all(c);
}

/* Parse a reply. Returns 0 with the text after "ok" in *text_out, or -1 with `err`. */
static int take_reply(const char *reply, char **text_out, struct err *err)
{
    if (strcmp(reply, "ok") == 0 || strncmp(reply, "ok ", 3) == 0) {
        *text_out = mem_strdup(reply[2] == '\0' ? "" : reply + 3);
        return 0;
    }
    if (strncmp(reply, "error ", 6) == 0)
        err_set(err, "%s", reply + 6);
    else
        err_set(err, "splitrelay sent a reply that makes no sense");
    log_sanitize(err->text);
    return -1;
}

static struct stream *connect_to(const char *spool_directory, struct err *err)
{
    struct sockaddr_un sa;

    if (socket_address(spool_directory, &sa, err) != 0)
        return NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        err_set_errno(err, "socket");
        return NULL;
    }
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0)
        return stream_new(fd);
    if (errno == ENOENT || errno == ECONNREFUSED)
        err_set(err, "splitrelay is not running: no process listens at %s", sa.sun_path);
    else
        err_set_errno(err, "%s", sa.sun_path);
    close(fd);
    return NULL;
}

int control_request(const char *spool_directory, const char *request, unsigned timeout_ms,
                    bool (*on_progress)(void *ctx, uint64_t changed), void *ctx, char **text_out,
                    struct err *err)
{
    struct buf line = {0};
    enum stream_status status;
    bool is_progress = true, is_wanted = true;
    int result = -1;

    struct stream *s = connect_to(spool_directory, err);
    if (s == NULL)
        return -1;
    stream_set_deadline(s, timeout_ms);
    status = stream_printf(s, "%s\n", request);
    if (status == STREAM_OK)
        status = stream_flush(s);
    while (status == STREAM_OK && is_progress && is_wanted && read_line(s, &line, &status)) {
        is_progress = strncmp(buf_str(&line), "progress ", 9) == 0;
        if (is_progress && on_progress != NULL)
            is_wanted = on_progress(ctx, strtoull(buf_str(&line) + 9, NULL, 10));
        if (!is_progress)
            result = take_reply(buf_str(&line), text_out, err);
        stream_set_deadline(s, timeout_ms);
    }
    if (!is_wanted)
        err_set(err, "stopped");
    else if (is_progress)
        err_set(err, "no reply from splitrelay: %s", stream_status_text(s, status));
    buf_clear(&line);
    stream_free(s);
    return result;
}
