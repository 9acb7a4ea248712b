/* SPDX-License-Identifier: ISC */
/* The start and the end of tasks, and the pool of threads that runs them. */
#include "task/task_private.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS_MAX 64
#define KEPT_MAX 64 /* ended tasks that a thread keeps with their stacks, to be used again */
#define THREAD_STACK_SIZE (256 * 1024)

/* --- tasks --- */

static void task_main(void)
{
    task_context_entered();
    for (;;) {
        struct task *t = task_thread_self()->current;
        t->run(t->arg);
        t->is_over = true;
        task_context_switch(&t->context, &t->thread->context);
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

/* Make a task with a stack. NULL with an errno in *error. */
static struct task *task_new(struct task_thread *th, int *error)
{
    struct task *t = mem_zalloc(sizeof *t);

    *error = task_context_make(&t->context, task_main);
    if (*error != 0) {
        free(t);
        return NULL;
    }
    t->thread = th;
    t->timer_at = SIZE_MAX;
    pthread_mutex_lock(&th->lock);
    t->all_next = th->tasks;
    t->all_at = &th->tasks;
    if (th->tasks != NULL)
        th->tasks->all_at = &t->all_next;
    th->tasks = t;
    pthread_mutex_unlock(&th->lock);
    return t;
}

static void task_free(struct task *t)
{
    struct task_thread *th = t->thread;

    pthread_mutex_lock(&th->lock);
    *t->all_at = t->all_next;
    if (t->all_next != NULL)
        t->all_next->all_at = t->all_at;
    pthread_mutex_unlock(&th->lock);
    task_context_clear(&t->context);
    free(t);
}

void task_end(struct task *t)
{
    struct task_thread *th = t->thread;
    struct task_pool *pool = th->pool;

    task_timer_remove(t);
    if (atomic_load(&t->is_in_inbox))
        task_take_inbox(th);
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

/* The thread with the fewest tasks; the caller's own, if no other has fewer. */
static struct task_thread *choose_thread(struct task_pool *pool)
{
    struct task_thread *self = task_thread_self();
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
    int error = 0;

    if (t == NULL)
        t = task_new(th, &error);
    if (t == NULL)
        return error;
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

/* --- the pool --- */

struct task_pool *task_pools;
static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;

static void list_pool(struct task_pool *pool)
{
    pthread_mutex_lock(&pools_lock);
    pool->next = task_pools;
    task_pools = pool;
    pthread_mutex_unlock(&pools_lock);
}

static void unlist_pool(const struct task_pool *pool)
{
    struct task_pool **at = &task_pools;

    pthread_mutex_lock(&pools_lock);
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    pthread_mutex_unlock(&pools_lock);
}

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
    errno = pthread_create(&th->thread, &attr, task_thread_main, th);
    pthread_attr_destroy(&attr);
    th->is_started = errno == 0;
    return th->is_started ? 0 : -1;
}

static void close_thread(struct task_thread *th)
{
    struct task *t;

    if (th->is_started) {
        atomic_store(&th->is_asleep, true); /* otherwise nothing would be written to wake_fd */
        task_thread_wake(th);
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
    list_pool(pool);
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
    unlist_pool(pool);
    for (unsigned i = 0; i < pool->thread_count; i++)
        close_thread(&pool->threads[i]);
    free(pool->threads);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
