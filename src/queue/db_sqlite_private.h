/* SPDX-License-Identifier: ISC */
/*
 * db_sqlite_private: the declarations that the files of db on SQLite share. db_sqlite.c runs
 * statements and transactions. db_sqlite_open.c opens and creates the database. db_sqlite_log.c
 * manages the write-ahead log ("the log" below) and the size of the file, and db_sqlite_gather.c
 * gathers the writes to the log. No file outside of this folder includes it.
 */
#ifndef SPLIT_DB_SQLITE_PRIVATE_H
#define SPLIT_DB_SQLITE_PRIVATE_H

#include "base/buf.h"
#include "queue/db.h"

#include <sqlite3.h>

/*
 * Measured with store_bench (messages of 4 kB, SQLite 3.40), bytes written per message with 1
 * thread and with 20: pages of 2 kB 23 and 8.4, 4 kB 41 and 9.7, 8 kB 62 and 19, 16 kB 102 and 23;
 * the time of the processor is the same. Pages of 4 kB are those of file systems and disks: a
 * smaller one shares its block with others when a write is torn. auto_vacuum costs a tenth of the
 * bytes (41 instead of 37), and is what lets space be given back. Recipients in rows of their own
 * cost a tenth, too (41 instead of 36.5), and can be asked for.
 */
#ifndef DB_SQLITE_PAGE_BYTES
#define DB_SQLITE_PAGE_BYTES 4096
#endif
/*
 * secure_delete = FAST overwrites what was deleted in pages that are written anyway, and costs
 * nothing that can be measured. A page that becomes free keeps its content until it is used again
 * or given back. ON writes those, too: a tenth more bytes while mail flows (10.9 kB instead
 * of 9.9), and a backlog of 100,000 messages drained at 16,000 instead of 30,000 a second.
 */
#define DB_SQLITE_BUSY_MS 2000                      /* for a shell that writes */
#define DB_SQLITE_LOG_KEEP_BYTES (16 * 1024 * 1024) /* a longer log is cut when it begins again */
#define DB_SQLITE_CHUNK_BYTES (1024 * 1024)         /* by which the file grows */
#define DB_SQLITE_STATEMENTS 128 /* slots for prepared statements, a power of 2 */

/* The writes to the log (db_sqlite_gather.c). */
struct db_sqlite_gather {
    sqlite3_io_methods methods;      /* first */
    const sqlite3_io_methods *below; /* those of SQLite; NULL: nothing is gathered */
    const bool *is_synchronous;      /* of the connection */
    struct buf data;                 /* what is gathered */
    sqlite3_int64 end;               /* of `data` in the file */
};

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

    int64_t page_bytes;
    int64_t reserved_bytes; /* the file has at least this size */

    /* db_sqlite_log.c, in pages of the log */
    int log_pages;         /* in use after the last commit */
    int copied_pages;      /* how many of them have been copied into the database */
    int checkpoint_at;     /* the value of log_pages at which the next checkpoint is made */
    int checkpoint_pages;  /* from one checkpoint to the next; adapted to the time that it takes */
    int64_t restart_at_ms; /* earliest time of the next checkpoint that waits for readers */

    struct db_sqlite_gather gather;
};

/* Convert the result of the last SQLite call, which failed, into a status. `err` has `what` and the
 * message of SQLite. */
enum db_status db_sqlite_fault(struct db_sqlite *s, const char *what, struct err *err)
    __attribute__((nonnull));
/* Return the errno of the last failed system call on the log or the file. */
int db_sqlite_system_error(const struct db_sqlite *s) __attribute__((nonnull));
/* Run statements without values and rows. */
enum db_status db_sqlite_exec(struct db_sqlite *s, const char *sql, struct err *err)
    __attribute__((nonnull));
/* Run a query without values that gives one integer. */
enum db_status db_sqlite_get(struct db_sqlite *s, const char *sql, int64_t *out, struct err *err)
    __attribute__((nonnull));

extern const struct db_ops db_sqlite_ops;

/* --- db_sqlite_gather.c --- */

/* Gather the writes to the log from now on. Called when the log is open. */
void db_sqlite_gather_init(struct db_sqlite *s) __attribute__((nonnull));
/* Return true if all writes have been passed on. */
bool db_sqlite_gather_is_empty(const struct db_sqlite *s) __attribute__((nonnull));

/* --- db_sqlite_log.c --- */

/* Start to count the pages of the log. Called after the connection was opened. */
void db_sqlite_log_init(struct db_sqlite *s) __attribute__((nonnull));
/* Grow the file to the size that it has after the commit of this transaction. */
enum db_status db_sqlite_reserve(struct db_sqlite *s, struct err *err) __attribute__((nonnull));
/* Write the log again, sync it, and then checkpoint. The definition says why. */
enum db_status db_sqlite_log_renew(struct db_sqlite *s, struct err *err) __attribute__((nonnull));
/* The functions of db_ops. */
enum db_status db_sqlite_maintain(struct db *db, bool is_idle, bool *has_more_out, struct err *err);
enum db_status db_sqlite_figures(struct db *db, struct db_figures *out, struct err *err);
/* Copy the whole log into the database, and empty it. Called at a clean end. */
void db_sqlite_log_empty(struct db_sqlite *s) __attribute__((nonnull));

#endif
