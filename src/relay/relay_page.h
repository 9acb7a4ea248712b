/* SPDX-License-Identifier: ISC */
/*
 * relay_page: what monitoring gets from splitrelay over HTTP (metrics_http.h): the page of metrics,
 * with the present state of spool and queues, and whether splitrelay can take copies now.
 */
#ifndef SPLIT_RELAY_PAGE_H
#define SPLIT_RELAY_PAGE_H

#include "config/config.h"
#include "base/err.h"
#include "queue/queue.h"

struct relay_page;

/* Serve the page at the sockets of the option relay.metrics; the queue is borrowed until
 * relay_page_stop(). *out is NULL if the option is not set. Call it before other threads are
 * started, because counting begins here. -1 with `err`. */
int relay_page_start(const struct config *config, struct queue *q, struct relay_page **out,
                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Tell the page whether splitrelay serves. Until the first call it does not. NULL is legal. */
void relay_page_set_serving(struct relay_page *p, bool is_serving);

/* Stop the HTTP server and free the page; NULL is legal. */
void relay_page_stop(struct relay_page *p);

#endif
