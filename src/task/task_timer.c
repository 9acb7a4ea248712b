/* SPDX-License-Identifier: ISC */
/*
 * The timers of a thread, in a heap with the earliest first. A task has at most one timer. Most
 * deadlines move to later times, so a wait mostly leaves the timer of an earlier wait as it is. A
 * timer that fires before the deadline of its task is rescheduled.
 */
#include "task/task_private.h"

#include "base/mem.h"

#include <limits.h>

static void put_timer(struct task_thread *th, size_t at, struct task *t)
{
    th->timers[at] = t;
    t->timer_at = at;
}

/* Move the task towards the root, where the earliest timer is. */
static void timer_up(struct task_thread *th, size_t at, struct task *t)
{
    while (at > 0 && th->timers[(at - 1) / 2]->timer_ms > t->timer_ms) {
        put_timer(th, at, th->timers[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put_timer(th, at, t);
}

static void timer_down(struct task_thread *th, size_t at, struct task *t)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < th->timer_count &&
            th->timers[child + 1]->timer_ms < th->timers[child]->timer_ms)
            child++;
        if (child >= th->timer_count || th->timers[child]->timer_ms >= t->timer_ms)
            break;
        put_timer(th, at, th->timers[child]);
        at = child;
    }
    put_timer(th, at, t);
}

void task_timer_remove(struct task *t)
{
    struct task_thread *th = t->thread;
    size_t at = t->timer_at;

    if (at == SIZE_MAX)
        return;
    t->timer_at = SIZE_MAX;
    struct task *last = th->timers[--th->timer_count];
    if (last == t)
        return;
    if (at > 0 && th->timers[(at - 1) / 2]->timer_ms > last->timer_ms)
        timer_up(th, at, last);
    else
        timer_down(th, at, last);
}

void task_timer_need(struct task *t)
{
    struct task_thread *th = t->thread;

    if (t->timer_at != SIZE_MAX && t->timer_ms <= t->deadline_ms)
        return;
    t->timer_ms = t->deadline_ms;
    if (t->timer_at != SIZE_MAX) {
        timer_up(th, t->timer_at, t);
        return;
    }
    if (th->timer_count == th->timer_cap) {
        th->timer_cap = th->timer_cap == 0 ? 16 : 2 * th->timer_cap;
        th->timers = mem_grow(th->timers, th->timer_cap, sizeof(struct task *));
    }
    timer_up(th, th->timer_count++, t);
}

void task_timers_fire(struct task_thread *th)
{
    if (th->timer_count == 0)
        return;
    th->now_ms = task_now_ms();
    while (th->timer_count > 0 && th->timers[0]->timer_ms <= th->now_ms) {
        struct task *t = th->timers[0];
        if (!t->is_waiting || t->deadline_ms == TASK_FOREVER) {
            task_timer_remove(t);
        } else if (t->deadline_ms > th->now_ms) {
            t->timer_ms = t->deadline_ms;
            timer_down(th, 0, t);
        } else {
            task_timer_remove(t);
            t->is_late = true;
            task_make_runnable(t);
        }
    }
}

int task_timers_wait_ms(const struct task_thread *th)
{
    if (th->timer_count == 0)
        return -1;
    int64_t left = th->timers[0]->timer_ms - task_now_ms();
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}
