/* SPDX-License-Identifier: ISC */
/*
 * One of the nodes that share a database (PostgreSQL). A node has a row in the table node, whose
 * number is a part of its ids. The copies that it has leased are its own as long as node.until is
 * in the future: a heartbeat moves that ahead, so renewing the leases costs one row. After a clean
 * end until is NULL. Leases of a node that does not live are void: other nodes take its copies. The
 * node itself, started again under its name, takes those first that nobody else has taken
 * (queue_look.c).
 *
 * A thread submits the heartbeats, listens to the notifications of other nodes, and checks the
 * replication. The node's own clock decides when it takes its lease for lost, some seconds before
 * other nodes do, so no copy is handed out by two nodes. When a heartbeat succeeds later, the
 * copies in memory are dropped, because another node may have delivered them.
 */
#include "queue/queue_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/db_pgsql.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEASE_S 15
#define LEASE_MS ((LEASE_S - 1) * 1000) /* until has whole seconds */
#define MARGIN_MS 2000                  /* nothing is handed out at the end of the lease */
#define TICK_MS 5000
#define WAIT_MS 1000
#define RETRY_MS 500
#define JOIN_MAX 5

struct queue_node {
    struct db_queue *q;
    unsigned number;
    int64_t since;
    struct db *db; /* of the thread; NULL: to be opened */
    int wake_fds[2];
    pthread_t thread;
    bool has_thread;
    atomic_bool is_stopping;

    struct writer_request beat, leave;
    atomic_bool is_beating; /* `beat` belongs to the writer */
    int64_t beat_at_ms;
    _Atomic int64_t leased_until_ms;
    atomic_ullong leases_lost;

    pthread_mutex_t lock; /* the rest */
    struct db_replication replication;
    int64_t alive;
};

/* --- the row --- */

#define NOW "CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)"

static enum db_status write_row(const struct queue_node *n, struct db *db, struct err *err)
{
    const struct db_value values[] = {db_int(n->number), db_text(n->q->node), db_int(n->since),
                                      db_int(LEASE_S), db_text(PACKAGE_VERSION)};

    return db->ops->run(db,
                        "INSERT INTO node (number, name, since, until, version)"
                        " VALUES ($1, $2, $3, " NOW " + $4, $5) ON CONFLICT (name) DO UPDATE"
                        " SET since = excluded.since, until = excluded.until,"
                        " version = excluded.version",
                        values, 5, NULL, err);
}

static bool take_number(void *ctx, const struct db_value *columns)
{
    struct queue_node *n = ctx;

    if (columns[1].number != 0) { /* its own row */
        n->number = (unsigned)columns[0].number;
        return false;
    }
    n->number += columns[0].number == n->number; /* they come in their order */
    return true;
}

/* Find the number: that of an earlier life, or the first one that is free, or that of the node that
 * has ended first. */
static enum db_status find_number(struct queue_node *n, struct db *db, struct err *err)
{
    const struct db_value name = db_text(n->q->node);
    int64_t oldest = 0;

    n->number = 0;
    enum db_status status =
        db->ops->query(db,
                       "SELECT number, CASE WHEN name = $1 THEN 1 ELSE 0 END FROM node"
                       " ORDER BY 2 DESC, number",
                       &name, 1, take_number, n, err);
    if (status != DB_OK || n->number < QUEUE_ID_NODES_MAX)
        return status;
    status =
        db_get_number(db,
                      "SELECT number + 1 FROM node WHERE number NOT IN (SELECT number FROM alive)"
                      " ORDER BY coalesce(until, since) LIMIT 1",
                      NULL, 0, &oldest, err);
    if (status != DB_OK)
        return status;
    if (oldest == 0) {
        err_set(err, "the queue has %d nodes already", QUEUE_ID_NODES_MAX);
        return DB_CONFLICT;
    }
    const struct db_value number = db_int(oldest - 1);
    n->number = (unsigned)(oldest - 1);
    return db->ops->run(db,
                        "DELETE FROM node WHERE number = $1 AND number NOT IN"
                        " (SELECT number FROM alive)",
                        &number, 1, NULL, err);
}

struct joining {
    struct writer_request request; /* first */
    struct queue_node *node;
};

static enum db_status apply_join(struct writer_request *r, struct db *db, struct err *err)
{
    struct queue_node *n = ((struct joining *)r)->node;
    enum db_status status = find_number(n, db, err);

    return status == DB_OK ? write_row(n, db, err) : status;
}

static enum db_status apply_beat(struct writer_request *r, struct db *db, struct err *err)
{
    const struct queue_node *n =
        (const struct queue_node *)(const void *)((char *)r - offsetof(struct queue_node, beat));

    return write_row(n, db, err);
}

static enum db_status apply_leave(struct writer_request *r, struct db *db, struct err *err)
{
    const struct queue_node *n =
        (const struct queue_node *)(const void *)((char *)r - offsetof(struct queue_node, leave));
    const struct db_value name = db_text(n->q->node);

    return db->ops->run(db, "UPDATE node SET until = NULL WHERE name = $1", &name, 1, NULL, err);
}

static void finish_leave(struct writer_request *r, enum db_status status, const struct err *err)
{
    (void)r;
    (void)status;
    (void)err;
}

/* --- the lease --- */

bool queue_node_has_lease(const struct db_queue *q)
{
    return q->shared == NULL ||
           clock_now_ms() < atomic_load(&q->shared->leased_until_ms) - MARGIN_MS;
}

static void finish_beat(struct writer_request *r, enum db_status status, const struct err *err)
{
    struct queue_node *n =
        (struct queue_node *)(void *)((char *)r - offsetof(struct queue_node, beat));

    (void)err; /* the writer logs it */
    if (status == DB_OK && clock_now_ms() >= atomic_load(&n->leased_until_ms)) {
        size_t lost = queue_next_drop(n->q);
        atomic_fetch_add(&n->leases_lost, lost);
        log_warning("node %s: the lease had run out; other nodes may have taken up to %zu copies",
                    n->q->node, lost);
    }
    if (status == DB_OK)
        atomic_store(&n->leased_until_ms, n->beat_at_ms + LEASE_MS);
    atomic_store(&n->is_beating, false);
}

static void submit_beat(struct queue_node *n)
{
    if (atomic_exchange(&n->is_beating, true))
        return;
    n->beat_at_ms = clock_now_ms();
    n->beat = (struct writer_request){
        .apply = apply_beat, .finish = finish_beat, .urgency = WRITER_WRITTEN};
    writer_submit(n->q->writer, &n->beat);
}

/* --- replication --- */

static enum db_status look_at_replication(struct queue_node *n, struct err *err)
{
    struct db_replication now;
    int64_t alive = 0;
    enum db_status status = db_pgsql_replication(n->db, &now, err);

    if (status == DB_OK)
        status = db_get_number(n->db, "SELECT count(*) FROM alive", NULL, 0, &alive, err);
    if (status != DB_OK)
        return status;
    pthread_mutex_lock(&n->lock);
    bool is_new = strcmp(now.problem, n->replication.problem) != 0;
    n->replication = now;
    n->alive = alive;
    pthread_mutex_unlock(&n->lock);
    if (is_new && n->q->options.must_replicate && now.problem[0] != '\0')
        log_error("no mail is taken: %s: %s", now.server, now.problem);
    else if (is_new && n->q->options.must_replicate)
        log_info("%s: commits are replicated", now.server);
    return status;
}

int queue_node_check(const struct db_queue *q, struct err *err)
{
    struct queue_node *n = q->shared;
    int rc = -1;

    if (n == NULL)
        return 0;
    pthread_mutex_lock(&n->lock);
    const struct db_replication *r = &n->replication;
    if (r->unsafe[0] != '\0')
        err_set(err, "%s: %s", r->server, r->unsafe);
    else if (q->options.must_replicate && r->problem[0] != '\0')
        err_set(err, "%s: %s (queue_replicated = \"no\" allows that)", r->server, r->problem);
    else
        rc = 0;
    pthread_mutex_unlock(&n->lock);
    return rc;
}

void queue_node_get_figures(const struct db_queue *q, struct queue_figures *out)
{
    struct queue_node *n = q->shared;

    if (n == NULL)
        return;
    pthread_mutex_lock(&n->lock);
    out->is_shared = true;
    out->is_replicated = n->replication.problem[0] == '\0';
    out->standby_lag_s = n->replication.lag_s;
    out->standby_lag_bytes = n->replication.lag_bytes;
    out->nodes = (unsigned)n->alive;
    pthread_mutex_unlock(&n->lock);
    out->leases_lost = atomic_load(&n->leases_lost);
}

/* --- notifications --- */

static enum db_status notify(struct db *db, const char *what, const char *destination, int64_t id,
                             struct err *err)
{
    char *payload = mem_printf("%s %s %" PRId64, what, destination, id);
    const struct db_value value = db_text(payload);
    enum db_status status =
        db->ops->run(db, "SELECT pg_notify('" DB_PGSQL_CHANNEL "', $1)", &value, 1, NULL, err);
    free(payload);
    return status;
}

enum db_status queue_node_tell(struct db_queue *q, struct db *db, const char *what,
                               const char *destination, int64_t id, struct err *err)
{
    if (!queue_is_shared(q) ||
        (strcmp(what, "copies") == 0 && !queue_next_may_tell(q, destination)))
        return DB_OK;
    return notify(db, what, destination, id, err);
}

static void refresh_suspensions(struct queue_node *n)
{
    struct err ignored;

    (void)queue_suspend_refresh(n->q, &ignored); /* again at the next tick */
}

/* "copies DEST 0", "order DEST ID", "suspended DEST 0" */
static void take_notice(void *ctx, const char *payload)
{
    struct queue_node *n = ctx;
    char what[16], destination[QUEUE_DESTINATION_SIZE];
    int64_t id;

    if (sscanf(payload, "%15s %63s %" SCNd64, what, destination, &id) != 3 ||
        !queue_destination_is_valid(destination))
        return;
    if (strcmp(what, "copies") == 0) {
        queue_next_look(n->q, destination);
    } else if (strcmp(what, "order") == 0) {
        (void)queue_next_seize(n->q, destination, id);
        queue_next_settle(n->q, destination, id, NULL);
        queue_order_submit(n->q);
    } else if (strcmp(what, "suspended") == 0) {
        refresh_suspensions(n);
    }
}

/* --- the thread --- */

static void close_listener(struct queue_node *n)
{
    if (n->db != NULL)
        n->db->ops->close(n->db);
    n->db = NULL;
}

static enum db_status open_listener(struct queue_node *n, struct err *err)
{
    enum db_status status;

    n->db = queue_open_database(n->q, DB_READ, &status, err);
    if (n->db == NULL)
        return status;
    status = db_pgsql_listen(n->db, err);
    if (status == DB_OK)
        status = look_at_replication(n, err);
    if (status != DB_OK)
        close_listener(n);
    return status;
}

/* What may have been missed, because a notification was lost. */
static enum db_status tick(struct queue_node *n, struct err *err)
{
    queue_order_submit(n->q);
    refresh_suspensions(n);
    return look_at_replication(n, err);
}

/* Tell other nodes what was left out in the last second. */
static enum db_status tell_the_rest(struct queue_node *n, struct err *err)
{
    enum db_status status = DB_OK;
    const char *destination;

    while (status == DB_OK && (destination = queue_next_untold(n->q)) != NULL)
        status = notify(n->db, "copies", destination, 0, err);
    return status;
}

/* Do what is to be done now, and wait for notifications, but no longer than a second. */
static enum db_status listen_once(struct queue_node *n, bool is_tick, struct err *err)
{
    const bool is_new = n->db == NULL;
    enum db_status status = is_new ? open_listener(n, err) : DB_OK;

    if (status == DB_OK && is_new)
        queue_next_look(n->q, NULL);
    if (status == DB_OK && (is_new || is_tick))
        status = tick(n, err);
    if (status == DB_OK)
        status = tell_the_rest(n, err);
    return status == DB_OK ? db_pgsql_wait(n->db, n->wake_fds[0], WAIT_MS, take_notice, n, err)
                           : status;
}

static void *node_main(void *arg)
{
    struct queue_node *n = arg;
    struct pollfd wake = {.fd = n->wake_fds[0], .events = POLLIN};
    int64_t tick_at_ms = 0;
    struct err err;

    while (!atomic_load(&n->is_stopping)) {
        const int64_t now_ms = clock_now_ms();
        const bool is_tick = now_ms >= tick_at_ms;
        if (is_tick) {
            tick_at_ms = now_ms + TICK_MS;
            submit_beat(n);
        }
        if (listen_once(n, is_tick, &err) == DB_OK)
            continue;
        close_listener(n); /* the writer logs that the database does not answer */
        (void)poll(&wake, 1, RETRY_MS);
    }
    close_listener(n);
    return NULL;
}

static int join(struct queue_node *n, struct err *err)
{
    struct joining j = {.request = {.apply = apply_join, .urgency = WRITER_DURABLE}, .node = n};
    int64_t begun_ms = clock_now_ms();
    enum db_status status = DB_CONFLICT;

    /* Another node may take the number at the same time. */
    for (int tries = 0; tries < JOIN_MAX && status == DB_CONFLICT; tries++)
        status = writer_do(n->q->writer, &j.request, err);
    atomic_store(&n->leased_until_ms, begun_ms + LEASE_MS);
    return status == DB_OK ? 0 : -1;
}

int queue_node_start(struct db_queue *q, unsigned *number_out, struct err *err)
{
    struct queue_node *n;
    int error = 0;

    if (!queue_is_shared(q))
        return 0;
    q->shared = n = mem_zalloc(sizeof *n);
    n->q = q;
    n->since = queue_now(q);
    pthread_mutex_init(&n->lock, NULL);
    if (pipe2(n->wake_fds, O_CLOEXEC) < 0) {
        n->wake_fds[0] = n->wake_fds[1] = -1;
        err_set_errno(err, "pipe");
        return -1;
    }
    if (open_listener(n, err) != DB_OK || queue_node_check(q, err) < 0 || join(n, err) < 0)
        return -1;
    *number_out = n->number;
    error = pthread_create(&n->thread, NULL, node_main, n);
    n->has_thread = error == 0;
    if (error == 0)
        return 0;
    err_set(err, "cannot start a thread: %s", strerror(error));
    return -1;
}

void queue_node_leave(struct db_queue *q)
{
    struct queue_node *n = q->shared;

    if (n == NULL || !n->has_thread)
        return;
    atomic_store(&n->is_stopping, true);
    if (write(n->wake_fds[1], "x", 1) < 0)
        log_warning("cannot wake a thread: %s", strerror(errno)); /* it ends within a second */
    pthread_join(n->thread, NULL);
    n->leave = (struct writer_request){
        .apply = apply_leave, .finish = finish_leave, .urgency = WRITER_WRITTEN};
    writer_submit(q->writer, &n->leave);
}

void queue_node_free(struct db_queue *q)
{
    struct queue_node *n = q->shared;

    if (n == NULL)
        return;
    close_listener(n);
    for (int i = 0; i < 2; i++)
        if (n->wake_fds[i] >= 0)
            close(n->wake_fds[i]);
    pthread_mutex_destroy(&n->lock);
    free(n);
    q->shared = NULL;
}
