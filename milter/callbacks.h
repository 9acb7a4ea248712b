/* SPDX-License-Identifier: ISC */
/*
 * callbacks: what libmilter calls, translated to the policy and back. Envelope only: everything
 * else is negotiated away. All state hangs from the connection's private pointer, because the
 * callbacks of one connection run on different threads. libmilter keeps one filter per process, so
 * does this module.
 */
#ifndef SPLIT_CALLBACKS_H
#define SPLIT_CALLBACKS_H

#include "base/err.h"
#include "policy/snapshot.h"

/*
 * Register with libmilter. slot: where connections take their snapshot from; borrowed for good. The
 * kind of the socket in its present configuration decides which stages are answered (see
 * negotiate() in callbacks.c).
 */
int callbacks_register(struct snapshot_slot *slot, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
