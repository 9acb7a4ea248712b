/* SPDX-License-Identifier: ISC */
/*
 * db_pgsql: a database of PostgreSQL 13 or newer (db.h), and what it has beyond the interface:
 * notifications between nodes, and the state of replication. Built with --with-postgresql;
 * otherwise every function fails and says so.
 *
 * Each operation has a deadline. The connection is useless after it (DB_FAULT), and the caller
 * closes it. A password is never part of an error text, if the address has passed
 * config_queue_check().
 */
#ifndef SPLIT_DB_PGSQL_H
#define SPLIT_DB_PGSQL_H

#include "base/err.h"
#include "queue/db.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DB_PGSQL_TIMEOUT_MS 8000

struct db_pgsql_options {
    const char *uri;     /* config_queue.h; borrowed for the call */
    const char *node;    /* name of this node, not ""; borrowed for the call */
    const char *program; /* "splitrelay": application_name is "splitrelay NODE" */
    enum db_access access;
    unsigned timeout_ms; /* for an operation, with DB_WRITE for a transaction;
                            0: DB_PGSQL_TIMEOUT_MS */
    bool must_replicate; /* a durable commit fails if it has waited for no standby, because
                            synchronous_standby_names is empty */
    int *backend;        /* DB_WRITE: the server's process of the writer's last connection, 0: none.
                            If it still has the lock, it is ended: it may wait for a standby that is
                            away. Set to that of this connection. NULL: not wanted */
};

/*
 * Open a connection. It is closed with ops->close.
 *   DB_READ   can read only, also at a standby.
 *   DB_WRITE  takes the lock of the node first: a session lock on its name, which the server
 *             releases when the connection ends. Fails with "another splitrelay is node ..." if it
 *             is not released within half of the time for an operation. Thus no transaction of an
 *             earlier connection is still waiting for its commit. Creates the tables if they are
 * missing. DB_SHARE  writes without that lock; the tables are there. A schema of another version is
 * refused, and an encoding other than UTF8. NULL on failure, with the reason in *status_out and
 * `err`. *is_missing_out: there are no tables yet. DB_SHARE has failed then; with DB_READ the
 * connection is for db_pgsql_replication() alone.
 */
struct db *db_pgsql_open(const struct db_pgsql_options *options, enum db_status *status_out,
                         bool *is_missing_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* --- notifications --- */

#define DB_PGSQL_CHANNEL "splitmilter" /* of LISTEN and NOTIFY */

/* Begin to listen. The connection is used for db_pgsql_wait() from now on, and for queries between
 * two calls of it. Not possible at a standby, which DB_SHARE avoids. */
enum db_status db_pgsql_listen(struct db *db, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Wait for notifications, and call notice(ctx, payload) for each. Those of this process are among
 * them. Returns after the first ones, after timeout_ms, or when wake_fd (-1: none) can be read;
 * DB_FAULT if the connection is lost. Blocks: task_block() around it, or a thread of its own. */
enum db_status db_pgsql_wait(struct db *db, int wake_fd, unsigned timeout_ms,
                             void (*notice)(void *ctx, const char *payload), void *ctx,
                             struct err *err) __attribute__((nonnull(1, 4, 6), warn_unused_result));

/* --- replication --- */

struct db_replication {
    /* Why a commit may be lost with a machine, naming the setting; "": it may not. */
    char problem[256];
    bool is_misconfigured; /* the problem is a setting or a right, not a standby that is away */
    /* Why a commit is not even on the primary's own disk (synchronous_commit = off); "": it is. */
    char unsafe[256];
    char server[128];        /* the primary, as HOST:PORT */
    char standby_names[128]; /* synchronous_standby_names */
    unsigned version;        /* of the server: 150004 */
    unsigned standbys;       /* that stream */
    unsigned synchronous;    /* of them, with sync_state sync or quorum */
    uint64_t lag_bytes;      /* WAL that the least behind synchronous standby has not on disk */
    double lag_s;            /* the time from writing on the primary until it is there */
};

/* Read the state of replication; outside of transactions. DB_OK also when there is a problem. */
enum db_status db_pgsql_replication(struct db *db, struct db_replication *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
