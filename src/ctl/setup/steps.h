/* SPDX-License-Identifier: ISC */
/*
 * steps: changes to the machine, as a list: made first, shown, then carried out one after the
 * other. A step whose result is there already is left out when it is added, so a list without steps
 * says that nothing is to be done. Files are replaced as a whole (temporary file, fsync, rename),
 * with the attributes of the file before (files.h); a symbolic link stays one. One thread.
 */
#ifndef SPLIT_CTL_STEPS_H
#define SPLIT_CTL_STEPS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct step;

struct steps {
    struct step *items; /* private */
    size_t count;
    size_t begun; /* by steps_apply() */
};

/* Write a file. A new one gets the attributes that `model`, another file, has now. like: the text
 * it is shown against, NULL for the one on disk now; like_name is where that is from. */
void steps_write(struct steps *s, const char *path, const char *content, const char *model,
                 const char *like, const char *like_name) __attribute__((nonnull(1, 2, 3, 4)));

/* Make a directory; nothing is done if it is there. */
void steps_mkdir(struct steps *s, const char *path, mode_t mode, uid_t uid, gid_t gid)
    __attribute__((nonnull));

/* Remove a file; a directory if it is empty; a directory with everything in it. */
void steps_unlink(struct steps *s, const char *path) __attribute__((nonnull));
/* What a crash left of a write to this file. */
void steps_unlink_temporary(struct steps *s, const char *path) __attribute__((nonnull));
void steps_rmdir(struct steps *s, const char *path) __attribute__((nonnull));
void steps_remove_tree(struct steps *s, const char *path) __attribute__((nonnull));

/* Run a command, which must exit with 0. argv: NULL-terminated, copied. */
void steps_run(struct steps *s, const char *const *argv) __attribute__((nonnull));

#define STEPS_KEPT_MAX 8

/* The same, for one that writes these files (NULL-terminated, fewer than STEPS_KEPT_MAX, copied)
 * anew: they keep their attributes, and what else the command makes is not wider. */
void steps_run_keeping(struct steps *s, const char *const *files, const char *const *argv)
    __attribute__((nonnull));

/* The same, for one by which somebody reads the files anew: steps_undo() runs it again. */
void steps_reload(struct steps *s, const char *const *argv) __attribute__((nonnull));

/* Something that is only said. */
void steps_say(struct steps *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));

/* Is there a step that changes anything? */
bool steps_has_changes(const struct steps *s) __attribute__((nonnull));

/* Append the names of the files that steps write or remove, separated by ", ". */
void steps_list_files(const struct steps *s, struct buf *out) __attribute__((nonnull));

/* Print all steps to stdout. */
void steps_show(const struct steps *s) __attribute__((nonnull));

/* Print each step and carry it out. -1 at the first failure: the rest is left. */
int steps_apply(struct steps *s, struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * After a failure of steps_apply(), as far as it goes: files that were written or removed are what
 * they were, directories that were made are removed with everything in them, then the commands of
 * steps_reload() that were run are run again. What steps_rmdir() and steps_remove_tree() removed is
 * gone, and what other commands did stays. Complains about what cannot be undone.
 */
void steps_undo(const struct steps *s) __attribute__((nonnull));

/* Free the steps. What was run stays as it is. */
void steps_clear(struct steps *s) __attribute__((nonnull));

#endif
