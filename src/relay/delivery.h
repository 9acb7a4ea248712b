/* SPDX-License-Identifier: ISC */
/*
 * delivery: what came of one attempt to deliver a copy, and what is to be done about it. The one
 * place where outcomes become policy: client.c reports, delivery.c decides (sent, retried, dead),
 * logs and gives the copy back to the queue. Pure but for log and queue.
 */
#ifndef SPLIT_DELIVERY_H
#define SPLIT_DELIVERY_H

#include "../config.h"
#include "queue.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum delivery_result {
    DELIVERY_OK,      /* a well-formed 2xx for this recipient, after the final dot */
    DELIVERY_RETRY,   /* everything that is neither of the other two: 4xx, timeout, lost connection,
                         malformed, local fault */
    DELIVERY_REFUSED, /* a well-formed 5xx to this recipient or to the content, or an announced SIZE
                         that the copy exceeds */
};

struct delivery_outcome {
    enum delivery_result result;
    char dsn[16];                   /* "2.0.0", "4.4.1" */
    char reason[QUEUE_REASON_SIZE]; /* "250 2.0.0 Ok", "connect to host[ip]:25: Connection refused";
                                       printable */
};

/* One attempt, as client.c reports it: an outcome for each recipient of the copy that was
 * QUEUE_PENDING, by the same index. */
struct delivery_report {
    struct delivery_outcome
        *outcomes;      /* recipient_count of the copy; those not pending are unset */
    char relay[512];    /* "host[ip]:25", "none" when no connection came about */
    unsigned conn_use;  /* messages over this connection, this one included; 0: no connection */
    bool is_host_fault; /* the copy was not even offered, for a reason that has nothing to do with
                           it (no connection, no greeting, no EHLO, shutdown): others will fare the
                           same */
    bool is_connection_fault; /* the connection broke while the copy was being sent: the copy may be
                                 the cause, or the destination */
    int64_t wait_ms, setup_ms, transmit_ms; /* for delays=: in the worker before (set by the
                                               worker), connection set-up, transmission */
};

/*
 * Seconds until the next attempt: retry_min doubled with each attempt that failed (attempts >= 1),
 * with a jitter of +/- 20 % (random: 0..UINT32_MAX), never above retry_max or below 1.
 */
unsigned delivery_retry_delay_s(const struct config_destination *d, unsigned attempts,
                                uint32_t random) __attribute__((nonnull));

/* A copy for which a failed attempt is the last one. now: CLOCK_REALTIME seconds. */
bool delivery_is_too_old(const struct queue_copy *c, const struct config_destination *d, time_t now)
    __attribute__((nonnull));

/* Apply a report: set the recipients' states and reasons, log one line per recipient that was
 * tried, and give the copy back (done, later or dead; dead also when it is older than max_age).
 * With is_host_fault it goes back by release if nothing was accepted and it is not too old: the
 * destination waits, not the copy. now: CLOCK_REALTIME; random: as for delivery_retry_delay_s(). */
void delivery_finish(struct queue *q, struct queue_copy *c, const struct config_destination *d,
                     const struct delivery_report *report, const struct timespec *now,
                     uint32_t random) __attribute__((nonnull));

#endif
