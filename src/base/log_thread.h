/* SPDX-License-Identifier: ISC */
/*
 * log_thread: a thread that passes lines to syslog(3) or to the journal. /dev/log is a socket: when
 * the system's log (journald, rsyslogd) is stuck, the socket's queue fills, and syslog(3) blocks.
 * In a process whose tasks share a thread, that would stop all tasks. Once this thread runs,
 * log_info() and the like only put the line into a queue of LOG_QUEUE_MAX bytes. Lines for which
 * the queue has no room are lost and counted, and so are those that the journal does not take; as
 * soon as lines are taken again, their number is logged as a warning. The system's log gives each
 * line the time at which it is passed on, not the time of its event.
 */
#ifndef SPLIT_LOG_THREAD_H
#define SPLIT_LOG_THREAD_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define LOG_QUEUE_MAX ((size_t)4 * 1024 * 1024)

/* Start the thread; from then on lines for syslog are queued. Once in a process, after the last
 * fork(2). 0, or -1 with `err`. */
int log_thread_start(struct err *err) __attribute__((nonnull, warn_unused_result));

/* Before the process exits: wait until the queue is empty, for timeout_ms at most, and end the
 * thread. If lines are still queued at the timeout, their number is written to stderr, and the
 * thread goes on until the process exits. */
void log_thread_stop(unsigned timeout_ms);

/* A line on its way to the system's log. tag: of syslog(3), tag_len bytes. data: len bytes, the
 * text of the line, or a datagram for the journal (log_journal.h). */
struct log_parcel {
    bool is_for_journal;
    int priority; /* of syslog(3) */
    const char *tag;
    size_t tag_len;
    const char *data;
    size_t len;
};

/* For log.c: queue a copy of one line. True: the line is queued, or lost because there is no room.
 * False: there is no thread, and the caller has to pass the line on. */
bool log_thread_put(const struct log_parcel *p) __attribute__((nonnull, warn_unused_result));

/* Append the line, as syslog(3) gets it, that tells how many lines were lost. Defined in log.c. */
void log_describe_loss(size_t lost, struct buf *out) __attribute__((nonnull));

/* Pass one line on in the calling thread. False: the line is lost. Defined in log.c. */
bool log_pass_on(const struct log_parcel *p) __attribute__((nonnull));

#endif
