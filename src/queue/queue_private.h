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
/* Another reference; give one back (queue_read.c). */
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
};
void queue_ready_free(struct queue_ready *r);

struct db_queue {
    struct queue base;            /* first */
    struct queue_options options; /* strings owned */
    _Atomic int64_t delay_max_s, history_s;
    struct large *large;
    struct writer *writer;
    struct queue_id_source ids;
    struct queue_readers *readers; /* read-only connections, for threads that may block */
    struct queue_windows *windows; /* queue_next.c: what is in memory, by destination */
    struct queue_sampler *sampler; /* queue_depth.c */
    atomic_bool is_damaged;        /* SQLite calls the database corrupt */
    int lock_fd;
};

/* The time of day in seconds, by the clock of the options. */
time_t queue_now(const struct db_queue *q);

/* --- queue_read.c: reading with a connection of the pool; blocks (task_block() around it) --- */

/* A read-only connection for the caller alone, until it is given back. is_broken: it is closed
 * instead. NULL with `err`. */
struct db *queue_borrow_reader(struct db_queue *q, struct err *err);
void queue_give_back_reader(struct db_queue *q, struct db *db, bool is_broken);

/* The database is damaged: has_room says so from now on. Logged once, with how to recover. */
void queue_report_damage(struct db_queue *q, const struct err *err);

/* --- queue_next.c --- */

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
/* Suspended destinations hand out nothing. until: as in queue_suspension. */
void queue_next_set_suspended(struct db_queue *q, const char *destination, bool is_suspended,
                              time_t until);

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
