/* SPDX-License-Identifier: ISC */
/* queue_put_private: what the files of queue_put share. queue_put_content.c collects the content.
 */
#ifndef SPLIT_QUEUE_PUT_PRIVATE_H
#define SPLIT_QUEUE_PUT_PRIVATE_H

#include "base/buf.h"
#include "queue/queue_private.h"
#include "task/task.h"

struct queue_put {
    struct writer_request request; /* first */
    struct task_event is_finished;
    enum db_status status;
    struct err *err;

    struct db_queue *queue;
    const struct queue_message *message; /* borrowed */
    struct queue_new_copy *copies;       /* borrowed */
    size_t copy_count;
    int64_t id;
    time_t due;
    struct buf content;      /* what has come, and is not in the file */
    struct large_file *file; /* NULL: all is in `content` */
    uint64_t size_bytes;
    uint64_t room_at;            /* size at which the free space was looked at */
    struct queue_stored *stored; /* no content follows; a file is synced */
    bool is_in_doubt;            /* there may be rows */
    int64_t parts;               /* rows of a large content in the database; 0: it is not there */
    bool *is_leased;             /* of each copy: it goes into the window at once */
    int64_t to_disk_us;          /* spent on storing it */
};

/* Insert the row of the message, as `prepared`, with a content that is in memory. */
enum db_status queue_put_apply_prepare(struct writer_request *r, struct db *db, struct err *err);
/* Submit the request p->request, and wait until it is finished. */
enum queue_put_status queue_put_submit(struct queue_put *p,
                                       enum db_status (*apply)(struct writer_request *r,
                                                               struct db *db, struct err *err),
                                       enum writer_urgency urgency, struct err *err);
/* Make p->stored, after the last part of the content. A file is synced, or its content is written
 * to the database. Nothing happens if it is made already. */
enum queue_put_status queue_put_complete(struct queue_put *p, struct err *err);

#endif
