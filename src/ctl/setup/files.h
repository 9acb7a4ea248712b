/* SPDX-License-Identifier: ISC */
/* files: small files as a whole. One thread. */
#ifndef SPLIT_CTL_FILES_H
#define SPLIT_CTL_FILES_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define FILES_MAX (8U << 20) /* bytes; a larger file is an error */

enum files_result { FILES_OK, FILES_ABSENT, FILES_FAULT };

/* Append the content. FAULT with `err`: it cannot be read, is too large, or holds NUL bytes. */
enum files_result files_read(const char *path, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#define FILES_TEMPORARY ".split-new"

/* Who may do what with a file: owner, group, mode, access control list, extended attributes. */
struct files_attributes;

/* Of the file that is there; NULL: there is none, or it cannot be looked at. In
 * files_attributes.c, as the next ones. */
struct files_attributes *files_attributes_get(const char *path)
    __attribute__((nonnull, warn_unused_result));
void files_attributes_free(struct files_attributes *a);

/* Give them to an open file; NULL: mode 0644 and no list. What the file system does not take makes
 * the mode narrower, never wider. -1 with errno. */
int files_attributes_set(int fd, const struct files_attributes *a)
    __attribute__((warn_unused_result));

/* The umask under which what another program makes is not wider than that file. */
mode_t files_attributes_umask(const struct files_attributes *a);

/*
 * Replace the content: a temporary file beside it (with FILES_TEMPORARY behind its name), fsync,
 * rename, fsync of the directory. The file keeps its attributes; a new one gets `attributes`, which
 * may be NULL. A symbolic link stays one.
 */
int files_write(const char *path, const char *content, const struct files_attributes *attributes,
                struct err *err) __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* Is there such a name in the directory, whatever it is? */
bool files_is_there(const char *directory, const char *name)
    __attribute__((nonnull, warn_unused_result));

/*
 * files_tree.c: changes where other users may write, such as below a queue directory. A symbolic
 * link on the way is followed only if it belongs to root or to the user of this process, and none
 * at the end of a path, so that no other user can lead us elsewhere, not even by exchanging a
 * directory for a link while we work. All return -1 with `err`.
 */

/* Make a directory, with exactly this mode and owner. */
int files_mkdir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Remove a file. Absent: fine. */
int files_unlink(const char *path, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Remove a directory if it is empty. Absent, or not empty: fine. */
int files_rmdir(const char *path, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Remove a directory and everything in it; it does not leave the file system. Absent: fine. */
int files_remove_tree(const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Regular files in the directory, at any depth; 0 where it cannot be read. */
unsigned long files_count(const char *path) __attribute__((nonnull, warn_unused_result));

#endif
