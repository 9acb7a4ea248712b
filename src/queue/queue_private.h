/* SPDX-License-Identifier: ISC */
/*
 * queue_private: the declarations that the parts of the queue share. queue_open.c opens and closes
 * the queue, queue_put.c stores messages, queue_next.c hands out copies, queue_return.c records
 * outcomes, queue_change.c carries out the orders of administrators, and queue_depth.c counts.
 *
 * Terms:
 *   - window: the part of a destination's queue that is in memory (queue_window.h).
 *   - look: one read of due copies from the database into a window (queue_look.c).
 *   - reserve: keep a copy from being handed out while a transaction about it is under way.
 *   - settle: end a reservation, when the transaction has been committed or has failed.
 *   - seize: reserve a copy for an administrator's change, or leave an order with the copy if a
 *     worker has it.
 *   - order: what is to be done with a copy when the worker gives it back.
 */
#ifndef SPLIT_QUEUE_PRIVATE_H
#define SPLIT_QUEUE_PRIVATE_H

#include "queue/db.h"
#include "queue/large.h"
#include "queue/queue_id.h"
#include "queue/queue_open.h"
#include "queue/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

/* With so many outcomes that are not committed yet, nothing is handed out: what was sent and cannot
 * be removed is bounded, and so is the memory when workers are faster than the writer. */
#define QUEUE_OUTCOMES_MAX 1000
#define QUEUE_RETURNING_MAX (32 * 1024 * 1024) /* bytes of their copies */

/*
 * A message in memory, with its content if that is small. It was received just now, or was read
 * from the database. Its copies share it and count their references. It is immutable.
 */
struct queue_stored {
    atomic_uint refs;
    int64_t id;
    struct queue_message message; /* strings owned */
    char *content;                /* owned, never NULL if it is small; NULL: in the file large/ID */
};
/* Make a message without content, with copies of the strings. The caller has the one reference to
 * it (queue_read.c). */
struct queue_stored *queue_stored_new(int64_t id, const struct queue_message *message);
/* Add a reference. Returns m. */
struct queue_stored *queue_stored_ref(struct queue_stored *m);
/* Give a reference back. The last one frees the message. */
void queue_stored_unref(struct queue_stored *m);

/* A copy of a message in memory, ready to be handed out. */
struct queue_ready {
    int64_t id;
    time_t due;
    unsigned attempts;
    struct queue_recipient *recipients; /* owned, and their strings; number is that of the row */
    size_t recipient_count;
    struct queue_stored *message; /* a reference */
    char *problem;                /* owned; why it cannot be delivered; NULL: it can */
};
void queue_ready_free(struct queue_ready *r);

struct db_queue {
    struct queue base; /* first */
    struct queue_options options;
    char *spool_directory; /* owned; that of the options */
    _Atomic int64_t delay_max_s, history_s;
    struct large *large;
    struct writer *writer;
    struct queue_id_source ids;
    struct queue_readers *readers; /* read-only connections, for threads that may block */
    struct queue_windows *windows; /* queue_next.c: what is in memory, by destination */
    struct queue_sampler *sampler; /* queue_depth.c */
    atomic_bool is_damaged;        /* SQLite calls the database corrupt */
    atomic_uint outcomes;          /* not committed yet */
    atomic_bool is_behind;         /* a next() waits until there are fewer of them */
    unsigned history_rows;         /* written so far; the writer's thread */
    atomic_size_t returning_bytes; /* of the copies whose outcomes are not written yet */
    dev_t device;                  /* of the database's file */
    ino_t inode;                   /* 0: it was not opened yet */
    int lock_fd;
};

/* The time of day in seconds, by the clock of the options. */
time_t queue_now(const struct db_queue *q);

/* Open the database, the same file each time: rows of one would be sent again and again if their
 * outcomes were written to another. */
struct db *queue_open_database(struct db_queue *q, enum db_access access,
                               enum db_status *status_out, struct err *err);

/* --- queue_read.c: reading; blocks (task_block() around it) --- */

/* Make the pool of read-only connections. They are opened when they are needed. */
struct queue_readers *queue_readers_new(void);
/* Close the connections and free the pool. All connections have been given back. */
void queue_readers_free(struct queue_readers *r);

/* Borrow a read-only connection. If all of them are in use, wait until one is given back. Returns
 * NULL with `err` if no connection can be opened. */
struct db *queue_borrow_reader(struct db_queue *q, struct err *err);
/* Give a borrowed connection back. status and err: the result of the last operation on it. After a
 * failure the connection is closed. DB_CORRUPT is reported by queue_report_damage(), too. */
void queue_give_back_reader(struct db_queue *q, struct db *db, enum db_status status,
                            const struct err *err);

/* Read a copy with its message and recipients, on any connection. *out is the caller's, to release
 * with queue_ready_free(); NULL: there is no such copy. with_content: read a small content, too. A
 * large content, or one that is not asked for, is NULL. */
enum db_status queue_read_copy(struct db *db, int64_t id, bool with_content,
                               struct queue_ready **out, struct err *err);

/* Read the ids of up to `max` queued copies that are due, in the order of due and id. Copies that
 * are due more than delay_max_s after now follow them: they were deferred before the clock was set
 * back (delay_max_s 0: unknown, none are read). If fewer than max copies are due, *next_out is set
 * to the time when the next copy becomes due. Otherwise, and if there is no such copy, *next_out
 * is left alone. */
enum db_status queue_read_due(struct db *db, const char *destination, time_t now,
                              int64_t delay_max_s, int64_t *ids, size_t max, size_t *count_out,
                              time_t *next_out, struct err *err);

/* Record that the database is damaged. From now on has_room reports it and no copy is handed out.
 * The first call logs it, with the way to recover. */
void queue_report_damage(struct db_queue *q, const struct err *err);

/* --- queue_next.c --- */

/* Make the list of windows, which is empty. A window is made when its destination is first used. */
void queue_next_start(struct db_queue *q);
/* Free the windows with all that is in them. */
void queue_next_stop(struct db_queue *q);

/*
 * Reserve a copy: it is not handed out, even if a look finds it, until each of its reservations is
 * settled. Called before the transaction is submitted that stores the copy or moves it to this
 * destination.
 */
void queue_next_reserve(struct db_queue *q, const char *destination, int64_t id);
/* End a reservation after its transaction. ready: the copy has been stored and is due. It is added
 * to the window if there is room and no other reservation. Otherwise it is freed, and a later look
 * reads it again. In both cases the queue owns `ready` from now on. NULL: the copy may be stored
 * or not, and due or not; the next look finds out. */
void queue_next_settle(struct db_queue *q, const char *destination, int64_t id,
                       struct queue_ready *ready);

/* An administrator's order for a copy that a worker has. */
struct queue_order {
    enum queue_action action;
    char to[QUEUE_DESTINATION_SIZE]; /* "": none */
};
enum queue_seized {
    QUEUE_SEIZED_FREE,    /* no worker has it: the caller writes the change */
    QUEUE_SEIZED_ORDERED, /* a worker has it: the order is carried out when it is given back */
    QUEUE_SEIZED_REFUSED, /* a worker has it, and it has another order */
};
/* Reserve a copy for a change. If it is ready in memory, it is removed from there. If a worker has
 * it, the order is left with it, or is refused. The caller calls queue_next_settle() after each
 * result. */
enum queue_seized queue_next_seize(struct db_queue *q, const char *destination, int64_t id,
                                   const struct queue_order *order);
/* Take a copy back from a worker and make it ready again, when nothing is to be written. False: it
 * has an order or is reserved, nothing was done, and the caller keeps `ready`. */
bool queue_next_return_at_once(struct db_queue *q, const char *destination,
                               struct queue_ready *ready);
/* Take a copy back from a worker: submit the request that writes the outcome. *order_out: the order
 * that the copy has; its action is QUEUE_RETRY if there is none. */
void queue_next_begin_return(struct db_queue *q, const char *destination, int64_t id,
                             struct writer_request *request, struct queue_order *order_out);
/* End what queue_next_begin_return() began; called by the request's finish(). again: the copy is
 * ready to be handed out again, and the queue owns it from now on; NULL: it is not. due: the time
 * for a look, because the copy is due then; 0: it needs none. */
void queue_next_end_return(struct db_queue *q, const char *destination, int64_t id,
                           struct queue_ready *again, time_t due);
/* Wake the workers that wait because of QUEUE_OUTCOMES_MAX: the writer has caught up. */
void queue_next_go_on(struct db_queue *q);
/* Ask for a look, because the database may have copies that have become due. */
void queue_next_look(struct db_queue *q, const char *destination);
/* Suspend or resume a destination. While it is suspended, none of its copies is handed out. until:
 * as in queue_suspension. */
void queue_next_set_suspended(struct db_queue *q, const char *destination, bool is_suspended,
                              time_t until);

/* --- queue_look.c; called with the lock of the window --- */

struct queue_window;
/* Return true if a look is to be made before the next copy is taken. */
bool queue_look_is_due(const struct db_queue *q, const struct queue_window *w);
/* Read due copies that the window does not know yet, as many as fit, and add them to it. The lock
 * is released while the database is read. */
void queue_look(struct db_queue *q, struct queue_window *w);

/* --- queue_return.c --- */

/* A copy in a worker's hands. */
struct queue_taken {
    struct queue_copy copy;    /* first */
    struct queue_ready *ready; /* what copy points into */
    uint32_t *before;          /* of each recipient: a hash of its state and reason */
};
/* Make the copy that next() returns; it owns `ready`. content_fd is -1. destination is borrowed as
 * long as the queue is open. */
struct queue_taken *queue_taken_new(const char *destination, struct queue_ready *ready);
/* Return true if a recipient is pending. */
bool queue_taken_is_pending(const struct queue_taken *t);
/* Move a copy to the dead-letter queue, with the reason, because it can never be read. t is
 * released. */
void queue_return_unreadable(struct db_queue *q, struct queue_taken *t, const char *reason);
/* Give back a copy that cannot be read now. It is handed out again at `when`, and no attempt is
 * counted. t is released. */
void queue_return_postponed(struct db_queue *q, struct queue_taken *t, time_t when);

/* --- queue_insert.c: statements about a new message, inside of a writer's transaction --- */

/* Insert the rows of a message and its body. state: "prepared" or "stored". */
enum db_status queue_insert_message(struct db *db, const struct queue_stored *s, const char *state,
                                    struct err *err);
/* Insert the rows of a copy and of its recipients, except those that are QUEUE_SENT. */
enum db_status queue_insert_copy(struct db *db, int64_t message, int64_t id, time_t due,
                                 const struct queue_new_copy *c, struct err *err);
/* Remove all rows of a message. It is no error if there are none. */
enum db_status queue_insert_undo(struct db *db, int64_t message, struct err *err);

/* --- queue_write.c: statements about one copy, inside of a writer's transaction --- */

/* Messages whose large files are to be removed when the transaction is durable. */
struct queue_files {
    int64_t *messages; /* owned */
    size_t count;
};
/* Remove the files, and free the list. */
void queue_files_remove(struct db_queue *q, struct queue_files *files);

/* Update state and reason of a recipient. */
enum db_status queue_write_recipient(struct db *db, int64_t copy, const struct queue_recipient *r,
                                     struct err *err);
/* Add a row to the history about the recipients of a copy: with is_sent about those that are
 * QUEUE_SENT, otherwise about all others. Nothing is written if there are no such recipients, or
 * if no history is kept. delivery NULL: there was no delivery. */
enum db_status queue_write_history(struct db_queue *q, struct db *db, const char *destination,
                                   const struct queue_ready *copy, bool is_sent, const char *result,
                                   const struct queue_delivery *delivery, struct err *err);
/* Remove a copy, and its message if no other copy of it is left. A message that may have a large
 * file is added to `files`. *was_there_out: false if the copy had been removed before. */
enum db_status queue_write_removal(struct db *db, int64_t copy, struct queue_files *files,
                                   bool *was_there_out, struct err *err);
/* Hold a copy that is queued. */
enum db_status queue_write_hold(struct db *db, int64_t copy, struct err *err);
/* Delete a copy by order of an administrator, and add that to the history. */
enum db_status queue_write_deletion(struct db_queue *q, struct db *db, const char *destination,
                                    int64_t copy, struct queue_files *files, struct err *err);
/* Put a copy into the queue of destination `to` ("": its own), due now, and add that to the
 * history. */
enum db_status queue_write_requeue(struct db_queue *q, struct db *db, const char *destination,
                                   int64_t copy, const char *to, struct err *err);
/* Remove up to `limit` old rows of the history. *removed_out: how many. */
enum db_status queue_write_prune(struct db_queue *q, struct db *db, int64_t limit,
                                 uint64_t *removed_out, struct err *err);

/* --- queue_change.c --- */

/* Log what was done with a copy, as "ID: dest=...: held by an administrator". */
void queue_change_log(const struct queue_order *order, const char *destination, int64_t id);

/* --- queue_depth.c --- */

/* Make the sampler, which counts copies for queue_ops.depths. Its thread starts with the first
 * question. */
struct queue_sampler *queue_sampler_new(void);
/* Stop the thread and free the sampler. */
void queue_sampler_free(struct queue_sampler *s);

/* --- the ops --- */
enum queue_put_status queue_put_has_room(struct queue *base, uint64_t size, struct err *err);
enum queue_put_status queue_put_begin(struct queue *base, const struct queue_message *message,
                                      struct queue_new_copy *copies, size_t copy_count,
                                      struct queue_put **out, struct err *err);
enum queue_put_status queue_put_data(struct queue_put *p, const void *data, size_t len,
                                     struct err *err);
enum queue_put_status queue_put_prepare(struct queue_put *p, struct err *err);
enum queue_put_status queue_put_commit(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                       struct err *err);
void queue_put_abort(struct queue_put *p);
struct queue_copy *queue_next(struct queue *base, const char *destination, unsigned wait_ms);
void queue_wake(struct queue *base, const char *destination);
void queue_return_done(struct queue *base, struct queue_copy *c,
                       const struct queue_delivery *delivery);
void queue_return_later(struct queue *base, struct queue_copy *c, time_t when);
void queue_return_release(struct queue *base, struct queue_copy *c);
int queue_change(struct queue *base, const struct queue_change *change, struct queue_changed *out,
                 struct err *err);
int queue_suspend(struct queue *base, const struct queue_suspension *s, struct err *err);
int queue_resume(struct queue *base, const char *destination, struct err *err);
int queue_suspensions(struct queue *base, struct queue_suspension **out, size_t *count_out,
                      struct err *err);
int queue_depths(struct queue *base, struct queue_depths *out, struct err *err);

#endif
