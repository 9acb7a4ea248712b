/* SPDX-License-Identifier: ISC */
/* offline: the queue without splitrelay: splitctl takes the lock of the spool itself. One thread.
 */
#ifndef SPLIT_CTL_OFFLINE_H
#define SPLIT_CTL_OFFLINE_H

#include "config/config.h"
#include "base/err.h"
#include "queue/queue.h"

/*
 * Open the spool for changes; release it with ops->close. Root becomes the owner of the spool
 * directory, for good, so that splitrelay can use what is made there; any other user must be it.
 * What is done with copies is logged where the configuration says, if that is syslog. NULL with
 * `err`: there is no spool, it belongs to another user, or a process has it.
 */
struct queue *offline_open(const struct config *config, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* splitrelay answers at its control socket: *out is NULL. It does not run: *out is its queue, as
 * above. Neither: complained; the exit code. */
int offline_find(const struct config *config, struct queue **out)
    __attribute__((nonnull, warn_unused_result));

#endif
