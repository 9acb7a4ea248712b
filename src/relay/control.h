/* SPDX-License-Identifier: ISC */
/*
 * control: the socket through which splitctl controls a running splitrelay. It is the unix socket
 * "control" in the spool directory, with mode 0600: only splitrelay's user and root may connect. A
 * client sends one request line (control_line.h) and gets one reply; then the connection is closed.
 * Each connection has a thread of its own, so a long operation does not delay others. At most
 * CONTROL_CLIENTS_MAX connections are served at a time; further ones wait. A change stops, between
 * two batches of copies, when its client closes the connection or control_stop() is called.
 */
#ifndef SPLIT_CONTROL_H
#define SPLIT_CONTROL_H

#include "base/err.h"
#include "deliver/destination.h"
#include "queue/queue.h"

#define CONTROL_CLIENTS_MAX 8

struct control;

/* The functions that carry out the requests. They are called from several threads. */
struct control_actions {
    /* As queue_ops.has_room for a message of unknown size: check that the queue takes messages. */
    enum queue_put_status (*has_room)(void *ctx, struct err *err);
    /* As queue_ops.change. In addition, a retry, release or requeue ends suspensions by faults: of
     * the destination that the change names, or of all if it names none. */
    int (*change)(void *ctx, const struct queue_change *change, struct queue_changed *out,
                  struct err *err);
    /* As queue_ops.suspend. */
    int (*suspend)(void *ctx, const struct queue_suspension *s, struct err *err);
    /* As queue_ops.resume. In addition, a suspension by faults ends. */
    int (*resume)(void *ctx, const char *destination, struct err *err);
    /* Get the suspension of a destination by its faults; `since` is 0 if there is none, or if
     * splitrelay runs with a configuration that does not have this destination. */
    void (*health)(void *ctx, const char *destination, struct destination_suspension *out);
    void *ctx;
};

/* Open the control socket and serve requests in threads of its own. `actions` is copied. NULL with
 * `err`. */
struct control *control_start(const char *spool_directory, const struct control_actions *actions,
                              struct err *err) __attribute__((nonnull, warn_unused_result));
/* Close the socket, wait until the requests under way have ended, and release c. */
void control_stop(struct control *c) __attribute__((nonnull));

/* The client side, for splitctl: send a request line (without LF) and wait for the reply, at most
 * timeout_ms for each line. on_progress (NULL: not called) is called with the number of copies that
 * are done; if it returns false, the connection is closed, and splitrelay stops the change. Returns
 * 0 with the text after "ok" in *text_out, which the caller frees. Returns -1 with `err` if
 * splitrelay does not run, if on_progress returned false, or if splitrelay replied with an
 * error. */
int control_request(const char *spool_directory, const char *request, unsigned timeout_ms,
                    bool (*on_progress)(void *ctx, uint64_t changed), void *ctx, char **text_out,
                    struct err *err) __attribute__((nonnull(1, 2, 6, 7), warn_unused_result));

#endif
