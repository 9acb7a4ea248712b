/* SPDX-License-Identifier: ISC */
#include "net/secret.h"

#include "base/fdio.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t secret_read(const char *path, char *out, size_t size, struct err *err)
{
    struct stat st;
    ssize_t n = -1;
    /* O_NONBLOCK: a FIFO without a writer must not block a reload. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd == -1 || fstat(fd, &st) != 0) {
        err_set_errno(err, "%s", path);
    } else if (!S_ISREG(st.st_mode)) {
        err_set(err, "%s: is no regular file", path);
    } else {
        n = fdio_read_full(fd, out, size);
        if (n < 0)
            err_set_errno(err, "%s", path);
    }
    if (fd != -1)
        close(fd);
    return n;
}
