/* SPDX-License-Identifier: ISC */
/*
 * fdio: complete reads and writes at a file descriptor. A system call that was interrupted (EINTR)
 * or transferred only a part is repeated. For files and blocking descriptors; sessions use
 * net/stream.h for their sockets. A failure is returned as -1 with errno. Any thread.
 */
#ifndef SPLIT_FDIO_H
#define SPLIT_FDIO_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Write all len bytes. Returns 0 or -1. After -1 some of the bytes may have been written. */
int fdio_write_all(int fd, const void *data, size_t len)
    __attribute__((nonnull, warn_unused_result));

/* Read len bytes from the file offset on, or up to the end of the file. Returns the number of
 * bytes, which is less than len only at the end. */
ssize_t fdio_read_full(int fd, void *data, size_t len) __attribute__((nonnull, warn_unused_result));

/* As fdio_read_full(), but from `offset` on. The file offset does not change. */
ssize_t fdio_pread_full(int fd, void *data, size_t len, off_t offset)
    __attribute__((nonnull, warn_unused_result));

/* Read from the file offset on, and append the bytes to a buffer. Returns 0 if the end of the file
 * was reached. Returns 1 if the file has more than max further bytes: then more than max bytes are
 * appended, but perhaps not all. After -1 the buffer holds what was read before the fault. */
int fdio_read_rest(int fd, struct buf *out, size_t max)
    __attribute__((nonnull, warn_unused_result));

/* Sync the names in a directory again, after a sync that failed. Returns 0, or -1 with errno. After
 * the failure the kernel takes the names for written, so fsync(2) alone would write nothing.
 * Therefore the directory is changed first: a file ".sync" is created and removed. If permissions
 * prevent this change, fsync(2) is called alone. may_be_full: it is as well if space is lacking,
 * for a name that an earlier process has used. */
int fdio_sync_names_again(int directory_fd, bool may_be_full) __attribute__((warn_unused_result));

/* Set O_NONBLOCK, which all descriptors of one open file share. Returns 0 or -1. */
int fdio_set_nonblocking(int fd);

#endif
