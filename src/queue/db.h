/* SPDX-License-Identifier: ISC */
/*
 * db: the queue's interface to a database: transactions, statements with parameters, and rows.
 * db_sqlite*.c implement it with SQLite, db_pgsql*.c with PostgreSQL.
 *
 * The callers write the SQL, in the subset that SQLite 3.34 and PostgreSQL 13 share. Parameters are
 * $1, $2, ... in the order of their first appearance; each has the same type at each call, or is
 * NULL. Columns are integers, reals, booleans (read as 0 or 1), texts and blobs. The SQL casts each
 * sum to BIGINT, because PostgreSQL's sum() gives a NUMERIC. A connection is used by one thread at
 * a time.
 *
 * Errors may show late. With PostgreSQL, begin and the runs of a transaction without changed_out
 * are only queued. The next query, run with changed_out, or commit sends them together with its own
 * statement, and returns their errors, too. So a transaction that asks for no result costs one
 * round trip.
 */
#ifndef SPLIT_DB_H
#define SPLIT_DB_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DB_VALUES_MAX 24 /* parameters of a statement; columns of a row */

enum db_status {
    DB_OK,
    DB_CONFLICT, /* a constraint is violated, for example because a row with that key is there: by
                    this statement or, with PostgreSQL, by an earlier one of the transaction */
    DB_AGAIN,    /* PostgreSQL: the transaction was certainly undone, because of a conflict with
                    another one (serialisation, deadlock). The same statements may succeed in a new
                    transaction */
    DB_FULL,     /* no space: ENOSPC, EDQUOT, a limit of size */
    DB_FAULT,    /* any other fault: I/O, memory, a lock, the connection. A commit that returns this
                    may have happened or not */
    DB_CORRUPT,  /* the database is damaged, or is not one of ours */
};
/* After any failure the caller rolls back the transaction. After FULL, FAULT and CORRUPT it also
 * closes the connection and opens a new one. With SQLite, a failed sync may have left pages in
 * memory that are not on the disk, and only a new connection makes sure that they are written
 * (db_sqlite_log_renew()). */

enum db_type { DB_NULL, DB_INT, DB_REAL, DB_TEXT, DB_BLOB };

/* A parameter, or a column. Texts and blobs are borrowed: those of a parameter for the call, those
 * of a column until the next row. A text in a column is followed by a NUL. SQLite stores a text
 * parameter as it is. For PostgreSQL, U+FFFD replaces each NUL, and each byte that is not part of a
 * UTF-8 character. */
struct db_value {
    enum db_type type;
    int64_t number;
    double real;
    const char *data;
    size_t len;
};

/* Make a value. The data of texts and blobs is borrowed. data may be NULL if len is 0. */
struct db_value db_int(int64_t number);
struct db_value db_real(double number);
struct db_value db_text(const char *text) __attribute__((nonnull));
struct db_value db_blob(const void *data, size_t len);
struct db_value db_null(void);

/* Return the text of a column, or "" if its value is not a text (a row written with sqlite3). */
const char *db_string(const struct db_value *column) __attribute__((nonnull, returns_nonnull));

struct db;

enum db_access {
    DB_READ,  /* changes nothing and makes no checkpoint; any number of them at a time */
    DB_WRITE, /* the connection of the writer; one at a time. SQLite: the caller holds the lock of
                 the spool. PostgreSQL: the connection holds the lock of the node (db_pgsql.h) */
    DB_SHARE, /* PostgreSQL only: may write without that lock; any number of them at a time */
};

/* Sizes of the database. PostgreSQL: free_bytes and log_bytes are 0. */
struct db_figures {
    uint64_t size_bytes; /* of the whole database */
    uint64_t free_bytes; /* in the database's file, for new rows */
    uint64_t log_bytes;  /* of its write-ahead log */
};

struct db_ops {
    /* Begin a transaction. is_durable: when commit returns, this transaction and all earlier ones
     * are on stable storage. Otherwise they get there later, in the order of their commits. A
     * transaction of a DB_READ connection sees all tables as they were at one moment, and is ended
     * with rollback. With PostgreSQL, a statement on another connection sees what was committed
     * when the statement began (READ COMMITTED). */
    enum db_status (*begin)(struct db *db, bool is_durable, struct err *err);
    /* Commit the transaction. If it is durable, wait for the sync. */
    enum db_status (*commit)(struct db *db, struct err *err);
    /* Undo the transaction, if there is one. */
    void (*rollback)(struct db *db);

    /* Run a statement that gives no rows. sql: a string constant, which is prepared once and kept
     * by its address. *changed_out (NULL: not wanted): the number of rows that it inserted, updated
     * or deleted. Without it an error may show late (see above). */
    enum db_status (*run)(struct db *db, const char *sql, const struct db_value *values,
                          size_t count, uint64_t *changed_out, struct err *err);
    /* Run a statement that gives rows, and call row(ctx, columns) for each row until that returns
     * false; NULL: rows are ignored. sql: a string constant, as for run. row must not use the
     * connection. */
    enum db_status (*query)(struct db *db, const char *sql, const struct db_value *values,
                            size_t count, bool (*row)(void *ctx, const struct db_value *columns),
                            void *ctx, struct err *err);
    /* As query, but for a text that was put together; it is prepared each time. Values from outside
     * are parameters, never part of the text. */
    enum db_status (*query_text)(struct db *db, const char *sql, const struct db_value *values,
                                 size_t count,
                                 bool (*row)(void *ctx, const struct db_value *columns), void *ctx,
                                 struct err *err);

    /* Do one step of maintenance, of about 10 ms: a checkpoint, or giving free pages back to the
     * file system. Called between transactions. is_idle: there is nothing else to do.
     * *has_more_out: another step is to follow. PostgreSQL needs no maintenance by its clients. */
    enum db_status (*maintain)(struct db *db, bool is_idle, bool *has_more_out, struct err *err);
    /* Get the sizes of the database. */
    enum db_status (*figures)(struct db *db, struct db_figures *out, struct err *err);
    void (*close)(struct db *db);
};

/* The structure of each implementation begins with this one. */
struct db {
    const struct db_ops *ops;
    bool is_shared; /* other nodes write to the database, too (PostgreSQL) */
};

/* The largest part of a content in one row of `body`. */
#define DB_BODY_PART_BYTES (256 * 1024)

/* Run a query for one number. *out is 0 if the query gives no row, or no integer. sql: a string
 * constant. */
enum db_status db_get_number(struct db *db, const char *sql, const struct db_value *values,
                             size_t count, int64_t *out, struct err *err)
    __attribute__((nonnull(1, 2, 5, 6), warn_unused_result));

/*
 * Open SPOOL/queue.db. DB_WRITE creates the file and its tables if they are missing. A schema of
 * another version is refused. The connection is closed with ops->close. Returns NULL on failure,
 * with the reason in *status_out and `err`. *is_missing_out: DB_READ has failed because there is no
 * such file, or because it has no tables yet. */
struct db *db_sqlite_open(const char *spool_directory, enum db_access access,
                          enum db_status *status_out, bool *is_missing_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Call goes_on(ctx) from time to time while a statement runs. When it returns false, the statement
 * fails. For a connection of db_sqlite_open(). */
void db_sqlite_watch(struct db *db, bool (*goes_on)(void *ctx), void *ctx)
    __attribute__((nonnull(1, 2)));

#endif
