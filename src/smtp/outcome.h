/* SPDX-License-Identifier: ISC */
/*
 * outcome: the result of an attempt to deliver a copy, for each recipient. Plain data: client.c and
 * maildir.c fill it in, delivery.c decides what follows from it.
 */
#ifndef SPLIT_OUTCOME_H
#define SPLIT_OUTCOME_H

#include "queue/queue.h"

#include <stdbool.h>
#include <stdint.h>

enum outcome_result {
    OUTCOME_OK,      /* a well-formed 2xx for this recipient, after the final dot */
    OUTCOME_RETRY,   /* everything that is neither of the other two: 4xx, timeout, lost connection,
                         malformed, local fault */
    OUTCOME_REFUSED, /* a well-formed 5xx to this recipient or to the content, or an announced SIZE
                         that the copy exceeds, or an address or path that a template of the
                         destination cannot make */
};

struct outcome {
    enum outcome_result result;
    char dsn[16];                   /* "2.0.0", "4.4.1" */
    char reason[QUEUE_REASON_SIZE]; /* "250 2.0.0 Ok", "connect to host[ip]:25: Connection refused";
                                       printable */
};

/* Fill an outcome; dsn: "4.4.1"; reason as printf, cut to fit. The outcome's own texts may not be
 * arguments. */
void outcome_set(struct outcome *o, enum outcome_result result, const char *dsn, const char *reason,
                 ...) __attribute__((format(printf, 4, 5), nonnull));

/* One attempt to deliver a copy, as client.c and maildir.c report it. */
struct outcome_report {
    /* one for each recipient of the copy, by the same index; set for those that were
     * QUEUE_PENDING */
    struct outcome *outcomes;
    char relay[512];   /* "host[ip]:25"; "none": there was no connection */
    unsigned conn_use; /* messages over this connection, this one included; 0: no connection */
    /* the copy was not even offered, for a reason that has nothing to do with the copy (no
     * connection, no greeting, no EHLO, shutdown): other copies will have the same result */
    bool is_host_fault;
    /* the connection broke while the copy was being sent: the cause is the copy or the
     * destination */
    bool is_connection_fault;
    /* with one of these two: what happened, an OUTCOME_RETRY. The outcomes of recipients that were
     * decided before it differ */
    struct outcome fault;
    /* nothing was offered to the destination, because templates made no address or path of any
     * recipient: the report says nothing about the destination */
    bool is_untried;
    /* for delays= in the log: time in the worker before the attempt (set by the worker), connection
     * set-up, transmission */
    int64_t wait_ms, setup_ms, transmit_ms;
};

#endif
