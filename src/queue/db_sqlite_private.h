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
 * Measured with store_bench (messages of 4 kB, SQLite 3.40): kB that are written for each message
 * with 1 thread and with 20 threads. Pages of 2 kB: 23 and 8.4; of 4 kB: 41 and 9.7; of 8 kB: 62
 * and 19; of 16 kB: 102 and 23. The processor time is the same. File systems and disks have blocks
 * of 4 kB: a smaller page shares its block with other pages, and a torn write of the block damages
 * those, too. auto_vacuum adds a tenth (41 instead of 37 kB), and without it no space could be
 * given back. A row for each recipient adds a tenth, too (41 instead of 36.5 kB), and lets
 * administrators query recipients.
 */
#ifndef DB_SQLITE_PAGE_BYTES
#define DB_SQLITE_PAGE_BYTES 4096
#endif
/*
 * secure_delete = FAST overwrites what was deleted in pages that are written anyway, and costs
 * nothing that can be measured. A page that becomes free keeps its content until it is used again
 * or given back. ON overwrites free pages, too: it writes a tenth more bytes while mail flows (10.9
 * kB for each message instead of 9.9), and a backlog of 100,000 messages drains at 16,000 instead
 * of 30,000 messages a second.
 */
#define DB_SQLITE_PATTERN_MAX 4096 /* bytes of a pattern of LIKE */
#define DB_SQLITE_BUSY_MS 2000     /* the longest wait for the lock of a shell that writes */
#define DB_SQLITE_LOG_KEEP_BYTES (16 * 1024 * 1024) /* a longer log is cut when it restarts */
#define DB_SQLITE_CHUNK_BYTES (1024 * 1024)         /* the file grows by so much at a time */
#define DB_SQLITE_STATEMENTS 128 /* slots for prepared statements, a power of 2 */

/* The writes to the log (db_sqlite_gather.c). */
struct db_sqlite_gather {
    sqlite3_io_methods methods;      /* first */
    const sqlite3_io_methods *below; /* the functions of SQLite; NULL: nothing is gathered */
    const bool *is_synchronous;      /* points to that of the connection */
    struct buf data;                 /* what is gathered */
    sqlite3_int64 end;               /* the offset in the file where `data` ends */
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
    bool has_failed; /* a fault, not a mere conflict, has occurred: closing makes no checkpoint */

    int64_t page_bytes;
    int64_t reserved_bytes; /* the file has at least this size */

    /* db_sqlite_log.c, in pages of the log */
    int log_pages;        /* in use after the last commit */
    int copied_pages;     /* how many of them have been copied into the database */
    int checkpoint_at;    /* the value of log_pages at which the next checkpoint is made */
    int checkpoint_pages; /* from one checkpoint to the next; adapted to the time of a checkpoint */
    int64_t restart_at_ms; /* earliest time of the next checkpoint that waits for readers */

    bool (*goes_on)(void *ctx); /* db_sqlite_watch() */
    void *goes_on_ctx;

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

/* Gather the writes to the log from now on. SQLite has opened the log already. */
void db_sqlite_gather_init(struct db_sqlite *s) __attribute__((nonnull));
/* Return true if all gathered writes have been passed on to SQLite's functions. */
bool db_sqlite_gather_is_empty(const struct db_sqlite *s) __attribute__((nonnull));

/* --- db_sqlite_log.c --- */

/* Start to count the pages of the log. Called after the connection was opened. */
void db_sqlite_log_init(struct db_sqlite *s) __attribute__((nonnull));
/* Grow the file to the size that it needs after the commit of this transaction. */
enum db_status db_sqlite_reserve(struct db_sqlite *s, struct err *err) __attribute__((nonnull));
/* Write the log again, sync it, and then checkpoint. The definition says why. */
enum db_status db_sqlite_log_renew(struct db_sqlite *s, struct err *err) __attribute__((nonnull));
/* The functions of db_ops. */
enum db_status db_sqlite_maintain(struct db *db, bool is_idle, bool *has_more_out, struct err *err);
enum db_status db_sqlite_figures(struct db *db, struct db_figures *out, struct err *err);
/* Copy the whole log into the database, and empty it. Called at a clean end. */
void db_sqlite_log_empty(struct db_sqlite *s) __attribute__((nonnull));

#endif
