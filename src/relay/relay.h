/* SPDX-License-Identifier: ISC */
/*
 * relay: splitrelay as a whole. It starts the spool, the server, the destinations, the control
 * socket and the page of metrics, gives them a new configuration, and stops them. One thread
 * (main's) calls these functions.
 */
#ifndef SPLIT_RELAY_H
#define SPLIT_RELAY_H

#include "base/buf.h"
#include "base/err.h"
#include "smtp/runtime.h"
#include "policy/watch.h"

struct relay;

/*
 * Open and lock the spool, start to deliver and to serve. The reference to `first` is taken over.
 * The signals that main() waits for must be blocked, because new threads inherit the mask. NULL
 * with `err`; everything is released then, and *exit_code_out says whether another attempt may help
 * (EXIT_UNAVAILABLE) or not (EXIT_CONFIG).
 */
struct relay *relay_start(struct runtime *first, int *exit_code_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Use the configuration `next` from now on; its reference is taken over. Sessions that begin from
 * now on follow it, and destinations are started, stopped and reconfigured. Options that need a
 * restart keep their values: the log says so, and their names are appended to *restart_out
 * (config_restart.h). Copies for a destination that is no longer configured stay in the spool. -1
 * with `err`: a new destination cannot be started, and nothing has changed.
 */
int relay_reload(struct relay *r, struct runtime *next, struct buf *restart_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Read those tables of listeners again whose files have changed (watch_poll()). Sessions that begin
 * from now on use the new tables. */
void relay_refresh(struct relay *r, struct watch *watch, int64_t now_ms) __attribute__((nonnull));

/* Stop the relay, and release everything. Sessions have grace_ms to end, and then deliveries have
 * grace_ms. Copies that are not delivered stay in the spool; a message whose session was cut off
 * stays with the MTA. */
void relay_stop(struct relay *r, unsigned grace_ms) __attribute__((nonnull));

#endif
