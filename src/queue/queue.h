/* SPDX-License-Identifier: ISC */
/*
 * queue: where copies wait between the MTA and their destination. It is used by the code that
 * receives copies (receive/), the code that delivers them (deliver/), and the commands of
 * administrators (relay/control, splitctl). queue_open() opens a queue; docs/queue.md says what is
 * on disk at each moment. All functions may be called from any thread and any task. The comment of
 * a function says when it waits.
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

#define QUEUE_ID_SIZE 24          /* bytes of a copy id with NUL (queue_id.h); increasing in time */
#define QUEUE_REASON_SIZE 240     /* bytes of a recipient's last reason with NUL */
#define QUEUE_RECIPIENTS_MAX 2000 /* per message */
#define QUEUE_DESTINATION_SIZE 64 /* bytes of a destination name with NUL */
#define QUEUE_MESSAGE_ID_SIZE 1000 /* bytes of a Message-ID with NUL; longer ones are cut off */

enum queue_recipient_state {
    QUEUE_PENDING = 'q',
    QUEUE_SENT = 's', /* accepted by the destination: never sent again */
    QUEUE_DEAD = 'd', /* refused for good; the copy goes to the dead-letter queue when no recipient
                         is pending any more */
};

struct queue_recipient {
    char *address; /* as the MTA gave it, without the suffix that names the destination */
    char *orcpt;   /* "rfc822;xtext", "" if there is none */
    enum queue_recipient_state state;
    char reason[QUEUE_REASON_SIZE]; /* of the last attempt, "" before it; printable */
    int64_t number;                 /* of its row; private to the queue */
};

/* What is known of a message from its SMTP transaction. Strings are never NULL, "" where unknown.
 */
struct queue_message {
    char *sender; /* "" is the null sender */
    char *client_name, *client_addr, *helo,
        *protocol;           /* of the original client (XFORWARD), else of the MTA */
    char *mta_queue_id;      /* XFORWARD IDENT */
    char *message_id;        /* of the content's Message-ID field, with its brackets; set before
                                put_prepare or put_commit */
    bool is_8bit;            /* BODY=8BITMIME */
    bool is_utf8;            /* SMTPUTF8 */
    bool needs_requiretls;   /* REQUIRETLS (RFC 8689) */
    struct timespec arrival; /* CLOCK_REALTIME at MAIL */
    uint64_t size_bytes;     /* of the content as received; set by commit */
};

/* The option of its destination because of which a copy is not stored. */
enum queue_skip { QUEUE_WANTED, QUEUE_SKIP_UNLESS_HEADER, QUEUE_SKIP_MAX_SIZE };

/* One copy of a message that is being put. */
struct queue_new_copy {
    const char *destination;
    struct queue_recipient *recipients;
    size_t recipient_count;
    bool is_dead; /* commit it to the dead-letter queue (recipients' reason says why) */
    /* Not QUEUE_WANTED: the destination does not want the message. commit does not put the copy
     * into the queue, but only into the history, with skip_reason, which is printable. Both are set
     * before put_prepare or put_commit */
    enum queue_skip skip;
    char skip_reason[QUEUE_REASON_SIZE];
    char id[QUEUE_ID_SIZE]; /* filled in by put_begin */
};

/* A copy that a worker has taken with next(). Owned by the queue; valid until the worker gives it
 * back with done, later or release. */
struct queue_copy {
    char id[QUEUE_ID_SIZE];
    const char *destination;
    struct queue_message message;
    struct queue_recipient *recipients;
    size_t recipient_count;
    unsigned attempts; /* failed ones so far */
    /* The content as the MTA sent it (dot-unstuffed, CRLF lines), message.size_bytes long. It is in
     * memory (content), or in a file if content is NULL. */
    const char *content;
    int content_fd; /* to be read with pread(2) from offset 0; -1: the content is in memory */
};

enum queue_put_status {
    QUEUE_PUT_OK,
    QUEUE_PUT_FULL,  /* no space (ENOSPC, EDQUOT, min_free_space): 452 4.3.1 */
    QUEUE_PUT_FAULT, /* any other local fault: 451 4.3.0 */
};

/* The result of a delivery, for the history. A string is "" if there is nothing to say. */
struct queue_delivery {
    const char *relay; /* "mx1.example.com[192.0.2.1]:25", as in the log */
    const char *reply; /* the reason of the last recipient that was tried */
};

/* The amount of copies in one place. */
struct queue_amount {
    uint64_t copies;
    uint64_t bytes; /* of their contents; a message counts for each destination */
    time_t oldest;  /* arrival of the oldest; 0 if there is none */
};

struct queue_depth {
    char destination[QUEUE_DESTINATION_SIZE];
    struct queue_amount due, deferred, held, dead; /* due: also those being delivered */
    int64_t tried; /* id of the youngest copy with a failed attempt; 0: there is none */
};

struct queue_depths {
    struct queue_depth *items; /* by name; destinations that have copies, configured or not */
    size_t count;
};

/* The places of copies, as bits. */
enum { QUEUE_IN_QUEUE = 1, QUEUE_IN_HOLD = 2, QUEUE_IN_DEAD = 4 };

/* The conditions that select copies. A copy is selected if it meets all of them. NULL or 0: no
 * condition. Strings are borrowed. */
struct queue_selection {
    const char *id;          /* this copy alone */
    const char *destination; /* of this destination */
    unsigned places;         /* QUEUE_IN_...; 0: everywhere, or what queue_change_narrow() gives */
    const char *from;        /* the sender matches: an address, "@domain", "<>" (the null sender),
                                or a text with `*` for any characters; without regard to case */
    const char *to;          /* as `from`, for one of the recipients that have not got the copy */
    const char *reason;      /* a recipient's last reason has this text in it, without regard to
                                case */
    const char *mta_id;      /* the MTA's queue id, exactly */
    const char *message_id;  /* the Message-ID, exactly, with or without brackets */
    time_t arrived_before, arrived_after; /* seconds since 1970 */
    uint64_t larger_bytes;                /* its content is larger */
    uint64_t limit;                       /* the number of copies at most, the oldest first */
    time_t due_after;                     /* due later than that; set by queue_change_narrow() */
    const char *other_than; /* not of this destination; set by queue_change_narrow() */
    const char *after; /* younger than the copy with this id; queue_reader_list() alone uses it */
    int64_t before;    /* rows with lower numbers; queue_reader_history() alone uses it; 0: all */
};

/* What a change does with copies. */
enum queue_action {
    QUEUE_RETRY,   /* deferred -> due now */
    QUEUE_HOLD,    /* queue -> hold: not delivered until it is released */
    QUEUE_RELEASE, /* hold -> queue, due now */
    QUEUE_DELETE,
    QUEUE_REQUEUE, /* dead -> queue, or anywhere -> the queue of another destination; due now, with
                      the attempts forgotten, to all recipients that have not got it */
};

/* How far a change has come, in numbers of copies. A copy that is being delivered gets an order
 * (`ordered`), and so does a copy that another node has leased. The order is on stable storage. It
 * is carried out when no worker has the copy any more, or after a crash, unless the destination has
 * accepted the copy. */
struct queue_changed {
    uint64_t changed, ordered, failed;
    bool is_stopped;
};

struct queue_change {
    enum queue_action action;
    struct queue_selection selection;
    const char *to; /* QUEUE_REQUEUE: the other destination; NULL: its own */
    /* Called between two batches of copies, without a lock. False: the change stops. NULL: not
     * called. */
    bool (*go_on)(void *ctx, const struct queue_changed *so_far);
    void *ctx;
};

/* Complete the selection of a change. change() calls this itself; other callers use it to select
 * the same copies.
 *   - places 0 becomes the usual places of the action. Retry and hold: the queue. Release: hold.
 *     Delete: all. Requeue: dead; with `to` queue and dead; with `to` and the id of a copy all.
 *   - due_after and other_than are set so that copies are left out which the change would leave as
 *     they are.
 * now: a copy that is due later than this is deferred. */
void queue_change_narrow(struct queue_change *change, time_t now) __attribute__((nonnull));

/* An administrator's order that nothing is to be sent to a destination for now. */
struct queue_suspension {
    char destination[QUEUE_DESTINATION_SIZE];
    time_t since, until;            /* until 0: until it is resumed */
    char reason[QUEUE_REASON_SIZE]; /* "" if none was given; printable */
};

struct queue;
struct queue_put; /* a message being received */

struct queue_ops {
    /* Check whether a message of this size (0: unknown) can be stored now. QUEUE_PUT_FULL with
     * `err`: there is no room. QUEUE_PUT_FAULT with `err`: the database is damaged, cannot be
     * written, or does not replicate as it has to. */
    enum queue_put_status (*has_room)(struct queue *q, uint64_t size_bytes, struct err *err);

    /* Begin a message with its copies, and fill in their ids. message and copies are borrowed until
     * commit or abort. *out is released by put_commit or put_abort. */
    enum queue_put_status (*put_begin)(struct queue *q, const struct queue_message *message,
                                       struct queue_new_copy *copies, size_t copy_count,
                                       struct queue_put **out, struct err *err);
    /* Append to the content. May wait for the disk. */
    enum queue_put_status (*put_data)(struct queue_put *p, const void *data, size_t len,
                                      struct err *err);
    /* Write the content to the database (with SQLite a large one to its file, which is synced), so
     * that a lack of space shows now and not in put_commit. No copy is handed out yet, and after a
     * crash the message is removed. Called at most once, after the last put_data; without it,
     * put_commit writes the content. Waits for the write. p is not released, even on failure. */
    enum queue_put_status (*put_prepare)(struct queue_put *p, struct err *err);
    /* Store the message. QUEUE_PUT_OK: all copies are on stable storage, and next() hands them out.
     * Recipients that are QUEUE_SENT by now are left out, and so are copies with no other
     * recipients. If all other copies are skipped, the message is not stored, but the history of
     * these copies is on stable storage. Waits for the sync. stored (NULL: not called) is called
     * after the sync and before the first copy is handed out, so its log lines precede those of the
     * delivery. p is released, also on failure. */
    enum queue_put_status (*put_commit)(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                        struct err *err);
    /* Remove what has been received of a message. p is released. */
    void (*put_abort)(struct queue_put *p);

    /*
     * Take the next copy of this destination that is due: by and large the one that has been due
     * for the longest time. Waits up to wait_ms for one. Returns NULL if none became due, or after
     * wake(). A copy is handed out to one worker at a time. While a destination is suspended, none
     * of its copies is handed out.
     */
    struct queue_copy *(*next)(struct queue *q, const char *destination, unsigned wait_ms);

    /*
     * done, later and release give a copy back, and release c. They record the states and reasons
     * of the recipients in c. None of them waits. The record is on disk within a second, and before
     * close() returns. After a crash before that, the copy is delivered once more.
     */
    /* Give back a copy with no pending recipient. It is removed, or moved to the dead-letter queue
     * if a recipient is QUEUE_DEAD. */
    void (*done)(struct queue *q, struct queue_copy *c, const struct queue_delivery *delivery);
    /* Give back a copy after a failed attempt, which is counted. It is handed out again at `when`
     * (CLOCK_REALTIME seconds). */
    void (*later)(struct queue *q, struct queue_copy *c, time_t when);
    /* Give back a copy without an attempt. It may be handed out again at once. */
    void (*release)(struct queue *q, struct queue_copy *c);

    /*
     * Change copies: retry, hold, release, delete or requeue. Waits. Copies that are reported as
     * changed are on stable storage, and each of them is logged. Copies that arrive during the
     * change may be selected or not. Returns 0 with the numbers in *out; if copies failed, `err` is
     * the reason of the last one. Returns -1 with `err` if nothing was done: there is no such copy,
     * the action makes no sense in its place, the name of a destination is not valid, or the
     * database cannot be read.
     */
    int (*change)(struct queue *q, const struct queue_change *change, struct queue_changed *out,
                  struct err *err);

    /* Suspend a destination until s->until or resume: none of its copies is handed out. The
     * suspension is on stable storage and outlasts restarts. Waits. -1 with `err`. */
    int (*suspend)(struct queue *q, const struct queue_suspension *s, struct err *err);
    /* Resume a destination. Waits. Returns 1, 0 if it was not suspended, or -1 with `err`. */
    int (*resume)(struct queue *q, const char *destination, struct err *err);
    /* Get all suspensions. Waits. The caller frees *out. -1 with `err`. */
    int (*suspensions)(struct queue *q, struct queue_suspension **out, size_t *count_out,
                       struct err *err);

    /*
     * Get the amounts of copies of all destinations. The caller frees out->items. A background
     * thread counts them when this function asks for it. A count is used again for a second, and
     * for 50 times as long as the counting took, so the counting takes at most about 2 % of the
     * time. Waits up to 2 seconds for a new count, and returns the last one if it takes longer. -1
     * with `err`: there is no count yet, or the first one has failed; the caller asks again later.
     */
    int (*depths)(struct queue *q, struct queue_depths *out, struct err *err);

    /* No worker calls next() for this destination any more. Other nodes take its copies. Does not
     * wait. */
    void (*leave)(struct queue *q, const char *destination);
    /* Make all waiting next() of this destination (NULL: of all) return NULL. */
    void (*wake)(struct queue *q, const char *destination);
    /* Write the outcomes that wait, and close the queue. */
    void (*close)(struct queue *q);
};

/* The structure of each implementation begins with this one. */
struct queue {
    const struct queue_ops *ops;
    bool needs_utf8; /* addresses that are no UTF-8 cannot be stored (PostgreSQL) */
};

#endif
