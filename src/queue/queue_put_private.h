/* SPDX-License-Identifier: ISC */
/* queue_put_private: the declarations that the files of queue_put share. queue_put_content.c
 * collects the content. */
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
    struct buf content;      /* what has been received and is not in the file yet */
    struct large_file *file; /* NULL: all is in `content` */
    uint64_t size_bytes;
    uint64_t room_at;            /* size_bytes when the free space was checked last */
    struct queue_stored *stored; /* NULL: more content may follow (queue_put_complete()) */
    bool is_in_doubt;            /* rows of the message may be in the database */
    int64_t parts;      /* number of parts of a large content in the database; 0: it has none */
    bool *is_leased;    /* for each copy: the result of queue_next_reserve() */
    int64_t to_disk_us; /* time spent on storing the message */
};

/* Insert the row of the message, as `prepared`, and its content if that is in memory. */
enum db_status queue_put_apply_prepare(struct writer_request *r, struct db *db, struct err *err);
/* Submit the request p->request, and wait until it is finished. */
enum queue_put_status queue_put_submit(struct queue_put *p,
                                       enum db_status (*apply)(struct writer_request *r,
                                                               struct db *db, struct err *err),
                                       enum writer_urgency urgency, struct err *err);
/* Make p->stored, after the last part of the content. With SQLite the file of a large content is
 * synced; with PostgreSQL a large content is written from the file to the database. Nothing happens
 * if p->stored is made already. */
enum queue_put_status queue_put_complete(struct queue_put *p, struct err *err);

#endif
