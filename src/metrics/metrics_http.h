/* SPDX-License-Identifier: ISC */
/*
 * metrics_http: a small HTTP server for monitoring: /metrics (the page), /healthz (200 as long as
 * the daemon answers), /readyz (200, or 503 with the reason). It knows GET and HEAD only, and takes
 * one request per connection. Each listening socket has a thread of libmicrohttpd, which calls the
 * functions of struct metrics_http_options.
 *
 * There is no authentication: the address should be a loopback address or in a private network. The
 * resources of clients are limited at each socket: 32 connections (the one that takes the last
 * place ends the oldest), 8 kB of headers, 10 seconds of silence. Requests are not logged.
 */
#ifndef SPLIT_METRICS_HTTP_H
#define SPLIT_METRICS_HTTP_H

#include "base/buf.h"
#include "net/endpoint.h"
#include "base/err.h"

#include <stdbool.h>

struct metrics_http;

struct metrics_http_options {
    const struct endpoint *listen;                /* borrowed for the call; host "" is 127.0.0.1 */
    size_t listen_count;                          /* at least 1 */
    void (*page)(void *ctx, struct buf *out);     /* appends the page; one call at a time */
    bool (*is_ready)(void *ctx, struct err *why); /* false: `why` has one line */
    void *ctx;
};

/* Open the sockets and serve. The threads block all signals. NULL with `err`; a build without
 * libmicrohttpd always returns NULL. */
struct metrics_http *metrics_http_start(const struct metrics_http_options *o, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* End the threads; afterwards no function of the options runs. NULL is legal. */
void metrics_http_stop(struct metrics_http *h);

#endif
