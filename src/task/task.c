/* SPDX-License-Identifier: ISC */
/*
 * The threads, and whose turn it is. A thread goes round: what epoll(7) reports, who was woken from
 * elsewhere, whose deadline is over; then each task that can run runs until it waits. All reports
 * are taken before a task runs, for a task may close what another report is about.
 *
 * Deadlines: a task has at most one timer in the heap, and mostly the one of an earlier wait, since
 * deadlines mostly move further away. It is moved when it rings too early.
 */
#include "task/task_private.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define REPORTS_MAX 128
#define KEPT_MAX 64 /* tasks that are over, with their stacks, on each thread */
#define THREAD_STACK_SIZE (256 * 1024)

/* Tasks do not move between threads, so that this does not change in the middle of a function. */
static _Thread_local struct task_thread *self;

int64_t task_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct task_thread *task_thread_self(void)
{
    return self;
}

bool task_is_inside(void)
{
    return self != NULL;
}

/* --- lists and timers --- */

static void append(struct task_list *list, struct task *t)
{
    t->next = NULL;
    *list->end = t;
    list->end = &t->next;
}

static void make_runnable(struct task *t)
{
    t->is_waiting = false;
    append(&t->thread->runnable, t);
}

static void put_timer(struct task_thread *th, size_t at, struct task *t)
{
    th->timers[at] = t;
    t->timer_at = at;
}

/* Towards the root, where the earliest is. */
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

static void remove_timer(struct task *t)
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

/* There is a timer that rings at the deadline, or before. */
static void need_timer(struct task *t)
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

static void ring_timers(struct task_thread *th)
{
    while (th->timer_count > 0 && th->timers[0]->timer_ms <= th->now_ms) {
        struct task *t = th->timers[0];
        if (!t->is_waiting || t->deadline_ms == TASK_FOREVER) {
            remove_timer(t);
        } else if (t->deadline_ms > th->now_ms) {
            t->timer_ms = t->deadline_ms;
            timer_down(th, 0, t);
        } else {
            remove_timer(t);
            t->is_late = true;
            make_runnable(t);
        }
    }
}

/* --- waiting and waking --- */

bool task_park(struct task *t, int64_t deadline_ms)
{
    struct task_thread *th = t->thread;

    assert(th == self && th->current == t);
    if (!t->is_woken) {
        t->deadline_ms = deadline_ms;
        t->is_late = false;
        t->is_waiting = true;
        if (deadline_ms != TASK_FOREVER)
            need_timer(t);
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

/* On its own thread. */
static void wake_here(struct task *t)
{
    if (t->is_waiting)
        make_runnable(t);
    else
        t->is_woken = true;
}

/* If the thread sleeps, it is to look into its inbox. */
static void rouse(struct task_thread *th)
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
    rouse(th);
}

static void take_inbox(struct task_thread *th)
{
    struct task *list = atomic_exchange(&th->inbox, NULL), *in_order = NULL;

    while (list != NULL) { /* who came first is last */
        struct task *next = list->inbox_next;
        list->inbox_next = in_order;
        in_order = list;
        list = next;
    }
    while (in_order != NULL) {
        struct task *t = in_order;
        in_order = t->inbox_next;
        atomic_exchange(&t->is_in_inbox, false); /* from here on it can be put there again */
        wake_here(t);
    }
}

/* --- tasks --- */

static void task_main(void)
{
    task_context_entered();
    for (;;) {
        struct task *t = self->current;
        t->run(t->arg);
        t->is_over = true;
        task_context_switch(&t->context, &self->context);
    }
}

static struct task *take_kept(struct task_thread *th)
{
    pthread_mutex_lock(&th->lock);
    struct task *t = th->kept;
    if (t != NULL) {
        th->kept = t->next;
        th->kept_count--;
    }
    pthread_mutex_unlock(&th->lock);
    return t;
}

static void task_free(struct task *t)
{
    task_context_clear(&t->context);
    free(t);
}

static void end_task(struct task *t)
{
    struct task_thread *th = t->thread;
    struct task_pool *pool = th->pool;

    remove_timer(t);
    if (atomic_load(&t->is_in_inbox))
        take_inbox(th);
    atomic_fetch_sub(&th->task_count, 1);
    pthread_mutex_lock(&th->lock);
    bool is_kept = th->kept_count < KEPT_MAX;
    if (is_kept) {
        t->next = th->kept;
        th->kept = t;
        th->kept_count++;
    }
    pthread_mutex_unlock(&th->lock);
    if (!is_kept)
        task_free(t);
    pthread_mutex_lock(&pool->lock);
    if (--pool->task_count == 0)
        pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

/* The one with the fewest tasks; the caller's own if that is one of them. */
static struct task_thread *choose_thread(struct task_pool *pool)
{
    bool is_ours = self != NULL && self->pool == pool;
    struct task_thread *best = is_ours ? self : &pool->threads[0];

    for (unsigned i = 0; i < pool->thread_count; i++)
        if (atomic_load(&pool->threads[i].task_count) < atomic_load(&best->task_count))
            best = &pool->threads[i];
    return best;
}

int task_start(struct task_pool *pool, void (*run)(void *), void *arg)
{
    struct task_thread *th = choose_thread(pool);
    struct task *t = take_kept(th);

    if (t == NULL) {
        t = mem_zalloc(sizeof *t);
        int error = task_context_make(&t->context, task_main);
        if (error != 0) {
            free(t);
            return error;
        }
        t->thread = th;
        t->timer_at = SIZE_MAX;
    }
    t->run = run;
    t->arg = arg;
    t->is_over = t->is_woken = t->is_late = false;
    t->is_waiting = true;
    t->deadline_ms = TASK_FOREVER;
    atomic_fetch_add(&th->task_count, 1);
    pthread_mutex_lock(&pool->lock);
    pool->task_count++;
    pthread_mutex_unlock(&pool->lock);
    task_wake(t);
    return 0;
}

/* --- the loop --- */

static int wait_ms(const struct task_thread *th)
{
    if (th->runnable.first != NULL)
        return 0;
    if (th->timer_count == 0)
        return -1;
    int64_t left = th->timers[0]->timer_ms - task_now_ms();
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static void drain_wake_fd(const struct task_thread *th)
{
    uint64_t count;

    while (read(th->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        continue;
}

/* Sleep until there is something to do, and find out what. */
static void look_around(struct task_thread *th)
{
    struct epoll_event reports[REPORTS_MAX];
    int timeout = wait_ms(th);

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
    take_inbox(th);
    if (th->timer_count > 0) {
        th->now_ms = task_now_ms();
        ring_timers(th);
    }
}

/* Those that can run now; who can again after that waits for the next round. */
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
            end_task(t);
        t = next;
    }
}

static void *thread_main(void *arg)
{
    struct task_thread *th = arg;

    self = th;
    task_context_adopt(&th->context);
    while (!atomic_load(&th->pool->is_stopping) || th->runnable.first != NULL) {
        look_around(th);
        run_tasks(th);
    }
    self = NULL;
    if (th->pool->at_exit != NULL)
        th->pool->at_exit();
    return NULL;
}

/* --- the pool --- */

static int open_thread(struct task_pool *pool, struct task_thread *th)
{
    struct epoll_event wake = {.events = EPOLLIN, .data = {.ptr = NULL}};
    pthread_attr_t attr;

    th->pool = pool;
    th->runnable.end = &th->runnable.first;
    pthread_mutex_init(&th->lock, NULL);
    th->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    th->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (th->epoll_fd < 0 || th->wake_fd < 0 ||
        epoll_ctl(th->epoll_fd, EPOLL_CTL_ADD, th->wake_fd, &wake) < 0)
        return -1;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    errno = pthread_create(&th->thread, &attr, thread_main, th);
    pthread_attr_destroy(&attr);
    th->is_started = errno == 0;
    return th->is_started ? 0 : -1;
}

static void close_thread(struct task_thread *th)
{
    struct task *t;

    if (th->is_started) {
        atomic_store(&th->is_asleep, true); /* whether it is or not, it shall hear of it */
        rouse(th);
        pthread_join(th->thread, NULL);
    }
    while ((t = take_kept(th)) != NULL)
        task_free(t);
    if (th->epoll_fd >= 0)
        close(th->epoll_fd);
    if (th->wake_fd >= 0)
        close(th->wake_fd);
    free(th->timers);
    pthread_mutex_destroy(&th->lock);
}

static unsigned usual_thread_count(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    return processors < 2                 ? 1
           : processors > 2 * THREADS_MAX ? THREADS_MAX
                                          : (unsigned)processors / 2;
}

struct task_pool *task_pool_new(unsigned threads, void (*at_exit)(void), struct err *err)
{
    struct task_pool *pool = mem_zalloc(sizeof *pool);
    int status = 0;

    if (threads == 0)
        threads = usual_thread_count();
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    pool->at_exit = at_exit;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    task_helpers_init(pool);
    pool->threads = mem_zalloc(threads * sizeof *pool->threads);
    while (status == 0 && pool->thread_count < threads)
        status = open_thread(pool, &pool->threads[pool->thread_count++]);
    if (status == 0)
        return pool;
    err_set_errno(err, "cannot start a thread for tasks");
    task_pool_free(pool);
    return NULL;
}

void task_pool_free(struct task_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    while (pool->task_count > 0)
        pthread_cond_wait(&pool->changed, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    task_helpers_stop(pool);
    atomic_store(&pool->is_stopping, true);
    for (unsigned i = 0; i < pool->thread_count; i++)
        close_thread(&pool->threads[i]);
    free(pool->threads);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
