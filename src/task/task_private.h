/* SPDX-License-Identifier: ISC */
/*
 * task_private: the structures and functions that the files of the module task share. task.c has
 * tasks and the pool, task_loop.c the scheduler of a thread, task_timer.c its timers, task_switch.c
 * stacks and the switch between them, task_wait.c descriptors, events and conditions, task_block.c
 * the helper threads. No file outside of this folder includes this one.
 *
 * task-gdb.py reads these structures by name: task_pools, struct task_pool (next, threads,
 * thread_count), struct task_thread (tasks, current), struct task (all_next, context, run, arg,
 * is_over, is_waiting, deadline_ms) and struct task_context.
 */
#ifndef SPLIT_TASK_PRIVATE_H
#define SPLIT_TASK_PRIVATE_H

#include "task/task.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <ucontext.h>

/* --- task_switch.c: a stack, and the registers that belong to it while it does not run --- */

struct task_context {
    ucontext_t machine; /* the registers before the first switch, and with swapcontext(3) */
    jmp_buf jump;       /* the registers after a switch with _setjmp(3) */
    bool has_begun;
    bool is_in_jump; /* the registers are in jump, not in machine */
    char *stack;     /* with the guard at its low end; NULL: the stack of a thread */
    size_t stack_size;
    void *fake_stack; /* AddressSanitizer's */
    void *fiber;      /* ThreadSanitizer's */
};

/* Make *c the context of the calling thread, on the stack of the thread. */
void task_context_adopt(struct task_context *c) __attribute__((nonnull));

/* Make a context with a new stack. The first switch to it calls entry(), which must never return.
 * Returns 0 or an errno. */
int task_context_make(struct task_context *c, void (*entry)(void))
    __attribute__((nonnull, warn_unused_result));

/* Release the stack. No task runs on it. */
void task_context_clear(struct task_context *c) __attribute__((nonnull));

/* Tell the sanitizers that the first switch is complete. entry() calls this first. */
void task_context_entered(void);

/* Save the present state in `from`, and continue at `to`. Returns when another call switches to
 * `from`. */
void task_context_switch(struct task_context *from, struct task_context *to)
    __attribute__((nonnull));

/* --- tasks, threads, pool --- */

struct task {
    struct task_context context;
    struct task_thread *thread;
    struct task *next;               /* in the list of runnable tasks, or of kept ones */
    struct task *inbox_next;         /* in the list of tasks woken by other threads */
    struct task *all_next, **all_at; /* in the list of all tasks of the thread */
    atomic_bool is_in_inbox;
    void (*run)(void *);
    void *arg;
    /* Only the thread of the task uses the following fields. is_woken: task_wake() came while the
     * task did not wait, so the next wait ends at once. is_late: the wait ended at its deadline. */
    bool is_waiting, is_woken, is_late, is_over;
    int64_t deadline_ms; /* of the present wait */
    int64_t timer_ms;    /* the key in the heap of timers; never later than deadline_ms while the
                            task waits */
    size_t timer_at;     /* the index in the heap; SIZE_MAX: not in it */
};

struct task_list {
    struct task *first, **end;
};

struct task_thread {
    struct task_pool *pool;
    pthread_t thread;
    bool is_started;
    int epoll_fd, wake_fd;
    struct task_context context; /* of the loop */
    struct task *current;
    struct task_list runnable;
    struct task **timers; /* heap by timer_ms */
    size_t timer_count, timer_cap;
    int64_t now_ms; /* the time of the last look at the timers */

    struct task *_Atomic inbox; /* tasks woken by other threads, the newest first */
    atomic_bool is_asleep;      /* in epoll_wait(2), or about to be */
    atomic_uint task_count;

    pthread_mutex_t lock; /* guards what follows */
    struct task *kept;    /* ended tasks, whose stacks the next tasks use */
    unsigned kept_count;
    struct task *tasks; /* all tasks, the kept ones included */
};

struct task_block_job;

/* All pools of the process. Only task-gdb.py uses the list. */
extern struct task_pool *task_pools;

struct task_pool {
    struct task_thread *threads;
    unsigned thread_count;
    void (*at_exit)(void);
    atomic_bool is_stopping;

    struct task_pool *next; /* in task_pools */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    unsigned task_count;

    /* task_block.c */
    struct task_block_job *first_job, **jobs_end; /* the queue, in the order of execution */
    struct task_idle *idle; /* helpers without a job, the one that became idle last at the front */
    unsigned helpers;
};

/* --- task_loop.c --- */

/* The calling thread if it runs tasks, otherwise NULL. Its `current` is NULL between two tasks. */
struct task_thread *task_thread_self(void);

/* Wait for task_wake(). False: the deadline passed before. True may also come from a wake that was
 * meant for an earlier wait, so the caller checks its condition again. */
bool task_park(struct task *t, int64_t deadline_ms) __attribute__((nonnull));

/* Make the task runnable; if it is not waiting, its next task_park() returns at once. From any
 * thread. The caller makes sure that *t exists while this function uses it: the task has not begun,
 * or the caller runs on the task's thread, or the caller holds a lock that the task takes before it
 * ends. */
void task_wake(struct task *t) __attribute__((nonnull));

/* Append the task to the runnable tasks. On the thread of the task. */
void task_make_runnable(struct task *t) __attribute__((nonnull));

/* Make the tasks runnable that other threads have woken. On the thread itself. */
void task_take_inbox(struct task_thread *th) __attribute__((nonnull));

/* End the epoll_wait(2) of the thread, if it is in one. From any thread. */
void task_thread_wake(struct task_thread *th) __attribute__((nonnull));

/* The main function of a thread for tasks, until the pool stops. arg: struct task_thread. */
void *task_thread_main(void *arg) __attribute__((nonnull));

/* --- task_timer.c: all on the thread of the task --- */

/* Have a timer fire at the deadline of the task, or earlier. */
void task_timer_need(struct task *t) __attribute__((nonnull));

/* Remove the timer of the task, if it has one. */
void task_timer_remove(struct task *t) __attribute__((nonnull));

/* Make the tasks runnable whose deadlines have passed. */
void task_timers_fire(struct task_thread *th) __attribute__((nonnull));

/* Milliseconds until the first timer fires, as epoll_wait(2) takes them. -1: there is none. */
int task_timers_wait_ms(const struct task_thread *th) __attribute__((nonnull));

/* --- task_wait.c --- */

/* Store the events of a report of epoll(7), and wake the task that waits. On the thread of f. */
void task_fd_report(struct task_fd *f, unsigned events) __attribute__((nonnull));

/* --- task.c --- */

/* Keep the task and its stack for a later task_start(), or free them. On the thread of the task,
 * after the task's function has returned. */
void task_end(struct task *t) __attribute__((nonnull));

/* --- task_block.c --- */

/* Initialise the fields of the pool that task_block.c uses. No thread is started. */
void task_helpers_init(struct task_pool *pool) __attribute__((nonnull));

/* End the helpers, and wait for their end. There are no tasks any more. */
void task_helpers_stop(struct task_pool *pool) __attribute__((nonnull));

#endif
