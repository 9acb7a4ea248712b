/* SPDX-License-Identifier: ISC */
#include "relay/relay_api_private.h"

#include "base/clock.h"
#include "base/json_value.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config_queue.h"
#include "metrics/counters.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX_MS 5000       /* for one document */
#define ALLOWANCE_MAX_MS 10000 /* for all documents at once */
#define ALLOWANCE_SHARE 33     /* the 33rd part of the time is added to the allowance */
#define STATUS_AGE_MAX_MS 1000 /* or as long as ALLOWANCE_SHARE wants */
#define SAMPLE_MS 1000

struct relay_api *relay_api_new(const struct relay_api_options *options)
{
    struct relay_api *a = mem_zalloc(sizeof *a);
    struct buf shown = {0};

    a->o = *options;
    a->o.spool_directory = mem_strdup(options->spool_directory);
    a->o.queue = mem_strdup(options->queue);
    a->o.hostname = mem_strdup(options->hostname);
    config_queue_show(options->queue, &shown);
    a->shown_queue = buf_take(&shown);
    a->rates = relay_rates_new();
    a->allowance_ms = ALLOWANCE_MAX_MS;
    a->allowance_at_ms = clock_now_ms();
    atomic_init(&a->is_cancelled, false);
    return a;
}

void relay_api_free(struct relay_api *a)
{
    relay_rates_free(a->rates);
    buf_clear(&a->status);
    free((char *)(uintptr_t)a->o.spool_directory);
    free((char *)(uintptr_t)a->o.queue);
    free((char *)(uintptr_t)a->o.hostname);
    free(a->shown_queue);
    free(a);
}

void relay_api_cancel(struct relay_api *a)
{
    atomic_store(&a->is_cancelled, true);
}

static unsigned fail(struct buf *out, unsigned status, int64_t retry_after_s, const char *text)
{
    json_t *o = json_object();

    json_value_set(o, "error", json_value_text(text));
    if (retry_after_s > 0)
        json_value_set(o, "retry_after", json_integer(retry_after_s));
    buf_reset(out);
    json_value_dump(o, out);
    return status;
}

bool relay_api_goes_on(const struct relay_api *a)
{
    return !atomic_load(&a->is_cancelled) && clock_now_ms() < a->deadline_ms;
}

json_t *relay_api_time(time_t t)
{
    json_t *value = t == 0 ? json_null() : json_integer(t);

    if (value == NULL)
        abort();
    return value;
}

unsigned relay_api_fail(struct buf *out, unsigned status, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    if (text.data != NULL)
        log_sanitize(text.data);
    (void)fail(out, status, 0, buf_str(&text));
    buf_clear(&text);
    return status;
}

/* Called while the database works. The graphs get their samples meanwhile. */
static bool goes_on(void *ctx)
{
    relay_api_tick(ctx);
    return relay_api_goes_on(ctx);
}

struct queue_reader *relay_api_reader(struct relay_api *a, struct err *err)
{
    struct queue_reader *reader =
        queue_reader_open_for("splitrelay-page", a->o.spool_directory, a->o.queue, err);

    if (reader != NULL)
        queue_reader_watch(reader, goes_on, a);
    return reader;
}

/* Add to the allowance what the time since the last call has earned. */
static void earn(struct relay_api *a, int64_t now_ms)
{
    int64_t earned_ms = (now_ms - a->allowance_at_ms) / ALLOWANCE_SHARE;

    a->allowance_at_ms += earned_ms * ALLOWANCE_SHARE;
    a->allowance_ms += earned_ms;
    if (a->allowance_ms > ALLOWANCE_MAX_MS)
        a->allowance_ms = ALLOWANCE_MAX_MS;
}

/* Make a document that reads the queue, and take its time from the allowance. */
static unsigned read_document(struct relay_api *a, const char *path,
                              const struct metrics_http_parameters *parameters, struct buf *out)
{
    int64_t began_ms = clock_now_ms();
    unsigned status = API_NOT_FOUND;

    earn(a, began_ms);
    if (a->allowance_ms <= 0) {
        int64_t wait_s = -a->allowance_ms * ALLOWANCE_SHARE / 1000 + 1;
        char text[100];
        snprintf(text, sizeof text, "the page has read the queue for long; it goes on in %lld s",
                 (long long)wait_s);
        return fail(out, API_UNAVAILABLE, wait_s, text);
    }
    a->deadline_ms = began_ms + READ_MAX_MS;
    if (strcmp(path, "queue") == 0)
        status = relay_api_queue(a, parameters, out);
    else if (strcmp(path, "history") == 0)
        status = relay_api_history(a, parameters, out);
    else if (strncmp(path, "copy/", 5) == 0 && parameters->count == 0)
        status = relay_api_copy(a, path + 5, out);
    else
        (void)relay_api_fail(out, status, "status, queue, history and copy/ID are here");
    a->allowance_ms -= clock_now_ms() - began_ms;
    return status;
}

/* Make the status, unless the last one is young: its age is at least ALLOWANCE_SHARE times what it
 * took to make it. Its time is taken from the allowance, but it is not refused for want of it: so
 * searches do not keep it out, and all reading together keeps to its share. */
static void renew_status(struct relay_api *a)
{
    int64_t now_ms = clock_now_ms(), age_min_ms = a->status_took_ms * ALLOWANCE_SHARE;

    earn(a, now_ms);
    if (age_min_ms < STATUS_AGE_MAX_MS)
        age_min_ms = STATUS_AGE_MAX_MS;
    if (a->status_ms != 0 && now_ms - a->status_ms < age_min_ms)
        return;
    buf_reset(&a->status);
    a->deadline_ms = now_ms + READ_MAX_MS;
    (void)relay_api_status(a, &a->status);
    a->status_ms = clock_now_ms();
    a->status_took_ms = a->status_ms - now_ms;
    a->allowance_ms -= a->status_took_ms;
}

unsigned relay_api_document(struct relay_api *a, const char *path,
                            const struct metrics_http_parameters *parameters, struct buf *out)
{
    if (atomic_load(&a->is_cancelled))
        return relay_api_fail(out, API_UNAVAILABLE, "splitrelay is stopping");
    if (strcmp(path, "status") != 0)
        return read_document(a, path, parameters, out);
    renew_status(a);
    buf_add(out, a->status.data, a->status.len);
    return API_OK;
}

void relay_api_tick(struct relay_api *a)
{
    int64_t now_ms = clock_now_ms();
    size_t count;

    if (now_ms - a->sampled_ms < SAMPLE_MS)
        return;
    a->sampled_ms = now_ms;
    struct relay_api_destination *items = a->o.destinations(a->o.destinations_ctx, &count);
    for (size_t i = 0; i < count; i++) {
        struct counters_totals t;
        counters_get(items[i].name, &t);
        relay_rates_sample(a->rates, items[i].name, t.copies, t.sent, now_ms);
    }
    free(items);
}
