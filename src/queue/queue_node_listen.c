/* SPDX-License-Identifier: ISC */
/* The thread of a node: heartbeats, notifications between nodes, and the state of replication. */
#include "queue/queue_node_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 5000 /* from one heartbeat to the next */
#define WAIT_MS 1000
#define RETRY_MS 500
#define LOOKED_MAX_MS (4 * TICK_MS)

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
    n->looked_at_ms = clock_now_ms();
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
    else if (q->options.must_replicate && clock_now_ms() - n->looked_at_ms > LOOKED_MAX_MS)
        err_set(err, "%s: the state of replication cannot be read", r->server);
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

    (void)queue_suspend_refresh(n->q, &ignored); /* tried again at the next tick */
}

/* Act on a notification: "copies DEST 0", "order DEST ID" or "suspended DEST 0". */
static void take_notice(void *ctx, const char *payload)
{
    struct queue_node *n = ctx;
    char what[16], destination[QUEUE_DESTINATION_SIZE], number[24], *end;

    if (sscanf(payload, "%15s %63s %23s", what, destination, number) != 3 ||
        !queue_destination_is_valid(destination))
        return;
    const int64_t id = strtoll(number, &end, 10);
    if (*end != '\0')
        return;
    if (strcmp(what, "copies") == 0) {
        queue_next_look(n->q, destination);
    } else if (strcmp(what, "order") == 0) {
        (void)queue_next_seize(n->q, destination, id);
        queue_next_settle(n->q, destination, id, NULL);
        queue_order_submit(n->q, true);
    } else if (strcmp(what, "suspended") == 0) {
        refresh_suspensions(n);
    }
}

/* --- the thread --- */

void queue_node_close_listener(struct queue_node *n)
{
    if (n->db != NULL)
        n->db->ops->close(n->db);
    n->db = NULL;
}

enum db_status queue_node_open_listener(struct queue_node *n, struct err *err)
{
    enum db_status status;

    n->db = queue_open_database(n->q, DB_READ, &status, err);
    if (n->db == NULL)
        return status;
    status = db_pgsql_listen(n->db, err);
    if (status == DB_OK)
        status = look_at_replication(n, err);
    if (status != DB_OK)
        queue_node_close_listener(n);
    return status;
}

/* Do what lost notifications may have asked for, and read the state of replication. */
static enum db_status tick(struct queue_node *n, struct err *err)
{
    queue_order_submit(n->q, false);
    refresh_suspensions(n);
    return look_at_replication(n, err);
}

/* Tell other nodes of the destinations for which queue_next_may_tell() has returned false. */
static enum db_status tell_the_rest(struct queue_node *n, struct err *err)
{
    enum db_status status = DB_OK;
    const char *destination;

    while (status == DB_OK && (destination = queue_next_untold(n->q)) != NULL)
        status = notify(n->db, "copies", destination, 0, err);
    return status;
}

/* Connect if needed, carry out what lost notifications may have asked for, and tell the other
 * nodes. Then wait for notifications, at most a second. */
static enum db_status listen_once(struct queue_node *n, bool is_tick, struct err *err)
{
    const bool is_new = n->db == NULL;
    enum db_status status = is_new ? queue_node_open_listener(n, err) : DB_OK;

    if (status == DB_OK && is_new) { /* orders may have been missed, or leases lost */
        queue_readers_close_idle(n->q->readers);
        (void)queue_next_drop(n->q);
        atomic_store(&n->is_cut_off, false);
    }
    if (status == DB_OK && (is_new || is_tick))
        status = tick(n, err);
    if (status == DB_OK)
        status = tell_the_rest(n, err);
    return status == DB_OK ? db_pgsql_wait(n->db, n->wake_fds[0], WAIT_MS, take_notice, n, err)
                           : status;
}

void *queue_node_main(void *arg)
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
            queue_node_submit_beat(n);
        }
        if (listen_once(n, is_tick, &err) == DB_OK)
            continue;
        atomic_store(&n->is_cut_off, true);
        queue_node_close_listener(n); /* the writer logs that the database does not answer */
        (void)poll(&wake, 1, RETRY_MS);
    }
    queue_node_close_listener(n);
    return NULL;
}
