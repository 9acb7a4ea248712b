/* SPDX-License-Identifier: ISC */
/* relay_api_private: the parts of relay_api, which are one file for each kind of document. */
#ifndef SPLIT_RELAY_API_PRIVATE_H
#define SPLIT_RELAY_API_PRIVATE_H

#include "queue/queue_reader.h"
#include "relay/relay_api.h"
#include "relay/relay_rates.h"

#include <jansson.h>
#include <stdatomic.h>

/* Statuses of HTTP. */
enum { API_OK = 200, API_WRONG = 400, API_NOT_FOUND = 404, API_UNAVAILABLE = 503 };

struct relay_api {
    struct relay_api_options o; /* its strings are owned */
    char *shown_queue;          /* the option queue without a password */
    struct relay_rates *rates;
    int64_t sampled_ms;
    int64_t status_ms; /* when the status was made; 0: never */
    int64_t status_took_ms;
    struct buf status;
    int64_t allowance_ms, allowance_at_ms; /* time for reading that is left, and as of when */
    int64_t deadline_ms;                   /* for the document that is being made */
    atomic_bool is_cancelled;
};

/* Append {"error": TEXT}. Returns `status`. */
unsigned relay_api_fail(struct buf *out, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull));

/* Open a reader of the queue, which fails when the document may take no longer. NULL with `err`. */
struct queue_reader *relay_api_reader(struct relay_api *a, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Return true as long as the document may go on: before its deadline, and before
 * relay_api_cancel(). */
bool relay_api_goes_on(const struct relay_api *a) __attribute__((nonnull));

/* A time in seconds since 1970 as JSON; 0 is null. */
json_t *relay_api_time(time_t t) __attribute__((returns_nonnull, warn_unused_result));

/* The documents, as relay_api_document(). */
unsigned relay_api_status(struct relay_api *a, struct buf *out) __attribute__((nonnull));
unsigned relay_api_queue(struct relay_api *a, const struct metrics_http_parameters *parameters,
                         struct buf *out) __attribute__((nonnull));
unsigned relay_api_history(struct relay_api *a, const struct metrics_http_parameters *parameters,
                           struct buf *out) __attribute__((nonnull));
unsigned relay_api_copy(struct relay_api *a, const char *id, struct buf *out)
    __attribute__((nonnull));

#endif
