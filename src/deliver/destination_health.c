/* SPDX-License-Identifier: ISC */
#include "deliver/destination_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "metrics/counters.h"
#include "base/clock.h"

#include <string.h>
#include <time.h>
#include <stdio.h>
#include <unistd.h>

#define CONNECTION_FAULTS_MAX 3 /* in a row, before the destination is taken for down */
/* For so long after a success the destination counts as working, although no other worker is busy:
 * a worker with a connection that works is not busy between two copies. */
#define LAST_SUCCESS_MS 1000

uint32_t destination_random(struct destination_worker *w)
{
    if (w->random == 0 && getentropy(&w->random, sizeof w->random) != 0)
        w->random = (uint32_t)clock_now_ms();
    /* xorshift32 (Marsaglia 2003): never 0 from anything but 0 */
    w->random |= w->random == 0;
    w->random ^= w->random << 13;
    w->random ^= w->random >> 17;
    w->random ^= w->random << 5;
    return w->random;
}

void destination_wait(struct destination *dest, int64_t until_ms)
{
    (void)task_cond_wait(&dest->changed, &dest->lock, until_ms);
}

void destination_set_ready(struct destination_worker *w, bool is_ready)
{
    if (is_ready && !w->is_ready)
        w->dest->ready_count++;
    if (!is_ready && w->is_ready)
        w->dest->ready_count--;
    w->is_ready = is_ready;
}

void destination_end_worker(struct destination_worker *w)
{
    destination_set_ready(w, false);
    w->dest->worker_count--;
}

int64_t destination_turn_in_ms(const struct destination *dest)
{
    int64_t now_us = clock_now_us();

    return (flow_next_us(&dest->flow, now_us) - now_us + 999) / 1000;
}

/* With the lock held: wait for rate_limit. */
static void wait_for_turn(struct destination *dest, int64_t until_ms)
{
    dest->limited_count++;
    destination_wait(dest, until_ms);
    dest->limited_count--;
}

bool destination_await_turn(struct destination *dest, bool *has_waited_out)
{
    int64_t now_us = clock_now_us();
    int64_t at_ms = (flow_reserve_us(&dest->flow, now_us) + 999) / 1000;

    *has_waited_out = at_ms > now_us / 1000 + 1;
    while (*has_waited_out && !dest->is_stopping && dest->health != DESTINATION_SUSPENDED &&
           clock_now_ms() < at_ms)
        wait_for_turn(dest, at_ms);
    return !dest->is_stopping && !(*has_waited_out && dest->health == DESTINATION_SUSPENDED);
}

/* With the lock held: the number of workers that there may be. */
static unsigned worker_limit(const struct destination *dest)
{
    return dest->health == DESTINATION_HEALTHY ? dest->flow.window : 1;
}

bool destination_may_deliver(const struct destination *dest)
{
    switch (dest->health) {
    case DESTINATION_HEALTHY:
        return true;
    case DESTINATION_SUSPENDED:
        return false;
    case DESTINATION_PROBING:
        break;
    }
    return dest->worker_count <= 1;
}

bool destination_may_work(struct destination_worker *w)
{
    struct destination *dest = w->dest;

    while (!dest->is_stopping) {
        int64_t now = clock_now_ms();
        if (dest->worker_count > worker_limit(dest))
            return false;
        if (dest->health == DESTINATION_SUSPENDED && now >= dest->suspended_until_ms)
            dest->health = DESTINATION_PROBING;
        bool is_paused = dest->health == DESTINATION_HEALTHY && w->has_no_connection &&
                         now < dest->paused_until_ms;
        if (is_paused && dest->ready_count > 0)
            return false;
        bool is_suspended = dest->health == DESTINATION_SUSPENDED;
        int64_t turn_in_ms = destination_turn_in_ms(dest);
        if (!is_suspended && !is_paused && turn_in_ms <= 1) {
            w->has_no_connection = false;
            destination_set_ready(w, true);
            return true;
        }
        if (is_suspended || is_paused)
            destination_wait(dest, is_paused ? dest->paused_until_ms : dest->suspended_until_ms);
        else
            wait_for_turn(dest, now + turn_in_ms);
    }
    return false;
}

/* With the lock held: suspend the destination. Returns the delay in seconds. */
static unsigned suspend(struct destination_worker *w, const char *reason)
{
    struct destination *dest = w->dest;

    if (dest->suspensions == 0)
        dest->suspended_since = time(NULL);
    mem_copy_string(dest->suspension_reason, sizeof dest->suspension_reason, reason);
    unsigned delay_s =
        delivery_retry_delay_s(w->config, ++dest->suspensions, destination_random(w));

    dest->health = DESTINATION_SUSPENDED;
    counters_suspended(dest->name, true);
    dest->suspended_until_ms = clock_now_ms() + (int64_t)delay_s * 1000;
    dest->connection_faults = 0;
    task_cond_broadcast(&dest->changed);
    return delay_s;
}

void destination_set_healthy(struct destination *dest)
{
    dest->health = DESTINATION_HEALTHY;
    counters_suspended(dest->name, false);
    dest->suspensions = 0;
    dest->connection_faults = 0;
    dest->paused_until_ms = 0;
    flow_reset(&dest->flow);
    task_cond_broadcast(&dest->changed);
}

/* With the lock held: does a fault mean that the destination is down? If a connection broke, the
 * fault is counted; if none could be opened, a pause begins. */
static bool is_down(struct destination_worker *w, const struct outcome_report *report)
{
    struct destination *dest = w->dest;

    if (report->is_host_fault) {
        unsigned pause_s = w->config->retry_min_s < DESTINATION_PAUSE_S ? w->config->retry_min_s
                                                                        : DESTINATION_PAUSE_S;
        w->has_no_connection = true;
        dest->paused_until_ms = clock_now_ms() + (int64_t)pause_s * 1000;
        /* It is down, unless another worker is busy, whose connection may work, or an attempt ended
         * without a fault within LAST_SUCCESS_MS. */
        return dest->busy_count == 1 && clock_now_ms() - dest->last_success_ms > LAST_SUCCESS_MS;
    }
    return dest->health == DESTINATION_PROBING ||
           ++dest->connection_faults >= CONNECTION_FAULTS_MAX;
}

/* With the lock held: does the fault say anything about the destination? If a connection broke, the
 * copy is noted as a suspect. */
static bool is_news(struct destination *dest, const char *id, const struct outcome_report *report)
{
    bool is_known = report->is_connection_fault && suspects_has(&dest->suspects, id);

    if (report->is_connection_fault)
        suspects_add(&dest->suspects, id);
    return !is_known;
}

static void log_works_again(const char *destination)
{
    const struct log_field fields[] = {LOG_TEXT("dest", destination),
                                       LOG_TEXT("status", "works_again"), LOG_END};

    log_event(LOG_LEVEL_INFO, NULL, fields, "dest=%s: works again", destination);
}

static void log_suspended(const char *destination, unsigned seconds, const char *reason)
{
    char number[16];

    snprintf(number, sizeof number, "%u", seconds);
    const struct log_field fields[] = {
        LOG_TEXT("dest", destination),
        LOG_TEXT("status", "suspended"),
        LOG_NUMBER("seconds", number),
        LOG_TEXT("reason", reason),
        LOG_END,
    };
    log_event(LOG_LEVEL_WARNING, NULL, fields, "dest=%s: suspended for %u s: %s", destination,
              seconds, reason);
}

void destination_update_health(struct destination_worker *w, const char *id,
                               const struct outcome_report *report)
{
    struct destination *dest = w->dest;
    const char *reason = report->fault.reason;
    bool is_fault = report->is_host_fault || report->is_connection_fault;
    bool works_again = false;
    unsigned suspended_s = 0;

    pthread_mutex_lock(&dest->lock);
    if (!is_fault) {
        works_again = dest->health != DESTINATION_HEALTHY;
        dest->connection_faults = 0;
        dest->last_success_ms = clock_now_ms();
        suspects_remove(&dest->suspects, id);
        if (works_again)
            destination_set_healthy(dest);
        flow_succeeded(&dest->flow, dest->busy_count);
    } else if (!dest->is_stopping && dest->health != DESTINATION_SUSPENDED &&
               is_news(dest, id, report)) {
        /* In all other cases the fault says nothing about the destination: destination_join() cut
         * the connection, the attempt began before the destination was suspended, or the copy is a
         * suspect. */
        flow_failed(&dest->flow);
        if (is_down(w, report))
            suspended_s = suspend(w, reason);
    }
    counters_connection_limit(dest->name, dest->flow.window);
    pthread_mutex_unlock(&dest->lock);
    if (works_again)
        log_works_again(dest->name);
    if (suspended_s > 0)
        log_suspended(dest->name, suspended_s, reason);
}

bool destination_is_suspended(struct destination *dest)
{
    pthread_mutex_lock(&dest->lock);
    bool suspended = dest->health == DESTINATION_SUSPENDED && !dest->is_stopping;
    pthread_mutex_unlock(&dest->lock);
    return suspended;
}

void destination_suspension(struct destination *dest, struct destination_suspension *out)
{
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&dest->lock);
    if (dest->health != DESTINATION_HEALTHY) {
        int64_t left_ms = dest->suspended_until_ms - clock_now_ms();
        out->since = dest->suspended_since;
        out->until = time(NULL) + (left_ms > 0 ? (time_t)((left_ms + 999) / 1000) : 0);
        mem_copy_string(out->reason, sizeof out->reason, dest->suspension_reason);
    }
    pthread_mutex_unlock(&dest->lock);
    log_sanitize(out->reason);
}
