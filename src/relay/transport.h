/* SPDX-License-Identifier: ISC */
/*
 * transport: how a copy gets to its destination, as seen by the workers in destination.c: SMTP and
 * LMTP (client.c), or files in a Maildir (maildir.c). An implementation's struct begins with
 * `struct transport`. Belongs to one thread at a time, but for transport_interrupt().
 */
#ifndef SPLIT_TRANSPORT_H
#define SPLIT_TRANSPORT_H

#include "../config.h"
#include "delivery.h"
#include "queue.h"

#include <stdbool.h>

struct transport;

struct transport_ops {
    void (*deliver)(struct transport *t, const struct queue_copy *copy,
                    struct delivery_report *report);
    bool (*is_connected)(const struct transport *t);
    void (*interrupt)(struct transport *t);
    void (*free)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
};

/* The one for this destination. d and hostname (our name) are borrowed for its life. No I/O yet. */
struct transport *transport_new(const struct config_destination *d, const char *hostname)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Part in peace with whom it is connected, and release it. */
void transport_free(struct transport *t);

/* Deliver the pending recipients of a copy: report->outcomes (array of copy->recipient_count given
 * by the caller) and all the rest of the report but wait_ms are filled in. */
void transport_deliver(struct transport *t, const struct queue_copy *copy,
                       struct delivery_report *report) __attribute__((nonnull));

/* True while something is open that can take another copy, and that the other side pays for. */
bool transport_is_connected(const struct transport *t) __attribute__((nonnull));

/* Make a blocked transport_deliver() of another thread end soon. */
void transport_interrupt(struct transport *t) __attribute__((nonnull));

#endif
