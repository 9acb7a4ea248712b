/* SPDX-License-Identifier: ISC */
/*
 * watch: notices that the file of a table has changed, and builds the next snapshot. A changed file
 * is read when it has not changed again for WATCH_QUIET_MS, because a writer may not have finished.
 * One thread. watch_poll() opens and reads files, and may wait up to 5 seconds for postmap(1) to
 * release its lock on a compiled table.
 */
#ifndef SPLIT_WATCH_H
#define SPLIT_WATCH_H

#include "policy/snapshot.h"

#include <stdint.h>

#define WATCH_INTERVAL_MS 200 /* how often watch_poll() is to be called */
#define WATCH_QUIET_MS 800    /* how long a changed file must stay unchanged before it is read */

struct watch;

/* A watch that has not seen any change. watch_free(NULL) is legal. */
struct watch *watch_new(void) __attribute__((returns_nonnull, warn_unused_result));
void watch_free(struct watch *w);

/*
 * Check the files of the tables of `current`. Returns a new snapshot in which every table of a
 * changed file is opened again, with one reference for the caller, or NULL when nothing has
 * changed. A file that is missing or cannot be used is logged once for each of its states, and the
 * tables that were read from it before stay in use. now_ms: a clock that never goes back.
 */
struct snapshot *watch_poll(struct watch *w, struct snapshot *current, int64_t now_ms)
    __attribute__((nonnull, warn_unused_result));

/* The number of files that the last poll has read again, and of those that could not be used. */
void watch_tried(const struct watch *w, unsigned *ok_out, unsigned *failed_out)
    __attribute__((nonnull));

#endif
