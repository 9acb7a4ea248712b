/* SPDX-License-Identifier: ISC */
/* trace_follow: which events were written already, for --follow. One thread. */
#ifndef SPLIT_CTL_TRACE_FOLLOW_H
#define SPLIT_CTL_TRACE_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

struct trace_follow;

/* An empty set of events. */
struct trace_follow *trace_follow_new(void) __attribute__((returns_nonnull, warn_unused_result));
void trace_follow_free(struct trace_follow *f);

/* Is this event new for this recipient? Then it counts as written from now on. serial: that of the
 * event (trace_log.h). */
bool trace_follow_is_new(struct trace_follow *f, uint32_t serial, const char *recipient)
    __attribute__((nonnull));

#endif
