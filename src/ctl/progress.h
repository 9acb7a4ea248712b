/* SPDX-License-Identifier: ISC */
/* progress: a bar on stderr for long operations, if stderr is a terminal. One thread. */
#ifndef SPLIT_CTL_PROGRESS_H
#define SPLIT_CTL_PROGRESS_H

#include "queue/queue_reader.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* borrowed */
    uint64_t total;   /* 0: unknown */
    bool is_shown;    /* there is a terminal */
    bool is_drawn;    /* there is a bar to erase */
};

/* Return true if stderr is a terminal that can show a bar. */
bool progress_is_wanted(void);
/* Begin an operation. Nothing is drawn before progress_show(). */
void progress_begin(struct progress *p, const char *what, uint64_t total) __attribute__((nonnull));
/* Draw the bar, if there is a terminal. done: of p->total. */
void progress_show(struct progress *p, uint64_t done) __attribute__((nonnull));
/* Return the function that shows the progress of a queue_reader, or NULL if there is no terminal.
 * Its ctx begins with a struct progress that progress_begin() has set. */
queue_reader_progress *progress_of_reading(void);
/* Erase the bar. It may be shown again. */
void progress_end(struct progress *p) __attribute__((nonnull));

#endif
