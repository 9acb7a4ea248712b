/* SPDX-License-Identifier: ISC */
/*
 * queue: where copies wait between the MTA and their destination. An interface: `struct queue_ops`
 * is what a queue has to be able to do (put, next, done, later, dead); spool_queue.c is the
 * embedded implementation on the spool directory, a replicated one can join it. The server puts,
 * the delivery workers take; both know only this header. All functions may be called from any
 * thread.
 *
 * A *message* is one SMTP transaction from the MTA; a *copy* is that message for one destination,
 * with the recipients of that destination. Each copy has its own id and its own fate.
 */
#ifndef SPLIT_QUEUE_H
#define SPLIT_QUEUE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define QUEUE_ID_SIZE 24      /* bytes of a copy id with NUL; [0-9A-Za-z]+, increasing in time */
#define QUEUE_ID_PLACE 2      /* characters at its end that are final only when it is stored */
#define QUEUE_REASON_SIZE 240 /* bytes of a recipient's last reason with NUL */
#define QUEUE_RECIPIENTS_MAX 2000 /* per message */
#define QUEUE_DESTINATION_SIZE 64 /* bytes of a destination name with NUL */

enum queue_recipient_state {
    QUEUE_PENDING = 'q',
    QUEUE_SENT = 's', /* accepted by the destination: never sent again */
    QUEUE_DEAD = 'd', /* refused for good; the copy goes to the dead-letter queue when no recipient
                         is pending any more */
};

struct queue_recipient {
    char *address; /* without suffix, as the MTA gave it */
    char *orcpt;   /* "rfc822;xtext", "" if there is none */
    enum queue_recipient_state state;
    char reason[QUEUE_REASON_SIZE]; /* of the last attempt, "" before it; printable */
};

/* What is known of a message from its SMTP transaction. Strings are never NULL, "" where unknown.
 */
struct queue_message {
    char *sender; /* "" is the null sender */
    char *client_name, *client_addr, *helo,
        *protocol;           /* of the original client (XFORWARD), else of the MTA */
    char *mta_queue_id;      /* XFORWARD IDENT */
    bool is_8bit;            /* BODY=8BITMIME */
    bool is_utf8;            /* SMTPUTF8 */
    bool needs_requiretls;   /* REQUIRETLS (RFC 8689) */
    struct timespec arrival; /* CLOCK_REALTIME at MAIL */
    uint64_t size_bytes;     /* of the content as received; set by commit */
};

/* One copy of a message that is being put. */
struct queue_new_copy {
    const char *destination;
    struct queue_recipient *recipients;
    size_t recipient_count;
    bool is_dead;           /* commit it to the dead-letter queue (recipients' reason says why) */
    char id[QUEUE_ID_SIZE]; /* filled in by begin; final when it is stored, see put_commit */
};

/* A copy in a worker's hands. Owned by the queue; valid until it is given back by done, later or
 * dead. */
struct queue_copy {
    char id[QUEUE_ID_SIZE];
    const char *destination;
    struct queue_message message;
    struct queue_recipient *recipients;
    size_t recipient_count;
    unsigned attempts; /* that failed before */
    int content_fd; /* the content as the MTA sent it (dot-unstuffed, CRLF lines): content_offset ..
                       + size_bytes; pread only */
    uint64_t content_offset;
};

enum queue_put_status {
    QUEUE_PUT_OK,
    QUEUE_PUT_FULL,  /* no space (ENOSPC, EDQUOT, min_free_space): 452 4.3.1 */
    QUEUE_PUT_FAULT, /* any other local fault: 451 4.3.0 */
};

/* How much waits in one place. */
struct queue_amount {
    uint64_t copies;
    uint64_t bytes; /* of their files, head and content; a message counts for each destination */
    time_t oldest;  /* arrival of the oldest; 0 if there is none */
};

struct queue_depth {
    char destination[QUEUE_DESTINATION_SIZE];
    struct queue_amount due, deferred, held, dead; /* due: also those being delivered */
};

struct queue_depths {
    struct queue_depth *items; /* by name; destinations that ever had copies, configured or not */
    size_t count;
    struct queue_amount quarantine; /* files that are no copies, of no destination */
};

/* What an administrator may want done with copies. */
enum queue_action {
    QUEUE_HOLD,    /* queue -> hold: not delivered until it is released */
    QUEUE_RELEASE, /* hold -> queue, due now */
    QUEUE_DELETE,
    QUEUE_REQUEUE, /* dead -> queue, or anywhere -> the queue of another destination; due now, with
                      the attempts forgotten, to all recipients that have not got it */
};

/* Where copies are: a set of bits. */
enum { QUEUE_IN_QUEUE = 1, QUEUE_IN_HOLD = 2, QUEUE_IN_DEAD = 4 };

/* How far a change has come. Copies that are being delivered get an order (`ordered`): it is
 * carried out when they are given back, unless they were accepted; it does not outlast the process.
 */
struct queue_changed {
    uint64_t changed, ordered, failed;
    bool is_stopped;
};

struct queue_change {
    enum queue_action action;
    const char *id;          /* one copy, wherever it is; NULL: all of `destination` in `places` */
    const char *destination; /* NULL: of all */
    unsigned places;         /* 0: hold: queue; release: hold; delete: all; requeue: dead, with `to`
                                queue and dead, with `id` and `to` all */
    const char *to;          /* requeue: the other destination; NULL: its own */
    /* Called now and then, without a lock; false: stop at once, which leaves each copy in one place
       or the other. NULL: not called. */
    bool (*go_on)(void *ctx, const struct queue_changed *so_far);
    void *ctx;
};

/* The places that a change looks at: `places`, or the usual ones if that is 0. */
unsigned queue_change_places(enum queue_action action, unsigned places, bool has_to, bool is_all);

struct queue;
struct queue_put; /* a message being received */

struct queue_ops {
    /* Would a message of this size (0: unknown) find room now? */
    enum queue_put_status (*has_room)(struct queue *q, uint64_t size_bytes, struct err *err);

    /* Begin a message with its copies (borrowed until commit or abort; ids are filled in). */
    enum queue_put_status (*put_begin)(struct queue *q, const struct queue_message *message,
                                       struct queue_new_copy *copies, size_t copy_count,
                                       struct queue_put **out, struct err *err);
    enum queue_put_status (*put_data)(struct queue_put *p, const void *data, size_t len,
                                      struct err *err);
    /* Once, after the last put_data: the content is on stable storage, and commit has no more than
     * names to make, so that it hardly can fail. Nothing is handed out yet; after a crash nothing
     * is left. May be left out: commit does it then. Blocks for the sync. p stays, whatever comes
     * of it. */
    enum queue_put_status (*put_prepare)(struct queue_put *p, struct err *err);
    /* On QUEUE_PUT_OK every copy is on stable storage and will be handed out by next. Recipients
     * that are QUEUE_SENT by now get nothing, nor do copies that have no others. In each case p is
     * released. Blocks for the sync. stored (NULL: nobody) is called in between: the ids are final,
     * and no copy has been handed out, so that what it logs comes before all that is logged of
     * their delivery. */
    enum queue_put_status (*put_commit)(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                        struct err *err);
    void (*put_abort)(struct queue_put *p);

    /*
     * The next copy of this destination that is due, or NULL when none became due within wait_ms,
     * or on queue_wake. Oldest first, roughly. A copy is in one worker's hands at a time.
     * *backlog_out: more copies are due right now.
     */
    struct queue_copy *(*next)(struct queue *q, const char *destination, unsigned wait_ms,
                               bool *backlog_out);

    /* Give a copy back. Recipients' states and reasons are taken from the copy.
       done: no recipient is pending: removed, or moved to the dead-letter queue if a recipient is
       QUEUE_DEAD. later: attempts counts one up, next handed out at `when` (CLOCK_REALTIME
       seconds). dead: all pending recipients become QUEUE_DEAD, then as done. release: as if it had
       never been taken (no attempt is counted); recorded states are kept. */
    void (*done)(struct queue *q, struct queue_copy *c);
    void (*later)(struct queue *q, struct queue_copy *c, time_t when);
    void (*dead)(struct queue *q, struct queue_copy *c);
    void (*release)(struct queue *q, struct queue_copy *c);

    /* Make deferred copies due now: one (destination may be NULL: searched), or with id NULL all of
       a destination (NULL: of all). Returns how many copies (or, for whole queues, how many groups)
       it moved; -1 with err. */
    long (*retry)(struct queue *q, const char *destination, const char *id, struct err *err);

    /*
     * Hold, release, delete, requeue. What is reported as changed is on stable storage; each copy
     * is logged. Copies that come while it works may or may not be among `all`. 0: *out says what
     * came of it, and `err` why the last of those that failed did. -1 with `err`: nothing was done:
     * no such copy, or it is in a place where that makes no sense; a name that is none; another
     * change of all is going on; directories that cannot be read.
     */
    int (*change)(struct queue *q, const struct queue_change *change, struct queue_changed *out,
                  struct err *err);

    /*
     * How much waits for each destination: *out (items to free()). Cheap to ask for: it was counted
     * by a thread in the background, which works only when somebody asks, not more often than once
     * in a second, and never more than a fiftieth of the time; what nobody has touched is not
     * counted again. So it may be that old. Waits up to 2 seconds for the first count; -1 with
     * `err` when that is not done then, or failed: ask again later.
     */
    int (*depths)(struct queue *q, struct queue_depths *out, struct err *err);

    /* Wake every next() of this destination (NULL: of all); they return NULL. */
    void (*wake)(struct queue *q, const char *destination);
    void (*close)(struct queue *q);
};

/* Implementations begin with this. */
struct queue {
    const struct queue_ops *ops;
};

#endif
