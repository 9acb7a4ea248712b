/* SPDX-License-Identifier: ISC */
/* entry: a copy as JSON, and in the words of mailq(1), for queue and show. */
#ifndef SPLIT_CTL_ENTRY_H
#define SPLIT_CTL_ENTRY_H

#include "queue/queue_reader.h"

#include <jansson.h>

/* "active", "deferred", "hold", "dead", much as postqueue(1) names them; next: when it is tried
 * (health_next_attempt()); what is not tried is deferred. */
const char *ctl_entry_queue(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull));

/* "queued", "sent", "dead" */
const char *ctl_entry_status(enum queue_recipient_state state) __attribute__((returns_nonnull));

/* For the caller to release. */
json_t *ctl_entry_json(const struct queue_entry *e, time_t next, time_t now)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

#endif
