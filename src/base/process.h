/* SPDX-License-Identifier: ISC */
/*
 * process: what the daemons' main() functions have in common: exit statuses, scheduling, memory,
 * readiness for systemd, and the pid file, whose lock proves that a daemon runs. (The kernel
 * releases the lock when the daemon ends; the pid in the file stays.)
 */
#ifndef SPLIT_PROCESS_H
#define SPLIT_PROCESS_H

#include "base/err.h"

#include <sys/types.h>

/* Exit statuses of all programs; those from 64 on are from sysexits(3). */
enum {
    EXIT_OK = 0,
    EXIT_CHECK_FAILED = 1,
    EXIT_USAGE = 64,
    EXIT_UNAVAILABLE = 69,
    EXIT_CONFIG = 78
};

/* Create or open the file, take a POSIX write lock on it for the life of the process, and write the
 * pid. Returns the descriptor, which must stay open: closing any descriptor of the file drops the
 * lock. -1 with `err`, also if another process has the lock (`err` has its pid, if it is known). */
int process_lock(const char *path, struct err *err) __attribute__((nonnull, warn_unused_result));

/* The pid of the process that holds the lock; 0 if no process does; -1 with `err` if the file
 * cannot be opened or queried. The holder must not call this, because it would lose the lock. */
pid_t process_lock_owner(const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Switch to SCHED_BATCH (sched(7)), with which a thread that wakes up does not preempt another.
 * Called before threads are started. No effect where it is not allowed, or where the parent has set
 * another scheduling policy. */
void process_prefer_batch(void);

/* Have large blocks of memory returned to the system as soon as they are freed, because tables are
 * replaced while mail flows. Also allow fewer arenas (mallopt(3)) than the default. */
void process_return_memory(void);

/* Notify the service manager of the state (sd_notify(3)); no effect without libsystemd or outside
 * of a Type=notify unit. */
void process_notify_ready(void);
void process_notify_reloading(void);
void process_notify_stopping(void);

#endif
