/* SPDX-License-Identifier: ISC */
/*
 * writer: the one thread that writes to the database. Requests wait in a list. The writer takes all
 * requests that wait, runs them in one transaction, commits it, and finishes each request. While it
 * syncs, further requests gather in the list (group commit). The writer does not depend on what a
 * request writes. Requests may be submitted from any thread and any task.
 *
 * Failures: after DB_AGAIN the transaction is run again. After DB_CONFLICT each request is run in a
 * transaction of its own, and the one that conflicts fails alone. After DB_FULL, DB_FAULT or
 * DB_CORRUPT the whole transaction has failed, and the writer opens a new connection. Requests with
 * must_succeed are kept and tried again, about once a second. The other requests finish with that
 * status. If the failure took more than a second, the requests that have come meanwhile fail with
 * it, because an MTA waits for each of them.
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
    struct writer_request *next; /* private to the writer, from submit to finish */
    int64_t submitted_us;        /* private to the writer */
    /* Run the statements of the request inside the transaction, on the writer's thread. It is
     * called again if the transaction is run again, so it may change only the database and its own
     * results. */
    enum db_status (*apply)(struct writer_request *r, struct db *db, struct err *err);
    /* Called once, on the writer's thread, when the request is committed (DB_OK) or has failed. It
     * must not block. It may release the request. */
    void (*finish)(struct writer_request *r, enum db_status status, const struct err *err);
    enum writer_urgency {
        WRITER_DURABLE, /* committed at once; on stable storage when it finishes */
        WRITER_WRITTEN, /* committed at once, without a sync of its own */
        WRITER_LAZY,    /* committed with the next transaction, within WRITER_LAZY_MS */
    } urgency;
    bool must_succeed; /* after a failure it is tried again until it succeeds */
    /* In a transaction, requests with an order run in that order, after those without (0). So two
     * nodes lock the rows that both need one after the other, and not crosswise. */
    int64_t order;
};

#define WRITER_LAZY_MS 50

struct writer_options {
    /* Open the connection. Called at the start, and after a fault. NULL with *status_out and `err`.
     */
    struct db *(*open)(void *ctx, enum db_status *status_out, struct err *err);
    /* Do housekeeping in a transaction, such as removing old rows of the history. Called about once
     * a second, and less often while urgent requests wait. NULL: there is none. *has_more_out: when
     * the writer is idle, call it again at once. */
    enum db_status (*idle)(void *ctx, struct db *db, bool *has_more_out, struct err *err);
    /* Called once, on the writer's thread, when the database is found damaged. Nothing is written
     * any more. The writer logs all other faults itself. */
    void (*damaged)(void *ctx, const struct err *err);
    void *ctx;
};

/* Open the connection and start the thread. NULL with *status_out and `err`. */
struct writer *writer_start(const struct writer_options *options, enum db_status *status_out,
                            struct err *err) __attribute__((nonnull, warn_unused_result));

/* Submit a request without waiting. The writer owns r until it calls r->finish. */
void writer_submit(struct writer *w, struct writer_request *r) __attribute__((nonnull));

/* Submit a request and wait until it is finished. Returns its status, with `err` on failure.
 * r->finish is not called. */
enum db_status writer_do(struct writer *w, struct writer_request *r, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Return the number of must_succeed requests that are kept after a failure. */
size_t writer_backlog(const struct writer *w) __attribute__((nonnull));

/* Return DB_OK, or the reason why the database cannot be written at present, with `err`. */
enum db_status writer_state(struct writer *w, struct err *err) __attribute__((nonnull));

/* The time of a commit is the time that a caller had to wait: from the submission of the
 * transaction's first request that is not LAZY to the end of the sync. Checkpoints before the
 * transaction are included. */
#define WRITER_SLOWER_COUNT 8
extern const unsigned writer_slower_ms[WRITER_SLOWER_COUNT];
struct writer_figures {
    struct db_figures db; /* at most about a second old */
    uint64_t commits;
    double commit_seconds;                       /* the sum of the times of all commits */
    uint64_t commit_slower[WRITER_SLOWER_COUNT]; /* number of those that took longer than
                                                    writer_slower_ms */
};
/* Get the figures. */
void writer_get_figures(struct writer *w, struct writer_figures *out) __attribute__((nonnull));

/* Commit the requests that wait, close the connection, end the thread, and release w. Requests with
 * must_succeed are tried for up to grace_ms; after that they finish with a failure. */
void writer_stop(struct writer *w, unsigned grace_ms) __attribute__((nonnull));

#endif
