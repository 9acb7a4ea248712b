/* SPDX-License-Identifier: ISC */
#include "control.h"

#include "../address.h"
#include "../log.h"
#include "../mem.h"
#include "../stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1200    /* of a request or reply; an err fits */
#define CLIENT_TIMEOUT_MS 5000 /* for a request, and for taking the reply */
#define STACK_SIZE (256 * 1024)
#define BACKLOG 16

struct control {
    struct control_actions actions;
    struct sockaddr_un address;
    int listen_fd;
    int stop_fds[2]; /* a pipe: readable when the thread is to end */
    pthread_t thread;
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

static bool is_copy_id(const char *id)
{
    size_t len = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

    return len > 0 && len < QUEUE_ID_SIZE && id[len] == '\0';
}

/* Act on "retry ARGUMENT". */
static long do_retry(const struct control *c, const char *argument, struct err *err)
{
    if (strcmp(argument, "--all") == 0)
        return c->actions.retry(c->actions.ctx, NULL, NULL, err);
    if (strncmp(argument, "--all ", 6) == 0) {
        if (address_is_tag_name(argument + 6))
            return c->actions.retry(c->actions.ctx, argument + 6, NULL, err);
        err_set(err, "no name of a destination");
        return -1;
    }
    if (is_copy_id(argument))
        return c->actions.retry(c->actions.ctx, NULL, argument, err);
    err_set(err, "no id of a copy");
    return -1;
}

static void handle(const struct control *c, const char *request, struct buf *reply)
{
    struct err err = {""};

    buf_reset(reply);
    if (strcmp(request, "ping") == 0) {
        buf_adds(reply, "ok\n");
    } else if (strncmp(request, "retry ", 6) == 0) {
        long n = do_retry(c, request + 6, &err);
        if (n >= 0)
            buf_addf(reply, "ok %ld\n", n);
    } else {
        err_set(&err, "unknown request");
    }
    if (reply->len == 0) {
        log_sanitize(err.text);
        buf_addf(reply, "error %s\n", err.text);
    }
}

/* The line without its LF; false if there is none, or a NUL in it. */
static bool read_line(struct stream *s, struct buf *line, enum stream_status *status_out)
{
    *status_out = stream_read_line(s, line, LINE_MAX_BYTES);
    if (*status_out != STREAM_OK || memchr(line->data, '\0', line->len) != NULL)
        return false;
    buf_truncate(line, line->len - 1);
    return true;
}

static void serve(const struct control *c, int fd)
{
    struct stream *s = stream_new(fd);
    struct buf line = {0};
    struct buf reply = {0};
    enum stream_status status;

    stream_set_deadline(s, CLIENT_TIMEOUT_MS);
    if (read_line(s, &line, &status)) {
        handle(c, buf_str(&line), &reply);
        stream_set_deadline(s, CLIENT_TIMEOUT_MS);
        status = stream_write(s, reply.data, reply.len);
        if (status == STREAM_OK)
            status = stream_flush(s);
    }
    if (status != STREAM_OK)
        log_debug("control: %s", stream_status_text(s, status));
    buf_clear(&line);
    buf_clear(&reply);
    stream_free(s);
}

static void *control_main(void *arg)
{
    const struct control *c = arg;

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
            /* Out of descriptors: others need time to close theirs. */
            log_warning("control: accept: %s", strerror(errno));
            if (poll(&p[1], 1, 1000) > 0)
                return NULL;
        }
    }
}

/* Whoever starts us holds the lock of the spool: a socket that is there has nobody behind it. */
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
    /* On Linux the file gets the mode of the descriptor; the directory is closed to others anyway.
     */
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

void control_stop(struct control *c)
{
    ssize_t n;

    do
        n = write(c->stop_fds[1], "", 1);
    while (n == -1 && errno == EINTR);
    pthread_join(c->thread, NULL);
    unlink(c->address.sun_path);
    close_all(c);
}

/* 0: *text_out is what is behind "ok". */
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
        err_set(err, "splitrelay is not running: nobody listens at %s", sa.sun_path);
    else
        err_set_errno(err, "%s", sa.sun_path);
    close(fd);
    return NULL;
}

int control_request(const char *spool_directory, const char *request, unsigned timeout_ms,
                    char **text_out, struct err *err)
{
    struct buf line = {0};
    enum stream_status status;
    int result = -1;

    struct stream *s = connect_to(spool_directory, err);
    if (s == NULL)
        return -1;
    stream_set_deadline(s, timeout_ms);
    status = stream_printf(s, "%s\n", request);
    if (status == STREAM_OK)
        status = stream_flush(s);
    if (status == STREAM_OK && read_line(s, &line, &status))
        result = take_reply(buf_str(&line), text_out, err);
    else
        err_set(err, "no reply from splitrelay: %s", stream_status_text(s, status));
    buf_clear(&line);
    stream_free(s);
    return result;
}
