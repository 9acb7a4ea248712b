/* SPDX-License-Identifier: ISC */
/*
 * Descriptors, events and conditions. A descriptor is registered once with the epoll(7) of the
 * thread, edge triggered, so a wait costs no system call. Events that are reported while no task
 * waits are kept in task_fd.ready.
 */
#include "task/task_private.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

/* task_fd.ready has events of poll(2), and takes those of epoll(7) unchanged. */
_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
                   EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP,
               "the events of epoll(7) are those of poll(2)");

#define LASTING (POLLERR | POLLHUP | POLLRDHUP) /* epoll(7) reports them once, but they last */

/* --- descriptors --- */

void task_fd_init(struct task_fd *f, int fd)
{
    *f = (struct task_fd){.fd = fd};
}

void task_fd_detach(struct task_fd *f)
{
    if (f->thread == NULL)
        return;
    assert(f->thread == task_thread_self() && f->waiter == NULL);
    /* After close(2) this fails, and is not needed, because close(2) has unregistered the
     * descriptor. */
    (void)epoll_ctl(f->thread->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
    task_fd_init(f, f->fd);
}

bool task_fd_is_quiet(const struct task_fd *f)
{
    return f->thread != NULL && f->thread == task_thread_self() && f->ready == 0;
}

static int watch(struct task_fd *f, struct task_thread *th, bool for_out)
{
    struct epoll_event e = {.events = (unsigned)EPOLLIN | EPOLLRDHUP | (unsigned)EPOLLET,
                            .data = {.ptr = f}};

    if (f->thread != NULL && (f->has_out || !for_out))
        return 0;
    if (for_out)
        e.events |= EPOLLOUT;
    if (epoll_ctl(th->epoll_fd, f->thread == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, f->fd, &e) != 0)
        return -1;
    f->thread = th;
    f->has_out = for_out;
    return 0;
}

void task_fd_report(struct task_fd *f, unsigned events)
{
    f->ready |= (short)(events & (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP));
    if (f->waiter != NULL)
        task_wake(f->waiter);
    f->waiter = NULL;
}

/* Remove from f->ready the events that the caller waits for, and return them. LASTING ones stay in
 * f->ready. The end of the peer's data (POLLRDHUP) counts as input, because read(2) reports it. */
static short take_ready(struct task_fd *f, short events)
{
    short wanted = (short)(events | POLLERR | POLLHUP | ((events & POLLIN) != 0 ? POLLRDHUP : 0));
    short got = (short)(f->ready & wanted);

    f->ready = (short)(f->ready & ~(got & ~LASTING));
    return got;
}

static int poll_in_thread(struct task_fd *f, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd p = {.fd = f->fd, .events = events};
        int timeout = -1;
        if (deadline_ms != TASK_FOREVER) {
            int64_t left = deadline_ms - task_now_ms();
            if (left <= 0)
                return 0;
            timeout = left > INT_MAX ? INT_MAX : (int)left;
        }
        int n = poll(&p, 1, timeout);
        if (n > 0)
            return p.revents;
        if (n < 0 && errno != EINTR)
            return -1;
    }
}

int task_poll(struct task_fd *f, short events, int64_t deadline_ms)
{
    struct task_thread *th = task_thread_self();
    short got;

    if (th == NULL)
        return poll_in_thread(f, events, deadline_ms);
    assert(f->thread == NULL || f->thread == th);
    if (watch(f, th, (events & POLLOUT) != 0) != 0)
        return -1;
    while ((got = take_ready(f, events)) == 0) {
        f->waiter = th->current;
        bool is_in_time = task_park(th->current, deadline_ms);
        f->waiter = NULL;
        if (!is_in_time)
            return take_ready(f, events);
    }
    return got;
}

/* Have the task (NULL: none) woken when the event is set. True: the event is set already. */
static bool wake_on_event(struct task_event *e, struct task *task)
{
    pthread_mutex_lock(&e->lock);
    e->task = task;
    bool is_set = e->is_set;
    pthread_mutex_unlock(&e->lock);
    return is_set;
}

int task_poll_or_event(struct task_fd *f, short events, struct task_event *e)
{
    struct task_thread *th = task_thread_self();
    short got = 0;

    assert(th != NULL && (f->thread == NULL || f->thread == th));
    if (watch(f, th, (events & POLLOUT) != 0) != 0)
        return -1;
    while (!wake_on_event(e, th->current) && (got = take_ready(f, events)) == 0) {
        f->waiter = th->current;
        (void)task_park(th->current, TASK_FOREVER);
        f->waiter = NULL;
    }
    wake_on_event(e, NULL);
    return got;
}

/* --- events --- */

static void init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* Wait for the condition in a thread. False: the deadline has passed. */
static bool wait_in_thread(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
                             .tv_nsec = (long)(deadline_ms % 1000) * 1000000};

    if (deadline_ms == TASK_FOREVER)
        return pthread_cond_wait(cond, lock) == 0;
    return pthread_cond_timedwait(cond, lock, &until) != ETIMEDOUT;
}

static struct task *current_task(void)
{
    struct task_thread *th = task_thread_self();

    return th == NULL ? NULL : th->current;
}

void task_event_init(struct task_event *e)
{
    pthread_mutex_init(&e->lock, NULL);
    init_monotonic(&e->changed);
    e->task = NULL;
    e->is_set = false;
}

void task_event_clear(struct task_event *e)
{
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
}

void task_event_set(struct task_event *e)
{
    pthread_mutex_lock(&e->lock);
    e->is_set = true;
    if (e->task != NULL)
        task_wake(e->task);
    else
        pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

bool task_event_wait(struct task_event *e, int64_t deadline_ms)
{
    struct task *task = current_task();
    bool is_in_time = true;

    pthread_mutex_lock(&e->lock);
    while (!e->is_set && is_in_time) {
        if (task == NULL) {
            is_in_time = wait_in_thread(&e->changed, &e->lock, deadline_ms);
            continue;
        }
        e->task = task;
        pthread_mutex_unlock(&e->lock);
        is_in_time = task_park(task, deadline_ms);
        pthread_mutex_lock(&e->lock);
        e->task = NULL;
    }
    bool is_set = e->is_set;
    pthread_mutex_unlock(&e->lock);
    return is_set;
}

/* --- conditions --- */

struct task_cond_waiter {
    struct task_cond_waiter *next;
    struct task *task;      /* NULL: a thread */
    pthread_cond_t changed; /* for a thread */
    bool is_woken;          /* true: no longer in the list */
};

void task_cond_init(struct task_cond *c)
{
    pthread_mutex_init(&c->lock, NULL);
    c->first = NULL;
    c->end = &c->first;
}

void task_cond_clear(struct task_cond *c)
{
    assert(c->first == NULL);
    pthread_mutex_destroy(&c->lock);
}

/* The caller holds c->lock. */
static void remove_waiter(struct task_cond *c, const struct task_cond_waiter *w)
{
    struct task_cond_waiter **at = &c->first;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (c->end == &w->next)
        c->end = at;
}

/* The caller holds c->lock. The waiter takes c->lock before it returns from task_cond_wait(), so *w
 * exists here. */
static void wake_first(struct task_cond *c)
{
    struct task_cond_waiter *w = c->first;

    remove_waiter(c, w);
    w->is_woken = true;
    if (w->task != NULL)
        task_wake(w->task);
    else
        pthread_cond_signal(&w->changed);
}

void task_cond_signal(struct task_cond *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->first != NULL)
        wake_first(c);
    pthread_mutex_unlock(&c->lock);
}

void task_cond_broadcast(struct task_cond *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->first != NULL)
        wake_first(c);
    pthread_mutex_unlock(&c->lock);
}

bool task_cond_wait(struct task_cond *c, pthread_mutex_t *lock, int64_t deadline_ms)
{
    struct task_cond_waiter w = {.task = current_task()};
    bool is_in_time = true;

    if (w.task == NULL)
        init_monotonic(&w.changed);
    pthread_mutex_lock(&c->lock);
    *c->end = &w;
    // cppcheck-suppress autoVariables ; removed from the list before this returns
    c->end = &w.next;
    pthread_mutex_unlock(lock);
    while (!w.is_woken && is_in_time) {
        if (w.task == NULL) {
            is_in_time = wait_in_thread(&w.changed, &c->lock, deadline_ms);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        is_in_time = task_park(w.task, deadline_ms);
        pthread_mutex_lock(&c->lock);
    }
    bool is_woken = w.is_woken;
    if (!is_woken)
        remove_waiter(c, &w);
    pthread_mutex_unlock(&c->lock);
    if (w.task == NULL)
        pthread_cond_destroy(&w.changed);
    pthread_mutex_lock(lock);
    return is_woken;
}
