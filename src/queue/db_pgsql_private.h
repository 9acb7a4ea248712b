/* SPDX-License-Identifier: ISC */
/*
 * db_pgsql_private: the declarations that the files of db on PostgreSQL share. db_pgsql.c has the
 * functions of db_ops. db_pgsql_pipe.c sends statements and takes their results. db_pgsql_value.c
 * converts values. db_pgsql_open.c opens connections and creates the tables. db_pgsql_watch.c has
 * notifications and the state of replication. No file outside of this folder includes it.
 *
 * The connection is in pipeline mode: statements are sent one after the other, and the results of
 * all of them are taken at a *sync*. When a statement fails, the server skips the statements after
 * it, up to the next sync.
 */
#ifndef SPLIT_DB_PGSQL_PRIVATE_H
#define SPLIT_DB_PGSQL_PRIVATE_H

#include "queue/db_pgsql.h"

#include <libpq-fe.h>

#define DB_PGSQL_STATEMENTS 256 /* slots for prepared statements, a power of 2 */

/* A message to the server that was sent, and whose results were not taken yet. */
struct db_pgsql_sent {
    enum db_pgsql_kind { DB_PGSQL_PREPARE, DB_PGSQL_EXECUTE, DB_PGSQL_SYNC } kind;
    size_t slot;     /* of a PREPARE */
    const char *sql; /* for error texts */
};

struct db_pgsql {
    struct db base; /* first */
    PGconn *conn;
    enum db_access access;
    unsigned timeout_ms;
    int64_t deadline_ms; /* of the operation; with DB_WRITE of the transaction */
    bool is_in_transaction;
    bool must_replicate, is_durable;
    bool has_failed;            /* the connection is lost, or its state unknown */
    bool (*goes_on)(void *ctx); /* db_pgsql_watch(); NULL: not watched */
    void *goes_on_ctx;
    char server[128];  /* HOST:PORT */
    char sqlstate[6];  /* of the last error */
    char warning[200]; /* the last one, since db_pgsql_take() began, after which a COMMIT counts as
                          failed; "": none */
    struct {
        const char *sql; /* NULL: free */
        bool is_prepared;
        unsigned char types[DB_VALUES_MAX];
    } statements[DB_PGSQL_STATEMENTS]; /* hash by the address of the text */
    unsigned statement_count;
    struct db_pgsql_sent *sent; /* owned */
    size_t sent_count, sent_cap;
    size_t unsent_bytes; /* in libpq's buffer, roughly */
    struct db_figures figures;
    int64_t figures_at_ms; /* 0: not read yet */
};

extern const struct db_ops db_pgsql_ops;

/* --- db_pgsql_pipe.c --- */

/* Set the deadline of an operation, counted from now. Inside a transaction of a DB_WRITE
 * connection, the deadline of the transaction stays. */
void db_pgsql_set_deadline(struct db_pgsql *p) __attribute__((nonnull));

/* Send a statement. is_kept: sql is a constant, and is prepared once. db_pgsql_take() takes the
 * result. */
enum db_status db_pgsql_send(struct db_pgsql *p, const char *sql, bool is_kept,
                             const struct db_value *values, size_t count, struct err *err)
    __attribute__((nonnull(1, 2, 6), warn_unused_result));

/* What db_pgsql_take() gets from the last statement. */
struct db_pgsql_results {
    bool (*row)(void *ctx, const struct db_value *columns); /* called for each row until it returns
                                                               false; NULL: rows are ignored */
    void *ctx;
    uint64_t changed; /* rows that were changed */
};

/* Send a sync, and take the results of all that was sent. Returns the first failure. */
enum db_status db_pgsql_take(struct db_pgsql *p, struct db_pgsql_results *last, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Wait until the connection can be read (with `writes`: or written), or until wake_fd (-1: none)
 * can be read. What has come on the connection is read into libpq's buffer. Returns 2 if wake_fd
 * can be read, 1 if it cannot, 0 after the deadline, or -1 with `err` if the connection is lost. */
int db_pgsql_poll(struct db_pgsql *p, bool writes, int wake_fd, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Mark the connection as lost, and set `err`. Returns DB_FAULT. */
enum db_status db_pgsql_lost(struct db_pgsql *p, struct err *err) __attribute__((nonnull));

/* Copy a message of libpq into `err` in one line, after the name of the server. */
void db_pgsql_say(const struct db_pgsql *p, const char *message, struct err *err)
    __attribute__((nonnull));

/* --- db_pgsql_value.c --- */

/* Parameters of a statement as libpq wants them. */
struct db_pgsql_parameters {
    Oid types[DB_VALUES_MAX];
    const char *values[DB_VALUES_MAX];
    int lengths[DB_VALUES_MAX], formats[DB_VALUES_MAX];
    uint64_t numbers[DB_VALUES_MAX]; /* in network byte order */
    char *texts[DB_VALUES_MAX];      /* owned; replacements of texts that are not valid */
    size_t count, bytes;
};
/* Convert values. *out points into their texts and blobs. */
void db_pgsql_encode(const struct db_value *values, size_t count, struct db_pgsql_parameters *out)
    __attribute__((nonnull(3)));
/* Free what db_pgsql_encode() has allocated. */
void db_pgsql_encode_clear(struct db_pgsql_parameters *p) __attribute__((nonnull));
/* Convert a row. Texts and blobs point into the result. -1 with `err`: there are too many columns,
 * or a column has a type that db_pgsql_value.c does not know, or a length that its type does not
 * have. */
int db_pgsql_decode(const PGresult *result, int row, struct db_value columns[DB_VALUES_MAX],
                    struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
