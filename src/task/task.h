/* SPDX-License-Identifier: ISC */
/*
 * task: many dialogues on a few threads. A task is a function with a stack of its own. Where it
 * waits (for a socket, for another task, for the disk), its thread runs other tasks. So the code of
 * a dialogue reads from top to bottom, and a thousand dialogues need neither a thousand threads nor
 * a switch between threads at each step. docs/tasks.md explains the model, and has the figures.
 *
 * All functions here that wait may be called outside of tasks as well, where they block the thread.
 * So code that is built on them works in tasks and in threads.
 *
 * Rules for code that runs in tasks. A task stays on its thread for its whole life, and other tasks
 * of the thread run only where it waits. No lock is held while it waits, because the next task of
 * the thread may need that lock. A call that may block for long (a sync, a look-up of a name) goes
 * through task_block(). errno is not kept over a wait. The stack has 256 kB.
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

#define TASK_FOREVER INT64_MAX /* no deadline */

/* The time in milliseconds of CLOCK_MONOTONIC, which all deadlines here are in. */
int64_t task_now_ms(void);

/* Start so many threads for tasks (0: half the number of processors, at least 1; 64 at most). Each
 * of them calls at_exit (NULL: nothing) when it ends. NULL with `err`. */
struct task_pool *task_pool_new(unsigned threads, void (*at_exit)(void), struct err *err)
    __attribute__((nonnull(3), warn_unused_result));

/* Wait until all tasks have ended, and end the threads. Not from a task. NULL is allowed. */
void task_pool_free(struct task_pool *pool);

/* Run run(arg) as a task, on the thread that has the fewest tasks. From any thread. 0, or an errno:
 * there is no memory for its stack. */
int task_start(struct task_pool *pool, void (*run)(void *), void *arg)
    __attribute__((nonnull(1, 2), warn_unused_result));

/* Whether the caller is a task. */
bool task_is_inside(void);

/* Run the other runnable tasks of this thread first: for a task that works for long without a wait.
 * Outside of tasks nothing is done. */
void task_yield(void);

/* --- waiting for a descriptor --- */

/* A descriptor that tasks wait for, one task at a time. The first wait binds it to the thread of
 * the task, until task_fd_detach() or close(2), which are called on that thread. Embedded. */
struct task_fd {
    int fd; /* non-blocking; borrowed */
    bool has_out;
    short ready; /* events that were reported, and not returned by a wait yet */
    struct task_thread *thread;
    struct task *waiter;
};

/* fd: non-blocking, and open for as long as f is used. Nothing has to be cleared. */
void task_fd_init(struct task_fd *f, int fd) __attribute__((nonnull));

/* Whether a wait would not return at once, as far as the thread of this task knows: it looked
 * before it ran this task. False: a wait may return at once, or it is not known. */
bool task_fd_is_quiet(const struct task_fd *f) __attribute__((nonnull));

/* Unbind it from the thread: the next wait may be on any thread. Not needed before close(2). */
void task_fd_detach(struct task_fd *f) __attribute__((nonnull));

/*
 * Wait for `events` (POLLIN, POLLOUT, POLLRDHUP); POLLHUP and POLLERR always count. Returns the
 * events that were reported, 0 when the deadline is over, -1 with errno for a fault. In a task an
 * event means that something has changed since the last one (EPOLLET): read or write until EAGAIN,
 * then wait.
 */
int task_poll(struct task_fd *f, short events, int64_t deadline_ms)
    __attribute__((nonnull, warn_unused_result));

struct task_event;

/* As task_poll() without a deadline, in a task only; returns 0 when the event is set. For a
 * descriptor that another process shares, where shutdown(2), which would end the wait, is not
 * allowed. */
int task_poll_or_event(struct task_fd *f, short events, struct task_event *e)
    __attribute__((nonnull, warn_unused_result));

/* --- waiting for each other --- */

/* Something that happens once. Embedded; only its owner waits for it. */
struct task_event {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* for a thread that waits */
    struct task *task;      /* that waits; NULL: none */
    bool is_set;
};

/* Not set yet. */
void task_event_init(struct task_event *e) __attribute__((nonnull));

/* After the last wait. */
void task_event_clear(struct task_event *e) __attribute__((nonnull));

/* Set it, from any thread. The owner may release it as soon as it is set: the caller does not touch
 * it afterwards. */
void task_event_set(struct task_event *e) __attribute__((nonnull));

/* Wait until it is set. False: the deadline came first. */
bool task_event_wait(struct task_event *e, int64_t deadline_ms) __attribute__((nonnull));

/* A condition as pthread_cond_t, for tasks and threads. Embedded. */
struct task_cond {
    pthread_mutex_t lock; /* guards the list */
    struct task_cond_waiter *first, **end;
};

/* Nothing waits for it. */
void task_cond_init(struct task_cond *c) __attribute__((nonnull));

/* Nothing waits for it any more. */
void task_cond_clear(struct task_cond *c) __attribute__((nonnull));

/* Wait for a signal, with the lock held, which is released during the wait. False: the deadline
 * came first. */
bool task_cond_wait(struct task_cond *c, pthread_mutex_t *lock, int64_t deadline_ms)
    __attribute__((nonnull));

/* Wake the task or thread that waits longest. With the lock or without. */
void task_cond_signal(struct task_cond *c) __attribute__((nonnull));

/* Wake all that wait. With the lock or without. */
void task_cond_broadcast(struct task_cond *c) __attribute__((nonnull));

/* --- calls that block --- */

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

/* As pread(2). In a task, data in the page cache is read in place; for other data task_block()
 * waits for the disk. */
ssize_t task_pread(int fd, void *data, size_t len, off_t offset)
    __attribute__((nonnull, warn_unused_result));

#endif
