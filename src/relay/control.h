/* SPDX-License-Identifier: ISC */
/*
 * control: splitctl's way into a running splitrelay: a unix socket "control" in the spool directory
 * (mode 0600, so only the relay's own user and root). One request line, one reply, then close:
 *
 *     request = "retry" SP ( "--all" [ SP destination ] / id ) LF  /  "ping" LF
 *     reply   = "ok" [ SP text ] LF  /  "error" SP text LF
 */
#ifndef SPLIT_CONTROL_H
#define SPLIT_CONTROL_H

#include "../err.h"
#include "queue.h"

struct control;

/* What requests act on. Called from the control thread. */
struct control_actions {
    /* As queue_ops.retry, and suspended destinations are resumed. */
    long (*retry)(void *ctx, const char *destination, const char *id, struct err *err);
    void *ctx;
};

/* Serve requests in a thread of its own. actions is copied. NULL with `err`. */
struct control *control_start(const char *spool_directory, const struct control_actions *actions,
                              struct err *err) __attribute__((nonnull, warn_unused_result));
void control_stop(struct control *c) __attribute__((nonnull));

/* The other side, for splitctl: send a request line (no LF) and wait for the reply, at most
 * timeout_ms. 0: *text_out (to free()) is the text behind "ok"; -1 with `err`: not running, or what
 * the relay said. */
int control_request(const char *spool_directory, const char *request, unsigned timeout_ms,
                    char **text_out, struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
