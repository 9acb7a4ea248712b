/* SPDX-License-Identifier: ISC */
/*
 * db_sqlite_private: what the files of the embedded engine share. db_sqlite.c runs statements and
 * transactions; db_sqlite_open.c opens and creates; db_sqlite_log.c looks after the write-ahead log
 * and the size of the file. No file outside of this folder includes it.
 */
#ifndef SPLIT_DB_SQLITE_PRIVATE_H
#define SPLIT_DB_SQLITE_PRIVATE_H

#include "queue/db.h"

#include <sqlite3.h>

#define DB_SQLITE_PAGE_BYTES 4096
#define DB_SQLITE_BUSY_MS 2000                      /* for a shell that writes */
#define DB_SQLITE_LOG_KEEP_BYTES (16 * 1024 * 1024) /* a longer log is cut when it begins again */
#define DB_SQLITE_STATEMENTS 128 /* slots for prepared statements, a power of 2 */

struct db_sqlite {
    struct db base; /* first */
    sqlite3 *handle;
    char *path; /* SPOOL/queue.db */
    enum db_access access;
    struct {
        const char *sql; /* NULL: free */
        sqlite3_stmt *statement;
    } statements[DB_SQLITE_STATEMENTS]; /* hash by the address of the text */
    unsigned statement_count;
    bool is_synchronous; /* PRAGMA synchronous is FULL, not NORMAL */
    bool has_failed;     /* not only with a conflict: no checkpoint before it is opened anew */

    /* db_sqlite_log.c, in pages of the log */
    int log_pages;         /* in use, after the last commit */
    int copied_pages;      /* of them are in the database */
    int checkpoint_at;     /* log_pages for the next checkpoint */
    int checkpoint_pages;  /* from one checkpoint to the next; as many as take little time */
    int64_t restart_at_ms; /* not before: a checkpoint that waits for readers */
};

/* The status of the last call that failed, with the text `what`: ... in `err`. */
enum db_status db_sqlite_fault(struct db_sqlite *s, const char *what, struct err *err)
    __attribute__((nonnull));
/* Run statements without values and rows. */
enum db_status db_sqlite_exec(struct db_sqlite *s, const char *sql, struct err *err)
    __attribute__((nonnull));
/* Run a query without values that gives one integer. */
enum db_status db_sqlite_get(struct db_sqlite *s, const char *sql, int64_t *out, struct err *err)
    __attribute__((nonnull));

extern const struct db_ops db_sqlite_ops;

/* --- db_sqlite_log.c --- */

/* Have the pages of the log counted. After the connection was opened. */
void db_sqlite_log_init(struct db_sqlite *s) __attribute__((nonnull));
/* Write the log again, and sync it; then copy it into the database. See there. */
enum db_status db_sqlite_log_renew(struct db_sqlite *s, struct err *err) __attribute__((nonnull));
enum db_status db_sqlite_maintain(struct db *db, bool is_idle, bool *has_more_out, struct err *err);
enum db_status db_sqlite_figures(struct db *db, struct db_figures *out, struct err *err);
/* Copy all into the database, and empty the log. At a clean end. */
void db_sqlite_log_empty(struct db_sqlite *s) __attribute__((nonnull));

#endif
