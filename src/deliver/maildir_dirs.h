/* SPDX-License-Identifier: ISC */
/*
 * maildir_dirs: opens the directories of a Maildir, and creates those that are missing (mode 0700),
 * so that their names are on the disk before a file is written there. Used by maildir.c alone; one
 * thread at a time per struct.
 *
 * After the first use of a path its directories are known, and opening them needs no sync. A number
 * of paths is kept in mind; a path that was forgotten is synced once more.
 */
#ifndef SPLIT_MAILDIR_DIRS_H
#define SPLIT_MAILDIR_DIRS_H

#include <stdbool.h>
#include <stddef.h>

enum { MAILDIR_TMP, MAILDIR_NEW, MAILDIR_CUR, MAILDIR_DIRS };

struct maildir_dirs {
    int fds[MAILDIR_DIRS]; /* -1, except between maildir_dirs_open() and maildir_dirs_close() */
    unsigned made;         /* directories that were created, apart from tmp, new and cur; the caller
                              may set it to 0 */
    const char *step;      /* after a failure: what failed: "open", "tmp", "new", "cur" */
    bool is_base_fault;    /* after a failure: already the directory that must exist failed */
    struct maildir_known *known;
    size_t next; /* the next of them that is forgotten */
};

/* Nothing is open, and nothing is known. */
void maildir_dirs_init(struct maildir_dirs *d) __attribute__((nonnull));
/* Release what the struct owns. */
void maildir_dirs_clear(struct maildir_dirs *d) __attribute__((nonnull));

/*
 * Open the Maildir at an absolute path. Components from made_at (an offset in path) on are created
 * if they are missing and made_max is not reached; the directory before them must exist. -1 with
 * errno, step and is_base_fault. EDQUOT: made_max directories were created already.
 */
int maildir_dirs_open(struct maildir_dirs *d, const char *path, size_t made_at, unsigned made_max)
    __attribute__((nonnull, warn_unused_result));

/* Close what maildir_dirs_open() has opened, if anything. errno stays. */
void maildir_dirs_close(struct maildir_dirs *d) __attribute__((nonnull));

#endif
