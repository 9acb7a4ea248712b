/* SPDX-License-Identifier: ISC */
/* files: small files as a whole. One thread. */
#ifndef SPLIT_CTL_FILES_H
#define SPLIT_CTL_FILES_H

#include "../buf.h"
#include "../err.h"

#include <stdbool.h>

#define FILES_MAX (8U << 20) /* bytes; a larger file is an error */

enum files_result { FILES_OK, FILES_ABSENT, FILES_FAULT };

/* Append the content. FAULT with `err`: it cannot be read, is too large, or holds NUL bytes. */
enum files_result files_read(const char *path, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#define FILES_TEMPORARY ".split-new"

/*
 * Replace the content: a temporary file beside it (with FILES_TEMPORARY behind its name), fsync,
 * rename, fsync of the directory. Owner and mode stay; a new file has mode 0644. A symbolic link
 * stays one.
 */
int files_write(const char *path, const char *content, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Is there such a name in the directory, whatever it is? */
bool files_is_there(const char *directory, const char *name)
    __attribute__((nonnull, warn_unused_result));

/* Remove a directory and everything in it; it does not leave the file system. Absent: fine. */
int files_remove_tree(const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
