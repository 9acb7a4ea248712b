/* SPDX-License-Identifier: ISC */
/* secret: reads a file with a password or a token. Any thread; blocks on the disk. */
#ifndef SPLIT_SECRET_H
#define SPLIT_SECRET_H

#include "base/err.h"

#include <sys/types.h>

/* Read the file, up to `size` bytes, into `out`. Returns the number of bytes. -1 with `err`
 * ("PATH: reason"): the file cannot be read, or is no regular file. The caller wipes `out`. */
ssize_t secret_read(const char *path, char *out, size_t size, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
