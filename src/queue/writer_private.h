/* SPDX-License-Identifier: ISC */
/*
 * writer_private: what the two files of the writer share. writer.c takes requests and has the
 * thread; writer_commit.c, all on that thread, has the connection, transactions and faults.
 */
#ifndef SPLIT_WRITER_PRIVATE_H
#define SPLIT_WRITER_PRIVATE_H

#include "queue/writer.h"

#include <pthread.h>
#include <stdatomic.h>

#define WRITER_BATCH_MAX 1000    /* requests in one transaction */
#define WRITER_LAZY_MAX 250      /* so many LAZY ones do not wait for company */
#define WRITER_KEPT_MAX 20       /* after a failure: a disk may be full, and the log small */
#define WRITER_IDLE_AFTER_MS 200 /* without a request */
#define WRITER_IDLE_EVERY_MS 1000

struct writer_list {
    struct writer_request *first, **end;
    size_t count;
};

struct writer {
    struct writer_options options;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct writer_list waiting;
    size_t urgent;                       /* of them are not LAZY */
    enum { AWAKE, DOZES, SLEEPS } sleep; /* DOZES: a LAZY request does not wake it */
    bool is_stopping;
    int64_t stop_at_ms; /* kept ones are given up then */
    enum db_status state;
    struct err state_err;
    struct writer_figures figures;

    atomic_size_t kept_count; /* of `kept` */

    /* Of the thread alone. */
    struct db *db;           /* NULL: to be opened */
    struct writer_list kept; /* must_succeed, after a failure */
    unsigned failures;       /* in a row */
    int64_t open_at_ms;      /* not before: the next attempt to open the database */
    bool is_damaged, is_reported;
    bool has_idle_work, has_maintenance; /* more of it */
    /* When it was last: a durable commit, a request, a look without one, the queue's own work. */
    int64_t durable_at_ms, busy_at_ms, looked_at_ms, idle_at_ms, figures_at_ms;
};

/* A list in the order in which requests were added. */
void writer_list_init(struct writer_list *l);
void writer_list_add(struct writer_list *l, struct writer_request *r);
struct writer_request *writer_list_take(struct writer_list *l);

/* Is there a connection? Opens one when it is time to. */
bool writer_is_ready(struct writer *w);
/* Commit and finish all of the batch. */
void writer_work(struct writer *w, struct writer_list *batch);
/* The same for some of what has waited since a failure: alone, so that it does not let others fail.
 */
void writer_work_for_kept(struct writer *w);
/* What is to be done between transactions. is_idle: no request for a while. */
void writer_maintain(struct writer *w, bool has_urgent, bool is_idle);
/* Ask for the figures of the database, now and then. */
void writer_update_figures(struct writer *w);
/* There may be no connection. */
void writer_close_db(struct writer *w);

#endif
