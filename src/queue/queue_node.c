/* SPDX-License-Identifier: ISC */
/*
 * One of the nodes that share a database (PostgreSQL). Each node has a row in the table node. The
 * number in that row is a part of the ids that the node gives out. The copies that a node has
 * leased are its own as long as its node.until is in the future. A heartbeat moves node.until
 * ahead, so renewing all leases costs one row. After a clean end node.until is NULL. The leases of
 * a node that is not alive are void, and other nodes take its copies. When a node is started again
 * under the same name, it first gives the leases of its earlier run back.
 *
 * A thread submits the heartbeats, listens to the notifications of other nodes, and checks the
 * replication. A node takes its lease for lost, by its own clock, some seconds before other nodes
 * do, and hands out no copies from then on. So no copy is handed out by two nodes. When a heartbeat
 * succeeds after that, the copies in memory are dropped, because another node may have delivered
 * them. They are also dropped when the database says that the lease had run out. This happens after
 * the machine was suspended, or when the new primary had not got the last heartbeats.
 */
#include "queue/queue_node_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEASE_S 15
#define LEASE_MS ((LEASE_S - 1) * 1000) /* node.until has whole seconds */
#define MARGIN_MS 2000                  /* nothing is handed out in this last part of the lease */
#define JOIN_MAX 5

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

    if (columns[1].number != 0) { /* the row of this node, which comes first */
        n->number = (unsigned)columns[0].number;
        return false;
    }
    n->number += columns[0].number == n->number; /* the numbers come in ascending order */
    return true;
}

/* Choose the number of this node: the one of its earlier runs, or the lowest that is free, or that
 * of the node that has been dead for the longest time. */
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

/* The leases of an earlier process are given back. Otherwise they would be valid again, and the
 * copies of destinations that this node does not have any more would wait for it. */
static enum db_status apply_join(struct writer_request *r, struct db *db, struct err *err)
{
    struct queue_node *n = ((struct joining *)r)->node;
    const struct db_value name = db_text(n->q->node);
    enum db_status status = find_number(n, db, err);

    if (status == DB_OK)
        status =
            db->ops->run(db, "UPDATE copy SET owner = NULL WHERE owner = $1", &name, 1, NULL, err);
    return status == DB_OK ? write_row(n, db, err) : status;
}

static enum db_status apply_beat(struct writer_request *r, struct db *db, struct err *err)
{
    struct queue_node *n =
        (struct queue_node *)(void *)((char *)r - offsetof(struct queue_node, beat));
    const struct db_value number = db_int(n->number);
    enum db_status status = db_get_number(db, "SELECT count(*) FROM alive WHERE number = $1",
                                          &number, 1, &n->was_alive, err);

    return status == DB_OK ? write_row(n, db, err) : status;
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
           (clock_now_ms() < atomic_load(&q->shared->leased_until_ms) - MARGIN_MS &&
            !atomic_load(&q->shared->is_cut_off));
}

static void finish_beat(struct writer_request *r, enum db_status status, const struct err *err)
{
    struct queue_node *n =
        (struct queue_node *)(void *)((char *)r - offsetof(struct queue_node, beat));

    if (status == DB_CONFLICT) /* the writer logs the other failures */
        log_error("node %s: its number %u was given to another node: restart splitrelay: %s",
                  n->q->node, n->number, err->text);
    if (status == DB_OK && (!n->was_alive || clock_now_ms() >= atomic_load(&n->leased_until_ms))) {
        size_t lost = queue_next_drop(n->q);
        atomic_fetch_add(&n->leases_lost, lost);
        log_warning("node %s: the lease had run out; other nodes may have taken up to %zu copies",
                    n->q->node, lost);
    }
    if (status == DB_OK)
        atomic_store(&n->leased_until_ms, n->beat_at_ms + LEASE_MS);
    atomic_store(&n->is_beating, false);
}

void queue_node_submit_beat(struct queue_node *n)
{
    if (atomic_exchange(&n->is_beating, true))
        return;
    n->beat_at_ms = clock_now_ms();
    n->beat = (struct writer_request){
        .apply = apply_beat, .finish = finish_beat, .urgency = WRITER_WRITTEN};
    writer_submit(n->q->writer, &n->beat);
}

/* --- start and end --- */

static int join(struct queue_node *n, struct err *err)
{
    struct joining j = {.request = {.apply = apply_join, .urgency = WRITER_DURABLE}, .node = n};
    int64_t begun_ms = clock_now_ms();
    enum db_status status = DB_CONFLICT;

    /* DB_CONFLICT: another node has taken the number at the same time. */
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
    if (queue_node_open_listener(n, err) != DB_OK || queue_node_check(q, err) < 0 ||
        join(n, err) < 0)
        return -1;
    *number_out = n->number;
    error = pthread_create(&n->thread, NULL, queue_node_main, n);
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
    /* Without the byte the thread ends within a second. */
    if (write(n->wake_fds[1], "x", 1) < 0)
        log_warning("cannot wake a thread: %s", strerror(errno));
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
    queue_node_close_listener(n);
    for (int i = 0; i < 2; i++)
        if (n->wake_fds[i] >= 0)
            close(n->wake_fds[i]);
    pthread_mutex_destroy(&n->lock);
    free(n);
    q->shared = NULL;
}
