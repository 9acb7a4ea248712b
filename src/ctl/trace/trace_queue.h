/* SPDX-License-Identifier: ISC */
/*
 * trace_queue: what the queue of splitrelay and its history know of copies. One thread.
 */
#ifndef SPLIT_CTL_TRACE_QUEUE_H
#define SPLIT_CTL_TRACE_QUEUE_H

#include "base/err.h"
#include "config/config.h"
#include "ctl/trace/trace_log.h"
#include "ctl/trace/trace_way.h"

struct trace_queue;

/* Open the queue. `config` is borrowed. NULL with `err`. */
struct trace_queue *trace_queue_open(const struct config *config, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void trace_queue_close(struct trace_queue *q);

/* A trace_copy_find function; ctx: the struct trace_queue. */
void trace_queue_find(void *ctx, struct slice id, const struct slice *names, size_t name_count,
                      struct trace_copy *out) __attribute__((nonnull(1, 5)));

/* Find what queue and history know of the copies that a word selects, and select their ids and
 * those that they had in the MTA. since: the copies that arrived later; 0: all. */
int trace_queue_search(struct trace_queue *q, const char *word, time_t since,
                       struct trace_select *select, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Add to the log, as lines in splitrelay's style, the copies that were found and of which the log
 * has no line. The log has been sorted. */
void trace_queue_add(const struct trace_queue *q, struct trace_log *log) __attribute__((nonnull));

#endif
