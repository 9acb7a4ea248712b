/* SPDX-License-Identifier: ISC */
/*
 * stream: buffered reading and writing on a connected socket, with deadlines. The SMTP server, the
 * SMTP client and the control socket use it. Calls block the caller, but the descriptor is
 * non-blocking (task_poll()): while a task waits, other tasks of its thread run. A stream belongs
 * to one task or thread at a time; only stream_shutdown_read() may be called from another. The
 * transport below the buffers is a table of functions, which TLS replaces.
 */
#ifndef SPLIT_STREAM_H
#define SPLIT_STREAM_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum stream_status {
    STREAM_OK,
    STREAM_EOF,      /* closed or reset by the peer, or stream_shutdown_read() was called */
    STREAM_TIMEOUT,  /* the deadline passed */
    STREAM_TOO_LONG, /* a line is longer than the caller allows; the caller's buffer has its start,
                        and the rest is still unread */
    STREAM_ERROR,    /* stream_errno() has the errno of the fault */
};

/* read and write behave as recv(2) and send(2) at a non-blocking socket: after -1 with EAGAIN the
 * stream waits for the event that wants() returns. */
struct stream_transport {
    ssize_t (*read)(void *state, void *data, size_t len);
    ssize_t (*write)(void *state, const void *data, size_t len);
    short (*wants)(void *state); /* after EAGAIN: the event to wait for, POLLIN or POLLOUT */
    void (*close)(void *state);  /* releases the state; the descriptor is closed by the stream */
};

struct stream;

/* Make a stream on fd. The stream owns fd from now on. It sets O_NONBLOCK, and for TCP also
 * TCP_NODELAY. There is no deadline yet. */
struct stream *stream_new(int fd) __attribute__((returns_nonnull, warn_unused_result));

/* Free the stream, and close its descriptor without a flush. NULL is legal. */
void stream_free(struct stream *s);

/* Use this transport instead of the socket from now on (STARTTLS); once for a stream. The stream
 * owns `state`. Input that is in the buffer is discarded (RFC 3207 6). */
void stream_set_transport(struct stream *s, const struct stream_transport *t, void *state)
    __attribute__((nonnull(1, 2)));

/* Wait until the descriptor is ready for `events`, POLLIN or POLLOUT. For handshakes, which bypass
 * the stream's buffers. */
enum stream_status stream_wait(struct stream *s, short events)
    __attribute__((nonnull, warn_unused_result));

/* Set the deadline to timeout_ms from now. When it has passed, calls that have to wait return
 * STREAM_TIMEOUT. The caller sets the deadline once for each line, reply or block, so that slow
 * bytes do not extend it. */
void stream_set_deadline(struct stream *s, unsigned timeout_ms) __attribute__((nonnull));

/*
 * Read one line up to and including LF into *line (reset first), at most max bytes. The caller
 * checks whether the line ends in CRLF. If the status is not STREAM_OK, *line has the part that was
 * read.
 */
enum stream_status stream_read_line(struct stream *s, struct buf *line, size_t max)
    __attribute__((nonnull, warn_unused_result));

/* Read the bytes that are there, at most `size`; if there are none, wait for some. *len_out: the
 * number of bytes read. */
enum stream_status stream_read(struct stream *s, void *data, size_t size, size_t *len_out)
    __attribute__((nonnull, warn_unused_result));

/*
 * As stream_read(), without copying: *data_out points into the input buffer, which is filled first
 * if it is empty. The bytes stay in the buffer, so that the caller can parse them to find the end
 * of its part. stream_consume() then removes the first len bytes. *data_out is valid until that
 * call or another read.
 */
enum stream_status stream_peek(struct stream *s, const char **data_out, size_t *len_out)
    __attribute__((nonnull, warn_unused_result));
void stream_consume(struct stream *s, size_t len) __attribute__((nonnull));

/* Is there input in the buffer, which can be read without waiting? With PIPELINING the SMTP server
 * holds its replies back while this input has a whole command line. */
bool stream_has_input(const struct stream *s) __attribute__((nonnull));

/* As stream_has_input(), but if the buffer is empty, input that has arrived is read into it first.
 * Does not wait. */
bool stream_input_is_here(struct stream *s) __attribute__((nonnull));

/* Append bytes or formatted text to the output buffer. Before the buffer reaches 64 kB it is
 * flushed; the status is that of the flush. */
enum stream_status stream_write(struct stream *s, const void *data, size_t len)
    __attribute__((nonnull, warn_unused_result));
enum stream_status stream_printf(struct stream *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull, warn_unused_result));

/* Send what is in the output buffer. */
enum stream_status stream_flush(struct stream *s) __attribute__((nonnull, warn_unused_result));

/* Has the peer closed the connection, or sent data that no command requested? Such a connection
 * must not be reused. */
bool stream_is_stale(struct stream *s) __attribute__((nonnull));

/* Detach the stream from the present task or thread, so that another one may use it: for a
 * connection that is kept in a pool. */
void stream_detach(struct stream *s) __attribute__((nonnull));

/* Wake the task or thread that the stream belongs to. From now on reads return STREAM_EOF when the
 * input buffer is used up. Writes that would have to wait for the peer return STREAM_EOF, too;
 * other writes succeed, so that a last reply can be sent. From any thread. */
void stream_shutdown_read(struct stream *s) __attribute__((nonnull));

/* The errno of the last fault; 0 if there was none. */
int stream_errno(const struct stream *s) __attribute__((nonnull));

/* The descriptor, which the stream still owns. */
int stream_fd(const struct stream *s) __attribute__((nonnull));

/* The status as text: "timed out", "lost connection", "line too long", or strerror(3) of the fault.
 * Valid as long as the stream. */
const char *stream_status_text(const struct stream *s, enum stream_status status)
    __attribute__((nonnull));

#endif
