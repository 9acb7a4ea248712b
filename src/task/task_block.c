/* SPDX-License-Identifier: ISC */
/*
 * Helper threads, for calls that block. A job that finds no idle helper starts a new one, up to
 * TASK_HELPERS_MAX. So below the cap a job that takes long (a look-up whose servers are silent)
 * delays no other job. At the cap jobs wait in order. A helper without a job ends after IDLE_S. A
 * job goes to the helper that became idle last, so that a few jobs a second do not keep all helpers
 * alive in turn.
 *
 * There is no deadlock at the cap, because a running job never waits for a job in the queue. It
 * waits for the system, for a peer with a timeout, or for what another running job gives back.
 */
#include "task/task_private.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define IDLE_S 10
#define HELPER_STACK_SIZE (256 * 1024) /* getaddrinfo(3) needs most of it */

struct task_block_job {
    struct task_block_job *next;
    void (*fn)(void *);
    void *arg;
    struct task *task; /* waits for the job, and owns it; NULL: none does */
    bool is_done;
};

/* A helper that waits for a job, on its own stack. */
struct task_idle {
    struct task_idle *next;
    struct task_block_job *job; /* NULL: none yet */
    pthread_cond_t is_called;   /* job is set, or the pool stops */
};

void task_helpers_init(struct task_pool *pool)
{
    pool->jobs_end = &pool->first_job;
}

static void init_idle(struct task_idle *self)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&self->is_called, &attr);
    pthread_condattr_destroy(&attr);
}

/* Wait to be called, at most IDLE_S. Returns the job, or NULL. The caller holds the lock. */
static struct task_block_job *wait_idle(struct task_pool *pool, struct task_idle *self)
{
    struct task_idle **link = &pool->idle;
    struct timespec until;
    int error = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    self->job = NULL;
    self->next = pool->idle;
    pool->idle = self;
    while (self->job == NULL && error != ETIMEDOUT && !atomic_load(&pool->is_stopping))
        error = pthread_cond_timedwait(&self->is_called, &pool->lock, &until);
    if (self->job == NULL) {
        while (*link != self)
            link = &(*link)->next;
        *link = self->next;
    }
    return self->job;
}

/* Take the next job of the queue, or wait for one. NULL: this thread has to end. The caller holds
 * the lock. */
static struct task_block_job *next_job(struct task_pool *pool, struct task_idle *self)
{
    struct task_block_job *job = pool->first_job;

    if (job == NULL)
        return wait_idle(pool, self);
    pool->first_job = job->next;
    if (pool->first_job == NULL)
        pool->jobs_end = &pool->first_job;
    return job;
}

static void *helper_main(void *arg)
{
    struct task_pool *pool = arg;
    struct task_block_job *job;
    struct task_idle self;

    init_idle(&self);
    pthread_mutex_lock(&pool->lock);
    while ((job = next_job(pool, &self)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        job->fn(job->arg);
        pthread_mutex_lock(&pool->lock);
        if (job->task == NULL) {
            free(job);
            continue;
        }
        job->is_done = true;
        /* The lock is still held, because otherwise task_block() might return before this call, and
         * the job and the task might be gone. */
        task_wake(job->task);
    }
    if (pool->at_exit != NULL)
        pool->at_exit(); /* before task_helpers_stop() learns that the thread is done */
    pool->helpers--;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&self.is_called);
    return NULL;
}

/* Returns 0 or an errno. The caller holds the lock. */
static int start_helper(struct task_pool *pool)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, HELPER_STACK_SIZE);
    int error = pthread_create(&thread, &attr, helper_main, pool);
    pthread_attr_destroy(&attr);
    if (error == 0)
        pool->helpers++;
    return error;
}

static void enqueue(struct task_pool *pool, struct task_block_job *job)
{
    *pool->jobs_end = job;
    pool->jobs_end = &job->next;
}

/* Give the job to an idle helper, or to a new one if the cap allows it, or queue it. False: there
 * is no helper, none can be started, and the job is not queued. */
static bool submit(struct task_pool *pool, struct task_block_job *job)
{
    pthread_mutex_lock(&pool->lock);
    struct task_idle *helper = pool->idle;
    bool is_taken = helper != NULL || pool->helpers >= TASK_HELPERS_MAX || start_helper(pool) == 0;
    if (helper != NULL) {
        pool->idle = helper->next;
        helper->job = job;
        pthread_cond_signal(&helper->is_called); /* with the lock, because it may end at any time */
    } else if (is_taken) {
        enqueue(pool, job);
    }
    pthread_mutex_unlock(&pool->lock);
    return is_taken;
}

static bool is_done(struct task_pool *pool, const struct task_block_job *job)
{
    pthread_mutex_lock(&pool->lock);
    bool done = job->is_done;
    pthread_mutex_unlock(&pool->lock);
    return done;
}

void task_block(void (*fn)(void *), void *arg)
{
    struct task_thread *th = task_thread_self();

    if (th == NULL) {
        fn(arg);
        return;
    }
    struct task_block_job job = {.fn = fn, .arg = arg, .task = th->current};
    if (!submit(th->pool, &job)) {
        fn(arg); /* the other tasks of this thread wait meanwhile */
        return;
    }
    while (!is_done(th->pool, &job))
        task_park(job.task, TASK_FOREVER);
}

bool task_block_start(void (*fn)(void *), void *arg)
{
    struct task_thread *th = task_thread_self();

    if (th == NULL)
        return false;
    struct task_block_job *job = mem_zalloc(sizeof *job);
    job->fn = fn;
    job->arg = arg;
    bool is_started = submit(th->pool, job);
    if (!is_started)
        free(job);
    return is_started;
}

struct reading {
    int fd;
    void *data;
    size_t len;
    off_t offset;
    ssize_t result;
    int error;
};

static void read_blocking(void *arg)
{
    struct reading *r = arg;

    r->result = pread(r->fd, r->data, r->len, r->offset);
    r->error = errno;
}

ssize_t task_pread(int fd, void *data, size_t len, off_t offset)
{
    struct reading r = {.fd = fd, .data = data, .len = len, .offset = offset};
    struct iovec part = {data, len};

    if (task_is_inside()) {
        ssize_t n = preadv2(fd, &part, 1, offset, RWF_NOWAIT);
        if (n >= 0 || (errno != EAGAIN && errno != EOPNOTSUPP && errno != ENOSYS))
            return n;
    }
    task_block(read_blocking, &r);
    errno = r.error;
    return r.result;
}

void task_helpers_stop(struct task_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->is_stopping, true);
    for (struct task_idle *helper = pool->idle; helper != NULL; helper = helper->next)
        pthread_cond_signal(&helper->is_called);
    while (pool->helpers > 0)
        pthread_cond_wait(&pool->changed, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
