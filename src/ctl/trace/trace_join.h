/* SPDX-License-Identifier: ISC */
/*
 * trace_join: connects the messages of a log. Pure functions on a struct trace_log; one thread.
 *
 * Edges come from what the programs say: the reply "queued as ID", the sender's queue id that
 * XFORWARD brings (orig_queue_id=, queue_id=), both ids in a line of amavis, and the ids of copies
 * that splitrelay made of one message. Ids alone do not suffice, because short ids are used again
 * and are not unique among instances. So a message is only taken for the one that is meant if the
 * times fit, and if the Message-ID is the same on both sides where both are known. If several
 * messages fit, none is taken.
 *
 * A server elsewhere may answer with any id, even with one that it has seen here. So "queued as ID"
 * counts only if the address has a suffix of splitmilter, or if the relay is on this machine, in a
 * private network, or a host of the log. If it is elsewhere, its own line has to name the sender's
 * id.
 */
#ifndef SPLIT_CTL_TRACE_JOIN_H
#define SPLIT_CTL_TRACE_JOIN_H

#include "ctl/trace/trace_log.h"

/* Make all edges, and give the lines of splitmilter and amavis to their messages. Called once after
 * trace_log_sort(). */
void trace_join(struct trace_log *log, const char *tag_domain) __attribute__((nonnull));

/* Find the message that is meant by an id. from: the message that went on as this id, TRACE_NONE if
 * unknown; us: the time of the line that has the id. TRACE_NONE: there is none. *is_ambiguous_out:
 * there are several. */
uint32_t trace_join_target(const struct trace_log *log, struct slice id, uint32_t from, int64_t us,
                           bool *is_ambiguous_out) __attribute__((nonnull));

#endif
