/* SPDX-License-Identifier: ISC */
/*
 * watch: notices that the file of a table has changed, and builds the next snapshot. A file is read
 * again when it has been left alone for a while, so that one which is being written is not taken
 * for the truth before it is complete. One thread; it opens and reads files, and waits for nobody.
 */
#ifndef SPLIT_WATCH_H
#define SPLIT_WATCH_H

#include "policy/snapshot.h"

#include <stdint.h>

#define WATCH_INTERVAL_MS 200 /* how often watch_poll() is to be called */
#define WATCH_QUIET_MS 800    /* how long a changed file must not change again */

struct watch;

/* A watch without notes. watch_free(NULL) is legal. */
struct watch *watch_new(void) __attribute__((returns_nonnull, warn_unused_result));
void watch_free(struct watch *w);

/*
 * Look at the files of current's tables. Returns a new snapshot (the caller's reference) with every
 * table of a changed file opened anew, or NULL when there is nothing new. A file that cannot be
 * used is logged, once for each of its states, and its tables stay as they are; so does one that is
 * missing. now_ms: a clock that never goes back.
 */
struct snapshot *watch_poll(struct watch *w, struct snapshot *current, int64_t now_ms)
    __attribute__((nonnull, warn_unused_result));

/* What the last poll has tried: files that were read anew, and those that cannot be used. */
void watch_tried(const struct watch *w, unsigned *ok_out, unsigned *failed_out)
    __attribute__((nonnull));

#endif
