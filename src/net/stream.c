/* SPDX-License-Identifier: ISC */
#include "net/stream.h"
#include "base/mem.h"
#include "task/task.h"
#include "base/fdio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The input buffer begins small and grows while reads fill it, so that many idle connections need
 * little memory, and large contents need few system calls. */
#define INPUT_MIN 8192
#define INPUT_MAX 65536
#define OUTPUT_MAX 65536

/* After the peer has closed its direction, poll(2) does not report a call of
 * stream_shutdown_read(). A write that waits for such a peer checks at this interval whether that
 * function was called. */
#define SHUTDOWN_POLL_MS 250

/* After this many reads and writes that did not wait, the task yields to the other tasks. */
#define BUSY_MAX 16

struct stream {
    struct task_fd io;
    const struct stream_transport *transport; /* NULL: the socket itself */
    void *transport_state;

    char *in;
    size_t in_start, in_end, in_cap;
    bool in_was_full;   /* the last read filled the buffer */
    bool in_is_drained; /* the last read got less than it asked for, so the socket was empty */

    struct buf out;

    unsigned busy;       /* reads and writes since the last wait or yield */
    int64_t deadline_ms; /* a time of task_now_ms() */
    atomic_bool is_shut;
    int error;
    char error_text[96];
};

static enum stream_status fault(struct stream *s, int error)
{
    char text[sizeof s->error_text];

    s->error = error;
    snprintf(s->error_text, sizeof s->error_text, "%s", strerror_r(error, text, sizeof text));
    return error == ECONNRESET || error == EPIPE ? STREAM_EOF : STREAM_ERROR;
}

struct stream *stream_new(int fd)
{
    struct stream *s = mem_zalloc(sizeof *s);
    int on = 1;

    task_fd_init(&s->io, fd);
    (void)fdio_set_nonblocking(fd);
    /* The output buffer gathers replies and commands, so Nagle's algorithm would only delay them.
     * On unix sockets, which do not have it, this call fails. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    s->deadline_ms = TASK_FOREVER;
    return s;
}

void stream_free(struct stream *s)
{
    if (s == NULL)
        return;
    if (s->transport != NULL)
        s->transport->close(s->transport_state);
    close(s->io.fd);
    free(s->in);
    buf_clear(&s->out);
    free(s);
}

void stream_set_transport(struct stream *s, const struct stream_transport *t, void *state)
{
    assert(s->transport == NULL);
    s->transport = t;
    s->transport_state = state;
    s->in_start = s->in_end = 0;
}

void stream_set_deadline(struct stream *s, unsigned timeout_ms)
{
    s->deadline_ms = task_now_ms() + timeout_ms;
}

enum stream_status stream_wait(struct stream *s, short events)
{
    short also = POLLRDHUP;

    s->busy = 0;
    for (;;) {
        int64_t now_ms = also == 0 ? task_now_ms() : 0;
        int64_t until_ms = s->deadline_ms;
        if (atomic_load(&s->is_shut))
            return STREAM_EOF;
        if (also == 0 && until_ms - now_ms > SHUTDOWN_POLL_MS)
            until_ms = now_ms + SHUTDOWN_POLL_MS;
        int got = task_poll(&s->io, (short)(events | also), until_ms);
        if (got == -1)
            return fault(s, errno);
        if (got == 0 && until_ms == s->deadline_ms)
            return STREAM_TIMEOUT;
        if (got == 0)
            continue;
        if ((got & ~POLLRDHUP) != 0 || (events & POLLIN) != 0)
            return STREAM_OK;
        also = 0;
    }
}

/* Wait after EAGAIN: for the event that the transport wants, or, if there is no transport, for
 * `events`. */
static enum stream_status wait_for(struct stream *s, short events)
{
    return stream_wait(s, s->transport != NULL ? s->transport->wants(s->transport_state) : events);
}

static ssize_t transport_read(struct stream *s, void *data, size_t len)
{
    if (s->transport != NULL)
        return s->transport->read(s->transport_state, data, len);
    ssize_t n = recv(s->io.fd, data, len, 0);
    s->in_is_drained = n >= 0 && (size_t)n < len;
    return n;
}

static ssize_t transport_write(struct stream *s, const void *data, size_t len)
{
    if (s->transport != NULL)
        return s->transport->write(s->transport_state, data, len);
    return send(s->io.fd, data, len, MSG_NOSIGNAL);
}

/* Let the other tasks of the thread run, if the last BUSY_MAX reads and writes of this stream did
 * not wait. */
static void take_turns(struct stream *s)
{
    if (++s->busy < BUSY_MAX)
        return;
    s->busy = 0;
    task_yield();
}

/* Read once into data: try to read, and wait only if nothing has arrived. When the socket is known
 * to be empty, a task waits first, because in a task a wait costs less than a failed read. */
static enum stream_status receive(struct stream *s, void *data, size_t size, size_t *len_out)
{
    bool has_to_wait = s->transport == NULL && s->in_is_drained && task_is_inside();

    take_turns(s);
    for (;;) {
        if (atomic_load(&s->is_shut))
            return STREAM_EOF;
        if (has_to_wait) {
            enum stream_status status = wait_for(s, POLLIN);
            if (status != STREAM_OK)
                return status;
            has_to_wait = false;
            continue; /* stream_shutdown_read() may have ended the wait */
        }
        ssize_t n = transport_read(s, data, size);
        if (n > 0) {
            *len_out = (size_t)n;
            return STREAM_OK;
        }
        if (n == 0)
            return STREAM_EOF;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return fault(s, errno);
        has_to_wait = true;
    }
}

/* Prepare the input buffer, which is used up, for the next read: allocate it, or enlarge it if the
 * last read filled it. */
static void prepare_input(struct stream *s)
{
    assert(s->in_start == s->in_end);
    if (s->in == NULL || (s->in_was_full && s->in_cap < INPUT_MAX)) {
        free(s->in);
        s->in_cap = s->in_cap == 0 ? INPUT_MIN : INPUT_MAX;
        s->in = mem_grow(NULL, s->in_cap, 1);
    }
    s->in_start = s->in_end = 0;
}

/* Read once into the input buffer, which is used up. */
static enum stream_status fill(struct stream *s)
{
    size_t n = 0;

    prepare_input(s);
    enum stream_status status = receive(s, s->in, s->in_cap, &n);
    s->in_end = n;
    s->in_was_full = n == s->in_cap;
    return status;
}

enum stream_status stream_read_line(struct stream *s, struct buf *line, size_t max)
{
    buf_reset(line);
    for (;;) {
        size_t have = s->in_end - s->in_start;
        size_t room = max - line->len;
        if (have == 0) {
            enum stream_status status = fill(s);
            if (status != STREAM_OK)
                return status;
            continue;
        }
        const char *data = s->in + s->in_start;
        size_t look = have < room ? have : room;
        const char *lf = memchr(data, '\n', look);
        size_t take = lf != NULL ? (size_t)(lf - data) + 1 : look;
        buf_add(line, data, take);
        s->in_start += take;
        if (lf != NULL)
            return STREAM_OK;
        if (line->len == max)
            return STREAM_TOO_LONG;
    }
}

enum stream_status stream_peek(struct stream *s, const char **data_out, size_t *len_out)
{
    if (s->in_start == s->in_end) {
        enum stream_status status = fill(s);
        if (status != STREAM_OK)
            return status;
    }
    *data_out = s->in + s->in_start;
    *len_out = s->in_end - s->in_start;
    return STREAM_OK;
}

void stream_consume(struct stream *s, size_t len)
{
    assert(len <= s->in_end - s->in_start);
    s->in_start += len;
}

enum stream_status stream_read(struct stream *s, void *data, size_t size, size_t *len_out)
{
    const char *from;
    size_t n;

    enum stream_status status = stream_peek(s, &from, &n);
    if (status != STREAM_OK)
        return status;
    if (n > size)
        n = size;
    memcpy(data, from, n);
    stream_consume(s, n);
    *len_out = n;
    return STREAM_OK;
}

bool stream_has_input(const struct stream *s)
{
    return s->in_start < s->in_end;
}

bool stream_input_is_here(struct stream *s)
{
    if (stream_has_input(s))
        return true;
    if (s->transport == NULL && s->in_is_drained && task_fd_is_quiet(&s->io))
        return false;
    prepare_input(s);
    ssize_t n = transport_read(s, s->in, s->in_cap);
    if (n <= 0) /* nothing yet, or a fault that the next read reports */
        return false;
    s->in_end = (size_t)n;
    s->in_was_full = s->in_end == s->in_cap;
    return true;
}

static enum stream_status send_all(struct stream *s, const char *data, size_t len)
{
    while (len > 0) {
        take_turns(s);
        ssize_t n = transport_write(s, data, len);
        if (n >= 0) {
            data += n;
            len -= (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return fault(s, errno);
        enum stream_status status = wait_for(s, POLLOUT);
        if (status != STREAM_OK)
            return status;
    }
    return STREAM_OK;
}

enum stream_status stream_write(struct stream *s, const void *data, size_t len)
{
    if (s->out.len + len >= OUTPUT_MAX) {
        enum stream_status status = stream_flush(s);
        if (status != STREAM_OK)
            return status;
    }
    if (len >= OUTPUT_MAX)
        return send_all(s, data, len);
    buf_add(&s->out, data, len);
    return STREAM_OK;
}

enum stream_status stream_printf(struct stream *s, const char *fmt, ...)
{
    char small[512];
    char *large = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    if ((size_t)n < sizeof small)
        return stream_write(s, small, (size_t)n);
    large = mem_grow(NULL, (size_t)n + 1, 1);
    va_start(ap, fmt);
    vsnprintf(large, (size_t)n + 1, fmt, ap);
    va_end(ap);
    enum stream_status status = stream_write(s, large, (size_t)n);
    free(large);
    return status;
}

enum stream_status stream_flush(struct stream *s)
{
    if (s->out.len == 0)
        return STREAM_OK;
    enum stream_status status = send_all(s, s->out.data, s->out.len);
    buf_reset(&s->out); /* also after a fault, because the connection cannot be used any more */
    return status;
}

bool stream_is_stale(struct stream *s)
{
    struct pollfd p = {.fd = s->io.fd, .events = POLLIN | POLLRDHUP};
    char byte;

    if (s->transport == NULL && !stream_has_input(s) && s->in_is_drained &&
        task_fd_is_quiet(&s->io))
        return false;
    if (stream_has_input(s) || poll(&p, 1, 0) < 0)
        return true;
    if (s->transport == NULL || (p.revents & ~POLLIN) != 0)
        return p.revents != 0;
    /* Only a read can tell: the data on the socket may be for the transport alone, such as a
     * session ticket of TLS 1.3. The transport may also hold data that is no longer on the socket:
     * the rest of a record. */
    return transport_read(s, &byte, 1) != -1 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

void stream_detach(struct stream *s)
{
    task_fd_detach(&s->io);
}

void stream_shutdown_read(struct stream *s)
{
    atomic_store(&s->is_shut, true);
    shutdown(s->io.fd, SHUT_RD);
}

int stream_errno(const struct stream *s)
{
    return s->error;
}

int stream_fd(const struct stream *s)
{
    return s->io.fd;
}

const char *stream_status_text(const struct stream *s, enum stream_status status)
{
    switch (status) {
    case STREAM_OK:
        return "no fault";
    case STREAM_EOF:
        return "lost connection";
    case STREAM_TIMEOUT:
        return "timed out";
    case STREAM_TOO_LONG:
        return "line too long";
    case STREAM_ERROR:
        return s->error_text;
    }
    abort();
}
