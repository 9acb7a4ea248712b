/* SPDX-License-Identifier: ISC */
/*
 * The loop of a thread that runs tasks. A round takes the reports of epoll(7), the tasks that other
 * threads have woken, and the deadlines that are over; then each runnable task runs until it waits.
 * All reports are taken before a task runs, because a task may close the descriptor that another
 * report is about.
 */
#include "task/task_private.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define REPORTS_MAX 128

/* The calling thread. NULL: it runs no tasks. A task never changes its thread, so the value stays
 * the same over a wait. */
static _Thread_local struct task_thread *self;

int64_t task_now_ms(void)
{
    return clock_now_ms();
}

struct task_thread *task_thread_self(void)
{
    return self;
}

bool task_is_inside(void)
{
    return self != NULL;
}

/* --- waiting and waking --- */

static void append(struct task_list *list, struct task *t)
{
    t->next = NULL;
    *list->end = t;
    list->end = &t->next;
}

void task_make_runnable(struct task *t)
{
    t->is_waiting = false;
    append(&t->thread->runnable, t);
}

bool task_park(struct task *t, int64_t deadline_ms)
{
    struct task_thread *th = t->thread;

    assert(th == self && th->current == t);
    if (!t->is_woken) {
        t->deadline_ms = deadline_ms;
        t->is_late = false;
        t->is_waiting = true;
        if (deadline_ms != TASK_FOREVER)
            task_timer_need(t);
        task_context_switch(&t->context, &th->context);
        if (t->is_late)
            return false;
    }
    t->is_woken = false;
    return true;
}

void task_yield(void)
{
    if (self == NULL)
        return;
    append(&self->runnable, self->current);
    task_context_switch(&self->current->context, &self->context);
}

/* Called on the thread of the task. */
static void wake_here(struct task *t)
{
    if (t->is_waiting)
        task_make_runnable(t);
    else
        t->is_woken = true;
}

void task_thread_wake(struct task_thread *th)
{
    static const uint64_t one = 1;

    if (atomic_exchange(&th->is_asleep, false))
        while (write(th->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            continue;
}

void task_wake(struct task *t)
{
    struct task_thread *th = t->thread;

    assert(th != NULL);
    if (th == self) {
        wake_here(t);
        return;
    }
    if (atomic_exchange(&t->is_in_inbox, true))
        return;
    struct task *first = atomic_load(&th->inbox);
    do
        t->inbox_next = first;
    while (!atomic_compare_exchange_weak(&th->inbox, &first, t));
    task_thread_wake(th);
}

void task_take_inbox(struct task_thread *th)
{
    struct task *list = atomic_exchange(&th->inbox, NULL), *in_order = NULL;

    while (list != NULL) { /* the list has the newest first */
        struct task *next = list->inbox_next;
        list->inbox_next = in_order;
        in_order = list;
        list = next;
    }
    while (in_order != NULL) {
        struct task *t = in_order;
        in_order = t->inbox_next;
        /* From here on another thread can put the task into the inbox again. */
        atomic_exchange(&t->is_in_inbox, false);
        wake_here(t);
    }
}

/* --- the loop --- */

static void drain_wake_fd(const struct task_thread *th)
{
    uint64_t count;

    while (read(th->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        continue;
}

/* Wait for reports, woken tasks or deadlines, and make the tasks concerned runnable. */
static void take_reports(struct task_thread *th)
{
    struct epoll_event reports[REPORTS_MAX];
    int timeout = th->runnable.first != NULL ? 0 : task_timers_wait_ms(th);

    if (timeout != 0) {
        atomic_store(&th->is_asleep, true);
        if (atomic_load(&th->inbox) != NULL || atomic_load(&th->pool->is_stopping))
            timeout = 0;
    }
    int count = epoll_wait(th->epoll_fd, reports, REPORTS_MAX, timeout);
    atomic_store(&th->is_asleep, false);
    for (int i = 0; i < count; i++) {
        if (reports[i].data.ptr == NULL)
            drain_wake_fd(th);
        else
            task_fd_report(reports[i].data.ptr, reports[i].events);
    }
    task_take_inbox(th);
    task_timers_fire(th);
}

/* Run each task that is runnable now, once. A task that yields runs again in the next round. */
static void run_tasks(struct task_thread *th)
{
    struct task *t = th->runnable.first;

    th->runnable = (struct task_list){NULL, &th->runnable.first};
    while (t != NULL) {
        struct task *next = t->next;
        th->current = t;
        task_context_switch(&th->context, &t->context);
        th->current = NULL;
        if (t->is_over)
            task_end(t);
        t = next;
    }
}

void *task_thread_main(void *arg)
{
    struct task_thread *th = arg;

    self = th;
    task_context_adopt(&th->context);
    while (!atomic_load(&th->pool->is_stopping) || th->runnable.first != NULL) {
        take_reports(th);
        run_tasks(th);
    }
    self = NULL;
    if (th->pool->at_exit != NULL)
        th->pool->at_exit();
    return NULL;
}
