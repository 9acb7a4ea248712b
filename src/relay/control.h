/* SPDX-License-Identifier: ISC */
/*
 * control: splitctl's way into a running splitrelay: a unix socket "control" in the spool directory
 * (mode 0600, so only the relay's own user and root). One request line (control_line.h), one reply,
 * then close. Each connection has a thread of its own, CONTROL_CLIENTS_MAX at a time: a long
 * operation does not delay others. It stops, between two batches of copies, when its client goes
 * away or control_stop() is called.
 */
#ifndef SPLIT_CONTROL_H
#define SPLIT_CONTROL_H

#include "base/err.h"
#include "deliver/destination.h"
#include "queue/queue.h"

#define CONTROL_CLIENTS_MAX 8

struct control;

/* What requests act on. Called from several threads. */
struct control_actions {
    /* queue_ops.has_room for a message of unknown size: does the queue take anything now? */
    enum queue_put_status (*has_room)(void *ctx, struct err *err);
    /* As queue_ops.change. Besides, a destination that is suspended because of faults is tried at
     * once if the change moves copies to it, or retries its copies. */
    int (*change)(void *ctx, const struct queue_change *change, struct queue_changed *out,
                  struct err *err);
    /* As the queue_ops of the same name. resume: a suspension by faults ends, too. */
    int (*suspend)(void *ctx, const struct queue_suspension *s, struct err *err);
    int (*resume)(void *ctx, const char *destination, struct err *err);
    int (*health)(void *ctx, const char *destination, struct destination_suspension *out,
                  struct err *err);
    void *ctx;
};

/* Open the control socket and serve requests in threads of its own. `actions` is copied. NULL with
 * `err`. */
struct control *control_start(const char *spool_directory, const struct control_actions *actions,
                              struct err *err) __attribute__((nonnull, warn_unused_result));
void control_stop(struct control *c) __attribute__((nonnull));

/* The other side, for splitctl: send a request line (no LF) and wait for the reply, for each line
 * of it at most timeout_ms. on_progress (NULL: not called) is told how many copies are done; with
 * false the connection is closed, and splitrelay stops the change. 0: *text_out (to free()) is the
 * text behind "ok"; -1 with `err`: not running, stopped, or what splitrelay said.
 */
int control_request(const char *spool_directory, const char *request, unsigned timeout_ms,
                    bool (*on_progress)(void *ctx, uint64_t changed), void *ctx, char **text_out,
                    struct err *err) __attribute__((nonnull(1, 2, 6, 7), warn_unused_result));

#endif
