/* SPDX-License-Identifier: ISC */
/* entry: the output that the commands queue and show have in common. */
#ifndef SPLIT_CTL_ENTRY_H
#define SPLIT_CTL_ENTRY_H

#include "queue/queue_reader.h"

#include <jansson.h>

/* Return the name of the queue that a copy is in, "active" (due now), "deferred" and "hold" as
 * postqueue(1) has them, or "dead". next: health_next_attempt() of the copy; with 0, a copy in the
 * queue is "deferred". */
const char *ctl_entry_queue(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull));

/* The state of a recipient as a word: "queued", "sent", "dead". */
const char *ctl_entry_status(enum queue_recipient_state state) __attribute__((returns_nonnull));

/* The copy as a JSON object, which the caller releases. */
json_t *ctl_entry_json(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
