/* SPDX-License-Identifier: ISC */
/* db_pgsql in a program that was built without PostgreSQL. */
#include "queue/db_pgsql.h"

static void refuse(struct err *err)
{
    err_set(err, "queue = \"postgresql://...\" needs a splitrelay that was built with"
                 " --with-postgresql");
}

struct db *db_pgsql_open(const struct db_pgsql_options *options, enum db_status *status_out,
                         bool *is_missing_out, struct err *err)
{
    (void)options;
    *status_out = DB_FAULT;
    *is_missing_out = false;
    refuse(err);
    return NULL;
}

void db_pgsql_watch(struct db *db, bool (*goes_on)(void *ctx), void *ctx)
{
    (void)db;
    (void)goes_on;
    (void)ctx;
}

enum db_status db_pgsql_listen(struct db *db, struct err *err)
{
    (void)db;
    refuse(err);
    return DB_FAULT;
}

enum db_status db_pgsql_wait(struct db *db, int wake_fd, unsigned timeout_ms,
                             void (*notice)(void *ctx, const char *payload), void *ctx,
                             struct err *err)
{
    (void)db;
    (void)wake_fd;
    (void)timeout_ms;
    (void)notice;
    (void)ctx;
    refuse(err);
    return DB_FAULT;
}

enum db_status db_pgsql_replication(struct db *db, struct db_replication *out, struct err *err)
{
    (void)db;
    (void)out;
    refuse(err);
    return DB_FAULT;
}
