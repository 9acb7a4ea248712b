/* SPDX-License-Identifier: ISC */
/*
 * steps: a list of changes to the machine. The list is made first; then it is shown, or carried out
 * step by step. A step whose result already exists is not added, so an empty list means that there
 * is nothing to do. Files are replaced as a whole (temporary file, fsync, rename) and keep their
 * attributes (files.h); a symbolic link stays one. One thread.
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
    size_t begun; /* index of the step that steps_apply() is at */
};

/* Write a file. A new file gets the attributes that the file `model` has now. steps_show() shows
 * the file as a copy of like_name, with its differences from `like`. NULL for both: the differences
 * from the present content. */
void steps_write(struct steps *s, const char *path, const char *content, const char *model,
                 const char *like, const char *like_name) __attribute__((nonnull(1, 2, 3, 4)));

/* Make a directory with this mode and owner, if it does not exist. */
void steps_mkdir(struct steps *s, const char *path, mode_t mode, uid_t uid, gid_t gid)
    __attribute__((nonnull));

/* Remove a file. */
void steps_unlink(struct steps *s, const char *path) __attribute__((nonnull));
/* Remove the temporary file that a crash may have left of a write to this file. */
void steps_unlink_temporary(struct steps *s, const char *path) __attribute__((nonnull));
/* Remove a directory if it is empty. */
void steps_rmdir(struct steps *s, const char *path) __attribute__((nonnull));
/* Remove a directory with everything in it. */
void steps_remove_tree(struct steps *s, const char *path) __attribute__((nonnull));

/* Run a command, which must exit with 0. argv: NULL-terminated, copied. */
void steps_run(struct steps *s, const char *const *argv) __attribute__((nonnull));

#define STEPS_KEPT_MAX 8

/* As steps_run(), for a command that writes `files` again (NULL-terminated, fewer than
 * STEPS_KEPT_MAX, copied). These files keep their attributes. Other files that the command makes
 * get no wider mode than any of them. */
void steps_run_keeping(struct steps *s, const char *const *files, const char *const *argv)
    __attribute__((nonnull));

/* As steps_run(), for a command that makes a daemon read the files again. steps_undo() runs it once
 * more, after it has restored the files. */
void steps_reload(struct steps *s, const char *const *argv) __attribute__((nonnull));

/* Add a note, which is shown and changes nothing. */
void steps_say(struct steps *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));

/* Return true if there is a step other than notes. */
bool steps_has_changes(const struct steps *s) __attribute__((nonnull));

/* Append the names of the files that steps write or remove, separated by ", ". */
void steps_list_files(const struct steps *s, struct buf *out) __attribute__((nonnull));

/* Print all steps to stdout. */
void steps_show(const struct steps *s) __attribute__((nonnull));

/* Print each step and carry it out. -1 with `err` at the first failure; later steps are not carried
 * out. */
int steps_apply(struct steps *s, struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * After a failure of steps_apply(): restore the files that were written or removed, remove the
 * directories that were made with everything in them, then run again those commands of
 * steps_reload() that were run. Directories that steps_rmdir() and steps_remove_tree() removed are
 * lost, and effects of other commands stay. What cannot be undone is reported on stderr.
 */
void steps_undo(const struct steps *s) __attribute__((nonnull));

/* Free the steps. Changes that were carried out stay. */
void steps_clear(struct steps *s) __attribute__((nonnull));

#endif
