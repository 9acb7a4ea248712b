/* SPDX-License-Identifier: ISC */
/* Statements and transactions. */
#include "queue/db_sqlite_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- faults --- */

/* The files are asked first, because the errno in sqlite3_system_errno() may come from a later
 * call. */
int db_sqlite_system_error(const struct db_sqlite *s)
{
    sqlite3_file *log = NULL;
    int error = 0;

    (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (log != NULL && log->pMethods != NULL)
        (void)log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
    if (error == 0)
        (void)sqlite3_file_control(s->handle, "main", SQLITE_FCNTL_LAST_ERRNO, &error);
    return error != 0 ? error : sqlite3_system_errno(s->handle);
}

static enum db_status status_of(int code, int error)
{
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
        return DB_CONFLICT;
    case SQLITE_FULL:
        return DB_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return DB_CORRUPT;
    case SQLITE_IOERR:
        /* IOERR_SHMSIZE: the index of the log could not grow, which only a lack of space causes. */
        if (code == SQLITE_IOERR_SHMSIZE || error == ENOSPC || error == EDQUOT)
            return DB_FULL;
        return DB_FAULT;
    default:
        return DB_FAULT;
    }
}

enum db_status db_sqlite_fault(struct db_sqlite *s, const char *what, struct err *err)
{
    int code = sqlite3_extended_errcode(s->handle);
    bool is_system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;
    int error = is_system ? db_sqlite_system_error(s) : 0;
    enum db_status status = status_of(code, error);

    if (status == DB_CORRUPT)
        err_set(err, "%s is damaged, or no database of splitrelay: %s", s->path,
                sqlite3_errmsg(s->handle));
    else if (error != 0)
        err_set(err, "%s: %s: %s (%s)", s->path, what, sqlite3_errmsg(s->handle), strerror(error));
    else
        err_set(err, "%s: %s: %s", s->path, what, sqlite3_errmsg(s->handle));
    s->has_failed = s->has_failed || status != DB_CONFLICT;
    return status;
}

enum db_status db_sqlite_exec(struct db_sqlite *s, const char *sql, struct err *err)
{
    if (sqlite3_exec(s->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return DB_OK;
    return db_sqlite_fault(s, sql, err);
}

/* --- statements --- */

static int prepare(struct db_sqlite *s, const char *sql, sqlite3_stmt **out)
{
    size_t slot = (size_t)((uint64_t)(uintptr_t)sql * 0x9e3779b97f4a7c15U >> 40);

    for (;; slot++) {
        slot %= DB_SQLITE_STATEMENTS;
        if (s->statements[slot].sql == sql || s->statements[slot].sql == NULL)
            break;
    }
    if (s->statements[slot].sql == NULL) {
        /* The texts are constants of the program: too many of them show in the first test. */
        if (++s->statement_count == DB_SQLITE_STATEMENTS)
            abort();
        int rc = sqlite3_prepare_v3(s->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                    &s->statements[slot].statement, NULL);
        if (rc != SQLITE_OK) {
            s->statement_count--;
            return rc;
        }
        s->statements[slot].sql = sql;
    }
    *out = s->statements[slot].statement;
    return SQLITE_OK;
}

static int bind(sqlite3_stmt *statement, const struct db_value *values, size_t count)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; i < count && rc == SQLITE_OK; i++) {
        const struct db_value *v = &values[i];
        int at = (int)i + 1;
        switch (v->type) {
        case DB_NULL:
            rc = sqlite3_bind_null(statement, at);
            break;
        case DB_INT:
            rc = sqlite3_bind_int64(statement, at, v->number);
            break;
        case DB_REAL:
            rc = sqlite3_bind_double(statement, at, v->real);
            break;
        case DB_TEXT:
            rc = sqlite3_bind_text64(statement, at, v->data, v->len, SQLITE_STATIC, SQLITE_UTF8);
            break;
        case DB_BLOB:
            rc = sqlite3_bind_blob64(statement, at, v->data, v->len, SQLITE_STATIC);
            break;
        }
    }
    return rc;
}

static void get_columns(sqlite3_stmt *statement, struct db_value *out, int count)
{
    for (int i = 0; i < count; i++) {
        const void *data;
        switch (sqlite3_column_type(statement, i)) {
        case SQLITE_INTEGER:
            out[i] = db_int(sqlite3_column_int64(statement, i));
            break;
        case SQLITE_FLOAT:
            out[i] = db_real(sqlite3_column_double(statement, i));
            break;
        case SQLITE_TEXT:
            data = sqlite3_column_text(statement, i);
            out[i] = (struct db_value){.type = DB_TEXT,
                                       .data = data == NULL ? "" : data,
                                       .len = (size_t)sqlite3_column_bytes(statement, i)};
            break;
        case SQLITE_BLOB:
            data = sqlite3_column_blob(statement, i);
            out[i] = db_blob(data, (size_t)sqlite3_column_bytes(statement, i));
            break;
        default:
            out[i] = db_null();
        }
    }
}

/* Run the statement; the caller resets it. Returns an SQLite code. row NULL: rows are ignored. */
static int step_all(sqlite3_stmt *statement, bool (*row)(void *ctx, const struct db_value *columns),
                    void *ctx)
{
    struct db_value columns[DB_VALUES_MAX];
    int count = sqlite3_column_count(statement);
    int rc;

    if (count > DB_VALUES_MAX)
        abort();
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        if (row == NULL)
            continue;
        get_columns(statement, columns, count);
        if (!row(ctx, columns))
            break;
    }
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static enum db_status query(struct db *db, const char *sql, const struct db_value *values,
                            size_t count, bool (*row)(void *ctx, const struct db_value *columns),
                            void *ctx, struct err *err)
{
    struct db_sqlite *s = (struct db_sqlite *)db;
    enum db_status status = DB_OK;
    sqlite3_stmt *statement;

    if (prepare(s, sql, &statement) != SQLITE_OK)
        return db_sqlite_fault(s, sql, err);
    if (bind(statement, values, count) != SQLITE_OK || step_all(statement, row, ctx) != SQLITE_OK)
        status = db_sqlite_fault(s, sql, err);
    sqlite3_reset(statement);
    return status;
}

static enum db_status run(struct db *db, const char *sql, const struct db_value *values,
                          size_t count, uint64_t *changed_out, struct err *err)
{
    enum db_status status = query(db, sql, values, count, NULL, NULL, err);

    if (status == DB_OK && changed_out != NULL)
        *changed_out = (uint64_t)sqlite3_changes(((struct db_sqlite *)db)->handle);
    return status;
}

static enum db_status query_text(struct db *db, const char *sql, const struct db_value *values,
                                 size_t count,
                                 bool (*row)(void *ctx, const struct db_value *columns), void *ctx,
                                 struct err *err)
{
    struct db_sqlite *s = (struct db_sqlite *)db;
    enum db_status status = DB_OK;
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(s->handle, sql, -1, &statement, NULL) != SQLITE_OK)
        return db_sqlite_fault(s, sql, err);
    if (bind(statement, values, count) != SQLITE_OK || step_all(statement, row, ctx) != SQLITE_OK)
        status = db_sqlite_fault(s, sql, err);
    sqlite3_finalize(statement);
    return status;
}

enum db_status db_sqlite_get(struct db_sqlite *s, const char *sql, int64_t *out, struct err *err)
{
    return db_get_number(&s->base, sql, NULL, 0, out, err);
}

/* --- transactions --- */

static enum db_status begin(struct db *db, bool is_durable, struct err *err)
{
    struct db_sqlite *s = (struct db_sqlite *)db;
    enum db_status status = DB_OK;

    if (s->access == DB_READ)
        return run(db, "BEGIN", NULL, 0, NULL, err);
    /* With FULL, COMMIT syncs the log. With NORMAL, a later COMMIT or a checkpoint does so. */
    if (is_durable != s->is_synchronous) {
        status = db_sqlite_exec(
            s, is_durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);
        if (status != DB_OK)
            return status;
        s->is_synchronous = is_durable;
    }
    return run(db, "BEGIN IMMEDIATE", NULL, 0, NULL, err);
}

static enum db_status commit(struct db *db, struct err *err)
{
    struct db_sqlite *s = (struct db_sqlite *)db;
    enum db_status status = s->access == DB_READ ? DB_OK : db_sqlite_reserve(s, err);

    if (status == DB_OK)
        status = run(db, "COMMIT", NULL, 0, NULL, err);
    if (status == DB_OK && !db_sqlite_gather_is_empty(s))
        abort(); /* SQLite has not synced, so a part of the transaction is only in memory */
    return status;
}

static void rollback(struct db *db)
{
    struct db_sqlite *s = (struct db_sqlite *)db;

    if (!sqlite3_get_autocommit(s->handle)) /* SQLite has not rolled back by itself */
        (void)sqlite3_exec(s->handle, "ROLLBACK", NULL, NULL, NULL);
}

static void close_connection(struct db *db)
{
    struct db_sqlite *s = (struct db_sqlite *)db;

    if (s->access == DB_WRITE && !s->has_failed && s->handle != NULL)
        db_sqlite_log_empty(s);
    for (size_t i = 0; i < DB_SQLITE_STATEMENTS; i++)
        sqlite3_finalize(s->statements[i].statement);
    sqlite3_close(s->handle);
    buf_clear(&s->gather.data);
    free(s->path);
    free(s);
}

const struct db_ops db_sqlite_ops = {
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .run = run,
    .query = query,
    .query_text = query_text,
    .maintain = db_sqlite_maintain,
    .figures = db_sqlite_figures,
    .close = close_connection,
};
