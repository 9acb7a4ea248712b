/* SPDX-License-Identifier: ISC */
/*
 * writer: the one thread that writes to the database. Requests wait on a list; the writer takes all
 * that wait, runs them in one transaction, commits, and finishes each. While it syncs, the next
 * ones gather (group commit). Knows nothing of what a request writes. Any thread and any task may
 * submit.
 *
 * What fails: a request whose apply() ends with DB_CONFLICT fails alone, and the others are done
 * again without it. After DB_FULL, DB_FAULT or DB_CORRUPT nothing of the transaction counts: the
 * connection is opened anew, requests with must_succeed wait and are tried again (after at most a
 * second), and the others finish with that status.
 */
#ifndef SPLIT_WRITER_H
#define SPLIT_WRITER_H

#include "base/err.h"
#include "queue/db.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer;
struct writer_request;

struct writer_request {
    struct writer_request *next; /* the writer's, from submit to finish */
    int64_t submitted_us;        /* the writer's */
    /* Run statements, inside of a transaction, on the writer's thread. Called again when the
     * transaction has to be done again: it changes nothing but the database and its own results. */
    enum db_status (*apply)(struct writer_request *r, struct db *db, struct err *err);
    /* It is committed, or has failed. On the writer's thread; does not block. The request may be
     * released in it. */
    void (*finish)(struct writer_request *r, enum db_status status, const struct err *err);
    enum writer_urgency {
        WRITER_DURABLE, /* commit now; on stable storage when it finishes */
        WRITER_WRITTEN, /* commit now, without a sync of its own */
        WRITER_LAZY,    /* with the next transaction, within WRITER_LAZY_MS */
    } urgency;
    bool must_succeed; /* an outcome that must not be forgotten: tried until it succeeds */
};

#define WRITER_LAZY_MS 50

struct writer_options {
    /* Open the connection; called at the start, and after a fault. */
    struct db *(*open)(void *ctx, enum db_status *status_out, struct err *err);
    /* Work of the queue while nothing waits (the history's old rows, ...): called at most once in a
     * second, in a transaction. NULL: none. *has_more_out: there is more of it to do now. */
    enum db_status (*idle)(void *ctx, struct db *db, bool *has_more_out, struct err *err);
    /* The database is damaged (once, on the writer's thread): nothing is written any more. Other
     * faults are logged by the writer. */
    void (*damaged)(void *ctx, const struct err *err);
    void *ctx;
};

/* Waits for the first connection. NULL with `err`. */
struct writer *writer_start(const struct writer_options *options, enum db_status *status_out,
                            struct err *err) __attribute__((nonnull, warn_unused_result));

/* Returns at once. r is the writer's until r->finish is called. */
void writer_submit(struct writer *w, struct writer_request *r) __attribute__((nonnull));

/* Submit, and wait until it is finished; r->finish is not used. */
enum db_status writer_do(struct writer *w, struct writer_request *r, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* How many must_succeed requests wait, because the database takes nothing. */
size_t writer_backlog(const struct writer *w) __attribute__((nonnull));

/* DB_OK, or why nothing can be written at present, with `err`. */
enum db_status writer_state(struct writer *w, struct err *err) __attribute__((nonnull));

/* A commit's time is that from the submission of the first request in it that is not LAZY to the
 * end of the sync: what a caller had to wait, checkpoints included. */
#define WRITER_SLOWER_COUNT 8
extern const unsigned writer_slower_ms[WRITER_SLOWER_COUNT];
struct writer_figures {
    struct db_figures db; /* not older than a second */
    uint64_t commits;
    double commit_seconds;                       /* the sum of their times */
    uint64_t commit_slower[WRITER_SLOWER_COUNT]; /* that took longer than writer_slower_ms */
};
void writer_get_figures(struct writer *w, struct writer_figures *out) __attribute__((nonnull));

/* Commit what waits (must_succeed requests are tried for up to grace_ms), close the connection. */
void writer_stop(struct writer *w, unsigned grace_ms) __attribute__((nonnull));

#endif
