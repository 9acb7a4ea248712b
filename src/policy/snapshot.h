/* SPDX-License-Identifier: ISC */
/*
 * snapshot: one immutable state of configuration and tables, with a reference count. A connection
 * takes a reference when it begins and uses only that snapshot. A reload builds a new snapshot
 * while mail is processed, then publishes it.
 */
#ifndef SPLIT_SNAPSHOT_H
#define SPLIT_SNAPSHOT_H

#include "config/config.h"
#include "base/err.h"
#include "policy/policy.h"
#include "policy/policy_copies.h"

#include <pthread.h>

struct snapshot {
    struct config *config;
    struct policy *policy;                  /* of the milter; NULL: its tables were not loaded */
    struct policy_copies **listener_copies; /* by listener; NULL: not loaded */
    unsigned refs;                          /* atomic, private */
    /* atomic, private: the number of snapshots that share the configuration */
    unsigned *config_refs;
};

enum snapshot_parts {
    SNAPSHOT_CONFIG_ONLY,
    SNAPSHOT_WITH_TABLES,         /* those of the milter */
    SNAPSHOT_WITH_LISTENER_TABLES /* those in copy_maps of all listeners */
};

/* Load the file and, if asked for, tables; the caller has one reference. milter: the name of the
 * section that is to be config->milter, "" for the one without a name. NULL with `err`. */
struct snapshot *snapshot_load(const char *path, const char *milter, enum snapshot_parts parts,
                               struct err *err) __attribute__((nonnull, warn_unused_result));
/* Release a reference; the last one frees the snapshot. NULL is legal. */
void snapshot_unref(struct snapshot *s);

/* The table with this index: first those of the milter, then those of the listeners; NULL after the
 * last one. Borrowed. */
const struct table *snapshot_table(const struct snapshot *s, size_t index) __attribute__((nonnull));

/* Make a new snapshot from s, in which the tables that were read from `path` are opened again
 * (policy_replace()). Configuration and other tables are shared. The caller has one reference. NULL
 * with `err`. */
struct snapshot *snapshot_replace(const struct snapshot *s, const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Make a new snapshot that has the configuration of s, but no tables. It is for a caller that keeps
 * the configuration over many messages: a whole snapshot would keep its tables, which are large, in
 * memory after they were replaced. The caller has one reference. */
struct snapshot *snapshot_configuration(const struct snapshot *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Take one more reference, which the caller releases. Returns s. */
struct snapshot *snapshot_ref(struct snapshot *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* The place where the current snapshot is published. Any thread. */
struct snapshot_slot {
    pthread_mutex_t lock;
    struct snapshot *current;
};

/* Publish the first snapshot; the slot takes over the caller's reference. */
void snapshot_slot_init(struct snapshot_slot *slot, struct snapshot *first)
    __attribute__((nonnull));
/* Release the current snapshot, and destroy the lock. */
void snapshot_slot_clear(struct snapshot_slot *slot) __attribute__((nonnull));

/* A new reference to the current snapshot, which the caller releases with snapshot_unref(). */
struct snapshot *snapshot_slot_get(struct snapshot_slot *slot)
    __attribute__((nonnull, warn_unused_result, returns_nonnull));

/* Publish `next`, whose reference is taken over, and release the former snapshot. */
void snapshot_slot_swap(struct snapshot_slot *slot, struct snapshot *next) __attribute__((nonnull));

#endif
