/* SPDX-License-Identifier: ISC */
/*
 * Health of a destination:
 *
 *     HEALTHY --- a fault, and no other worker is at work to prove it wrong ---> SUSPENDED
 *     SUSPENDED --- the delay is over ---> PROBING (the one worker left tries one copy)
 *     PROBING --- a fault ---> SUSPENDED, for twice as long
 *     any --- a conversation that worked, destination_resume() ---> HEALTHY
 *
 * A worker that gets no connection while others are at work only pauses: a server may limit the
 * number of connections. When the server is down all do so, and the last one suspends.
 */
#include "destination.h"

#include "../log.h"
#include "../mem.h"
#include "client.h"
#include "delivery.h"
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MS 5000            /* an idle worker closes its connection, and ends */
#define STACK_SIZE (256 * 1024) /* getaddrinfo(3) is what needs most */
#define CONNECTION_FAULTS_MAX 3 /* in a row, before the destination is taken for down */
#define PAUSE_S 10              /* no further connection so soon after one was not had */
#define OUTCOMES_KEPT 64        /* room for outcomes that a worker keeps between copies */
#define JOIN_POLL_MS 50

enum health { HEALTHY, SUSPENDED, PROBING };

struct worker {
    struct destination *dest;
    struct worker *next;   /* guarded by dest->lock */
    struct client *client; /* changed under dest->lock, used outside of it by the worker */
    bool is_ready;         /* waits for a copy, or is about to */
    bool has_no_connection;

    struct snapshot *snapshot;
    const struct config_destination *config; /* in that snapshot */
    unsigned generation;

    struct delivery_outcome *outcomes;
    size_t outcome_cap;
    struct buf trace;
};

struct destination {
    struct queue *queue;
    char *name;

    pthread_mutex_t lock; /* guards all below; never held across I/O or calls of the queue */
    pthread_cond_t changed;
    struct snapshot *snapshot;
    const struct config_destination *config;
    unsigned generation;    /* of the configuration */
    struct worker *workers; /* all threads that are not over yet */
    unsigned worker_count;  /* those that have not decided to end */
    unsigned ready_count;   /* workers that wait for a copy, or are about to */
    unsigned busy_count;    /* workers with a copy */
    bool is_stopping;

    enum health health;
    int64_t suspended_until_ms; /* CLOCK_MONOTONIC */
    int64_t paused_until_ms;
    unsigned suspensions;       /* in a row */
    unsigned connection_faults; /* in a row */
};

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* For jitter: that destinations and copies do not march in step. Nobody gains by guessing it. */
static uint32_t random_number(void)
{
    uint32_t r;

    if (getentropy(&r, sizeof r) != 0)
        r = (uint32_t)now_ms() * 2654435761U;
    return r;
}

/* Locked. */
static void set_ready(struct worker *w, bool is_ready)
{
    if (is_ready && !w->is_ready)
        w->dest->ready_count++;
    if (!is_ready && w->is_ready)
        w->dest->ready_count--;
    w->is_ready = is_ready;
}

/* Locked. Whoever decides to end says so at once, or two would leave it to each other to stay. */
static void leave(struct worker *w)
{
    set_ready(w, false);
    w->dest->worker_count--;
}

static void *worker_main(void *arg);

/* Locked. -1 if the system gives us no thread. */
static int start_worker(struct destination *dest)
{
    struct worker *w = mem_zalloc(sizeof *w);
    pthread_attr_t attr;
    pthread_t thread;

    w->dest = dest;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    int error = pthread_create(&thread, &attr, worker_main, w);
    pthread_attr_destroy(&attr);
    if (error != 0) {
        free(w);
        errno = error;
        return -1;
    }
    w->next = dest->workers;
    dest->workers = w;
    dest->worker_count++;
    set_ready(w, true);
    return 0;
}

/* Locked. A worker has taken a copy: let there be another that waits, within the limits. */
static void grow(struct destination *dest)
{
    if (dest->health != HEALTHY || dest->is_stopping || dest->ready_count > 0 ||
        dest->worker_count >= dest->config->concurrency || now_ms() < dest->paused_until_ms)
        return;
    if (start_worker(dest) != 0) {
        dest->paused_until_ms = now_ms() + (int64_t)PAUSE_S * 1000;
        log_warning("dest=%s: cannot start one more thread than %u: %s", dest->name,
                    dest->worker_count, strerror(errno));
    }
}

static void wait_until(struct destination *dest, int64_t until_ms)
{
    struct timespec ts = {.tv_sec = (time_t)(until_ms / 1000),
                          .tv_nsec = (long)(until_ms % 1000) * 1000000};

    pthread_cond_timedwait(&dest->changed, &dest->lock, &ts);
}

/* Locked. Wait for work to make sense; false: this worker is to end. */
static bool may_work(struct worker *w)
{
    struct destination *dest = w->dest;

    while (!dest->is_stopping) {
        int64_t now = now_ms();
        if (dest->health != HEALTHY && dest->worker_count > 1)
            return false;
        if (dest->health == SUSPENDED && now >= dest->suspended_until_ms)
            dest->health = PROBING;
        bool is_paused =
            dest->health == HEALTHY && w->has_no_connection && now < dest->paused_until_ms;
        if (is_paused && dest->ready_count > 0)
            return false;
        if (dest->health != SUSPENDED && !is_paused) {
            w->has_no_connection = false;
            set_ready(w, true);
            return true;
        }
        wait_until(dest, is_paused ? dest->paused_until_ms : dest->suspended_until_ms);
    }
    return false;
}

static void close_connection(struct worker *w)
{
    struct client *client = w->client;

    pthread_mutex_lock(&w->dest->lock);
    w->client = NULL;
    pthread_mutex_unlock(&w->dest->lock);
    client_free(client);
}

/* Say QUIT, and use the present configuration from now on. */
static void renew_client(struct worker *w)
{
    struct destination *dest = w->dest;

    close_connection(w);
    if (w->snapshot != NULL)
        snapshot_unref(w->snapshot);
    pthread_mutex_lock(&dest->lock);
    w->snapshot = snapshot_ref(dest->snapshot);
    w->config = dest->config;
    w->generation = dest->generation;
    w->client = client_new(w->config, w->snapshot->config->relay.hostname, NULL);
    pthread_mutex_unlock(&dest->lock);
}

/* Locked. */
static void suspend(struct destination *dest, const struct config_destination *config,
                    const char *reason)
{
    unsigned delay_s = delivery_retry_delay_s(config, ++dest->suspensions, random_number());

    dest->health = SUSPENDED;
    dest->suspended_until_ms = now_ms() + (int64_t)delay_s * 1000;
    dest->connection_faults = 0;
    pthread_cond_broadcast(&dest->changed);
    log_warning("dest=%s: suspended for %u s: %s", dest->name, delay_s, reason);
}

/* Locked. */
static void resume(struct destination *dest)
{
    dest->health = HEALTHY;
    dest->suspensions = 0;
    dest->connection_faults = 0;
    dest->paused_until_ms = 0;
    pthread_cond_broadcast(&dest->changed);
}

static unsigned pause_s(const struct config_destination *config)
{
    return config->retry_min_s < PAUSE_S ? config->retry_min_s : PAUSE_S;
}

/* What an attempt says about the destination. */
static void judge(struct worker *w, const struct delivery_report *report, const char *reason)
{
    struct destination *dest = w->dest;

    pthread_mutex_lock(&dest->lock);
    if (dest->is_stopping) {
        /* nothing is learned from connections that we cut ourselves */
    } else if (report->is_host_fault) {
        w->has_no_connection = true;
        dest->paused_until_ms = now_ms() + (int64_t)pause_s(w->config) * 1000;
        if (dest->busy_count == 1)
            suspend(dest, w->config, reason);
    } else if (report->is_connection_fault) {
        if (dest->health == PROBING || ++dest->connection_faults >= CONNECTION_FAULTS_MAX)
            suspend(dest, w->config, reason);
    } else {
        if (dest->health != HEALTHY) {
            log_info("dest=%s: works again", dest->name);
            resume(dest);
        }
        dest->connection_faults = 0;
    }
    pthread_mutex_unlock(&dest->lock);
}

static void reserve_outcomes(struct worker *w, size_t n)
{
    if (n > w->outcome_cap || w->outcome_cap > OUTCOMES_KEPT) {
        w->outcome_cap = n < OUTCOMES_KEPT ? OUTCOMES_KEPT : n;
        free(w->outcomes);
        w->outcomes = mem_grow(NULL, w->outcome_cap, sizeof *w->outcomes);
    }
    memset(w->outcomes, 0, n * sizeof *w->outcomes);
}

/* Of the first recipient that was tried. */
static struct delivery_outcome first_outcome(const struct queue_copy *c,
                                             const struct delivery_outcome *outcomes)
{
    size_t i = 0;

    while (i + 1 < c->recipient_count && c->recipients[i].state != QUEUE_PENDING)
        i++;
    return outcomes[i];
}

static bool is_suspended(struct destination *dest)
{
    pthread_mutex_lock(&dest->lock);
    bool suspended = dest->health == SUSPENDED && !dest->is_stopping;
    pthread_mutex_unlock(&dest->lock);
    return suspended;
}

/*
 * The destination was just found down: copies that are too old by now need not wait for an attempt
 * of their own to be told the same. Ends with the first that is not.
 */
static void bury_old_copies(struct worker *w, struct delivery_report *report,
                            const struct delivery_outcome *outcome)
{
    struct queue *q = w->dest->queue;
    struct queue_copy *c;
    struct timespec now;
    bool backlog;

    report->wait_ms = report->setup_ms = report->transmit_ms = 0;
    while (is_suspended(w->dest) && (c = q->ops->next(q, w->dest->name, 0, &backlog)) != NULL) {
        clock_gettime(CLOCK_REALTIME, &now);
        if (!delivery_is_too_old(c, w->config, now.tv_sec)) {
            q->ops->release(q, c);
            return;
        }
        reserve_outcomes(w, c->recipient_count);
        for (size_t i = 0; i < c->recipient_count; i++)
            w->outcomes[i] = *outcome;
        report->outcomes = w->outcomes;
        delivery_finish(q, c, w->config, report, &now, 0);
    }
}

static void deliver(struct worker *w, struct queue_copy *c, int64_t taken_ms)
{
    struct queue *q = w->dest->queue;
    struct delivery_report report = {0};
    struct timespec now;

    reserve_outcomes(w, c->recipient_count);
    report.outcomes = w->outcomes;
    buf_reset(&w->trace);
    trace_header(c, w->snapshot->config->relay.hostname, &w->trace);
    report.wait_ms = now_ms() - taken_ms;
    client_deliver(w->client, c, buf_str(&w->trace), &report);
    struct delivery_outcome outcome = first_outcome(c, w->outcomes);
    /* First the destination, then the copy: what is released must not be taken at once by one who
     * does not know yet. */
    judge(w, &report, outcome.reason);
    clock_gettime(CLOCK_REALTIME, &now);
    delivery_finish(q, c, w->config, &report, &now, random_number());
    if (report.is_host_fault)
        bury_old_copies(w, &report, &outcome);
}

/* Wait for a copy. NULL if there is none now; *has_left_out: for so long that this worker is to
 * end, since others are there. */
static struct queue_copy *take_copy(struct worker *w, int64_t idle_since_ms, bool *has_left_out)
{
    struct destination *dest = w->dest;
    struct queue *q = dest->queue;
    bool backlog;

    struct queue_copy *c = q->ops->next(q, dest->name, IDLE_MS, &backlog);
    pthread_mutex_lock(&dest->lock);
    bool is_stopping = dest->is_stopping;
    set_ready(w, false);
    if (c != NULL && !is_stopping) {
        dest->busy_count++;
        grow(dest);
    }
    bool is_idle = c == NULL && now_ms() - idle_since_ms >= IDLE_MS;
    *has_left_out = is_idle && dest->ready_count > 0;
    if (*has_left_out)
        leave(w);
    pthread_mutex_unlock(&dest->lock);
    if (c != NULL && is_stopping) {
        q->ops->release(q, c);
        return NULL;
    }
    if (is_idle && !*has_left_out && client_is_connected(w->client))
        renew_client(w);
    return c;
}

static void work(struct worker *w)
{
    struct destination *dest = w->dest;
    int64_t idle_since_ms = now_ms();
    bool has_left = false;

    while (!has_left) {
        pthread_mutex_lock(&dest->lock);
        bool goes_on = may_work(w);
        if (!goes_on)
            leave(w);
        bool is_outdated = w->generation != dest->generation;
        pthread_mutex_unlock(&dest->lock);
        if (!goes_on)
            return;
        if (is_outdated)
            renew_client(w);
        struct queue_copy *c = take_copy(w, idle_since_ms, &has_left);
        if (c == NULL)
            continue;
        int64_t taken_ms = now_ms();
        deliver(w, c, taken_ms);
        pthread_mutex_lock(&dest->lock);
        dest->busy_count--;
        pthread_mutex_unlock(&dest->lock);
        idle_since_ms = now_ms();
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct destination *dest = w->dest;

    work(w);
    close_connection(w);
    if (w->snapshot != NULL)
        snapshot_unref(w->snapshot);
    free(w->outcomes);
    buf_clear(&w->trace);
    pthread_mutex_lock(&dest->lock);
    struct worker **at = &dest->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pthread_cond_broadcast(&dest->changed);
    pthread_mutex_unlock(&dest->lock);
    free(w);
    return NULL;
}

struct destination *destination_start(struct queue *q, struct snapshot *snapshot,
                                      const struct config_destination *d)
{
    struct destination *dest = mem_zalloc(sizeof *dest);
    pthread_condattr_t attr;

    dest->queue = q;
    dest->name = mem_strdup(d->name);
    dest->snapshot = snapshot_ref(snapshot);
    dest->config = d;
    dest->generation = 1; /* 0: a worker that has none yet */
    pthread_mutex_init(&dest->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&dest->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&dest->lock);
    if (start_worker(dest) != 0) {
        /* Like out of memory: the copies are in the spool, and nobody would deliver them. */
        log_error("dest=%s: cannot start a thread: %s", dest->name, strerror(errno));
        abort();
    }
    pthread_mutex_unlock(&dest->lock);
    return dest;
}

void destination_reconfigure(struct destination *dest, struct snapshot *snapshot,
                             const struct config_destination *d)
{
    struct snapshot *next = snapshot_ref(snapshot);

    pthread_mutex_lock(&dest->lock);
    struct snapshot *former = dest->snapshot;
    dest->snapshot = next;
    dest->config = d;
    dest->generation++;
    resume(dest);
    pthread_mutex_unlock(&dest->lock);
    snapshot_unref(former);
    dest->queue->ops->wake(dest->queue, dest->name);
}

void destination_resume(struct destination *dest)
{
    pthread_mutex_lock(&dest->lock);
    resume(dest);
    pthread_mutex_unlock(&dest->lock);
}

const char *destination_name(const struct destination *dest)
{
    return dest->name;
}

void destination_stop(struct destination *dest)
{
    pthread_mutex_lock(&dest->lock);
    dest->is_stopping = true;
    pthread_cond_broadcast(&dest->changed);
    pthread_mutex_unlock(&dest->lock);
    dest->queue->ops->wake(dest->queue, dest->name);
}

void destination_join(struct destination *dest, unsigned grace_ms)
{
    int64_t cut_ms = now_ms() + grace_ms;

    pthread_mutex_lock(&dest->lock);
    while (dest->workers != NULL) {
        for (struct worker *w = dest->workers; w != NULL && now_ms() >= cut_ms; w = w->next) {
            if (w->client != NULL)
                client_interrupt(w->client);
        }
        wait_until(dest, now_ms() + JOIN_POLL_MS);
        pthread_mutex_unlock(&dest->lock);
        /* Again and again: a worker may have been on its way to wait when it was woken last. */
        dest->queue->ops->wake(dest->queue, dest->name);
        pthread_mutex_lock(&dest->lock);
    }
    pthread_mutex_unlock(&dest->lock);
    snapshot_unref(dest->snapshot);
    pthread_cond_destroy(&dest->changed);
    pthread_mutex_destroy(&dest->lock);
    free(dest->name);
    free(dest);
}
