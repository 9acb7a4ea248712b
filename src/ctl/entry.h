/* SPDX-License-Identifier: ISC */
/* entry: the parts of the output that the commands queue and show share. */
#ifndef SPLIT_CTL_ENTRY_H
#define SPLIT_CTL_ENTRY_H

#include "queue/queue_reader.h"

#include <jansson.h>

/* The queue of a copy, named much as by postqueue(1): "active", "deferred", "hold", "dead". next:
 * the time of the next attempt (health_next_attempt()); a copy that is not tried is "deferred". */
const char *ctl_entry_queue(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull));

/* The state of a recipient as a word: "queued", "sent", "dead". */
const char *ctl_entry_status(enum queue_recipient_state state) __attribute__((returns_nonnull));

/* The copy as a JSON object, which the caller releases. */
json_t *ctl_entry_json(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
