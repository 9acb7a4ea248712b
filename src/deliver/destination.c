/* SPDX-License-Identifier: ISC */
#include "deliver/destination_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "metrics/counters.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MS 5000     /* after this time an idle worker closes its connection, or ends */
#define OUTCOMES_KEPT 64 /* room for so many outcomes is kept between copies */
#define JOIN_POLL_MS 50
#define PASSED_OVER_MAX 16 /* suspects (suspects.h) that a probe passes over, at most */

static void worker_main(void *arg);

/* With the lock held: start a worker. -1 with errno: there is no memory for its stack. */
static int start_worker(struct destination *dest)
{
    struct destination_worker *w = mem_zalloc(sizeof *w);

    w->dest = dest;
    int error = task_start(dest->tasks, worker_main, w);
    if (error != 0) {
        free(w);
        errno = error;
        return -1;
    }
    w->next = dest->workers;
    dest->workers = w;
    dest->worker_count++;
    destination_set_ready(w, true);
    return 0;
}

/* With the lock held, after a worker has taken a copy: start another worker to wait for the next
 * copy, if the limits allow it and no worker waits. -1 with errno: there is no memory for a worker;
 * the next try is after DESTINATION_PAUSE_S. */
static int grow(struct destination *dest)
{
    if (dest->health != DESTINATION_HEALTHY || dest->is_stopping || dest->ready_count > 0 ||
        dest->worker_count >= dest->flow.window || dest->limited_count > 0 ||
        clock_now_ms() < dest->paused_until_ms)
        return 0;
    if (start_worker(dest) == 0)
        return 0;
    dest->paused_until_ms = clock_now_ms() + (int64_t)DESTINATION_PAUSE_S * 1000;
    return -1;
}

static void count_connection(struct destination_worker *w, bool is_open)
{
    if (is_open != w->is_counted)
        counters_connections(w->dest->name, is_open ? 1 : -1);
    w->is_counted = is_open;
}

static void close_connection(struct destination_worker *w)
{
    struct transport *transport = w->transport;

    pthread_mutex_lock(&w->dest->lock);
    w->transport = NULL;
    pthread_mutex_unlock(&w->dest->lock);
    if (transport != NULL)
        transport->ops->free(transport);
    count_connection(w, false);
}

/* Send QUIT and close the connection; the next one uses the present configuration. */
static void renew_client(struct destination_worker *w)
{
    struct destination *dest = w->dest;

    close_connection(w);
    if (w->runtime != NULL)
        runtime_unref(w->runtime);
    pthread_mutex_lock(&dest->lock);
    w->runtime = runtime_ref(dest->runtime);
    w->config = dest->config;
    w->generation = dest->generation;
    w->transport = transport_new(w->config, security_find_client(w->runtime->security, w->config),
                                 runtime_config(w->runtime)->relay.hostname);
    pthread_mutex_unlock(&dest->lock);
}

static void reserve_outcomes(struct destination_worker *w, size_t n)
{
    if (n > w->outcome_cap || w->outcome_cap > OUTCOMES_KEPT) {
        w->outcome_cap = n < OUTCOMES_KEPT ? OUTCOMES_KEPT : n;
        free(w->outcomes);
        w->outcomes = mem_grow(NULL, w->outcome_cap, sizeof *w->outcomes);
    }
    memset(w->outcomes, 0, n * sizeof *w->outcomes);
}

/* If the attempt has suspended the destination: give its fault also to the copies that are too old
 * by now. They become dead letters without an attempt of their own. The search ends at the first
 * copy that is not too old. */
static void expire_old_copies(struct destination_worker *w, struct outcome_report *report)
{
    struct queue *q = w->dest->queue;
    struct queue_copy *c;

    report->wait_ms = report->setup_ms = report->transmit_ms = 0;
    while (destination_is_suspended(w->dest) && (c = q->ops->next(q, w->dest->name, 0)) != NULL) {
        struct timespec now = clock_realtime();
        if (!delivery_is_too_old(c, w->config, now.tv_sec)) {
            q->ops->release(q, c);
            return;
        }
        reserve_outcomes(w, c->recipient_count);
        for (size_t i = 0; i < c->recipient_count; i++)
            outcome_set(&w->outcomes[i], OUTCOME_RETRY, report->fault.dsn, "%s",
                        report->fault.reason);
        report->outcomes = w->outcomes;
        delivery_finish(q, c, w->config, report, &now, 0);
    }
}

static void deliver(struct destination_worker *w, struct queue_copy *c, int64_t taken_ms)
{
    struct destination *dest = w->dest;
    struct queue *q = dest->queue;
    struct outcome_report report = {0};

    reserve_outcomes(w, c->recipient_count);
    report.outcomes = w->outcomes;
    report.wait_ms = clock_now_ms() - taken_ms;
    w->transport->ops->deliver(w->transport, c, &report);
    count_connection(w, w->transport->ops->is_connected(w->transport));
    if (report.conn_use == 1)
        counters_connected(dest->name);
    /* The destination's health is updated first, because another worker may take the copy as soon
     * as it is released. */
    if (!report.is_untried)
        destination_update_health(w, c->id, &report);
    struct timespec now = clock_realtime();
    delivery_finish(q, c, w->config, &report, &now, destination_random(w));
    if (report.is_host_fault)
        expire_old_copies(w, &report);
}

static bool is_suspect_for_probe(struct destination *dest, const struct queue_copy *c)
{
    pthread_mutex_lock(&dest->lock);
    bool is_suspect = dest->health == DESTINATION_PROBING && suspects_has(&dest->suspects, c->id);
    pthread_mutex_unlock(&dest->lock);
    return is_suspect;
}

/* Return c, or another copy: a probe prefers a copy that is no suspect, because an attempt with a
 * copy that breaks connections would tell nothing about the destination. */
static struct queue_copy *prefer_unsuspected(struct destination *dest, struct queue_copy *c)
{
    struct queue *q = dest->queue;
    struct queue_copy *passed[PASSED_OVER_MAX];
    size_t count = 0;

    while (c != NULL && count < PASSED_OVER_MAX && is_suspect_for_probe(dest, c)) {
        passed[count++] = c;
        c = q->ops->next(q, dest->name, 0);
    }
    if (c == NULL && count > 0)
        c = passed[--count];
    while (count > 0)
        q->ops->release(q, passed[--count]);
    return c;
}

/* Wait for a copy. NULL: there is none now, or the worker may not deliver it now. *has_left_out:
 * the worker is to end, because it was idle for IDLE_MS and other workers wait for copies;
 * destination_end_worker() was called. */
static struct queue_copy *take_copy(struct destination_worker *w, int64_t idle_since_ms,
                                    bool *has_left_out)
{
    struct destination *dest = w->dest;
    struct queue *q = dest->queue;
    int error = 0;

    struct queue_copy *c = prefer_unsuspected(dest, q->ops->next(q, dest->name, IDLE_MS));
    pthread_mutex_lock(&dest->lock);
    destination_set_ready(w, false);
    bool has_waited = false;
    bool is_on =
        c == NULL || (destination_may_deliver(dest) && destination_await_turn(dest, &has_waited));
    if (c != NULL && is_on) {
        w->is_busy = true;
        dest->busy_count++;
        counters_in_progress(dest->name, 1);
        error = has_waited || grow(dest) == 0 ? 0 : errno;
    }
    bool is_idle = c == NULL && clock_now_ms() - idle_since_ms >= IDLE_MS;
    *has_left_out = is_idle && dest->ready_count > 0;
    if (*has_left_out)
        destination_end_worker(w);
    if (*has_left_out && dest->worker_count == 1)
        flow_reset(&dest->flow);
    counters_connection_limit(dest->name, dest->flow.window);
    pthread_mutex_unlock(&dest->lock);
    if (error != 0)
        log_warning("dest=%s: cannot start another worker: %s", dest->name, strerror(error));
    if (c != NULL && !is_on) {
        q->ops->release(q, c);
        return NULL;
    }
    if (is_idle && !*has_left_out && w->transport->ops->is_connected(w->transport))
        renew_client(w);
    // cppcheck-suppress returnDanglingLifetime ; nothing of a copy points to its out-parameter
    return c;
}

static void work(struct destination_worker *w)
{
    struct destination *dest = w->dest;
    int64_t idle_since_ms = clock_now_ms();
    bool has_left = false;

    while (!has_left) {
        pthread_mutex_lock(&dest->lock);
        if (w->is_busy) {
            dest->busy_count--;
            counters_in_progress(dest->name, -1);
        }
        w->is_busy = false;
        bool is_far_off = destination_turn_in_ms(dest) > IDLE_MS;
        pthread_mutex_unlock(&dest->lock);
        if (is_far_off && w->transport != NULL && w->transport->ops->is_connected(w->transport))
            renew_client(w);
        pthread_mutex_lock(&dest->lock);
        bool goes_on = destination_may_work(w);
        if (!goes_on)
            destination_end_worker(w);
        bool is_outdated = w->generation != dest->generation;
        pthread_mutex_unlock(&dest->lock);
        if (!goes_on)
            return;
        if (is_outdated)
            renew_client(w);
        struct queue_copy *c = take_copy(w, idle_since_ms, &has_left);
        if (c == NULL)
            continue;
        int64_t taken_ms = clock_now_ms();
        deliver(w, c, taken_ms);
        idle_since_ms = clock_now_ms();
    }
}

static void worker_main(void *arg)
{
    struct destination_worker *w = arg;
    struct destination *dest = w->dest;

    work(w);
    close_connection(w);
    if (w->runtime != NULL)
        runtime_unref(w->runtime);
    free(w->outcomes);
    pthread_mutex_lock(&dest->lock);
    struct destination_worker **at = &dest->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    task_cond_broadcast(&dest->changed);
    pthread_mutex_unlock(&dest->lock);
    free(w);
}

/* Release the destination, whose workers have all ended. */
static void release(struct destination *dest)
{
    counters_suspended(dest->name, false);
    counters_connection_limit(dest->name, 0);
    runtime_unref(dest->runtime);
    task_cond_clear(&dest->changed);
    pthread_mutex_destroy(&dest->lock);
    free(dest->name);
    free(dest);
}

struct destination *destination_start(struct queue *q, struct task_pool *tasks,
                                      struct runtime *runtime, const struct config_destination *d,
                                      struct err *err)
{
    struct destination *dest = mem_zalloc(sizeof *dest);

    dest->queue = q;
    dest->tasks = tasks;
    dest->name = mem_strdup(d->name);
    dest->runtime = runtime_ref(runtime);
    dest->config = d;
    dest->last_success_ms = INT64_MIN / 2; /* never */
    flow_configure(&dest->flow, d);
    counters_connection_limit(dest->name, dest->flow.window);
    dest->generation = 1; /* a worker without configuration has generation 0 */
    pthread_mutex_init(&dest->lock, NULL);
    task_cond_init(&dest->changed);
    pthread_mutex_lock(&dest->lock);
    int rc = start_worker(dest);
    if (rc != 0)
        err_set_errno(err, "destination %s: cannot start a worker", dest->name);
    pthread_mutex_unlock(&dest->lock);
    if (rc == 0)
        return dest;
    release(dest);
    return NULL;
}

void destination_reconfigure(struct destination *dest, struct runtime *runtime,
                             const struct config_destination *d)
{
    struct runtime *next = runtime_ref(runtime);

    pthread_mutex_lock(&dest->lock);
    struct runtime *former = dest->runtime;
    dest->runtime = next;
    dest->config = d;
    dest->generation++;
    flow_configure(&dest->flow, d);
    destination_set_healthy(dest);
    pthread_mutex_unlock(&dest->lock);
    runtime_unref(former);
    dest->queue->ops->wake(dest->queue, dest->name);
}

void destination_resume(struct destination *dest)
{
    pthread_mutex_lock(&dest->lock);
    destination_set_healthy(dest);
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
    task_cond_broadcast(&dest->changed);
    pthread_mutex_unlock(&dest->lock);
    dest->queue->ops->wake(dest->queue, dest->name);
}

void destination_join(struct destination *dest, unsigned grace_ms)
{
    int64_t cut_ms = clock_now_ms() + grace_ms;

    pthread_mutex_lock(&dest->lock);
    while (dest->workers != NULL) {
        /* Before cut_ms only connections that carry no message yet are interrupted. That loses
         * nothing, and their hosts may hang. */
        for (struct destination_worker *w = dest->workers; w != NULL; w = w->next) {
            if (w->transport != NULL)
                w->transport->ops->interrupt(w->transport, clock_now_ms() < cut_ms);
        }
        destination_wait(dest, clock_now_ms() + JOIN_POLL_MS);
        pthread_mutex_unlock(&dest->lock);
        /* This is repeated, because a worker may begin to wait just after it was woken. */
        dest->queue->ops->wake(dest->queue, dest->name);
        pthread_mutex_lock(&dest->lock);
    }
    pthread_mutex_unlock(&dest->lock);
    release(dest);
}
