/* SPDX-License-Identifier: ISC */
/* progress: a bar on stderr for long operations, if stderr is a terminal. One thread. */
#ifndef SPLIT_CTL_PROGRESS_H
#define SPLIT_CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* borrowed */
    uint64_t total;   /* 0: unknown */
    bool is_shown;    /* there is a terminal */
    bool is_drawn;    /* there is something to wipe out */
};

/* Is anybody there to look at it? (If not the total need not be counted.) */
bool progress_is_wanted(void);
void progress_begin(struct progress *p, const char *what, uint64_t total) __attribute__((nonnull));
void progress_show(struct progress *p, uint64_t done) __attribute__((nonnull));
/* Wipe it out. */
void progress_end(struct progress *p) __attribute__((nonnull));

#endif
