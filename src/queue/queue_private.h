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
 *   - seize: reserve a copy for an administrator's change, and take it out of the window.
 *   - in hand: a worker has the copy, or its outcome is being written.
 *   - order: what an administrator wants to be done with a copy that is in hand, or that another
 *     node has leased. It is written into the row of the copy (copy.ordered). From then on no look
 *     finds the copy (queue_order.c).
 *   - node: a splitrelay among those that share a database (queue_node.c). A copy is *leased* by
 *     the node that copy.owner names, as long as that node is alive. With SQLite there are no
 *     nodes.
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

/* While so many outcomes are not committed yet, no copy is handed out. This limits the number of
 * copies that were sent and are still in the database, and the memory if workers are faster than
 * the writer. */
#define QUEUE_OUTCOMES_MAX 1000
#define QUEUE_RETURNING_MAX (32 * 1024 * 1024) /* the same limit in bytes of the copies */

/*
 * A message in memory, with its content if that is small. It was received just now, or was read
 * from the database. Its copies share it and count their references. It is immutable.
 */
struct queue_stored {
    atomic_uint refs;
    int64_t id;
    struct queue_message message; /* strings owned */
    char *content;                /* owned, never NULL if it is small; NULL: it is not in memory */
    bool is_file;                 /* it is in the file large/ID, not in the database */
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
    char destination[QUEUE_DESTINATION_SIZE]; /* cut off if a longer one was written by hand */
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
    char *spool_directory; /* a copy of the option; owned, as are `database`, `node` and `place` */
    char *database;        /* the address, if it is shared by several nodes; NULL: SQLite */
    char *node;            /* the name of this node; "" with SQLite */
    int backend; /* PostgreSQL: as in struct db_pgsql_options; used by the writer's thread alone */
    char *place; /* of the database, for messages: a file, or the address */
    _Atomic int64_t delay_max_s, history_s;
    struct large *large;
    struct writer *writer;
    struct queue_id_source ids;
    struct queue_readers *readers; /* read-only connections, for threads that may block */
    struct queue_windows *windows; /* queue_next.c: what is in memory, by destination */
    struct queue_sampler *sampler; /* queue_depth.c */
    struct queue_node *shared;     /* queue_node.c; NULL with SQLite */
    pthread_mutex_t suspending;    /* while suspensions are read and passed to the windows */
    atomic_bool is_open;           /* the start is over, so that ids.node is set */
    atomic_bool is_damaged;        /* SQLite calls the database corrupt */
    atomic_uint outcomes;          /* number of those that are not committed yet */
    atomic_bool is_behind;         /* a next() waits until there are fewer `outcomes` */
    unsigned history_rows;         /* written so far; used by the writer's thread alone */
    atomic_size_t returning_bytes; /* of the copies whose outcomes are not written yet */
    dev_t device;                  /* of the database's file */
    ino_t inode;                   /* 0: it was not opened yet */
    int lock_fd;
};

/* The time of day in seconds, by the clock of the options. */
time_t queue_now(const struct db_queue *q);

/* Return true if several nodes share the database (PostgreSQL). */
static inline bool queue_is_shared(const struct db_queue *q)
{
    return q->database != NULL;
}

/* The condition in SQL that a copy is not leased by another node. me: the parameter with q->node.
 */
#define QUEUE_IS_FREE(me)                                                                          \
    "(owner IS NULL OR owner = " me " OR owner NOT IN (SELECT name FROM alive))"

/* Open the database. With SQLite this fails if the file is not the one that was opened first: if
 * the outcomes were written to another file, the copies in the first one would be sent again and
 * again. With PostgreSQL, DB_READ gives a connection that can write, too (DB_SHARE). */
struct db *queue_open_database(struct db_queue *q, enum db_access access,
                               enum db_status *status_out, struct err *err);

/* --- queue_read.c: reading; blocks, so a task calls it inside of task_block() --- */

/* Make the pool of connections. They are opened when they are needed. */
struct queue_readers *queue_readers_new(void);
/* Close the connections that are not borrowed, because their server may be lost. */
void queue_readers_close_idle(struct queue_readers *r);
/* Close the connections and free the pool. All connections have been given back. */
void queue_readers_free(struct queue_readers *r);

/* Borrow a connection, which is read-only with SQLite. If all of them are in use, wait until one is
 * given back. Returns NULL with `err` if no connection can be opened. */
struct db *queue_borrow_reader(struct db_queue *q, struct err *err);
/* Give a borrowed connection back. status and err: the result of the last operation on it. After a
 * failure the connection is closed. DB_CORRUPT is reported by queue_report_damage(), too. */
void queue_give_back_reader(struct db_queue *q, struct db *db, enum db_status status,
                            const struct err *err);

/* Run the query "BEFORE (1, 2, 3)AFTER", with these ids in the parentheses. Without ids the result
 * is DB_OK, and row is not called. */
enum db_status queue_query_ids(struct db *db, const char *before, const int64_t *ids, size_t count,
                               const char *after,
                               bool (*row)(void *ctx, const struct db_value *columns), void *ctx,
                               struct err *err);

/* Copies that were read together. The caller frees them with queue_ready_free(). */
#define QUEUE_READ_MAX 256
struct queue_batch {
    struct queue_ready *items[QUEUE_READ_MAX]; /* in the order of due and id */
    size_t count;
    bool is_cut; /* there are more of the copies that were asked for */
};
/* Read up to QUEUE_READ_MAX copies with their messages and recipients, on any connection; those
 * that are not there are left out. bytes_max: small contents are read, too, and the batch ends
 * before the copy with which it would take more memory than that; it has at least one copy. 0: no
 * contents are read, and the memory is not limited. Large contents are never read. */
enum db_status queue_read_copies(struct db *db, const int64_t *ids, size_t count, size_t bytes_max,
                                 struct queue_batch *out, struct err *err);
/* Read the parts of a large content in the database, and write them to a file without a name.
 * Returns its descriptor, or -1 with `err` and errno: EBADMSG if parts are missing, otherwise an
 * error that may be temporary. */
int queue_read_parts(struct db_queue *q, const struct queue_ready *ready, struct err *err);

/* Record that the database is damaged. From now on has_room reports it and no copy is handed out.
 * The first call logs it, with the way to recover. */
void queue_report_damage(struct db_queue *q, const struct err *err);

/* --- queue_next.c --- */

/* Make the list of windows, which is empty. A window is made when its destination is first used. */
void queue_next_start(struct db_queue *q);
/* Wait for the looks that are under way. */
void queue_next_end_looks(struct db_queue *q);
/* Free the windows with all that is in them. */
void queue_next_stop(struct db_queue *q);

/*
 * Reserve a copy: it is not handed out, even if a look finds it, until each of its reservations is
 * settled. Called before the transaction is submitted that stores or changes the copy. Returns true
 * if the window has room for the copy; with a shared database the caller then stores the copy as
 * leased by this node.
 */
bool queue_next_reserve(struct db_queue *q, const char *destination, int64_t id);
/* End a reservation after its transaction. ready: the copy has been stored and is due. It is added
 * to the window if there is room and no other reservation. Otherwise it is freed, and a later look
 * reads it again. In both cases the queue owns `ready` from now on. NULL: the copy may be stored
 * or not, and due or not; the next look finds out. */
void queue_next_settle(struct db_queue *q, const char *destination, int64_t id,
                       struct queue_ready *ready);

/* Reserve a copy for a change. If the copy is ready in the window, it is removed from the window.
 * Returns false if the copy is in hand. A copy that is in hand, or that had a reservation already,
 * is marked: it is not handed out again before a look has read its row, and orders are carried out
 * when a worker has given it back. The caller calls queue_next_settle() later, whatever the result
 * is. */
bool queue_next_seize(struct db_queue *q, const char *destination, int64_t id);
/* Take a copy back from a worker and make it ready again, when nothing is to be written. False: the
 * copy is marked or reserved, or the lease of this node has run out. Nothing was done then, and the
 * caller keeps `ready`. */
bool queue_next_return_at_once(struct db_queue *q, const char *destination,
                               struct queue_ready *ready);
/* Take a copy back from a worker, whose outcome is written from now on. */
void queue_next_begin_return(struct db_queue *q, const char *destination, int64_t id);
/* End what queue_next_begin_return() began. again: the copy is ready to be handed out again, and
 * the queue owns it from now on; NULL: it is not. due: the time when the copy is due, so that a
 * look is made then; 0: no look is needed. */
void queue_next_end_return(struct db_queue *q, const char *destination, int64_t id,
                           struct queue_ready *again, time_t due);
/* Wake the workers that wait because of QUEUE_OUTCOMES_MAX: the writer has caught up. */
void queue_next_go_on(struct db_queue *q);
/* Ask for a look, because the database may have copies that have become due. destination NULL: of
 * all. */
void queue_next_look(struct db_queue *q, const char *destination);
/* Return true if other nodes are to be told now that this destination has copies without an owner.
 * The result is true once a second at most. After false, queue_next_untold() returns the
 * destination later. */
bool queue_next_may_tell(struct db_queue *q, const char *destination);
/* Return a destination of which other nodes are still to be told, and count it as told. NULL: there
 * is none at present. */
const char *queue_next_untold(struct db_queue *q);
/* Set which destinations are suspended; all others are not. While a destination is suspended, none
 * of its copies is handed out. */
void queue_next_set_suspended(struct db_queue *q, const struct queue_suspension *items,
                              size_t count);

/* --- queue_drop.c --- */

/* Remove all copies that are ready, and mark those that are in hand, because the leases have run
 * out. Returns how many copies the windows knew. */
size_t queue_next_drop(struct db_queue *q);

/* Give the leases of all copies back that this node has of a destination without workers, except of
 * those that are in hand; also of copies that the window does not know. Called with the lock of the
 * window. Does not wait. */
struct queue_window;
void queue_next_give_back(struct db_queue *q, struct queue_window *w);

/* --- queue_look.c; called with the lock of the window --- */

/* Return true if a look is to be made before the next copy is taken. */
bool queue_look_is_due(const struct db_queue *q, const struct queue_window *w);
/* Read due copies that the window does not know yet, as many as fit, and add them to it. The lock
 * is released while the database is read. In a task, if copies are ready already, it returns at
 * once, and the look goes on beside the caller. */
void queue_look(struct db_queue *q, struct queue_window *w);

/* --- queue_return.c --- */

/* A copy in a worker's hands. */
struct queue_taken {
    struct queue_copy copy;    /* first */
    struct queue_ready *ready; /* what copy points into */
    uint32_t *before; /* for each recipient: a hash of state and reason when the copy was taken */
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
/* Insert the rows of a copy and of its recipients, except those that are QUEUE_SENT. owner: the
 * node that leases it; NULL: none. */
enum db_status queue_insert_copy(struct db *db, int64_t message, int64_t id, time_t due,
                                 const char *owner, const struct queue_new_copy *c,
                                 struct err *err);
/* Insert one part of a large content, unless its message was removed. */
enum db_status queue_insert_part(struct db *db, int64_t message, int64_t part, const void *data,
                                 size_t len, struct err *err);
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

/* Update state and reason of a recipient that has not got the copy. */
enum db_status queue_write_recipient(struct db *db, int64_t copy, const struct queue_recipient *r,
                                     struct err *err);
/* Add a row to the history about the recipients of a copy, if the copy is there: with is_sent about
 * those that are QUEUE_SENT, otherwise about all others. Nothing is written if there are no such
 * recipients, or if no history is kept. delivery NULL: there was no delivery. */
enum db_status queue_write_history(struct db_queue *q, struct db *db,
                                   const struct queue_ready *copy, bool is_sent, const char *result,
                                   const struct queue_delivery *delivery, struct err *err);
/* Remove a copy, and its message if no other copy of the message is left. A message that is removed
 * and whose content is a file is added to `files`. It is no error if the copy is not there. */
enum db_status queue_write_removal(struct db *db, const struct queue_ready *copy,
                                   struct queue_files *files, struct err *err);
/* Remove up to `limit` old rows of the history. *removed_out: how many. */
enum db_status queue_write_prune(struct db_queue *q, struct db *db, int64_t limit,
                                 uint64_t *removed_out, struct err *err);

/* --- queue_order.c --- */

/* Delete copies by order of an administrator, or put them into the queue of destination `to` ("":
 * their own), due now; and add that to the history. action: QUEUE_DELETE or QUEUE_REQUEUE. */
enum db_status queue_order_write(struct db_queue *q, struct db *db, enum queue_action action,
                                 const char *to, const int64_t *ids, size_t count,
                                 struct queue_files *files, struct err *err);
/* Submit a request that carries out the orders for copies that are not in hand. Does not wait.
 * must_succeed: as in a writer_request. */
void queue_order_submit(struct db_queue *q, bool must_succeed);
/* Log a fault that concerns a copy, as "ID: dest=...: TEXT". */
void queue_log_fault(const struct queue_copy *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));
/* Log what was done with a copy, as "ID: dest=...: held by an administrator". */
void queue_order_log(enum queue_action action, const char *to, const char *destination, int64_t id);

/* --- queue_suspend.c --- */

/* Read the suspensions, and pass them to the windows. Blocks. -1 with `err`. */
int queue_suspend_refresh(struct db_queue *q, struct err *err);

/* --- queue_node.c: this node, among those that share a database --- */

/* Register the node, and start the thread that keeps its lease and listens to other nodes. The
 * writer runs already. *number_out: the number of the node in ids. With SQLite nothing is done. -1
 * with `err`. */
int queue_node_start(struct db_queue *q, unsigned *number_out, struct err *err);
/* Stop the thread, and submit the request that ends the leases of this node. The writer runs it
 * after the requests that wait. */
void queue_node_leave(struct db_queue *q);
/* Release what is left, after the writer has ended. */
void queue_node_free(struct db_queue *q);
/* Return true if the leases of this node are valid: always with SQLite. */
bool queue_node_has_lease(const struct db_queue *q);
/* Return 0 if messages may be taken; otherwise -1 with `err`, because the database does not
 * replicate them. */
int queue_node_check(const struct db_queue *q, struct err *err);
/* Add the figures of a shared database. */
void queue_node_get_figures(const struct db_queue *q, struct queue_figures *out);
/* Called inside a transaction: have the other nodes told when it is committed. what: "copies":
 * copies of this destination have no owner; "order": this copy has an order or was held;
 * "suspended": suspensions have changed. With SQLite nothing is done. */
enum db_status queue_node_tell(struct db_queue *q, struct db *db, const char *what,
                               const char *destination, int64_t id, struct err *err);

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
void queue_leave(struct queue *base, const char *destination);
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
