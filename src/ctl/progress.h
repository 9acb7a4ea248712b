/* SPDX-License-Identifier: ISC */
/* progress: a bar on stderr for long operations, if stderr is a terminal. One thread. */
#ifndef SPLIT_CTL_PROGRESS_H
#define SPLIT_CTL_PROGRESS_H

#include "queue/queue_reader.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* the text before the bar; borrowed */
    uint64_t total;   /* 0: unknown */
    bool is_shown;    /* stderr is a terminal that can show a bar */
    bool is_drawn;    /* a bar is on the terminal */
};

/* Return true if stderr is a terminal that can show a bar. */
bool progress_is_wanted(void);
/* Begin an operation. The bar is not drawn before progress_show(). what: the text before the bar,
 * such as "counting"; borrowed. total: the amount that is 100 %; 0 if it is not known. */
void progress_begin(struct progress *p, const char *what, uint64_t total) __attribute__((nonnull));
/* Draw the bar, if stderr can show it. done: the part of p->total that is done. */
void progress_show(struct progress *p, uint64_t done) __attribute__((nonnull));
/* Return the function with which a queue_reader reports its progress, or NULL if stderr cannot show
 * a bar. The ctx of that function points to a struct that begins with a struct progress, for which
 * progress_begin() was called. */
queue_reader_progress *progress_of_reading(void);
/* Erase the bar. progress_show() may draw it again. */
void progress_end(struct progress *p) __attribute__((nonnull));

#endif
