/* SPDX-License-Identifier: ISC */
/* Notifications, and the state of replication. */
#include "queue/db_pgsql_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- notifications --- */

enum db_status db_pgsql_listen(struct db *db, struct err *err)
{
    return db->ops->run(db, "LISTEN " DB_PGSQL_CHANNEL, NULL, 0, NULL, err);
}

static unsigned take_notices(struct db_pgsql *p, void (*notice)(void *ctx, const char *payload),
                             void *ctx)
{
    unsigned count = 0;
    PGnotify *n;

    for (; (n = PQnotifies(p->conn)) != NULL; count++) {
        notice(ctx, n->extra);
        PQfreemem(n);
    }
    return count;
}

enum db_status db_pgsql_wait(struct db *db, int wake_fd, unsigned timeout_ms,
                             void (*notice)(void *ctx, const char *payload), void *ctx,
                             struct err *err)
{
    struct db_pgsql *p = (struct db_pgsql *)db;

    if (p->has_failed)
        return db_pgsql_lost(p, err);
    int rc = 1;
    p->deadline_ms = clock_now_ms() + timeout_ms;
    while (rc == 1 && take_notices(p, notice, ctx) == 0)
        rc = db_pgsql_poll(p, false, wake_fd, err);
    return rc < 0 ? DB_FAULT : DB_OK;
}

/* --- replication --- */

struct reading {
    struct db_replication *out;
    char synchronous_commit[32];
    bool is_standby;
    unsigned hidden; /* number of standbys whose state this role is not allowed to see */
};

static bool take_state(void *ctx, const struct db_value *columns)
{
    struct reading *r = ctx;
    struct db_replication *out = r->out;

    snprintf(r->synchronous_commit, sizeof r->synchronous_commit, "%s", db_string(&columns[0]));
    snprintf(out->standby_names, sizeof out->standby_names, "%s", db_string(&columns[1]));
    r->is_standby = columns[2].number != 0;
    out->standbys = (unsigned)columns[3].number;
    out->synchronous = (unsigned)columns[4].number;
    r->hidden = (unsigned)columns[5].number;
    out->lag_bytes = columns[6].number < 0 ? 0 : (uint64_t)columns[6].number;
    out->lag_s = columns[7].real;
    return false;
}

/* Set `problem` to the first reason why a commit may be lost with a machine, and `unsafe`. */
static void find_problem(const struct db_pgsql *p, const struct reading *r)
{
    struct db_replication *out = r->out;
    const char *commit = r->synchronous_commit;
    bool waits = strcmp(commit, "on") == 0 || strcmp(commit, "remote_apply") == 0;
    char *problem = NULL;

    if (strcmp(commit, "off") == 0)
        snprintf(out->unsafe, sizeof out->unsafe,
                 "synchronous_commit = off: a commit does not wait for the disk");
    if (r->is_standby)
        problem = mem_printf("it is a standby (target_session_attrs=read-write finds the primary)");
    else if (!waits)
        problem = mem_printf("synchronous_commit = %s: a commit does not wait for the disk of a"
                             " standby; \"on\" does",
                             commit);
    else if (out->standby_names[0] == '\0')
        problem = mem_printf("synchronous_standby_names is empty: a commit waits for no standby");
    else if (out->synchronous == 0 && r->hidden > 0)
        problem = mem_printf("role %s cannot see pg_stat_replication: GRANT pg_monitor TO %s",
                             PQuser(p->conn), PQuser(p->conn));
    else if (out->synchronous == 0)
        problem = mem_printf("no standby of synchronous_standby_names = '%s' is attached",
                             out->standby_names);
    out->is_misconfigured = problem != NULL && !r->is_standby &&
                            (!waits || out->standby_names[0] == '\0' || r->hidden > 0);
    snprintf(out->problem, sizeof out->problem, "%s", problem == NULL ? "" : problem);
    free(problem);
}

enum db_status db_pgsql_replication(struct db *db, struct db_replication *out, struct err *err)
{
    struct db_pgsql *p = (struct db_pgsql *)db;
    struct reading r = {.out = out};

    memset(out, 0, sizeof *out);
    mem_copy_string(out->server, sizeof out->server, p->server);
    out->version = (unsigned)PQserverVersion(p->conn);
    enum db_status status = db->ops->query(
        db,
        "SELECT current_setting('synchronous_commit'),"
        " current_setting('synchronous_standby_names'), pg_is_in_recovery(),"
        " count(*) FILTER (WHERE state = 'streaming'),"
        " count(*) FILTER (WHERE is_synchronous), count(*) FILTER (WHERE state IS NULL AND"
        " pid IS NOT NULL), COALESCE(min(lag) FILTER (WHERE is_synchronous), 0),"
        " COALESCE(min(lag_s) FILTER (WHERE is_synchronous), 0)"
        " FROM (SELECT pid, state, state = 'streaming' AND sync_state IN ('sync', 'quorum')"
        " AS is_synchronous, CAST(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN flush_lsn"
        " ELSE pg_current_wal_lsn() END, flush_lsn) AS BIGINT) AS lag,"
        " CAST(EXTRACT(EPOCH FROM flush_lag) AS DOUBLE PRECISION) AS lag_s"
        " FROM pg_stat_replication) AS standbys",
        NULL, 0, take_state, &r, err);
    if (status == DB_OK)
        find_problem(p, &r);
    return status;
}
