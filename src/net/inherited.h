/* SPDX-License-Identifier: ISC */
/*
 * inherited: listening sockets that a service manager opened for us (sd_listen_fds(3): LISTEN_PID,
 * LISTEN_FDS). They are found by their address, so that the configuration says what each is for.
 * The service manager keeps each of them open and hands it to the next process, too: close(2) it,
 * but never shutdown(2), which acts on the socket that both share; O_NONBLOCK is shared as well.
 * For the start of a daemon, one thread.
 */
#ifndef SPLIT_INHERITED_H
#define SPLIT_INHERITED_H

#include "net/endpoint.h"

#include <stddef.h>

/* The inherited sockets that listen where `e` says; made close-on-exec, the caller's from now on,
 * and not found again. e's host must be written as an address, "" finds those for every address.
 * Returns how many, at most max. */
int inherited_take(const struct endpoint *e, int *fds_out, size_t max) __attribute__((nonnull));

#endif
