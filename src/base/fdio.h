/* SPDX-License-Identifier: ISC */
/*
 * fdio: whole reads and writes at a file descriptor. Each call is repeated after EINTR and after a
 * part, so that the caller sees all or the fault. For files and blocking descriptors; sockets of
 * sessions belong to net/stream.h. Failures are returned as -1 with errno. Any thread.
 */
#ifndef SPLIT_FDIO_H
#define SPLIT_FDIO_H

#include "base/buf.h"

#include <stddef.h>
#include <sys/types.h>

/* Write all len bytes: 0. After -1 some of them may have been written. */
int fdio_write_all(int fd, const void *data, size_t len)
    __attribute__((nonnull, warn_unused_result));

/* Read len bytes from the present place, or up to the end of the file. Returns the number of bytes;
 * fewer than len only at the end. */
ssize_t fdio_read_full(int fd, void *data, size_t len) __attribute__((nonnull, warn_unused_result));

/* The same from a place of the file; the present place stays. */
ssize_t fdio_pread_full(int fd, void *data, size_t len, off_t offset)
    __attribute__((nonnull, warn_unused_result));

/* Append what is left of the file to a buffer: 0; 1 if it has more than max bytes, of which the
 * buffer then holds a few more than max. After -1 the buffer holds what was read before. In each
 * case the buffer has its NUL. */
int fdio_read_rest(int fd, struct buf *out, size_t max)
    __attribute__((nonnull, warn_unused_result));

/* Set O_NONBLOCK, which all descriptors of one open file share: 0. */
int fdio_set_nonblocking(int fd);

#endif
