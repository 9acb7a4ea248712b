/* SPDX-License-Identifier: ISC */
/*
 * compare_maildir: finds the files of all Maildirs below a path. A Maildir is a directory that has
 * the directories cur and new; other directories, and those in a Maildir, are searched up to
 * COMPARE_DEPTH_MAX levels deep. The path itself may be a symbolic link; no other link is followed.
 * Files may come, go and be renamed meanwhile: a file that was renamed before it could be opened is
 * found under its new name. One thread.
 */
#ifndef SPLIT_CTL_COMPARE_MAILDIR_H
#define SPLIT_CTL_COMPARE_MAILDIR_H

#include "base/err.h"
#include "ctl/trace/trace_keys.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define COMPARE_DEPTH_MAX 16 /* levels of directories below the path */

/* A file in cur or new; borrowed for the call. */
struct compare_file {
    int folder;              /* descriptor of the directory */
    const char *folder_path; /* for messages */
    const char *name;
    uint64_t key; /* hash of device and inode, the same in each walk of this process */
};

enum compare_open { COMPARE_OPENED, COMPARE_GONE, COMPARE_NO_FILE, COMPARE_UNREADABLE };

/* Open a file without waiting. *fd_out and *st_out are set with COMPARE_OPENED. COMPARE_GONE: it is
 * not there any more. COMPARE_NO_FILE: it is no regular file. COMPARE_UNREADABLE: errno. */
enum compare_open compare_maildir_open(const struct compare_file *f, int *fd_out,
                                       struct stat *st_out)
    __attribute__((nonnull, warn_unused_result));

struct compare_walk {
    const char *path;
    const char *pattern; /* NULL, or a template (template_check_path() accepts it): only Maildirs
                            whose path it can make, and those in them, count */
    /* Called for each file. False: the file has gone; it is called again if the file has another
     * name now. */
    bool (*take)(void *ctx, const struct compare_file *f);
    void *ctx;
    struct trace_keys *own;         /* NULL, or the keys of the Maildirs are added */
    const struct trace_keys *other; /* NULL, or keys of Maildirs that are a failure */

    /* results */
    uint64_t maildir_count;
    bool has_other; /* after a failure: a Maildir was one of `other` */
};

/* Walk. -1 with `err`: a directory cannot be read, is too deep, or is one of `other`; or there is
 * no Maildir. */
int compare_maildir_walk(struct compare_walk *w, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
