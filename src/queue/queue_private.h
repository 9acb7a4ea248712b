/* SPDX-License-Identifier: ISC */
/*
 * queue_private: what the parts of the queue share. queue_open.c makes it and takes it apart;
 * queue_put.c stores messages; queue_next.c knows what is next; queue_return.c records outcomes;
 * queue_change.c does what administrators want; queue_depth.c counts.
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

/* With so many outcomes that are not committed yet, nothing is handed out: what was sent and cannot
 * be removed is bounded, and so is the memory when workers are faster than the writer. */
#define QUEUE_OUTCOMES_MAX 1000
#define QUEUE_RETURNING_MAX (32 * 1024 * 1024) /* bytes of their copies */

/*
 * A message that is in memory, with its content if that is small: right after it was received, or
 * read ahead from the database. Shared by its copies; immutable. Counted references.
 */
struct queue_stored {
    atomic_uint refs;
    int64_t id;
    struct queue_message message; /* strings owned */
    char *content;                /* owned, never NULL if it is small; NULL: in the file large/ID */
};
/* With one reference, copies of the message's strings, and without content (queue_read.c). */
struct queue_stored *queue_stored_new(int64_t id, const struct queue_message *message);
/* Another reference; give one back. */
struct queue_stored *queue_stored_ref(struct queue_stored *m);
void queue_stored_unref(struct queue_stored *m);

/* A copy of it, ready to be handed out. */
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
    int lock_fd;
};

/* The time of day in seconds, by the clock of the options. */
time_t queue_now(const struct db_queue *q);

/* --- queue_read.c: reading; blocks (task_block() around it) --- */

/* No connection is open yet. */
struct queue_readers *queue_readers_new(void);
void queue_readers_free(struct queue_readers *r);

/* A read-only connection for the caller alone, until it is given back; may wait for another caller
 * to do that. status: of the last operation; a connection that failed is closed. NULL with `err`.
 */
struct db *queue_borrow_reader(struct db_queue *q, struct err *err);
void queue_give_back_reader(struct db_queue *q, struct db *db, enum db_status status,
                            const struct err *err);

/* A copy with its message and recipients; *out NULL: there is none. with_content: also what is in
 * the table body (else, and if it is large, content is NULL). With any connection. */
enum db_status queue_read_copy(struct db *db, int64_t id, bool with_content,
                               struct queue_ready **out, struct err *err);

/* Up to max ids of copies that are due now, the oldest first; last those that are due later than
 * delay_max_s from now (0: unknown). *next_out: when the next one is due, if all were found; else,
 * and if there is none, it stays. */
enum db_status queue_read_due(struct db *db, const char *destination, time_t now,
                              int64_t delay_max_s, int64_t *ids, size_t max, size_t *count_out,
                              time_t *next_out, struct err *err);

/* The database is damaged: has_room says so from now on. Logged once, with how to recover. */
void queue_report_damage(struct db_queue *q, const struct err *err);

/* --- queue_next.c --- */

/* The windows of all destinations; none yet. */
void queue_next_start(struct db_queue *q);
void queue_next_stop(struct db_queue *q);

/*
 * A reserved copy is not handed out, whatever a look at the database finds, until each reservation
 * is settled. It is reserved before the transaction that stores it, or brings it to this
 * destination, is submitted.
 */
void queue_next_reserve(struct db_queue *q, const char *destination, int64_t id);
/* Its transaction is over. ready: it is stored, and is handed out (it is the queue's from here on;
 * dropped where there is no room for it, and read again later). NULL: it may be there or not, due
 * or not; the next look at the database tells. */
void queue_next_settle(struct db_queue *q, const char *destination, int64_t id,
                       struct queue_ready *ready);

/* What an administrator wants done with a copy that a worker has. */
struct queue_order {
    enum queue_action action;
    char to[QUEUE_DESTINATION_SIZE]; /* "": none */
};
enum queue_seized {
    QUEUE_SEIZED_FREE,    /* no worker has it: the caller writes the change */
    QUEUE_SEIZED_ORDERED, /* a worker has it: the order is carried out when it is given back */
    QUEUE_SEIZED_REFUSED, /* a worker has it, and it has another order */
};
/* For a change: reserve the copy, and take it out of what is handed out. In each case
 * queue_next_settle() follows. */
enum queue_seized queue_next_seize(struct db_queue *q, const char *destination, int64_t id,
                                   const struct queue_order *order);
/* A worker gives a copy back. At once: nothing is to be written, hand it out again; false: it has
 * an order. Begin: submit the request that writes what came of it, and get the order (action of an
 * order that has none: QUEUE_RETRY). End, from the request's finish(): again (owned; NULL: no) is
 * handed out again; due (0: no): so is what the database has then. */
bool queue_next_return_at_once(struct db_queue *q, const char *destination,
                               struct queue_ready *ready);
void queue_next_begin_return(struct db_queue *q, const char *destination, int64_t id,
                             struct writer_request *request, struct queue_order *order_out);
void queue_next_end_return(struct db_queue *q, const char *destination, int64_t id,
                           struct queue_ready *again, time_t due);
/* The writer has caught up: those that waited for it go on. */
void queue_next_go_on(struct db_queue *q);
/* Something may be due that was not before. */
void queue_next_look(struct db_queue *q, const char *destination);
/* Suspended destinations hand out nothing. until: as in queue_suspension. */
void queue_next_set_suspended(struct db_queue *q, const char *destination, bool is_suspended,
                              time_t until);

/* --- queue_look.c; with the lock of the window, which a look releases meanwhile --- */

struct queue_window;
/* Is one to be made before the next copy is taken? */
bool queue_look_is_due(const struct db_queue *q, const struct queue_window *w);
/* Read what is due ahead, as far as it is not known and there is room for it. */
void queue_look(struct db_queue *q, struct queue_window *w);

/* --- queue_return.c --- */

/* A copy in a worker's hands. */
struct queue_taken {
    struct queue_copy copy;    /* first */
    struct queue_ready *ready; /* what copy points into */
    uint32_t *before;          /* of each recipient: a hash of its state and reason */
};
/* For next(): a copy that was taken; content_fd is -1. destination: borrowed, for as long as the
 * queue is open. */
struct queue_taken *queue_taken_new(const char *destination, struct queue_ready *ready);
bool queue_taken_is_pending(const struct queue_taken *t);
/* Its content cannot be read, for good: to the dead letters, with the reason. */
void queue_return_unreadable(struct db_queue *q, struct queue_taken *t, const char *reason);
/* It cannot be read now: as later(), but no attempt is counted. */
void queue_return_postponed(struct db_queue *q, struct queue_taken *t, time_t when);

/* --- queue_insert.c: statements about a new message, inside of a writer's transaction --- */

/* Message and body. state: "prepared" or "stored". */
enum db_status queue_insert_message(struct db *db, const struct queue_stored *s, const char *state,
                                    struct err *err);
/* A copy and its recipients, but for those that are QUEUE_SENT. */
enum db_status queue_insert_copy(struct db *db, int64_t message, int64_t id, time_t due,
                                 const struct queue_new_copy *c, struct err *err);
/* Remove whatever there is of a message. */
enum db_status queue_insert_undo(struct db *db, int64_t message, struct err *err);

/* --- queue_write.c: statements about one copy, inside of a writer's transaction --- */

/* Messages whose large files are of no use any more, once the transaction is durable. */
struct queue_files {
    int64_t *messages; /* owned */
    size_t count;
};
/* Remove them, and free the list. */
void queue_files_remove(struct db_queue *q, struct queue_files *files);

/* State and reason of a recipient. */
enum db_status queue_write_recipient(struct db *db, int64_t copy, const struct queue_recipient *r,
                                     struct err *err);
/* For the history: what became of those recipients that are in this state (is_sent), or in another.
 * Nothing if there are none, or no history is kept. */
enum db_status queue_write_history(struct db_queue *q, struct db *db, const char *destination,
                                   const struct queue_ready *copy, bool is_sent, const char *result,
                                   const struct queue_delivery *delivery, struct err *err);
/* The copy is done: without another copy its message goes, too. *was_there_out: false, if it was
 * removed before. */
enum db_status queue_write_removal(struct db *db, int64_t copy, struct queue_files *files,
                                   bool *was_there_out, struct err *err);
/* What administrators want, with the history. */
enum db_status queue_write_hold(struct db *db, int64_t copy, struct err *err);
enum db_status queue_write_deletion(struct db_queue *q, struct db *db, const char *destination,
                                    int64_t copy, struct queue_files *files, struct err *err);
/* to "": its own destination. */
enum db_status queue_write_requeue(struct db_queue *q, struct db *db, const char *destination,
                                   int64_t copy, const char *to, struct err *err);
/* Remove up to `limit` old rows of the history. *removed_out: how many. */
enum db_status queue_write_prune(struct db_queue *q, struct db *db, int64_t limit,
                                 uint64_t *removed_out, struct err *err);

/* --- queue_change.c --- */

/* "ID: dest=...: held by an administrator" */
void queue_change_log(const struct queue_order *order, const char *destination, int64_t id);

/* --- queue_depth.c --- */

/* No thread runs yet. */
struct queue_sampler *queue_sampler_new(void);
/* Stops its thread. */
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
