/* SPDX-License-Identifier: ISC */
/*
 * inherited: listening sockets that a service manager opened for this process (sd_listen_fds(3):
 * LISTEN_PID, LISTEN_FDS). A socket is found by its address, so that the configuration decides what
 * it is used for. The service manager keeps its own descriptor and passes it to the next process.
 * The daemon may close(2) its descriptor, but must not call shutdown(2), which acts on the shared
 * socket; O_NONBLOCK is shared as well. One thread, during start.
 */
#ifndef SPLIT_INHERITED_H
#define SPLIT_INHERITED_H

#include "net/endpoint.h"

#include <stddef.h>

/* Put the inherited sockets that listen at `e` into fds_out. They become close-on-exec, belong to
 * the caller, and are not found again. An inet host must be an address; "" stands for 0.0.0.0 and
 * for ::, not for every socket with this port. Returns their number, at most max. */
int inherited_take(const struct endpoint *e, int *fds_out, size_t max) __attribute__((nonnull));

#endif
