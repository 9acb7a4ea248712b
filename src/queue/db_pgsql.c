/* SPDX-License-Identifier: ISC */
/* Statements and transactions. */
#include "queue/db_pgsql_private.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define FIGURES_EVERY_MS 10000 /* the server has to look at each file for them */

static enum db_status execute(struct db *db, const char *sql, bool is_kept,
                              const struct db_value *values, size_t count,
                              struct db_pgsql_results *results, struct err *err)
{
    struct db_pgsql *p = (struct db_pgsql *)db;

    db_pgsql_set_deadline(p);
    enum db_status status = db_pgsql_send(p, sql, is_kept, values, count, err);
    return status == DB_OK ? db_pgsql_take(p, results, err) : status;
}

static enum db_status run(struct db *db, const char *sql, const struct db_value *values,
                          size_t count, uint64_t *changed_out, struct err *err)
{
    struct db_pgsql *p = (struct db_pgsql *)db;
    struct db_pgsql_results results = {0};

    db_pgsql_set_deadline(p);
    if (changed_out == NULL && p->is_in_transaction)
        return db_pgsql_send(p, sql, true, values, count, err);
    enum db_status status = execute(db, sql, true, values, count, &results, err);
    if (status == DB_OK && changed_out != NULL)
        *changed_out = results.changed;
    return status;
}

static enum db_status query(struct db *db, const char *sql, const struct db_value *values,
                            size_t count, bool (*row)(void *ctx, const struct db_value *columns),
                            void *ctx, struct err *err)
{
    struct db_pgsql_results results = {.row = row, .ctx = ctx};

    return execute(db, sql, true, values, count, &results, err);
}

static enum db_status query_text(struct db *db, const char *sql, const struct db_value *values,
                                 size_t count,
                                 bool (*row)(void *ctx, const struct db_value *columns), void *ctx,
                                 struct err *err)
{
    struct db_pgsql_results results = {.row = row, .ctx = ctx};

    return execute(db, sql, false, values, count, &results, err);
}

/* --- transactions --- */

static enum db_status begin(struct db *db, bool is_durable, struct err *err)
{
    struct db_pgsql *p = (struct db_pgsql *)db;

    db_pgsql_set_deadline(p);
    enum db_status status =
        db_pgsql_send(p,
                      p->access == DB_READ ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                                           : "BEGIN ISOLATION LEVEL READ COMMITTED",
                      true, NULL, 0, err);
    p->is_in_transaction = status == DB_OK;
    p->is_durable = is_durable;
    if (status == DB_OK && !is_durable && p->access != DB_READ)
        status = db_pgsql_send(p, "SET LOCAL synchronous_commit = off", true, NULL, 0, err);
    return status;
}

static bool take_flag(void *ctx, const struct db_value *columns)
{
    *(bool *)ctx = columns[0].number != 0;
    return false;
}

/*
 * An administrator or a shutdown of the server can end the wait of a commit for a standby. The
 * commit then succeeds with a warning, although perhaps no standby has it. So the warnings that
 * take_notice() keeps count as failures. A commit does not wait at all if synchronous_standby_names
 * is empty, or if this session has another synchronous_commit than the session of
 * db_pgsql_replication(). So with must_replicate these settings are read in the same round trip.
 */
static enum db_status commit(struct db *db, struct err *err)
{
    struct db_pgsql *p = (struct db_pgsql *)db;
    bool has_standby = true;
    struct db_pgsql_results results = {.row = take_flag, .ctx = &has_standby};

    db_pgsql_set_deadline(p);
    enum db_status status = db_pgsql_send(p, "COMMIT", true, NULL, 0, err);
    if (status == DB_OK && p->must_replicate && p->is_durable)
        status = db_pgsql_send(p,
                               "SELECT current_setting('synchronous_standby_names') <> '' AND"
                               " current_setting('synchronous_commit') IN ('on', 'remote_apply')",
                               true, NULL, 0, err);
    if (status == DB_OK)
        status = db_pgsql_take(p, &results, err);
    if (status != DB_OK)
        return status;
    p->is_in_transaction = false;
    if (has_standby && p->warning[0] == '\0')
        return DB_OK;
    err_set(err, "%s: COMMIT: %s", p->server,
            has_standby ? p->warning
                        : "synchronous_standby_names is empty, or synchronous_commit is not on");
    return DB_FAULT;
}

static void rollback(struct db *db)
{
    struct db_pgsql *p = (struct db_pgsql *)db;
    struct db_pgsql_results results = {0};
    struct err ignored;

    p->is_in_transaction = false;
    db_pgsql_set_deadline(p);
    if (p->sent_count > 0 && !p->has_failed && /* after a failure, ROLLBACK is skipped */
        db_pgsql_take(p, &results, &ignored) == DB_FAULT && p->has_failed)
        return;
    if (p->has_failed || PQtransactionStatus(p->conn) == PQTRANS_IDLE)
        return;
    if (execute(db, "ROLLBACK", true, NULL, 0, &results, &ignored) != DB_OK)
        p->has_failed = true;
}

/* --- others --- */

static enum db_status maintain(struct db *db, bool is_idle, bool *has_more_out, struct err *err)
{
    (void)db; /* autovacuum does the work, with the settings of the tables */
    (void)is_idle;
    (void)err;
    *has_more_out = false;
    return DB_OK;
}

static enum db_status figures(struct db *db, struct db_figures *out, struct err *err)
{
    struct db_pgsql *p = (struct db_pgsql *)db;
    const int64_t now_ms = clock_now_ms();
    enum db_status status = DB_OK;
    int64_t bytes;

    if (p->figures_at_ms == 0 || now_ms - p->figures_at_ms >= FIGURES_EVERY_MS) {
        status =
            db_get_number(db, "SELECT pg_database_size(current_database())", NULL, 0, &bytes, err);
        if (status == DB_OK)
            p->figures.size_bytes = (uint64_t)bytes;
        p->figures_at_ms = now_ms;
    }
    *out = p->figures;
    return status;
}

static void close_connection(struct db *db)
{
    struct db_pgsql *p = (struct db_pgsql *)db;

    PQfinish(p->conn);
    free(p->sent);
    free(p);
}

const struct db_ops db_pgsql_ops = {
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .run = run,
    .query = query,
    .query_text = query_text,
    .maintain = maintain,
    .figures = figures,
    .close = close_connection,
};
