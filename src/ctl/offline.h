/* SPDX-License-Identifier: ISC */
/* offline: change the queue while splitrelay does not run. splitctl takes the lock of the spool
 * itself. One thread. */
#ifndef SPLIT_CTL_OFFLINE_H
#define SPLIT_CTL_OFFLINE_H

#include "config/config.h"
#include "base/err.h"
#include "queue/queue.h"

/*
 * Open the queue in the spool for changes; close it with ops->close. A process of root becomes the
 * owner of the spool directory for good, so that files made in the spool belong to that user. If
 * the process belongs neither to root nor to that owner, the call fails. Changes of copies are
 * logged if the configuration has target = "syslog". NULL with `err`: there is no spool, it belongs
 * to another user, or another process has its lock.
 */
struct queue *offline_open(const struct config *config, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Find out how the queue can be changed. Returns EXIT_OK with *out NULL if splitrelay answers at
 * its control socket, and EXIT_OK with the queue of offline_open() in *out if splitrelay does not
 * run. Otherwise writes an error to stderr and returns another exit code. */
int offline_find(const struct config *config, struct queue **out)
    __attribute__((nonnull, warn_unused_result));

#endif
