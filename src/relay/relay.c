/* SPDX-License-Identifier: ISC */
#include "relay/relay.h"
#include "config/config_queue.h"
#include "config/config_restart.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "task/task.h"
#include "net/tls.h"
#include "relay/control.h"
#include "metrics/counters.h"
#include "deliver/destination.h"
#include "relay/relay_page.h"
#include "receive/server.h"
#include "queue/queue_open.h"
#include "queue/queue_reader.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_MAX_LEAST_S 3600
#define REMOVE_GRACE_MS 5000 /* for copies in delivery to a destination that is removed */

struct relay {
    struct runtime_slot slot;
    struct runtime *first; /* the runtime at the start, which has the options that need a restart */
    struct queue *queue;
    struct task_pool *tasks;
    struct server *server;
    struct control *control;
    struct relay_page *page;

    pthread_mutex_t lock; /* guards the list, which other threads read */
    struct destination **destinations;
    size_t destination_count;
};

/* Check that there is a destination with this name, or that `name` is NULL. -1 with `err`. */
static int check_known(struct relay *r, const char *name, struct err *err)
{
    bool is_known = name == NULL;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->destination_count; i++)
        is_known = is_known || strcmp(destination_name(r->destinations[i]), name) == 0;
    pthread_mutex_unlock(&r->lock);
    if (is_known)
        return 0;
    err_set(err, "destination %s is not configured", name);
    return -1;
}

/* End the suspension by faults of one destination, or of all (NULL). */
static void try_now(struct relay *r, const char *name)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->destination_count; i++) {
        if (name == NULL || strcmp(destination_name(r->destinations[i]), name) == 0)
            destination_resume(r->destinations[i]);
    }
    pthread_mutex_unlock(&r->lock);
}

static void health(void *ctx, const char *name, struct destination_suspension *out)
{
    struct relay *r = ctx;

    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->destination_count; i++)
        if (strcmp(destination_name(r->destinations[i]), name) == 0)
            destination_suspension(r->destinations[i], out);
    pthread_mutex_unlock(&r->lock);
}

/* relay_page_source.destinations */
static struct relay_api_destination *destinations(void *ctx, size_t *count_out)
{
    struct relay *r = ctx;

    pthread_mutex_lock(&r->lock);
    *count_out = r->destination_count;
    struct relay_api_destination *items = mem_zalloc(r->destination_count * sizeof *items);
    for (size_t i = 0; i < r->destination_count; i++) {
        mem_copy_string(items[i].name, sizeof items[i].name, destination_name(r->destinations[i]));
        destination_suspension(r->destinations[i], &items[i].suspension);
    }
    pthread_mutex_unlock(&r->lock);
    return items;
}

/* queue_ops.change for the control threads. The selection may name a destination that is no longer
 * configured, except for a retry. The new destination of a requeue must be configured. */
static int change(void *ctx, const struct queue_change *what, struct queue_changed *out,
                  struct err *err)
{
    struct relay *r = ctx;
    const char *destination = what->to != NULL ? what->to : what->selection.destination;
    bool is_retry = what->action == QUEUE_RETRY;

    if (check_known(r, is_retry ? destination : what->to, err) < 0)
        return -1;
    int rc = r->queue->ops->change(r->queue, what, out, err);
    if (rc == 0 && (is_retry || what->action == QUEUE_REQUEUE || what->action == QUEUE_RELEASE))
        try_now(r, destination);
    return rc;
}

static int suspend(void *ctx, const struct queue_suspension *s, struct err *err)
{
    struct relay *r = ctx;

    if (check_known(r, s->destination, err) < 0)
        return -1;
    return r->queue->ops->suspend(r->queue, s, err);
}

/* A destination that is no longer configured may still be suspended, so the name is not checked. */
static int resume(void *ctx, const char *destination, struct err *err)
{
    struct relay *r = ctx;
    int rc = r->queue->ops->resume(r->queue, destination, err);

    if (rc >= 0)
        try_now(r, destination);
    return rc;
}

/* Return a runtime without the tables, which are large, for callers that keep it for long. The
 * caller gets one reference. */
static struct runtime *without_tables(const struct runtime *r)
{
    return runtime_with_snapshot(r, snapshot_configuration(r->snapshot));
}

/* Start a destination and add it to the list. -1 with `err`: it cannot be started. */
static int add_destination(struct relay *r, struct runtime *runtime,
                           const struct config_destination *d, struct err *err)
{
    struct destination *dest = destination_start(r->queue, r->tasks, runtime, d, err);

    if (dest == NULL)
        return -1;
    pthread_mutex_lock(&r->lock);
    r->destinations =
        mem_grow(r->destinations, r->destination_count + 1, sizeof(struct destination *));
    r->destinations[r->destination_count++] = dest;
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static struct destination *take_destination(struct relay *r, size_t i)
{
    pthread_mutex_lock(&r->lock);
    struct destination *dest = r->destinations[i];
    r->destinations[i] = r->destinations[--r->destination_count];
    pthread_mutex_unlock(&r->lock);
    return dest;
}

/* Only the calling thread changes the list, so it may read it without the lock. */
static struct destination *find_destination(const struct relay *r, const char *name)
{
    for (size_t i = 0; i < r->destination_count; i++) {
        if (strcmp(destination_name(r->destinations[i]), name) == 0)
            return r->destinations[i];
    }
    return NULL;
}

static void stop_destinations(struct relay *r, unsigned grace_ms)
{
    int64_t begin_ms = clock_now_ms();

    for (size_t i = 0; i < r->destination_count; i++)
        destination_stop(r->destinations[i]);
    /* All destinations share one grace time. */
    while (r->destination_count > 0) {
        struct destination *dest = take_destination(r, 0);
        int64_t spent_ms = clock_now_ms() - begin_ms;
        destination_join(dest, spent_ms >= grace_ms ? 0 : grace_ms - (unsigned)spent_ms);
    }
    free(r->destinations);
}

void relay_stop(struct relay *r, unsigned grace_ms)
{
    relay_page_set_serving(r->page, false);
    if (r->control != NULL)
        control_stop(r->control);
    if (r->server != NULL)
        server_stop(r->server, grace_ms);
    stop_destinations(r, grace_ms);
    relay_page_stop(r->page);
    task_pool_free(r->tasks);
    if (r->queue != NULL)
        r->queue->ops->close(r->queue);
    runtime_unref(r->first);
    runtime_slot_clear(&r->slot);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* queue_ops.has_room for the control threads. */
static enum queue_put_status has_room(void *ctx, struct err *err)
{
    struct relay *r = ctx;

    return r->queue->ops->has_room(r->queue, 0, err);
}

/* Return queue_options.delay_max_s: twice the largest retry_max, and at least an hour. So it is
 * longer than the delay of any copy (delivery_retry_delay_s()). It is not much longer, because a
 * copy that was deferred before the clock was set back may wait for this time. */
static int64_t delay_max_s(const struct config *config)
{
    int64_t max_s = DELAY_MAX_LEAST_S;

    for (size_t i = 0; i < config->destination_count; i++) {
        int64_t retry_max_s = config->destinations[i].retry_max_s;
        if (2 * retry_max_s > max_s)
            max_s = 2 * retry_max_s;
    }
    return max_s;
}

/* Return the exit code after the queue could not be opened. If a setting of PostgreSQL is the
 * reason, another attempt does not help (EXIT_CONFIG). If a standby is away, it may come back
 * (EXIT_UNAVAILABLE). */
static int refusal_code(const struct config_relay *relay)
{
    struct queue_nodes nodes = {0};
    int code = EXIT_UNAVAILABLE;
    struct err ignored;

    if (!config_queue_is_postgresql(relay->queue) || !relay->queue_replicated)
        return code;
    struct queue_reader *reader = queue_reader_open(relay->spool_directory, relay->queue, &ignored);
    if (reader != NULL && queue_reader_nodes(reader, &nodes, &ignored) == 0 &&
        nodes.replication.is_misconfigured)
        code = EXIT_CONFIG;
    queue_nodes_clear(&nodes);
    queue_reader_close(reader);
    return code;
}

struct relay *relay_start(struct runtime *first, int *exit_code_out, struct err *err)
{
    const struct config *config = runtime_config(first);
    struct relay *r = mem_zalloc(sizeof *r);
    struct control_actions actions = {.has_room = has_room,
                                      .change = change,
                                      .suspend = suspend,
                                      .resume = resume,
                                      .health = health,
                                      .ctx = r};
    struct queue_options options = {
        .spool_directory = config->relay.spool_directory,
        .queue = config->relay.queue,
        .node = config->relay.node,
        .must_replicate = config->relay.queue_replicated,
        .min_free_space_bytes = config->relay.min_free_space_bytes,
        .history_s = config->relay.history_s,
        .delay_max_s = delay_max_s(config),
    };

    const struct relay_page_source source = {.destinations = destinations, .ctx = r};

    runtime_slot_init(&r->slot, first);
    r->first = without_tables(first);
    pthread_mutex_init(&r->lock, NULL);
    *exit_code_out = EXIT_UNAVAILABLE;
    r->queue = queue_open(&options, err);
    if (r->queue == NULL)
        *exit_code_out = refusal_code(&config->relay);
    if (r->queue == NULL || relay_page_start(config, r->queue, &source, &r->page, err) != 0)
        goto fail;
    r->tasks = task_pool_new(0, tls_thread_end, err);
    if (r->tasks == NULL)
        goto fail;
    for (size_t i = 0; i < config->destination_count; i++)
        if (add_destination(r, r->first, &config->destinations[i], err) != 0)
            goto fail;
    r->control = control_start(config->relay.spool_directory, &actions, err);
    if (r->control == NULL)
        goto fail;
    r->server = server_start(&r->slot, r->queue, r->tasks, err);
    if (r->server == NULL)
        goto fail;
    relay_page_set_serving(r->page, true);
    return r;
fail:
    relay_stop(r, 0);
    return NULL;
}

/* Append the options that need a restart (config_restart_relay()), and log them. */
static void find_restart(const struct config *started, const struct config *next,
                         struct buf *restart_out)
{
    config_restart_relay(started, next, restart_out);
    if (restart_out->len > 0)
        log_warning("%s has changed: that needs a restart", buf_str(restart_out));
}

/* Stop a destination and remove it from the list. */
static void remove_destination(struct relay *r, size_t i)
{
    struct destination *dest = take_destination(r, i);
    char *name = mem_strdup(destination_name(dest));

    destination_stop(dest);
    destination_join(dest, REMOVE_GRACE_MS);
    r->queue->ops->leave(r->queue, name);
    free(name);
}

/* Stop and remove the destinations at the end of the list, so that the first `count` are left. */
static void remove_added(struct relay *r, size_t count)
{
    for (size_t i = count; i < r->destination_count; i++)
        destination_stop(r->destinations[i]);
    while (r->destination_count > count)
        remove_destination(r, r->destination_count - 1);
}

/* Start the destinations that are new in this configuration. If one cannot be started, none is: -1
 * with `err`. */
static int add_new(struct relay *r, struct runtime *bare, struct err *err)
{
    const struct config *config = runtime_config(bare);
    size_t before = r->destination_count;

    for (size_t i = 0; i < config->destination_count; i++) {
        const struct config_destination *d = &config->destinations[i];
        if (find_destination(r, d->name) == NULL && add_destination(r, bare, d, err) != 0) {
            remove_added(r, before);
            return -1;
        }
    }
    return 0;
}

int relay_reload(struct relay *r, struct runtime *next, struct buf *restart_out, struct err *err)
{
    struct runtime *bare = without_tables(next);
    const struct config *config = runtime_config(bare);
    size_t before = r->destination_count;

    counters_loaded();
    for (size_t i = 0; i < config->destination_count; i++)
        counters_declare(config->destinations[i].name);
    if (add_new(r, bare, err) != 0) {
        runtime_unref(bare);
        runtime_unref(next);
        return -1;
    }
    find_restart(runtime_config(r->first), config, restart_out);
    runtime_slot_swap(&r->slot, runtime_ref(next));
    queue_reconfigure(r->queue, delay_max_s(config), config->relay.history_s);
    server_reloaded(r->server);
    relay_page_reload(r->page, config);
    /* Backwards, because take_destination() fills the gap with the last destination of the list,
     * which is new or was seen. */
    for (size_t i = before; i-- > 0;) {
        const char *name = destination_name(r->destinations[i]);
        const struct config_destination *d = config_find_destination(config, name);
        if (d != NULL) {
            destination_reconfigure(r->destinations[i], bare, d);
            continue;
        }
        log_warning("dest=%s: no longer configured: its copies stay in the spool", name);
        remove_destination(r, i);
    }
    runtime_unref(bare);
    runtime_unref(next);
    return 0;
}

void relay_refresh(struct relay *r, struct watch *watch, int64_t now_ms)
{
    struct runtime *current = runtime_slot_get(&r->slot);
    struct snapshot *next = watch_poll(watch, current->snapshot, now_ms);
    unsigned ok, failed;

    watch_tried(watch, &ok, &failed);
    counters_tables_reloaded(ok, failed);
    if (next != NULL)
        runtime_slot_swap(&r->slot, runtime_with_snapshot(current, next));
    runtime_unref(current);
}
