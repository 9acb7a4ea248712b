/* SPDX-License-Identifier: ISC */
/*
 * relay: splitrelay as a whole: spool, server, destinations, control socket, and how they start,
 * follow a new configuration, and stop. One thread (main's) calls these functions.
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
 * Call it with the signals of main() blocked: threads inherit that. NULL with `err`; everything is
 * released then, and *exit_code_out says if another attempt may help (EXIT_UNAVAILABLE) or not
 * (EXIT_CONFIG).
 */
struct relay *relay_start(struct runtime *first, int *exit_code_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Go on with `next` (its reference is taken over): sessions that begin from now on follow it,
 * destinations are started, stopped and reconfigured. What needs a restart stays as it is; the log
 * says so, and its names are appended to *restart_out (config_restart.h). Copies for a destination
 * that is gone stay in the spool. -1 with `err`: a new destination cannot be started, all is as
 * before.
 */
int relay_reload(struct relay *r, struct runtime *next, struct buf *restart_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Look whether files of the listeners' tables have changed (watch_poll()): sessions that begin from
 * now on use what is new. */
void relay_refresh(struct relay *r, struct watch *watch, int64_t now_ms) __attribute__((nonnull));

/* Stop in order: finish what is in flight, within grace_ms twice (what comes in, what goes out);
 * the rest stays in the spool, or with the MTA. Releases everything. */
void relay_stop(struct relay *r, unsigned grace_ms) __attribute__((nonnull));

#endif
