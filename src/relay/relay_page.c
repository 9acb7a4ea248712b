/* SPDX-License-Identifier: ISC */
#include "relay/relay_page.h"
#include "base/log.h"
#include "base/mem.h"
#include "metrics/metrics.h"
#include "metrics/metrics_http.h"
#include "metrics/counters.h"
#include "queue/queue_open.h"
#include "relay/relay_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define NO_PAGE                                                                                    \
    "/metrics, /healthz and /readyz are here. The page is off: splitmilter.conf has page = \"no\"" \
    " in section relay"

static struct metrics_family free_bytes = {
    .name = "splitrelay_spool_free_bytes",
    .help = "Free space in the file system of the spool.",
    .type = METRICS_GAUGE,
};
static struct metrics_family min_free_bytes = {
    .name = "splitrelay_spool_min_free_bytes",
    .help = "Option min_free_space: with less free space, no copies are taken.",
    .type = METRICS_GAUGE,
};
static struct metrics_family free_files = {
    .name = "splitrelay_spool_free_files",
    .help = "Number of files for which the file system of the spool has room.",
    .type = METRICS_GAUGE,
};

static const char *const states[] = {"queued", "deferred", "held", "dead", NULL};

#define QUEUE_FAMILY(variable, family_name, family_help)                                           \
    static struct metrics_family variable = {.name = (family_name),                                \
                                             .help = (family_help),                                \
                                             .type = METRICS_GAUGE,                                \
                                             .label = "destination",                               \
                                             .kind_label = "state",                                \
                                             .kinds = states}

QUEUE_FAMILY(queue_copies, "splitrelay_queue_copies", "Copies in the spool, by state.");
QUEUE_FAMILY(queue_bytes, "splitrelay_queue_bytes",
             "Size of the copies in the spool; a message counts for each of its destinations.");
QUEUE_FAMILY(queue_age, "splitrelay_queue_oldest_age_seconds",
             "Age of the oldest copy in the spool, 0 if there is none.");
static struct metrics_family queue_suspended = {
    .name = "splitrelay_queue_suspended",
    .help = "1 while the destination is suspended by splitctl suspend.",
    .type = METRICS_GAUGE,
    .label = "destination",
};
static struct metrics_family database_bytes = {
    .name = "splitrelay_queue_database_bytes",
    .help = "Size of the database.",
    .type = METRICS_GAUGE,
};
static struct metrics_family database_free_bytes = {
    .name = "splitrelay_queue_database_free_bytes",
    .help = "Part of queue.db that is free for new copies.",
    .type = METRICS_GAUGE,
};
static struct metrics_family log_bytes = {
    .name = "splitrelay_queue_log_bytes",
    .help = "Size of the write-ahead log of queue.db.",
    .type = METRICS_GAUGE,
};
static struct metrics_family unwritten = {
    .name = "splitrelay_queue_unwritten_outcomes",
    .help = "Outcomes of deliveries that wait until the database can be written.",
    .type = METRICS_GAUGE,
};
/* The bounds of queue_figures.commit_slower (queue_open.h), in us. */
static const int64_t commit_us[] = {1000, 5000, 10000, 50000, 100000, 500000, 1000000, 5000000, 0};
static struct metrics_family commit_seconds = {
    .name = "splitrelay_queue_commit_seconds",
    .help = "Time that each transaction of the database took to commit.",
    .type = METRICS_HISTOGRAM,
    .bounds_us = commit_us,
};

static struct metrics_family replicated = {
    .name = "splitrelay_queue_replicated",
    .help = "1 while a synchronous standby has all that PostgreSQL commits.",
    .type = METRICS_GAUGE,
};
static struct metrics_family standby_lag_seconds = {
    .name = "splitrelay_queue_standby_lag_seconds",
    .help = "How far the synchronous standby that is least behind is behind the primary.",
    .type = METRICS_GAUGE,
    .is_micro = true,
};
static struct metrics_family standby_lag_bytes = {
    .name = "splitrelay_queue_standby_lag_bytes",
    .help = "Write-ahead log of PostgreSQL that this standby does not have yet.",
    .type = METRICS_GAUGE,
};
static struct metrics_family nodes = {
    .name = "splitrelay_queue_nodes",
    .help = "Nodes at the database that are alive.",
    .type = METRICS_GAUGE,
};
static struct metrics_family leases_lost = {
    .name = "splitrelay_queue_leases_lost_total",
    .help = "Copies that another node could take although this one had them.",
    .type = METRICS_COUNTER,
};

static const char *const denied_words[] = {"password", "limit", NULL};
static struct metrics_family denied = {
    .name = "splitrelay_page_denied_total",
    .help = "Requests for the page with a wrong password, or refused after too many of these.",
    .type = METRICS_COUNTER,
    .kind_label = "kind",
    .kinds = denied_words,
};

static struct metrics_family *const password_families[] = {&denied, NULL};
static struct metrics_family *const shared_families[] = {
    &replicated, &standby_lag_seconds, &standby_lag_bytes, &nodes, &leases_lost, NULL};
static struct metrics_family *const families[] = {
    &queue_copies, &queue_bytes,    &queue_age,      &queue_suspended,
    &free_bytes,   &min_free_bytes, &free_files,     &database_bytes,
    &log_bytes,    &unwritten,      &commit_seconds, &database_free_bytes,
    NULL};

struct relay_page {
    struct queue *queue;
    char *spool;
    uint64_t min_free_bytes;
    atomic_bool is_serving;
    struct relay_api *api;      /* NULL: page = "no" */
    struct http_access *access; /* NULL: no page_password_file */
    char *password_file;        /* where `access` comes from */
    struct metrics_http_site site;
    struct metrics_http *http;
};

static void look_at_space(const struct relay_page *p)
{
    struct statvfs fs;

    metrics_set(&min_free_bytes, "", 0, (int64_t)p->min_free_bytes);
    if (statvfs(p->spool, &fs) != 0)
        return;
    metrics_set(&free_bytes, "", 0,
                (int64_t)((uint64_t)fs.f_bavail * (fs.f_frsize == 0 ? fs.f_bsize : fs.f_frsize)));
    metrics_set(&free_files, "", 0, (int64_t)fs.f_favail);
}

static void show_amount(const char *destination, unsigned state, const struct queue_amount *a)
{
    int64_t age_s = a->copies == 0 ? 0 : (int64_t)(time(NULL) - a->oldest);

    metrics_set(&queue_copies, destination, state, (int64_t)a->copies);
    metrics_set(&queue_bytes, destination, state, (int64_t)a->bytes);
    metrics_set(&queue_age, destination, state, age_s > 0 ? age_s : 0);
}

static void show_depth(const struct queue_depth *d)
{
    show_amount(d->destination, 0, &d->due);
    show_amount(d->destination, 1, &d->deferred);
    show_amount(d->destination, 2, &d->held);
    show_amount(d->destination, 3, &d->dead);
}

/* Set the gauges of the queues. All former values are hidden first: queues that cannot be counted
 * are not shown, and neither are destinations that are gone. */
static void look_at_queues(struct queue *q)
{
    static struct metrics_family *const gauges[] = {&queue_copies, &queue_bytes, &queue_age};
    struct queue_depths depths;
    struct err err;

    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        metrics_hide(gauges[i]);
    if (q->ops->depths(q, &depths, &err) != 0) {
        log_debug("metrics: %s", err.text);
        return;
    }
    for (size_t i = 0; i < depths.count; i++)
        show_depth(&depths.items[i]);
    free(depths.items);
}

static void look_at_suspensions(struct queue *q)
{
    struct queue_suspension *items;
    size_t count;
    struct err err;

    metrics_hide(&queue_suspended);
    if (q->ops->suspensions(q, &items, &count, &err) != 0) {
        log_debug("metrics: %s", err.text);
        return;
    }
    for (size_t i = 0; i < count; i++)
        metrics_set(&queue_suspended, items[i].destination, 0, 1);
    free(items);
}

/* Set the metrics of the database. Returns true if the database is PostgreSQL. */
static bool look_at_database(struct queue *q)
{
    enum { SLOWER = sizeof commit_us / sizeof commit_us[0] - 1 };
    struct queue_figures figures;
    uint64_t counts[SLOWER + 1], slower = 0;

    queue_get_figures(q, &figures);
    metrics_set(&database_bytes, "", 0, (int64_t)figures.database_bytes);
    metrics_set(&database_free_bytes, "", 0, (int64_t)figures.free_bytes);
    metrics_set(&log_bytes, "", 0, (int64_t)figures.log_bytes);
    metrics_set(&unwritten, "", 0, (int64_t)figures.unwritten);
    for (unsigned i = SLOWER; i-- > 0; slower = figures.commit_slower[i])
        counts[i + 1] = figures.commit_slower[i] - slower;
    counts[0] = figures.commits - slower;
    metrics_set_histogram(&commit_seconds, "", counts, (int64_t)(figures.commit_seconds * 1e6));
    metrics_set(&replicated, "", 0, figures.is_replicated);
    metrics_set(&standby_lag_seconds, "", 0, (int64_t)(figures.standby_lag_s * 1e6));
    metrics_set(&standby_lag_bytes, "", 0, (int64_t)figures.standby_lag_bytes);
    metrics_set(&nodes, "", 0, (int64_t)figures.nodes);
    metrics_set(&leases_lost, "", 0, (int64_t)figures.leases_lost);
    return figures.is_shared;
}

static void page(void *ctx, struct buf *out)
{
    const struct relay_page *p = ctx;

    look_at_queues(p->queue);
    look_at_suspensions(p->queue);
    bool is_shared = look_at_database(p->queue);
    look_at_space(p);
    counters_render(out);
    metrics_render(families, out);
    if (is_shared)
        metrics_render(shared_families, out);
    if (p->password_file != NULL && p->password_file[0] != '\0')
        metrics_render(password_families, out);
    metrics_render_process(out);
}

/* Check that files can be made in the spool, by making one without a name. On a file system that
 * has no such files, the permissions and the state of the mount decide. -1 with the reason in
 * `why`. */
static int check_writable(const struct relay_page *p, struct err *why)
{
    int fd = open(p->spool, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

    if (fd != -1) {
        close(fd);
        return 0;
    }
    if ((errno == EOPNOTSUPP || errno == EISDIR) && access(p->spool, W_OK | X_OK) == 0)
        return 0;
    err_set_errno(why, "the spool cannot be written: %s", p->spool);
    return -1;
}

static bool is_ready(void *ctx, struct err *why)
{
    const struct relay_page *p = ctx;

    if (!atomic_load(&p->is_serving)) {
        err_set(why, "splitrelay does not listen: it is starting or stopping");
        return false;
    }
    if (p->queue->ops->has_room(p->queue, 0, why) != QUEUE_PUT_OK) {
        err_wrap(why, "no copies are taken");
        return false;
    }
    return check_writable(p, why) == 0;
}

static unsigned document(void *ctx, const char *path,
                         const struct metrics_http_parameters *parameters, struct buf *out)
{
    const struct relay_page *p = ctx;

    return relay_api_document(p->api, path, parameters, out);
}

static void count_denied(void *ctx, bool has_to_wait)
{
    (void)ctx;
    metrics_add(&denied, "", has_to_wait, 1);
}

static void tick(void *ctx)
{
    const struct relay_page *p = ctx;

    relay_api_tick(p->api);
}

/* Read the file of passwords; *out is NULL if the page has none. -1 with `err`. */
static int open_access(const struct config_relay *relay, struct http_access **out, struct err *err)
{
    *out = NULL;
    if (!relay->page || relay->page_password_file[0] == '\0')
        return 0;
    *out = http_access_open(relay->page_password_file, err);
    if (*out != NULL)
        return 0;
    err_wrap(err, "page_password_file");
    return -1;
}

int relay_page_check(const struct config *config, struct err *err)
{
    struct http_access *access;
    int rc = open_access(&config->relay, &access, err);

    http_access_free(access);
    return rc;
}

/* Make what the page for people needs. -1 with `err`: the file of passwords is wrong. */
static int open_site(struct relay_page *p, const struct config_relay *relay,
                     const struct relay_page_source *source, struct err *err)
{
    const struct relay_api_options options = {
        .spool_directory = relay->spool_directory,
        .queue = relay->queue,
        .hostname = relay->hostname,
        .counts = p->queue,
        .destinations = source->destinations,
        .destinations_ctx = source->ctx,
        .is_ready = is_ready,
        .is_ready_ctx = p,
    };

    if (!relay->page)
        return 0;
    if (open_access(relay, &p->access, err) != 0)
        return -1;
    p->password_file = mem_strdup(relay->page_password_file);
    p->api = relay_api_new(&options);
    p->site = (struct metrics_http_site){
        .files = relay_files,
        .document = document,
        .tick = tick,
        .access = p->access,
        .denied = count_denied,
        .ctx = p,
    };
    return 0;
}

int relay_page_start(const struct config *config, struct queue *q,
                     const struct relay_page_source *source, struct relay_page **out,
                     struct err *err)
{
    const struct config_relay *relay = &config->relay;

    *out = NULL;
    if (relay->metrics_count == 0)
        return 0;
    struct relay_page *p = mem_zalloc(sizeof *p);
    struct metrics_http_options options = {
        .listen = relay->metrics,
        .listen_count = relay->metrics_count,
        .page = page,
        .is_ready = is_ready,
        .ctx = p,
        .site = relay->page ? &p->site : NULL,
        .not_found = NO_PAGE,
    };
    p->queue = q;
    p->spool = mem_strdup(relay->spool_directory);
    p->min_free_bytes = relay->min_free_space_bytes;
    metrics_enable();
    counters_loaded();
    for (size_t i = 0; i < config->destination_count; i++)
        counters_declare(config->destinations[i].name);
    if (open_site(p, relay, source, err) == 0)
        p->http = metrics_http_start(&options, err);
    if (p->http == NULL) {
        relay_page_stop(p);
        return -1;
    }
    *out = p;
    return 0;
}

void relay_page_reload(struct relay_page *p, const struct config *config)
{
    struct http_access *next;
    struct err err;

    if (p == NULL || p->access == NULL || !config->relay.page ||
        strcmp(p->password_file, config->relay.page_password_file) != 0)
        return;
    if (open_access(&config->relay, &next, &err) != 0) {
        log_warning("%s", err.text);
        return;
    }
    if (next == NULL) /* there are passwords, so never */
        return;
    metrics_http_set_access(p->http, next);
    http_access_free(p->access);
    p->access = next;
}

void relay_page_set_serving(struct relay_page *p, bool is_serving)
{
    if (p != NULL)
        atomic_store(&p->is_serving, is_serving);
}

void relay_page_stop(struct relay_page *p)
{
    if (p == NULL)
        return;
    if (p->api != NULL)
        relay_api_cancel(p->api);
    metrics_http_stop(p->http);
    if (p->api != NULL)
        relay_api_free(p->api);
    http_access_free(p->access);
    free(p->password_file);
    free(p->spool);
    free(p);
}
