/* SPDX-License-Identifier: ISC */
/*
 * runtime: what configures a session, a worker or a connection to a primary of splitrelay: a
 * snapshot of configuration and tables, and the keys, certificates and passwords that were opened
 * for this configuration. Immutable, with a reference count. Made when a configuration is loaded or
 * reloaded; a reload of a table makes one that shares configuration and security.
 */
#ifndef SPLIT_RUNTIME_H
#define SPLIT_RUNTIME_H

#include "policy/snapshot.h"
#include "smtp/security.h"

#include <pthread.h>

struct runtime {
    struct snapshot *snapshot; /* a reference */
    struct security *security; /* a reference; NULL: neither TLS nor authentication is set up */
    unsigned refs;             /* atomic, private */
};

/* Open what the snapshot's configuration names (security.h). Takes over the caller's reference to
 * the snapshot, also when it fails; the caller has one reference to the result. NULL with `err`. */
struct runtime *runtime_open(struct snapshot *snapshot, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Make a runtime that shares the security of r and has another snapshot of the same configuration
 * (snapshot_replace(), snapshot_configuration()). The caller's reference to the snapshot is taken
 * over; the caller has one reference to the result. */
struct runtime *runtime_with_snapshot(const struct runtime *r, struct snapshot *snapshot)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Take one more reference, which the caller releases. Returns r. */
struct runtime *runtime_ref(struct runtime *r)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
/* Release a reference; the last one frees the runtime. NULL is legal. */
void runtime_unref(struct runtime *r);

/* The configuration of the runtime; borrowed. */
const struct config *runtime_config(const struct runtime *r)
    __attribute__((nonnull, returns_nonnull));

/* The place where the current runtime is published. */
struct runtime_slot {
    pthread_mutex_t lock;
    struct runtime *current;
};

/* Publish the first runtime; the slot takes over the caller's reference. */
void runtime_slot_init(struct runtime_slot *slot, struct runtime *first) __attribute__((nonnull));
/* Release the current runtime, and destroy the lock. */
void runtime_slot_clear(struct runtime_slot *slot) __attribute__((nonnull));

/* A new reference to the current runtime, which the caller releases with runtime_unref(). Any
 * thread. */
struct runtime *runtime_slot_get(struct runtime_slot *slot)
    __attribute__((nonnull, warn_unused_result, returns_nonnull));

/* Publish `next`, whose reference is taken over, and release the former runtime. */
void runtime_slot_swap(struct runtime_slot *slot, struct runtime *next) __attribute__((nonnull));

#endif
