/* SPDX-License-Identifier: ISC */
/* In place of metrics_http.c in a build without libmicrohttpd. */
#include "metrics/metrics_http.h"

struct metrics_http *metrics_http_start(const struct metrics_http_options *o, struct err *err)
{
    (void)o;
    err_set(err, "metrics: this program was built without libmicrohttpd; leave the option out");
    return NULL;
}

void metrics_http_set_access(struct metrics_http *h, const struct http_access *access)
{
    (void)h;
    (void)access;
}

void metrics_http_stop(struct metrics_http *h)
{
    (void)h;
}
