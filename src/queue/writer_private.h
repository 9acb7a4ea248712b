/* SPDX-License-Identifier: ISC */
/*
 * writer_private: the declarations that the two files of the writer share. writer.c has the list of
 * requests and the thread. writer_commit.c has the connection, transactions and faults; all of it
 * runs on that thread. A request is *kept* if it must succeed and its transaction has failed.
 */
#ifndef SPLIT_WRITER_PRIVATE_H
#define SPLIT_WRITER_PRIVATE_H

#include "queue/writer.h"

#include <pthread.h>
#include <stdatomic.h>

#define WRITER_BATCH_MAX 1000 /* requests in one transaction */
#define WRITER_LAZY_MAX 250   /* so many LAZY requests do not wait any longer */
#define WRITER_KEPT_MAX 20 /* kept requests in one transaction, which must fit into a small log */
#define WRITER_IDLE_AFTER_MS 200 /* after so long without a request, the writer is idle */
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
    size_t urgent;                       /* number of requests in `waiting` that are not LAZY */
    enum { AWAKE, DOZES, SLEEPS } sleep; /* DOZES: a LAZY request does not wake it */
    bool is_stopping;
    int64_t stop_at_ms; /* when kept requests are given up */
    enum db_status state;
    struct err state_err;
    struct writer_figures figures;

    atomic_size_t kept_count; /* length of `kept` */

    /* Used by the thread alone. */
    struct db *db;           /* NULL: to be opened */
    struct writer_list kept; /* requests to be tried again after a failure */
    int64_t kept_at_ms;      /* earliest time of the next attempt with them */
    unsigned failures;       /* in a row */
    int64_t open_at_ms;      /* earliest time of the next attempt to open the database */
    bool is_damaged, is_reported;
    bool has_failed_to_apply;            /* the last batch failed in apply(), not in the commit */
    bool has_idle_work, has_maintenance; /* there is more of this work to do */
    int64_t durable_at_ms;               /* the last durable commit */
    int64_t busy_at_ms;                  /* the end of the last batch of requests */
    int64_t looked_at_ms;                /* the last maintenance without a batch */
    int64_t idle_at_ms;                  /* the last housekeeping (options.idle) */
    int64_t figures_at_ms;               /* the last update of the figures */
};

/* Make the list empty. */
void writer_list_init(struct writer_list *l);
/* Add a request at the end. */
void writer_list_add(struct writer_list *l, struct writer_request *r);
/* Remove the first request, and return it. The list is not empty. */
struct writer_request *writer_list_take(struct writer_list *l);

/* Return true if there is a connection. If there is none, and open_at_ms has passed, open one. */
bool writer_is_ready(struct writer *w);
/* Run the batch in one transaction, and finish each request. After a failure, requests that must
 * succeed are kept. */
void writer_work(struct writer *w, struct writer_list *batch);
/* Run up to WRITER_KEPT_MAX kept requests in a transaction of their own, so that others fail with
 * them only if they fail late. Nothing is done after the grace time of a stop. */
void writer_work_for_kept(struct writer *w);
/* Do one step of maintenance and, if it is time for it, the housekeeping. has_urgent: urgent
 * requests wait. is_idle: there has been no request for WRITER_IDLE_AFTER_MS. */
void writer_maintain(struct writer *w, bool has_urgent, bool is_idle);
/* Read the figures of the database, unless they are recent. */
void writer_update_figures(struct writer *w);
/* Close the connection, if there is one. */
void writer_close_db(struct writer *w);

#endif
