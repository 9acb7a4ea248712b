/* SPDX-License-Identifier: ISC */
/*
 * relay_api: the JSON documents of the page, which splitrelay(8) describes: status, queue, history,
 * copy/ID. They are read from the database with a connection of their own (queue_reader.h), and
 * change nothing.
 *
 * Their cost is limited. A document is read for at most 5 seconds and has at most about 2 MB. All
 * reading together gets 3 % of the time, after up to 10 seconds at once. So a client that asks
 * again and again slows the queue down by no more than that. The status is made once a second at
 * most, and less often if it takes long: then it says of what time it is.
 *
 * One thread, except for relay_api_cancel().
 */
#ifndef SPLIT_RELAY_API_H
#define SPLIT_RELAY_API_H

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "deliver/destination.h"
#include "metrics/metrics_http.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>

/* A destination of the configuration in use. */
struct relay_api_destination {
    char name[QUEUE_DESTINATION_SIZE];
    struct destination_suspension suspension; /* by its faults; since 0: none */
};

struct relay_api_options {
    const char *spool_directory, *queue; /* options of section relay; borrowed for the call */
    const char *hostname;                /* borrowed for the call */
    struct queue *counts;                /* queue_ops.depths is called */
    /* Return the destinations of the configuration in use, which the caller frees. */
    struct relay_api_destination *(*destinations)(void *ctx, size_t *count_out);
    /* Check whether splitrelay takes copies. False: `why` has the reason. */
    bool (*is_ready)(void *ctx, struct err *why);
    void *destinations_ctx, *is_ready_ctx;
};

struct relay_api;

/* Make a relay_api. The functions and `counts` of the options are used until relay_api_free(). */
struct relay_api *relay_api_new(const struct relay_api_options *options)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void relay_api_free(struct relay_api *a) __attribute__((nonnull));

/* Append a document. path: "status", "queue", "history" or "copy/ID". Returns the status of HTTP;
 * unless that is 200, the document is {"error": TEXT}. */
unsigned relay_api_document(struct relay_api *a, const char *path,
                            const struct metrics_http_parameters *parameters, struct buf *out)
    __attribute__((nonnull));

/* Sample the counters of the destinations, if the last sample is a second old. */
void relay_api_tick(struct relay_api *a) __attribute__((nonnull));

/* End a document under way, and make no more; for the end of splitrelay. Any thread. */
void relay_api_cancel(struct relay_api *a) __attribute__((nonnull));

#endif
