/* SPDX-License-Identifier: ISC */
/*
 * task: many dialogues on a few threads. A task is a function with a stack of its own; where it has
 * to wait (for a socket, for another task, for the disk), its thread goes on with another task, and
 * comes back to it later. So the code of a dialogue reads from top to bottom, and a thousand of
 * them cost no thread each, nor a switch between threads at each step.
 *
 * Everything here that waits may be called outside of tasks, too, and blocks the thread then: what
 * is built on it works in tasks and in threads.
 *
 * Rules for what runs in tasks. A task stays on its thread for life, and is never interrupted by
 * another one but where it waits. No lock is held while it waits: the next task of the thread may
 * want it. What may block for long otherwise (a sync, a look-up of a name) goes through
 * task_block(). errno is not kept while it waits.
 */
#ifndef SPLIT_TASK_H
#define SPLIT_TASK_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct task_pool;
struct task;
struct task_thread;

#define TASK_FOREVER INT64_MAX /* a deadline that never comes */

/* Milliseconds of CLOCK_MONOTONIC: what all deadlines here are. */
int64_t task_now_ms(void);

/* Start so many threads (0: as many as make sense on this machine). at_exit (NULL: nothing) is
 * called by each of them when it ends. NULL with `err`. */
struct task_pool *task_pool_new(unsigned threads, void (*at_exit)(void), struct err *err)
    __attribute__((nonnull(3), warn_unused_result));

/* Waits for all tasks to end, then for the threads. Not from a task. */
void task_pool_free(struct task_pool *pool);

/* Run run(arg) as a task, on the thread that has the fewest. From any thread. 0, or an errno: there
 * is no memory for its stack. */
int task_start(struct task_pool *pool, void (*run)(void *), void *arg)
    __attribute__((nonnull(1, 2), warn_unused_result));

/* Is the caller a task? */
bool task_is_inside(void);

/* Let other tasks of this thread go on first: for who has work without ever waiting. */
void task_yield(void);

/* --- waiting for a descriptor --- */

/* A descriptor that tasks wait for: one at a time, and always of the same thread, unless
 * task_fd_leave() lies between. Embedded, and to be left, or closed, where it was waited for. */
struct task_fd {
    int fd; /* non-blocking; borrowed */
    bool has_out;
    short ready; /* what was reported and not taken yet */
    struct task_thread *thread;
    struct task *waiter;
};

void task_fd_init(struct task_fd *f, int fd) __attribute__((nonnull));

/* Nothing was reported that was not taken, up to when the thread of this task looked last. False:
 * it may be otherwise, or it is not known. */
bool task_fd_is_quiet(const struct task_fd *f) __attribute__((nonnull));

/* The next one to wait for it may be anywhere. Not needed before close(2). */
void task_fd_leave(struct task_fd *f) __attribute__((nonnull));

/*
 * Wait for `events` (POLLIN, POLLOUT, POLLRDHUP); POLLHUP and POLLERR always count. Returns what
 * was reported, 0 when the deadline is over, -1 with errno for a fault. In a task a report means
 * that something has changed since the last one: read or write until EAGAIN, then wait.
 */
int task_poll(struct task_fd *f, short events, int64_t deadline_ms)
    __attribute__((nonnull, warn_unused_result));

struct task_event;

/* As task_poll() without a deadline, in a task only; returns 0 as well when the event is set. For a
 * descriptor that another process shares, on which shutdown(2) must not be called to end the wait.
 */
int task_poll_or_event(struct task_fd *f, short events, struct task_event *e)
    __attribute__((nonnull, warn_unused_result));

/* --- waiting for each other --- */

/* Something that happens once. Embedded; waited for by its owner alone. */
struct task_event {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* for a thread */
    struct task *task;      /* the waiting task */
    bool is_set;
};

void task_event_init(struct task_event *e) __attribute__((nonnull));
void task_event_clear(struct task_event *e) __attribute__((nonnull));

/* From any thread. The owner may release it as soon as it is set, so it is not touched after. */
void task_event_set(struct task_event *e) __attribute__((nonnull));

/* Wait until it is set. False: the deadline came first. */
bool task_event_wait(struct task_event *e, int64_t deadline_ms) __attribute__((nonnull));

/* As pthread_cond_t, with any lock, for tasks and threads. */
struct task_cond {
    pthread_mutex_t lock; /* of the list */
    struct task_cond_waiter *first, **end;
};

void task_cond_init(struct task_cond *c) __attribute__((nonnull));
void task_cond_clear(struct task_cond *c) __attribute__((nonnull));

/* With the lock held, which is released meanwhile. False: the deadline came first. */
bool task_cond_wait(struct task_cond *c, pthread_mutex_t *lock, int64_t deadline_ms)
    __attribute__((nonnull));
/* One of those who wait, that who came first; all. With the lock or without. */
void task_cond_signal(struct task_cond *c) __attribute__((nonnull));
void task_cond_broadcast(struct task_cond *c) __attribute__((nonnull));

/* --- what blocks --- */

/* So many calls of task_block() run at a time. A helper thread costs its stack, 256 kB of address
 * space and some 20 kB of memory; so many syncs or look-ups at a time are no faster than fewer. */
#define TASK_HELPERS_MAX 256

/*
 * Call fn(arg), which may block for long, on a helper thread, while other tasks run; return when it
 * is done. When TASK_HELPERS_MAX calls run, further ones wait, and run in the order in which they
 * came. So fn must not wait for another task that may be in task_block(), nor for a lock that is
 * held over task_block(). It may wait for what task_block_start() runs. Without memory for a
 * thread, and outside of tasks: fn(arg) is called in place.
 */
void task_block(void (*fn)(void *), void *arg) __attribute__((nonnull(1)));

/* Start fn(arg) on a helper thread, without waiting for it. It does not count for TASK_HELPERS_MAX
 * and does not wait for other calls, so the caller keeps the number of such calls small (a commit
 * leader: one at a time). False: this is no task, or there is no thread for it; nothing was done.
 */
bool task_block_start(void (*fn)(void *), void *arg)
    __attribute__((nonnull(1), warn_unused_result));

/* As pread(2). In a task, what is in memory is read at once, and for the rest the disk is waited
 * for by task_block(). */
ssize_t task_pread(int fd, void *data, size_t len, off_t offset)
    __attribute__((nonnull, warn_unused_result));

#endif
