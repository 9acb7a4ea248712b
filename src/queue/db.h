/* SPDX-License-Identifier: ISC */
/*
 * db: what the queue needs of a database: transactions, statements with values, rows. The SQL
 * itself is written once, above this interface, in the part of the language that SQLite (3.34 or
 * later) and PostgreSQL (13 or later) share, with parameters $1, $2, ... in the order of their
 * first appearance. db_sqlite.c is the embedded engine. A connection is used by one thread at a
 * time.
 */
#ifndef SPLIT_DB_H
#define SPLIT_DB_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DB_VALUES_MAX 24 /* of a statement, and columns of a row */

enum db_status {
    DB_OK,
    DB_CONFLICT, /* a constraint (a row with that key is there); this statement alone has failed */
    DB_FULL,     /* no space: ENOSPC, EDQUOT, a limit of size */
    DB_FAULT,    /* any other fault: I/O, memory, a lock, the connection. A commit that ends with it
                    may or may not have happened */
    DB_CORRUPT,  /* the database is damaged, or is not one of ours */
};
/* After FULL, FAULT and CORRUPT the transaction is to be rolled back and the connection closed and
 * opened anew: nothing is taken for stored that a failed sync may have left behind. */

enum db_type { DB_NULL, DB_INT, DB_REAL, DB_TEXT, DB_BLOB };

/* A parameter, or a column. Texts and blobs are borrowed: for the call, or until the next row. A
 * text in a column has a NUL behind it and none in it. */
struct db_value {
    enum db_type type;
    int64_t number;
    double real;
    const char *data;
    size_t len;
};

/* Values. data: may be NULL with len 0. */
struct db_value db_int(int64_t number);
struct db_value db_real(double number);
struct db_value db_text(const char *text) __attribute__((nonnull));
struct db_value db_blob(const void *data, size_t len);
struct db_value db_null(void);

/* A column that holds a text, or "" if it holds anything else (which was written by hand). */
const char *db_string(const struct db_value *column) __attribute__((nonnull, returns_nonnull));

struct db;

enum db_access {
    DB_READ,  /* changes nothing, never checkpoints; any number beside a writer */
    DB_WRITE, /* the one connection that writes; the caller holds the lock of the spool */
};

/* Of an engine. */
struct db_figures {
    uint64_t size_bytes; /* of the database's file, or 0 */
    uint64_t free_bytes; /* in it, for new rows */
    uint64_t log_bytes;  /* of its write-ahead log */
};

struct db_ops {
    /* is_durable: what it changes, and all before it, is on stable storage when commit returns;
     * else later, and not before an earlier transaction. For DB_READ: one view of all tables until
     * rollback. */
    enum db_status (*begin)(struct db *db, bool is_durable, struct err *err);
    /* Blocks for the sync. */
    enum db_status (*commit)(struct db *db, struct err *err);
    void (*rollback)(struct db *db);

    /* Run a statement that gives no rows. sql: a string constant, prepared once per address.
     * changed_out (NULL: not wanted): rows that it inserted, updated or deleted. */
    enum db_status (*run)(struct db *db, const char *sql, const struct db_value *values,
                          size_t count, uint64_t *changed_out, struct err *err);
    /* Run a statement that gives rows, with row(ctx, columns) for each until it returns false. sql:
     * a string constant. */
    enum db_status (*query)(struct db *db, const char *sql, const struct db_value *values,
                            size_t count, bool (*row)(void *ctx, const struct db_value *columns),
                            void *ctx, struct err *err);
    /* As query, for a text that was put together: prepared each time. No value of outside is part
     * of it: those are parameters. */
    enum db_status (*query_text)(struct db *db, const char *sql, const struct db_value *values,
                                 size_t count,
                                 bool (*row)(void *ctx, const struct db_value *columns), void *ctx,
                                 struct err *err);

    /* Between transactions: work that keeps the database small and commits fast (checkpoint; give
     * free pages back to the file system), in steps of about 10 ms. is_idle: nothing else is to be
     * done. *has_more_out: call again. */
    enum db_status (*maintain)(struct db *db, bool is_idle, bool *has_more_out, struct err *err);
    enum db_status (*figures)(struct db *db, struct db_figures *out, struct err *err);
    void (*close)(struct db *db);
};

/* Implementations begin with this. */
struct db {
    const struct db_ops *ops;
};

/* The largest part of a content in one row of `body`. */
#define DB_BODY_PART_BYTES (256 * 1024)

/* Run a query for one number; 0 where it gives no row, or no integer. sql: a string constant. */
enum db_status db_get_number(struct db *db, const char *sql, const struct db_value *values,
                             size_t count, int64_t *out, struct err *err)
    __attribute__((nonnull(1, 2, 5, 6), warn_unused_result));

/*
 * SPOOL/queue.db. DB_WRITE creates it and its schema when it is missing, and refuses a version that
 * it does not know. DB_READ of one that is missing: DB_FAULT with errno ENOENT in `err`'s text, and
 * *is_missing_out true. NULL: *status_out and `err` say why. */
struct db *db_sqlite_open(const char *spool_directory, enum db_access access,
                          enum db_status *status_out, bool *is_missing_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
