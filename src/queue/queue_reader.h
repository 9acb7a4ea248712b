/* SPDX-License-Identifier: ISC */
/*
 * queue_reader: read access to the queue for splitctl. It needs no lock, changes nothing, and works
 * whether splitrelay runs or not. It reads in short transactions, so that the writer's checkpoints
 * do not have to wait. Changes that are made while it reads may be seen or not. A reader is used by
 * one thread.
 */
#ifndef SPLIT_QUEUE_READER_H
#define SPLIT_QUEUE_READER_H

#include "base/err.h"
#include "queue/db_pgsql.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct queue_reader;

/* Open a reader. queue: relay.queue (config_queue.h). A directory without a database, and a
 * database without tables, is an empty queue. NULL with `err`. */
struct queue_reader *queue_reader_open(const char *spool_directory, const char *queue,
                                       struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* As queue_reader_open(), for another program than splitctl. PostgreSQL shows its name. */
struct queue_reader *queue_reader_open_for(const char *program, const char *spool_directory,
                                           const char *queue, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void queue_reader_close(struct queue_reader *r);

/* Call goes_on(ctx) from time to time while the database works. When it returns false, the function
 * that reads fails. With PostgreSQL the connection is of no further use then, and the server ends
 * the statement after QUEUE_READER_STATEMENT_MS at the latest. The steps of reading are short at
 * first, so that the position moves on even where each row takes long; the progress has no total.
 */
void queue_reader_watch(struct queue_reader *r, bool (*goes_on)(void *ctx), void *ctx)
    __attribute__((nonnull(1, 2)));
#define QUEUE_READER_STATEMENT_MS 5000

/* Return how far the last reading has come: for queue_reader_list() the number of the id up to
 * which all copies were told of (selection.after), for queue_reader_history() the number down to
 * which all rows were (selection.before). 0: the reading has not begun. */
int64_t queue_reader_position(const struct queue_reader *r) __attribute__((nonnull, pure));

/* A copy, valid during the call that gets it. */
struct queue_entry {
    char id[QUEUE_ID_SIZE];
    const char *destination;
    unsigned place; /* QUEUE_IN_... */
    time_t due;
    const struct queue_message *message;
    const struct queue_recipient *recipients;
    size_t recipient_count;
    unsigned attempts;
    const char *problem; /* why its content cannot be read; "": it can */
    const char
        *owner; /* the node that has leased it, if it is alive; otherwise, and with SQLite, "" */
    const char *ordered; /* the order for it, as in the column copy.ordered; "": none */
};

/* Called from time to time during a long operation, with the number of rows that have been read and
 * the number of all rows (0: unknown). False: stop. */
typedef bool queue_reader_progress(void *ctx, uint64_t looked_at, uint64_t total);

/* Call each(ctx, entry) for the copies of the selection (places 0: everywhere), by id, which is
 * oldest first, until it returns false. Memory does not depend on the number of copies. progress:
 * NULL or called with ctx. Returns the number of entries, or -1 with `err`. */
int64_t queue_reader_list(struct queue_reader *r, const struct queue_selection *selection,
                          bool (*each)(void *ctx, const struct queue_entry *entry),
                          queue_reader_progress *progress, void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 3, 6), warn_unused_result));

/* Return the number of copies that queue_reader_list() would list, or -1 with `err`. */
int64_t queue_reader_count(struct queue_reader *r, const struct queue_selection *selection,
                           queue_reader_progress *progress, void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 5), warn_unused_result));

/* Read up to `size` bytes of the content of a copy, from offset `at`. Returns the number of bytes,
 * 0 at the end, or -1 with `err`, also if there is no such copy any more. */
ssize_t queue_reader_content(struct queue_reader *r, const char *id, uint64_t at, void *data,
                             size_t size, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Count the copies of all destinations. now: copies that are due later count as deferred. progress:
 * NULL or called with ctx. The caller frees out->items. -1 with `err`. */
int queue_reader_depths(struct queue_reader *r, time_t now, queue_reader_progress *progress,
                        void *ctx, struct queue_depths *out, struct err *err)
    __attribute__((nonnull(1, 5, 6), warn_unused_result));

/* Get the number of bytes in the database that are free for new copies. -1 with `err`. */
int queue_reader_free_bytes(struct queue_reader *r, uint64_t *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Get the last reason of a copy, "" if there is none. copy: the number of its id. -1 with `err`. */
int queue_reader_last_reason(struct queue_reader *r, int64_t copy, char out[QUEUE_REASON_SIZE],
                             struct err *err) __attribute__((nonnull, warn_unused_result));

/* Read all suspensions, as queue_ops.suspensions. */
int queue_reader_suspensions(struct queue_reader *r, struct queue_suspension **out,
                             size_t *count_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* A splitrelay among those that share a database. */
struct queue_node_row {
    char name[256];
    char version[32];
    int64_t number;
    time_t since, until; /* when it started; when its leases end, 0 if it was stopped cleanly */
    bool is_alive;       /* its leases are valid, by the clock of the database */
    uint64_t copies;     /* number of those that it has leased */
};

struct queue_nodes {
    bool is_shared; /* false: the database is SQLite, and the rest is empty */
    struct queue_node_row *items;
    size_t count;
    int64_t ordered; /* number of copies whose order has not been carried out yet */
    struct db_replication replication;
};

/* Read the nodes, and the state of replication. The caller clears *out in any case. -1 with `err`.
 */
int queue_reader_nodes(struct queue_reader *r, struct queue_nodes *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void queue_nodes_clear(struct queue_nodes *nodes) __attribute__((nonnull));

/* A row of the history, valid during the call that gets it. */
struct queue_event {
    char id[QUEUE_ID_SIZE];
    int64_t number; /* of the row; later rows have higher numbers */
    const char *destination;
    time_t time;
    const char *sender, *recipients, *message_id, *mta_queue_id;
    uint64_t size_bytes;
    const char *result; /* "sent", "deleted", "requeued", "skipped" */
    const char *relay, *reply;
    unsigned attempts;
};

/* Call each(ctx, event) for the selected rows of the history, the newest first, until it returns
 * false. These parts of the selection are used: id, destination, from, to (any recipient), reason
 * (the reply), mta_id, message_id, arrived_* (here the time of the event), larger_bytes, limit,
 * before.
 * progress: NULL or called with ctx. Returns the number of events, or -1 with `err`. */
int64_t queue_reader_history(struct queue_reader *r, const struct queue_selection *selection,
                             bool (*each)(void *ctx, const struct queue_event *event),
                             queue_reader_progress *progress, void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 3, 6), warn_unused_result));

#endif
