/* SPDX-License-Identifier: ISC */
/*
 * callbacks: the callbacks of libmilter. They translate between libmilter and the policy. The
 * stages of the envelope are negotiated, and others only if an option needs them. All state is in
 * the private pointer of the connection, because the callbacks of one connection run on different
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

/* The options of the present configuration on which libmilter's answer to a negotiation depends, as
 * a set of bits. Equal negotiations under equal bits have equal answers. Any thread. */
unsigned callbacks_needs(struct snapshot_slot *slot) __attribute__((nonnull));

#endif
