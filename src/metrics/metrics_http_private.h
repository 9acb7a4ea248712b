/* SPDX-License-Identifier: ISC */
/*
 * metrics_http_private: the parts of metrics_http: sockets and their connections (metrics_http.c),
 * the answer to each request (metrics_http_answer.c), which requests get the page
 * (metrics_http_access.c), and the thread that makes documents
 * (metrics_http_document.c).
 */
#ifndef SPLIT_METRICS_HTTP_PRIVATE_H
#define SPLIT_METRICS_HTTP_PRIVATE_H

#include "metrics/http_guard.h"
#include "metrics/metrics_http.h"

#include <microhttpd.h>

#include <pthread.h>

#define METRICS_HTTP_SOCKETS_MAX 16
#define METRICS_HTTP_CONNECTIONS_MAX 32
#define METRICS_HTTP_STACK_SIZE (256 * 1024)
#define METRICS_HTTP_DOCUMENT_STACK_SIZE (2 * 1024 * 1024) /* the database runs on it */

/* One listening socket and its thread. */
struct metrics_http_socket {
    struct metrics_http *http;
    struct MHD_Daemon *daemon;
    char unix_path[108]; /* "" for inet */
    bool is_loopback;    /* inet: only this machine reaches it */
    /* The open connections, oldest first; only the socket's own thread uses them. */
    const struct MHD_Connection *connections[METRICS_HTTP_CONNECTIONS_MAX];
    int fds[METRICS_HTTP_CONNECTIONS_MAX];
    bool are_waiting[METRICS_HTTP_CONNECTIONS_MAX]; /* suspended: a document is being made */
    size_t count;
    int64_t closed_ms; /* clock_now_ms() when a connection was closed for another; 0: never */
};

/* A request for a document. It belongs to its connection, which is suspended until the document is
 * made. */
struct metrics_http_job {
    struct metrics_http_job *next;
    struct MHD_Connection *connection;
    char *path;
    struct metrics_http_parameters parameters;
    unsigned status; /* 0: not made yet */
    struct buf body;
};

struct metrics_http {
    struct metrics_http_options o;
    pthread_mutex_t page_lock;
    struct metrics_http_socket sockets[METRICS_HTTP_SOCKETS_MAX];
    size_t socket_count;

    pthread_mutex_t lock; /* guards the members below */
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread, is_stopping;
    struct metrics_http_job *first, **last; /* those that wait */
    size_t waiting;
    struct http_guard guard;
    const struct http_access *access; /* of the page; NULL: no passwords */

    bool wants_passwords; /* constant */
};

/* status 200: the client gets the page. Otherwise: why not. */
struct metrics_http_refusal {
    unsigned status;
    const char *why;
    unsigned retry_after_s; /* 0: unknown */
};

/* May the client have the page? A wrong password is logged. version: of HTTP. */
void metrics_http_check_access(struct metrics_http_socket *s, struct MHD_Connection *c,
                               const char *version, struct metrics_http_refusal *out)
    __attribute__((nonnull));
/* Log how many requests were refused after too many wrong passwords, if that is over at now_ms. */
void metrics_http_report_refused(struct metrics_http *h, int64_t now_ms) __attribute__((nonnull));

/* Note whether a connection waits for a document. Called in the socket's own thread. */
void metrics_http_set_waiting(struct metrics_http_socket *s, const struct MHD_Connection *c,
                              bool is_waiting) __attribute__((nonnull));

/* Answer a request: the function that libmicrohttpd calls (MHD_AccessHandlerCallback). cls: the
 * socket. */
enum MHD_Result metrics_http_answer(void *cls, struct MHD_Connection *c, const char *url,
                                    const char *method, const char *version, const char *upload,
                                    size_t *upload_size, void **state);
/* Free the state of a request (MHD_RequestCompletedCallback). */
void metrics_http_completed(void *cls, struct MHD_Connection *c, void **state,
                            enum MHD_RequestTerminationCode code);

/* Start the thread that makes documents. -1 with `err`. */
int metrics_http_documents_start(struct metrics_http *h, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* End the thread, and resume the connections that wait; their jobs get the status 503. */
void metrics_http_documents_stop(struct metrics_http *h) __attribute__((nonnull));
/* Have a document made: suspend the connection until job->status is set. False: too many wait, or
 * the thread ends. */
bool metrics_http_documents_add(struct metrics_http *h, struct metrics_http_job *job)
    __attribute__((nonnull, warn_unused_result));

#endif
