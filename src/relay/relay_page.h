/* SPDX-License-Identifier: ISC */
/*
 * relay_page: what splitrelay shows over HTTP (metrics_http.h): the metrics, with the present state
 * of spool and queues; whether splitrelay can take copies now; and the page for people, with its
 * documents (relay_api.h).
 */
#ifndef SPLIT_RELAY_PAGE_H
#define SPLIT_RELAY_PAGE_H

#include "config/config.h"
#include "base/err.h"
#include "queue/queue.h"
#include "relay/relay_api.h"

struct relay_page;

/* Where the page gets the destinations from: relay_api_options.destinations. */
struct relay_page_source {
    struct relay_api_destination *(*destinations)(void *ctx, size_t *count_out);
    void *ctx;
};

/* Check the file of passwords for the page, if there is one. -1 with `err`. */
int relay_page_check(const struct config *config, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Serve at the sockets of the option relay.metrics. The queue is borrowed until relay_page_stop(),
 * and the functions of `source` are called until then. *out is NULL if the option is not set. Call
 * it before other threads are started, because counting begins here. -1 with `err`. */
int relay_page_start(const struct config *config, struct queue *q,
                     const struct relay_page_source *source, struct relay_page **out,
                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Take over the passwords of the page, if its file is the same as before. Called after a reload.
 * page: NULL is legal. */
void relay_page_reload(struct relay_page *p, const struct config *config)
    __attribute__((nonnull(2)));

/* Tell the page whether splitrelay serves. Until the first call it does not. NULL is legal. */
void relay_page_set_serving(struct relay_page *p, bool is_serving);

/* Stop the HTTP server and free the page; NULL is legal. */
void relay_page_stop(struct relay_page *p);

#endif
