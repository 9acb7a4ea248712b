/* SPDX-License-Identifier: ISC */
/*
 * large: contents that are too large for a row of the database: files SPOOL/large/ID, ID being the
 * message's (queue_id.h). A file is written while the message arrives, synced, and its name synced,
 * before the row that names it is written; it is removed after the row is gone for good. Files
 * without a row are what a crash left; they are removed at the start.
 */
#ifndef SPLIT_LARGE_H
#define SPLIT_LARGE_H

#include "base/err.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct large;
struct large_file;

/* Opens SPOOL/large; creates (and syncs) it with `create`. NULL with `err`. */
struct large *large_open(const char *spool_directory, bool create, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void large_close(struct large *l);

/* Begin a file. Writing and syncing may block: task_block() is used inside. */
enum queue_put_status large_begin(struct large *l, int64_t id, struct large_file **out,
                                  struct err *err) __attribute__((nonnull, warn_unused_result));
enum queue_put_status large_write(struct large_file *f, const void *data, size_t len,
                                  struct err *err) __attribute__((nonnull, warn_unused_result));
/* The content and the name are on stable storage; or not, and then it can only be dropped. */
enum queue_put_status large_finish(struct large_file *f, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Forget the file: it stays (its row is there), or is removed. */
void large_keep(struct large_file *f) __attribute__((nonnull));
void large_drop(struct large_file *f) __attribute__((nonnull));

/* A descriptor to read it, of the size that the row says, or -1 with `err` and errno: ENOENT,
 * EBADMSG for another size, or what open(2) says (it may work later). */
int large_read(struct large *l, int64_t id, uint64_t size_bytes, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Its row is gone, on stable storage. */
void large_remove(struct large *l, int64_t id) __attribute__((nonnull));
/* Remove the files that has_row(ctx, id) knows nothing of; a file that is none of ours stays and is
 * logged. -1 with `err`. */
int large_clean(struct large *l, bool (*has_row)(void *ctx, int64_t id), void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

#endif
