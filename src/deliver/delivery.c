/* SPDX-License-Identifier: ISC */
#include "deliver/delivery.h"

#include "metrics/counters.h"
#include "deliver/maillog.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define SECONDS_SIZE 48 /* bytes of a number of seconds as text */
#define LATE_MS 60000   /* age of the copy at which a first attempt is late */

unsigned delivery_retry_delay_s(const struct config_destination *d, unsigned attempts,
                                uint32_t random)
{
    uint64_t delay_s = d->retry_min_s;

    for (unsigned i = 1; i < attempts && delay_s < d->retry_max_s; i++)
        delay_s *= 2;
    if (delay_s > d->retry_max_s)
        delay_s = d->retry_max_s;
    uint64_t low_s = delay_s * 4 / 5, high_s = delay_s * 6 / 5;
    if (high_s > d->retry_max_s)
        high_s = d->retry_max_s;
    delay_s = low_s + (high_s - low_s) * random / UINT32_MAX;
    return delay_s < 1 ? 1 : (unsigned)delay_s;
}

bool delivery_is_too_old(const struct queue_copy *c, const struct config_destination *d, time_t now)
{
    return now - c->message.arrival.tv_sec > (time_t)d->max_age_s;
}

/*
 * Seconds as Postfix logs them (format_tv(3): two significant digits, at most two decimals, no
 * trailing zeros): 0, 0.01, 0.4, 1.2, 12, 345.
 */
static const char *format_seconds(int64_t ms, char out[SECONDS_SIZE])
{
    int decimals = 0;
    int64_t unit_ms = 1000;

    if (ms < 0)
        ms = 0;
    if (ms < 995) {
        decimals = 2;
        unit_ms = 10;
    } else if (ms < 9950) {
        decimals = 1;
        unit_ms = 100;
    }
    int64_t units = (ms + unit_ms / 2) / unit_ms;
    int64_t per_second = 1000 / unit_ms;
    while (decimals > 0 && units % 10 == 0) {
        units /= 10;
        per_second /= 10;
        decimals--;
    }
    if (decimals == 0)
        snprintf(out, SECONDS_SIZE, "%lld", (long long)units);
    else
        snprintf(out, SECONDS_SIZE, "%lld.%0*lld", (long long)(units / per_second), decimals,
                 (long long)(units % per_second));
    return out;
}

static int64_t age_ms(const struct queue_copy *c, const struct timespec *now)
{
    const struct timespec *arrival = &c->message.arrival;

    return ((int64_t)now->tv_sec - (int64_t)arrival->tv_sec) * 1000 +
           (now->tv_nsec - arrival->tv_nsec) / 1000000;
}

struct delay_texts {
    char delay[SECONDS_SIZE], delays[5 * SECONDS_SIZE];
};

/* Format the delay, and its parts "a/b/c/d": the time before the copy was taken from the queue, the
 * time in the worker, connection set-up, and transmission. */
static void format_delays(const struct queue_copy *c, const struct outcome_report *report,
                          const struct timespec *now, struct delay_texts *out)
{
    int64_t total_ms = age_ms(c, now);
    int64_t queued_ms = total_ms - report->wait_ms - report->setup_ms - report->transmit_ms;
    char t[4][SECONDS_SIZE];

    (void)format_seconds(total_ms, out->delay);
    snprintf(out->delays, sizeof out->delays, "%s/%s/%s/%s", format_seconds(queued_ms, t[0]),
             format_seconds(report->wait_ms, t[1]), format_seconds(report->setup_ms, t[2]),
             format_seconds(report->transmit_ms, t[3]));
}

/* Set the state and the reason of one recipient. */
static void apply(struct queue_recipient *r, const struct outcome *o, bool is_too_old)
{
    snprintf(r->reason, sizeof r->reason, "%s", o->reason);
    switch (o->result) {
    case OUTCOME_OK:
        r->state = QUEUE_SENT;
        return;
    case OUTCOME_REFUSED:
        r->state = QUEUE_DEAD;
        return;
    case OUTCOME_RETRY:
        break;
    }
    if (!is_too_old)
        return;
    r->state = QUEUE_DEAD;
    snprintf(r->reason, sizeof r->reason, "too old; last: %.*s",
             (int)(sizeof r->reason - sizeof "too old; last: "), o->reason);
}

static enum counters_outcome counted_as(enum queue_recipient_state state)
{
    switch (state) {
    case QUEUE_SENT:
        return COUNTERS_SENT;
    case QUEUE_DEAD:
        return COUNTERS_DEAD;
    case QUEUE_PENDING:
        break;
    }
    return COUNTERS_DEFERRED;
}

void delivery_finish(struct queue *q, struct queue_copy *c, const struct config_destination *d,
                     const struct outcome_report *report, const struct timespec *now,
                     uint32_t random)
{
    bool is_too_old = delivery_is_too_old(c, d, now->tv_sec);
    bool was_accepted = false;
    bool is_pending = false;
    struct queue_delivery delivery = {.relay = report->relay, .reply = ""};
    struct delay_texts delays;

    format_delays(c, report, now, &delays);
    if (c->attempts > 0 || age_ms(c, now) > LATE_MS)
        maillog_active(c);
    for (size_t i = 0; i < c->recipient_count; i++) {
        struct queue_recipient *r = &c->recipients[i];
        if (r->state != QUEUE_PENDING)
            continue;
        apply(r, &report->outcomes[i], is_too_old);
        maillog_outcome(c, i, d,
                        &(struct maillog_attempt){.relay = report->relay,
                                                  .conn_use = report->conn_use,
                                                  .delay = delays.delay,
                                                  .delays = delays.delays,
                                                  .dsn = report->outcomes[i].dsn});
        counters_outcome(c->destination, counted_as(r->state), age_ms(c, now));
        delivery.reply = r->reason;
        was_accepted = was_accepted || r->state == QUEUE_SENT;
        is_pending = is_pending || r->state == QUEUE_PENDING;
    }
    if (!is_pending)
        q->ops->done(q, c, &delivery);
    else if (report->is_host_fault && !was_accepted) /* the destination waits, not the copy */
        q->ops->release(q, c);
    else
        q->ops->later(q, c,
                      now->tv_sec + (time_t)delivery_retry_delay_s(d, c->attempts + 1, random));
}
