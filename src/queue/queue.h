/* SPDX-License-Identifier: ISC */
/*
 * queue: where copies wait between the MTA and their destination. The interface between what
 * receives copies (receive/), what delivers them (deliver/), and administrators (relay/control,
 * splitctl). queue_open.h makes one on a database; docs/queue.md says what is on disk at each
 * moment. All functions may be called from any thread and any task; those that wait say so.
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
    char *address; /* without suffix, as the MTA gave it */
    char *orcpt;   /* "rfc822;xtext", "" if there is none */
    enum queue_recipient_state state;
    char reason[QUEUE_REASON_SIZE]; /* of the last attempt, "" before it; printable */
    int64_t number;                 /* the queue's own: of its row */
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

/* One copy of a message that is being put. */
struct queue_new_copy {
    const char *destination;
    struct queue_recipient *recipients;
    size_t recipient_count;
    bool is_dead;           /* commit it to the dead-letter queue (recipients' reason says why) */
    char id[QUEUE_ID_SIZE]; /* filled in by put_begin */
};

/* A copy in a worker's hands. Owned by the queue; valid until it is given back by done, later or
 * release. */
struct queue_copy {
    char id[QUEUE_ID_SIZE];
    const char *destination;
    struct queue_message message;
    struct queue_recipient *recipients;
    size_t recipient_count;
    unsigned attempts; /* that failed before */
    /* The content as the MTA sent it (dot-unstuffed, CRLF lines), message.size_bytes long: in
     * memory, or if that is NULL in a file from its beginning (pread only). */
    const char *content;
    int content_fd; /* -1: in memory */
};

enum queue_put_status {
    QUEUE_PUT_OK,
    QUEUE_PUT_FULL,  /* no space (ENOSPC, EDQUOT, min_free_space): 452 4.3.1 */
    QUEUE_PUT_FAULT, /* any other local fault: 451 4.3.0 */
};

/* What a delivery came to, for the history. "" where there was none. */
struct queue_delivery {
    const char *relay; /* "mx1.example.com[192.0.2.1]:25", as in the log */
    const char *reply; /* the reason of the last recipient that was tried */
};

/* How much waits in one place. */
struct queue_amount {
    uint64_t copies;
    uint64_t bytes; /* of their contents; a message counts for each destination */
    time_t oldest;  /* arrival of the oldest; 0 if there is none */
};

struct queue_depth {
    char destination[QUEUE_DESTINATION_SIZE];
    struct queue_amount due, deferred, held, dead; /* due: also those being delivered */
    int64_t tried; /* the youngest copy that an attempt has failed for; 0: there is none */
};

struct queue_depths {
    struct queue_depth *items; /* by name; destinations that have copies, configured or not */
    size_t count;
};

/* Where copies are: a set of bits. */
enum { QUEUE_IN_QUEUE = 1, QUEUE_IN_HOLD = 2, QUEUE_IN_DEAD = 4 };

/* Which copies. All conditions hold at once; NULL or 0: no condition. Strings are borrowed. */
struct queue_selection {
    const char *id;          /* this copy alone */
    const char *destination; /* of this destination */
    unsigned places;         /* QUEUE_IN_...; 0: everywhere, or what queue_change_narrow() gives */
    const char *from;        /* the sender matches: an address, "@domain", "<>" (the null sender),
                                or a text with `*` for any characters; without regard to case */
    const char *to;          /* the same, one of the recipients that have not got the copy */
    const char *reason;      /* a recipient's last reason has this text in it, without regard to
                                case */
    const char *mta_id;      /* the MTA's queue id, exactly */
    const char *message_id;  /* the Message-ID, exactly, with or without brackets */
    time_t arrived_before, arrived_after; /* seconds since 1970 */
    uint64_t larger_bytes;                /* its content is larger */
    uint64_t limit;                       /* so many at most, oldest first */
    time_t due_after;                     /* due later than that (queue_change_narrow()) */
    const char *other_than;               /* not of this destination (the same) */
};

/* What an administrator may want done with copies. */
enum queue_action {
    QUEUE_RETRY,   /* deferred -> due now */
    QUEUE_HOLD,    /* queue -> hold: not delivered until it is released */
    QUEUE_RELEASE, /* hold -> queue, due now */
    QUEUE_DELETE,
    QUEUE_REQUEUE, /* dead -> queue, or anywhere -> the queue of another destination; due now, with
                      the attempts forgotten, to all recipients that have not got it */
};

/* How far a change has come. Copies that are being delivered get an order (`ordered`): it is
 * carried out when they are given back, unless they were accepted. After a crash a copy with an
 * order to be held or deleted is held. */
struct queue_changed {
    uint64_t changed, ordered, failed;
    bool is_stopped;
};

struct queue_change {
    enum queue_action action;
    struct queue_selection selection;
    const char *to; /* QUEUE_REQUEUE: the other destination; NULL: its own */
    /* Called now and then, without a lock; false: stop at once, between two batches. NULL: not
     * called. */
    bool (*go_on)(void *ctx, const struct queue_changed *so_far);
    void *ctx;
};

/* Complete the selection of a change. places 0 becomes the usual ones: retry and hold: the queue;
 * release: hold; delete: all; requeue: dead, with `to` queue and dead, and with `to` and the id of
 * one copy all. due_after and other_than leave out copies that the change has nothing to do with.
 * now: the time that tells due from deferred. change() does it itself. */
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
    /* Would a message of this size (0: unknown) find room now? Also says when the queue takes
     * nothing at all (a database that is damaged or out of reach): QUEUE_PUT_FAULT with `err`. */
    enum queue_put_status (*has_room)(struct queue *q, uint64_t size_bytes, struct err *err);

    /* Begin a message with its copies (borrowed until commit or abort; ids are filled in). */
    enum queue_put_status (*put_begin)(struct queue *q, const struct queue_message *message,
                                       struct queue_new_copy *copies, size_t copy_count,
                                       struct queue_put **out, struct err *err);
    enum queue_put_status (*put_data)(struct queue_put *p, const void *data, size_t len,
                                      struct err *err);
    /* Once, after the last put_data: the content is in the database (a large one in its synced
     * file), and the space for it is taken, so that commit hardly can fail. Nothing is handed out
     * yet; after a crash nothing is left. May be left out: commit does it then. Waits for the
     * write. p stays, whatever comes of it. */
    enum queue_put_status (*put_prepare)(struct queue_put *p, struct err *err);
    /* On QUEUE_PUT_OK every copy is on stable storage and will be handed out by next. Recipients
     * that are QUEUE_SENT by now get nothing, nor do copies that have no others. In each case p is
     * released. Waits for the sync. stored (NULL: not called) is called in between, when no copy
     * has been handed out yet, so that what it logs comes before all that is logged of their
     * delivery. */
    enum queue_put_status (*put_commit)(struct queue_put *p, void (*stored)(void *ctx), void *ctx,
                                        struct err *err);
    void (*put_abort)(struct queue_put *p);

    /*
     * The next copy of this destination that is due, or NULL when none became due within wait_ms,
     * or on wake. Oldest first, roughly. A copy is in one worker's hands at a time. A suspended
     * destination (see suspend) has none.
     */
    struct queue_copy *(*next)(struct queue *q, const char *destination, unsigned wait_ms);

    /* Give a copy back; c is released. Recipients' states and reasons are taken from the copy.
       done: no recipient is pending: removed, or moved to the dead-letter queue if a recipient is
       QUEUE_DEAD. later: attempts counts one up, next handed out at `when` (CLOCK_REALTIME
       seconds). release: as if it had never been taken (no attempt is counted). None of them waits;
       what they record is on disk soon after (within a second, and before close() returns). A
       crash before that has the copy delivered once more. */
    void (*done)(struct queue *q, struct queue_copy *c, const struct queue_delivery *delivery);
    void (*later)(struct queue *q, struct queue_copy *c, time_t when);
    void (*release)(struct queue *q, struct queue_copy *c);

    /*
     * Retry, hold, release, delete, requeue. What is reported as changed is on stable storage; each
     * copy is logged. Copies that come while it works may or may not be among those selected. 0:
     * *out says what came of it, and `err` why the last of those that failed did. -1 with `err`:
     * nothing was done: no such copy, or it is in a place where that makes no sense; a name that is
     * none; a database that cannot be read.
     */
    int (*change)(struct queue *q, const struct queue_change *change, struct queue_changed *out,
                  struct err *err);

    /* Hand out nothing for a destination until `until` or resume; kept over restarts. resume: 1, or
     * 0 if it was not suspended. suspensions: all there are, *out for the caller to free. Each -1
     * with `err`. */
    int (*suspend)(struct queue *q, const struct queue_suspension *s, struct err *err);
    int (*resume)(struct queue *q, const char *destination, struct err *err);
    int (*suspensions)(struct queue *q, struct queue_suspension **out, size_t *count_out,
                       struct err *err);

    /*
     * How much waits for each destination: *out (items to free()). Cheap to ask for: it was counted
     * by a thread in the background, which works only when it is asked, not more often than once
     * in a second, and never more than a fiftieth of the time. So it may be that old. Waits up to
     * 2 seconds for the first count; -1 with `err` when that is not done then, or failed: ask again
     * later.
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
