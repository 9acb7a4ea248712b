/* SPDX-License-Identifier: ISC */
/*
 * transport: how a copy gets to its destination, as seen by the workers in destination.c: SMTP and
 * LMTP (client.h), or files in a Maildir (maildir.h). An implementation's struct begins with
 * `struct transport`. One thread at a time, except for interrupt().
 */
#ifndef SPLIT_TRANSPORT_H
#define SPLIT_TRANSPORT_H

#include "config/config.h"
#include "deliver/delivery.h"
#include "queue/queue.h"

#include <stdbool.h>

struct transport;
struct security_client;

struct transport_ops {
    /* Deliver a copy to its pending recipients. Fills report->outcomes, for which the caller
     * provides an array of copy->recipient_count, and all other members of the report except
     * wait_ms. */
    void (*deliver)(struct transport *t, const struct queue_copy *copy,
                    struct outcome_report *report);
    /* Is a connection open that can take another copy, and that costs the server something? */
    bool (*is_connected)(const struct transport *t);
    /* Make deliver() of another thread end soon. only_setup: only if it has not yet begun to
     * transmit a copy. */
    void (*interrupt)(struct transport *t, bool only_setup);
    /* Send QUIT and close the connection if there is one; release the transport. */
    void (*free)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
};

/* Make the transport of this destination. d, security (NULL: neither TLS nor AUTH is set up) and
 * hostname (our name) are borrowed for its life. No I/O yet. */
struct transport *transport_new(const struct config_destination *d,
                                const struct security_client *security, const char *hostname)
    __attribute__((nonnull(1, 3), returns_nonnull, warn_unused_result));

#endif
