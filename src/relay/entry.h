/* SPDX-License-Identifier: ISC */
/*
 * entry: what the commands of splitctl and the JSON documents of the page (relay_api.h) show of a
 * copy and of a row of the history. The members of the JSON objects are in splitctl(8). Pure
 * functions; any thread.
 */
#ifndef SPLIT_ENTRY_H
#define SPLIT_ENTRY_H

#include "deliver/destination.h"
#include "queue/queue_reader.h"

#include <jansson.h>

/* The earliest time of the next attempt to deliver this copy: not before the suspensions of its
 * destination end, and never before `now`. order: the suspension by an administrator, NULL if there
 * is none. fault: the suspension by faults; `since` is 0 if there is none. 0: the copy is held or
 * dead, or its destination is suspended until an administrator resumes it. */
time_t entry_next_attempt(const struct queue_entry *e, const struct queue_suspension *order,
                          const struct destination_suspension *fault, time_t now)
    __attribute__((nonnull(1, 3)));

/* Return the name of the queue that a copy is in, "active" (due now), "deferred" and "hold" as
 * postqueue(1) has them, or "dead". next: entry_next_attempt() of the copy; with 0, a copy in the
 * queue is "deferred". */
const char *entry_queue(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull));

/* The state of a recipient as a word: "queued", "sent", "dead". */
const char *entry_status(enum queue_recipient_state state) __attribute__((returns_nonnull));

/* The copy as a JSON object, which the caller releases. */
json_t *entry_json(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* As entry_json(), with the client, the properties of the message, and ORCPT of the recipients. */
json_t *entry_json_whole(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* A row of the history as a JSON object, which the caller releases. */
json_t *entry_json_event(const struct queue_event *e)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
