/* SPDX-License-Identifier: ISC */
/*
 * steps: changes to the machine, as a list: made first, shown, then carried out one after the
 * other. A step whose result is there already is left out when it is added, so a list without steps
 * says that nothing is to be done. Files are replaced as a whole (temporary file, fsync, rename),
 * with owner and mode of the file before; a symbolic link stays one. One thread.
 */
#ifndef SPLIT_CTL_STEPS_H
#define SPLIT_CTL_STEPS_H

#include "../err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct step;

struct steps {
    struct step *items; /* private */
    size_t count;
};

/* Write a file (mode 0644 when it is new). like: the text it is shown against, NULL for the one
 * on disk now; like_name is where that is from. */
void steps_write(struct steps *s, const char *path, const char *content, const char *like,
                 const char *like_name) __attribute__((nonnull(1, 2, 3)));

/* Make a directory. */
void steps_mkdir(struct steps *s, const char *path, mode_t mode, uid_t uid, gid_t gid)
    __attribute__((nonnull));

/* Remove a file; a directory if it is empty; a directory with everything in it. */
void steps_unlink(struct steps *s, const char *path) __attribute__((nonnull));
void steps_rmdir(struct steps *s, const char *path) __attribute__((nonnull));
void steps_remove_tree(struct steps *s, const char *path) __attribute__((nonnull));

/* Run a command, which must exit with 0. argv: NULL-terminated, copied. */
void steps_run(struct steps *s, const char *const *argv) __attribute__((nonnull));

/* Something that is only said. */
void steps_say(struct steps *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));

/* Is there a step that changes anything? */
bool steps_has_changes(const struct steps *s) __attribute__((nonnull));

/* Print all steps to stdout. */
void steps_show(const struct steps *s) __attribute__((nonnull));

/*
 * Print each step and carry it out. At the first failure the files that were written, made or
 * replaced by this call get their former content back, and -1 is returned; commands are not undone.
 */
int steps_apply(const struct steps *s, struct err *err)
    __attribute__((nonnull, warn_unused_result));

void steps_clear(struct steps *s) __attribute__((nonnull));

#endif
