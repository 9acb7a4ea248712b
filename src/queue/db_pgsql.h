/* SPDX-License-Identifier: ISC */
/*
 * db_pgsql: a database of PostgreSQL 13 or newer (db.h), with two things that db.h does not have:
 * notifications between nodes, and the state of replication. Built with --with-postgresql;
 * otherwise every function fails and says so.
 *
 * Each operation has a deadline. After the deadline the operation returns DB_FAULT, and the
 * connection is of no further use: the caller closes it. No error text contains a password, if the
 * URI has passed config_queue_check().
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
    bool must_replicate; /* a durable commit fails if the settings let it wait for no standby:
                            synchronous_standby_names is empty, or the session's synchronous_commit
                            is neither on nor remote_apply */
    int *backend; /* DB_WRITE: the pid, on the server's machine, of the process that served the
                     writer's last connection; 0: none. If that process still holds the lock of the
                     node, it is ended: it may be waiting for a standby that is away. Set to the pid
                     for the new connection. NULL: not wanted */
};

/*
 * Open a connection. It is closed with ops->close.
 *   - DB_READ: can only read; a standby is good enough.
 *   - DB_WRITE: takes the lock of the node first, a session lock on the node's name. The server
 *     releases it when the connection ends, so with the lock it is certain that no transaction of
 *     an earlier connection still waits for its commit. If another connection keeps the lock for
 *     half of the time for an operation, opening fails with "another splitrelay is node ...". The
 *     tables are created if they are missing.
 *   - DB_SHARE: can write without that lock. The tables must be there.
 *
 * A schema of another version is refused, and so is an encoding other than UTF8. NULL on failure,
 * with the reason in *status_out and `err`. *is_missing_out: there are no tables yet. DB_SHARE has
 * failed then; a DB_READ connection can be used for db_pgsql_replication() alone.
 */
struct db *db_pgsql_open(const struct db_pgsql_options *options, enum db_status *status_out,
                         bool *is_missing_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Call goes_on(ctx) from time to time while the connection waits for the server. When it returns
 * false, the operation fails, and the connection is of no further use. The server goes on with the
 * statement until it sends something, or until statement_timeout. */
void db_pgsql_watch(struct db *db, bool (*goes_on)(void *ctx), void *ctx)
    __attribute__((nonnull(1, 2)));

/* --- notifications --- */

#define DB_PGSQL_CHANNEL "splitmilter" /* of LISTEN and NOTIFY */

/* Begin to listen. From now on the connection is used for db_pgsql_wait(), and for queries between
 * two calls of db_pgsql_wait(). A standby does not allow LISTEN, so the connection is opened with
 * DB_SHARE, which finds the primary. */
enum db_status db_pgsql_listen(struct db *db, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Wait for notifications, and call notice(ctx, payload) for each. Notifications that this process
 * has sent are among them. Returns after the first notifications, after timeout_ms, or when wake_fd
 * (-1: none) can be read; DB_FAULT if the connection is lost. Blocks: task_block() around it, or a
 * thread of its own. */
enum db_status db_pgsql_wait(struct db *db, int wake_fd, unsigned timeout_ms,
                             void (*notice)(void *ctx, const char *payload), void *ctx,
                             struct err *err) __attribute__((nonnull(1, 4, 6), warn_unused_result));

/* --- replication --- */

struct db_replication {
    /* Why the loss of one machine may lose a commit; it names the setting. "": it does not. */
    char problem[256];
    bool is_misconfigured; /* the problem is a setting or a right, not a standby that is away */
    /* Why a commit may return before it is on the primary's own disk (synchronous_commit = off);
     * "": it is there. */
    char unsafe[256];
    char server[128];        /* the primary, as HOST:PORT */
    char standby_names[128]; /* synchronous_standby_names */
    unsigned version;        /* of the server: 150004 */
    unsigned standbys;       /* number of those that stream */
    unsigned synchronous;    /* number of those with sync_state sync or quorum */
    /* Of the synchronous standby that is least behind: WAL that is not on its disk, and the seconds
     * from the writing of WAL on the primary until it is there. */
    uint64_t lag_bytes;
    double lag_s;
};

/* Read the state of replication. Not called inside a transaction. Returns DB_OK also when
 * out->problem is set. */
enum db_status db_pgsql_replication(struct db *db, struct db_replication *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
