/* SPDX-License-Identifier: ISC */
/*
 * snapshot: one immutable state of configuration and tables, with a reference count. A connection
 * takes a reference when it begins and uses only that; a reload builds a new snapshot beside the
 * traffic and swaps it in.
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
    struct policy *policy;                  /* the milter's; NULL when loaded without */
    struct policy_copies **listener_copies; /* of each listener of the configuration, by the same
                                        index; NULL when loaded without */
    unsigned refs;                          /* atomic, private */
    unsigned *config_refs; /* atomic, private: snapshots that share the configuration */
};

enum snapshot_parts {
    SNAPSHOT_CONFIG_ONLY,
    SNAPSHOT_WITH_TABLES,         /* of the milter */
    SNAPSHOT_WITH_LISTENER_TABLES /* copy_maps of all listeners */
};

/* Load the file and, if asked for, tables; the caller has one reference. NULL with `err`. */
struct snapshot *snapshot_load(const char *path, enum snapshot_parts parts, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void snapshot_unref(struct snapshot *s);

/* The tables that it has, one after the other, the milter's first; NULL: there are no more.
 * Borrowed. */
const struct table *snapshot_table(const struct snapshot *s, size_t index) __attribute__((nonnull));

/* The same with the tables of one file opened anew, see policy_replace(); configuration and other
 * tables are shared. The caller has one reference. */
struct snapshot *snapshot_replace(const struct snapshot *s, const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The same configuration without tables, for who holds it for long: tables are large. The caller
 * has one reference. */
struct snapshot *snapshot_configuration(const struct snapshot *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* One more reference, for the caller to give back. Returns s. */
struct snapshot *snapshot_ref(struct snapshot *s)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* The place where the current snapshot is published. */
struct snapshot_slot {
    pthread_mutex_t lock;
    struct snapshot *current;
};

/* Takes over the caller's reference. */
void snapshot_slot_init(struct snapshot_slot *slot, struct snapshot *first)
    __attribute__((nonnull));
void snapshot_slot_clear(struct snapshot_slot *slot) __attribute__((nonnull));

/* A new reference to the current snapshot; snapshot_unref() it. */
struct snapshot *snapshot_slot_get(struct snapshot_slot *slot)
    __attribute__((nonnull, warn_unused_result, returns_nonnull));

/* Publish `next` (its reference is taken over) and drop the former. */
void snapshot_slot_swap(struct snapshot_slot *slot, struct snapshot *next) __attribute__((nonnull));

#endif
