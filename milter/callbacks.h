/* SPDX-License-Identifier: ISC */
/*
 * callbacks: the callbacks of libmilter. They translate between libmilter and the policy. Only the
 * stages of the envelope are negotiated, and others where an option needs them. All state is in the
 * private pointer of the connection, because the callbacks of one connection run on different
 * threads. libmilter has one filter per process, and so has this module.
 */
#ifndef MILTER_CALLBACKS_H
#define MILTER_CALLBACKS_H

#include "base/err.h"
#include "policy/snapshot.h"

/*
 * Register with libmilter. slot: connections take their snapshot from it; borrowed for the life of
 * the process. -1 with `err`.
 */
int callbacks_register(struct snapshot_slot *slot, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* What libmilter's answer to a negotiation depends on, besides the negotiation itself: options of
 * the present configuration, as bits. Any thread. */
unsigned callbacks_needs(struct snapshot_slot *slot) __attribute__((nonnull));

#endif
