/* SPDX-License-Identifier: ISC */
/*
 * task: many dialogues on a few threads. A task is a function with a stack of its own. While it
 * waits (for a socket, for another task, for the disk), its thread runs other tasks. So the code of
 * a dialogue is written in the order in which it runs, and a thousand dialogues need neither a
 * thousand threads nor a switch between threads at each step. docs/tasks.md explains the model, and
 * has the figures.
 *
 * Outside of tasks the functions that wait block the thread, so code that is built on them works in
 * tasks and in threads. Only task_poll_or_event() needs a task.
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

/* CLOCK_MONOTONIC in milliseconds. All deadlines of this module are times of this clock. */
int64_t task_now_ms(void);

/* Start a pool with this number of threads (0: half the number of processors, at least 1; 64 at
 * most). Each thread, and each thread that task_block() starts, calls at_exit (NULL: nothing) when
 * it ends. Returns NULL with `err` on failure. */
struct task_pool *task_pool_new(unsigned threads, void (*at_exit)(void), struct err *err)
    __attribute__((nonnull(3), warn_unused_result));

/* Wait until all tasks have ended, and end the threads. Not from a task. NULL is allowed. */
void task_pool_free(struct task_pool *pool);

/* Run run(arg) as a task, on the thread that has the fewest tasks. From any thread. Returns 0, or
 * an errno if there is no memory for the stack. */
int task_start(struct task_pool *pool, void (*run)(void *), void *arg)
    __attribute__((nonnull(1, 2), warn_unused_result));

/* Is the caller a task? */
bool task_is_inside(void);

/* Let the other runnable tasks of this thread run first. For a task that works for long without a
 * wait. No effect outside of tasks. */
void task_yield(void);

/* --- waiting for a descriptor --- */

/* A descriptor that tasks wait for, one task at a time. The first wait binds it to the thread of
 * the task, until task_fd_detach() or close(2), which must be called on that thread. Embedded. */
struct task_fd {
    int fd;       /* non-blocking; borrowed */
    bool has_out; /* the thread's epoll(7) reports POLLOUT, too */
    short ready;  /* events that were reported, and that no wait has returned yet */
    struct task_thread *thread;
    struct task *waiter;
};

/* Initialise f for fd, which is non-blocking, and open as long as f is used. There is nothing to
 * clear afterwards. */
void task_fd_init(struct task_fd *f, int fd) __attribute__((nonnull));

/* True: no event was reported, so a wait would not return at once. The answer dates from the
 * thread's last call of epoll_wait(2), before this task ran. False also if the descriptor is not
 * bound to this thread, because then nothing is known. */
bool task_fd_is_quiet(const struct task_fd *f) __attribute__((nonnull));

/* Unbind the descriptor from its thread, so that the next wait may be on any thread. Not needed
 * before close(2). */
void task_fd_detach(struct task_fd *f) __attribute__((nonnull));

/*
 * Wait for `events` (POLLIN, POLLOUT, POLLRDHUP); POLLHUP and POLLERR always end the wait, too.
 * Returns the events that were reported, 0 when the deadline is over, -1 with errno for a fault. In
 * a task an event is reported when something has changed since the last report (EPOLLET), so the
 * caller reads or writes until EAGAIN before it waits.
 */
int task_poll(struct task_fd *f, short events, int64_t deadline_ms)
    __attribute__((nonnull, warn_unused_result));

struct task_event;

/* As task_poll() without a deadline, but returns 0 when the event is set. In a task only. For a
 * descriptor that is shared with another process: there shutdown(2) cannot be used to end the wait,
 * because it would act in both processes. */
int task_poll_or_event(struct task_fd *f, short events, struct task_event *e)
    __attribute__((nonnull, warn_unused_result));

/* --- waiting for each other --- */

/* An event that happens once. Embedded; only its owner waits for it. */
struct task_event {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* wakes a thread that waits */
    struct task *task;      /* the task that waits; NULL: none */
    bool is_set;
};

/* Initialise an event that is not set. */
void task_event_init(struct task_event *e) __attribute__((nonnull));

/* Destroy the event, after the last wait. */
void task_event_clear(struct task_event *e) __attribute__((nonnull));

/* Set the event, from any thread. The caller must not use it afterwards, because the owner may
 * release it as soon as it is set. */
void task_event_set(struct task_event *e) __attribute__((nonnull));

/* Wait until the event is set. False: the deadline passed before. */
bool task_event_wait(struct task_event *e, int64_t deadline_ms) __attribute__((nonnull));

/* A condition variable like pthread_cond_t, for which both tasks and threads may wait. Embedded. */
struct task_cond {
    pthread_mutex_t lock; /* guards the list */
    struct task_cond_waiter *first, **end;
};

/* Initialise a condition that nothing waits for. */
void task_cond_init(struct task_cond *c) __attribute__((nonnull));

/* Destroy the condition, which nothing waits for any more. */
void task_cond_clear(struct task_cond *c) __attribute__((nonnull));

/* Wait for a signal. The caller holds `lock`, which is released during the wait and taken again
 * after it. False: the deadline passed without a signal. */
bool task_cond_wait(struct task_cond *c, pthread_mutex_t *lock, int64_t deadline_ms)
    __attribute__((nonnull));

/* Wake the task or thread that has waited longest. The caller may hold the lock of the waiters. */
void task_cond_signal(struct task_cond *c) __attribute__((nonnull));

/* Wake all tasks and threads that wait. The caller may hold the lock of the waiters. */
void task_cond_broadcast(struct task_cond *c) __attribute__((nonnull));

/* --- calls that block --- */

/* At most this number of calls of task_block() run at a time. A helper thread costs 256 kB of
 * address space for its stack, and some 20 kB of memory. More syncs or look-ups at a time would not
 * be done sooner. */
#define TASK_HELPERS_MAX 256

/*
 * Call fn(arg), which may block for long, on a helper thread, and return when fn has returned.
 * Other tasks run meanwhile. While TASK_HELPERS_MAX calls run, further ones wait, and run in the
 * order in which they came. So fn must not wait for another task that may be in task_block(), nor
 * for a lock that is held over task_block(). Outside of tasks, or if no helper thread can be
 * started, fn(arg) is called in place.
 */
void task_block(void (*fn)(void *), void *arg) __attribute__((nonnull(1)));

/* Call fn(arg) on a helper thread, and do not wait for it; task_pool_free() does. False: this is no
 * task, or no helper thread can be started, and fn is not called. */
bool task_block_start(void (*fn)(void *), void *arg)
    __attribute__((nonnull(1), warn_unused_result));

/* As pread(2). In a task, data in the page cache is read in place, other data by task_block(). */
ssize_t task_pread(int fd, void *data, size_t len, off_t offset)
    __attribute__((nonnull, warn_unused_result));

#endif
