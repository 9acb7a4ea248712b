/* SPDX-License-Identifier: ISC */
/* task_private: what the files of the module task share: task.c has the threads and whose turn it
 * is, task_switch.c goes from one stack to another, task_wait.c has what tasks wait for, and
 * task_block.c what they do not wait for themselves. Nobody else includes it. */
#ifndef SPLIT_TASK_PRIVATE_H
#define SPLIT_TASK_PRIVATE_H

#include "task/task.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <ucontext.h>

/* --- task_switch.c: a stack, and where it was left --- */

struct task_context {
    ucontext_t machine; /* where it begins */
    jmp_buf jump;       /* where it was left */
    bool has_begun;
    char *stack; /* NULL: a thread's own */
    size_t stack_size;
    void *fake_stack; /* AddressSanitizer's */
    void *fiber;      /* ThreadSanitizer's */
};

/* For the thread that calls it. */
void task_context_adopt(struct task_context *c) __attribute__((nonnull));

/* With a new stack; the first switch to it calls entry(), which must never return. 0 or an errno.
 */
int task_context_make(struct task_context *c, void (*entry)(void))
    __attribute__((nonnull, warn_unused_result));
void task_context_clear(struct task_context *c) __attribute__((nonnull));

/* entry() begins with this. */
void task_context_entered(void);

/* Go on at `to`; returns when somebody comes back to `from`. */
void task_context_switch(struct task_context *from, struct task_context *to)
    __attribute__((nonnull));

/* --- task.c --- */

struct task {
    struct task_context context;
    struct task_thread *thread;
    struct task *next;       /* among the runnable ones, or those that are kept */
    struct task *inbox_next; /* among those that were woken from elsewhere */
    atomic_bool is_in_inbox;
    void (*run)(void *);
    void *arg;
    /* Below: the thread's own. */
    bool is_waiting, is_woken, is_late, is_over;
    int64_t deadline_ms; /* while it waits */
    int64_t timer_ms;    /* its place in the heap of timers is by this; never later than deadline_ms
                            while it waits */
    size_t timer_at;     /* SIZE_MAX: not there */
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
    int64_t now_ms; /* when the loop looked last */

    struct task *_Atomic inbox;
    atomic_bool is_asleep; /* in epoll_wait(2), or about to be */
    atomic_uint task_count;

    pthread_mutex_t lock; /* of what follows */
    struct task *kept;
    unsigned kept_count;
};

struct task_block_job;

struct task_pool {
    struct task_thread *threads;
    unsigned thread_count;
    void (*at_exit)(void);
    atomic_bool is_stopping;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    unsigned task_count;

    /* task_block.c */
    struct task_block_job *first_job, **jobs_end;
    unsigned waiting_jobs, idle_helpers, helpers;
    pthread_cond_t has_job;
};

/* The thread that runs tasks and is the caller; NULL elsewhere, and in its own loop there is no
 * current task. */
struct task_thread *task_thread_self(void);

/* Wait for task_wake(), or the deadline (false). May return for no reason. */
bool task_park(struct task *t, int64_t deadline_ms) __attribute__((nonnull));

/* From any thread, with a lock that the task takes before it ends. */
void task_wake(struct task *t) __attribute__((nonnull));

/* A report of epoll(7): whoever waits for it is runnable. On the thread of f. */
void task_fd_report(struct task_fd *f, unsigned events) __attribute__((nonnull));

/* --- task_block.c --- */

void task_helpers_init(struct task_pool *pool) __attribute__((nonnull));

/* There are no tasks any more: wait for the helpers. */
void task_helpers_stop(struct task_pool *pool) __attribute__((nonnull));

#endif
