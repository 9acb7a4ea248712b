/* SPDX-License-Identifier: ISC */
/* trace_seen: which events were written already, for --follow. One thread. */
#ifndef SPLIT_CTL_TRACE_SEEN_H
#define SPLIT_CTL_TRACE_SEEN_H

#include <stdbool.h>
#include <stdint.h>

struct trace_seen;

/* An empty set of events. */
struct trace_seen *trace_seen_new(void) __attribute__((returns_nonnull, warn_unused_result));
void trace_seen_free(struct trace_seen *f);

/* Is this event new for this recipient? Then it counts as written from now on. serial: that of the
 * event (trace_log.h). */
bool trace_seen_is_new(struct trace_seen *f, uint32_t serial, const char *recipient)
    __attribute__((nonnull));

#endif
