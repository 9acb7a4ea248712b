/* SPDX-License-Identifier: ISC */
/*
 * metrics_http: a small HTTP server for monitoring: /metrics (the text for Prometheus), /healthz
 * (200 as long as the daemon answers), /readyz (200, or 503 with the reason), and the files and
 * documents of a page for people (struct metrics_http_site). It knows GET and HEAD only, and takes
 * one request per connection. Each listening socket has a thread of libmicrohttpd, which calls the
 * functions of struct metrics_http_options. The documents of the page are made in a thread of their
 * own, so that a slow one does not delay /metrics.
 *
 * /metrics, /healthz and /readyz have no authentication: the address should be a loopback address
 * or in a private network. Rules for the page:
 *
 *   - With passwords (http_access.h) each request needs one, at each socket. Too many wrong ones
 *     make their address wait: 429 (http_guard.h).
 *   - Without passwords the page is at loopback addresses and at unix sockets only. A loopback
 *     address needs a field Host that names one. A web site that an administrator visits could
 *     otherwise read the page, by a name of its own that resolves to 127.0.0.1 (DNS rebinding).
 *   - At a loopback address, without passwords, a request that a proxy passes on is refused: one
 *     with a field that proxies add, or of HTTP/1.0.
 *   - A browser may ask for a document only from the page itself (Sec-Fetch-Site).
 *
 * The resources of clients are limited at each socket: 32 connections (the one that takes the last
 * place ends the oldest that does not wait for a document), 8 kB of headers, 10 seconds of silence.
 * Up to 8 documents wait to be made. Requests are not logged, except for a wrong password.
 */
#ifndef SPLIT_METRICS_HTTP_H
#define SPLIT_METRICS_HTTP_H

#include "base/buf.h"
#include "net/endpoint.h"
#include "base/err.h"
#include "metrics/http_access.h"

#include <stdbool.h>
#include <stddef.h>

struct metrics_http;

/* A file of the page. */
struct metrics_http_file {
    const char *path; /* "/page.css" */
    const char *type; /* Content-Type */
    const unsigned char *data;
    size_t size;
};

/* The parameters of a request: "?NAME=VALUE&...", decoded. */
#define METRICS_HTTP_PARAMETERS_MAX 16
struct metrics_http_parameters {
    char *names[METRICS_HTTP_PARAMETERS_MAX], *values[METRICS_HTTP_PARAMETERS_MAX];
    size_t count;
};

/* A page: files, and documents below /api/. */
struct metrics_http_site {
    const struct metrics_http_file *files; /* ends with an entry whose path is NULL */
    /* Append the JSON document at a path: "status" for /api/status. Returns the status of HTTP. One
     * call at a time, in a thread of its own. */
    unsigned (*document)(void *ctx, const char *path,
                         const struct metrics_http_parameters *parameters, struct buf *out);
    /* Called in the same thread from time to time, at least every second while no document is
     * being made. */
    void (*tick)(void *ctx);
    const struct http_access *access; /* NULL: no passwords */
    /* A request got no page, because of a wrong password, or because its address has to wait after
     * too many of these. Any thread. */
    void (*denied)(void *ctx, bool has_to_wait);
    void *ctx;
};

struct metrics_http_options {
    const struct endpoint *listen;                /* borrowed for the call; host "" is 127.0.0.1 */
    size_t listen_count;                          /* at least 1 */
    void (*page)(void *ctx, struct buf *out);     /* appends the metrics; one call at a time */
    bool (*is_ready)(void *ctx, struct err *why); /* false: `why` has one line */
    void *ctx;
    const struct metrics_http_site *site; /* NULL: no page; borrowed until metrics_http_stop() */
    const char *not_found;                /* the text for other paths, without a page; a constant */
};

/* Open the sockets and serve. The threads block all signals. NULL with `err`; a build without
 * libmicrohttpd always returns NULL. */
struct metrics_http *metrics_http_start(const struct metrics_http_options *o, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Let other passwords count from now on, if there were some at the start. The former ones are no
 * longer used when this returns. */
void metrics_http_set_access(struct metrics_http *h, const struct http_access *access)
    __attribute__((nonnull));

/* End the threads; afterwards no function of the options runs. NULL is legal. */
void metrics_http_stop(struct metrics_http *h);

#endif
