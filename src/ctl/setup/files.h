/* SPDX-License-Identifier: ISC */
/* files: reads, writes and removes whole small files. One thread. */
#ifndef SPLIT_CTL_FILES_H
#define SPLIT_CTL_FILES_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define FILES_MAX (8U << 20) /* bytes; a larger file is an error */

enum files_result { FILES_OK, FILES_ABSENT, FILES_FAULT };

/* Append the content of a file. FILES_FAULT with `err`: it cannot be read, is too large, or has NUL
 * bytes. */
enum files_result files_read(const char *path, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#define FILES_TEMPORARY ".split-new"

/* The attributes of a file: owner, group, mode, access control list, extended attributes. */
struct files_attributes;

/* The attributes of an existing file; NULL: it does not exist or cannot be examined. This function
 * and the next three are in files_attributes.c. */
struct files_attributes *files_attributes_get(const char *path)
    __attribute__((nonnull, warn_unused_result));
void files_attributes_free(struct files_attributes *a);

/* Give the attributes to an open file; NULL: mode 0644 and no access control list. If the file
 * system does not accept the list, the mode is made narrower, never wider. -1 with errno. */
int files_attributes_set(int fd, const struct files_attributes *a)
    __attribute__((warn_unused_result));

/* Return a umask for another program: no file that it makes has a wider mode than `a`. */
mode_t files_attributes_umask(const struct files_attributes *a);

/*
 * Replace the content of a file: write a temporary file beside it (its name followed by
 * FILES_TEMPORARY), fsync, rename, fsync the directory. An existing file keeps its attributes; a
 * new one gets `attributes`, which may be NULL. A symbolic link stays one. -1 with `err`.
 */
int files_write(const char *path, const char *content, const struct files_attributes *attributes,
                struct err *err) __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* Return true if the directory has an entry with this name, of any type. */
bool files_is_there(const char *directory, const char *name)
    __attribute__((nonnull, warn_unused_result));

/*
 * files_tree.c: changes in directories that other users may write to, such as those below a queue
 * directory. A symbolic link in the middle of a path is followed only if it belongs to root or to
 * the user of this process; a link at the end of a path is never followed. So no other user can
 * redirect a change, even by replacing a directory with a link at the same time. All functions
 * return -1 with `err`.
 */

/* Make a directory, with exactly this mode and owner. */
int files_mkdir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Remove a file. It is no error if the file does not exist. */
int files_unlink(const char *path, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Remove a directory if it is empty. It is no error if the directory is not empty, or does not
 * exist. */
int files_rmdir(const char *path, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Remove a directory and everything in it, but nothing on another file system. It is no error if
 * the directory does not exist. */
int files_remove_tree(const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The number of regular files in the directory, at any depth; 0 if it cannot be read. */
unsigned long files_count(const char *path) __attribute__((nonnull, warn_unused_result));

#endif
