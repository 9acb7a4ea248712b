/* SPDX-License-Identifier: ISC */
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#define CHUNK_SIZE 65536

int fdio_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

ssize_t fdio_read_full(int fd, void *data, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = read(fd, (char *)data + have, len - have);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

ssize_t fdio_pread_full(int fd, void *data, size_t len, off_t offset)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = pread(fd, (char *)data + have, len - have, offset + (off_t)have);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

int fdio_read_rest(int fd, struct buf *out, size_t max)
{
    size_t before = out->len;
    ssize_t n;

    do {
        n = read(fd, buf_reserve(out, CHUNK_SIZE), CHUNK_SIZE);
        if (n > 0)
            out->len += (size_t)n;
    } while ((n > 0 && out->len - before <= max) || (n == -1 && errno == EINTR));
    out->data[out->len] = '\0';
    return n > 0 ? 1 : (int)n;
}

int fdio_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags == -1 || (flags & O_NONBLOCK) != 0)
        return flags == -1 ? -1 : 0;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 ? -1 : 0;
}

int fdio_sync_names_again(int directory_fd, bool may_be_full)
{
    int fd = openat(directory_fd, ".sync", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool is_full = fd < 0 && (errno == ENOSPC || errno == EDQUOT);
    bool is_forbidden = fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS);

    if (fd < 0 && !is_forbidden && !(is_full && may_be_full))
        return -1;
    if (fd >= 0) {
        close(fd);
        (void)unlinkat(directory_fd, ".sync", 0);
    }
    return fsync(directory_fd);
}
