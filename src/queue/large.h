/* SPDX-License-Identifier: ISC */
/*
 * large: files for contents that are too large for a row of the database. The content of message ID
 * (queue_id.h) is in SPOOL/large/ID. The file is written while the message arrives. The file and
 * its name are synced before the row of the message is written. The file is removed after the
 * removal of the row is durable. A crash may leave files without a row; large_clean() removes them
 * when splitrelay starts.
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

/* Open SPOOL/large. create: create the directory if it is missing, and sync its name. NULL with
 * `err`. */
struct large *large_open(const char *spool_directory, bool create, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void large_close(struct large *l);

/* Create the file of message `id`. *out is released with large_keep() or large_drop(); it is set
 * only if QUEUE_PUT_OK is returned. This function, large_write() and large_finish() wait for the
 * disk inside task_block(), so they may be called by a task. All of them return QUEUE_PUT_FULL or
 * QUEUE_PUT_FAULT with `err`. */
enum queue_put_status large_begin(struct large *l, int64_t id, struct large_file **out,
                                  struct err *err) __attribute__((nonnull, warn_unused_result));
/* As large_begin(), but the name of the file is removed at once: the file is for a content that is
 * kept in the database in parts. It is released with large_keep() or large_take(), and
 * large_finish() is not called. */
enum queue_put_status large_begin_unnamed(struct large *l, int64_t id, struct large_file **out,
                                          struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Release f, and return its descriptor, for reading and writing, which the caller closes. */
int large_take(struct large_file *f) __attribute__((nonnull, warn_unused_result));
/* Append to the file. After a failure the caller drops the file. */
enum queue_put_status large_write(struct large_file *f, const void *data, size_t len,
                                  struct err *err) __attribute__((nonnull, warn_unused_result));
/* Close the file and sync its content and its name. QUEUE_PUT_OK: both are on stable storage. After
 * a failure the caller drops the file. */
enum queue_put_status large_finish(struct large_file *f, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Release f. The file stays. */
void large_keep(struct large_file *f) __attribute__((nonnull));
/* Remove the file and release f. */
void large_drop(struct large_file *f) __attribute__((nonnull));

/* Open a content for reading. size_bytes: the size in the row of the message. Returns the
 * descriptor, which the caller closes, or -1 with `err` and errno: ENOENT if there is no file,
 * EBADMSG if it has another size, otherwise the errno of open(2), which may be temporary. */
int large_read(struct large *l, int64_t id, uint64_t size_bytes, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Remove the file of a message. Called when the removal of its row is durable. */
void large_remove(struct large *l, int64_t id) __attribute__((nonnull));
/* Remove each file for which has_row(ctx, id) returns false. A file whose name is not an id is
 * logged and stays. -1 with `err`: the directory cannot be read. */
int large_clean(struct large *l, bool (*has_row)(void *ctx, int64_t id), void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

#endif
