/* SPDX-License-Identifier: ISC */
/*
 * criterion: the conditions that select copies, as words with values. They have the same names and
 * values as options of splitctl (`--from PATTERN`) and as parameters of the page's documents
 * (`?from=PATTERN`). Pure functions; any thread.
 */
#ifndef SPLIT_CRITERION_H
#define SPLIT_CRITERION_H

#include "base/err.h"
#include "queue/queue.h"

#include <time.h>

#define CRITERION_TEXT_MAX 1000    /* bytes of a pattern or a text */
#define CRITERION_WILDCARDS_MAX 20 /* `*` in a pattern */

enum criterion {
    CRITERION_FROM,
    CRITERION_TO,
    CRITERION_REASON,
    CRITERION_OLDER,
    CRITERION_NEWER,
    CRITERION_LARGER,
    CRITERION_MTA_ID,
    CRITERION_MESSAGE_ID,
    CRITERION_LIMIT,
    CRITERION_IN,
    CRITERION_COUNT,
};

/* Return the word with this name, such as "mta-id"; CRITERION_COUNT: there is no such word. */
enum criterion criterion_find(const char *name) __attribute__((nonnull));
/* Return the name of a word. */
const char *criterion_name(enum criterion word) __attribute__((returns_nonnull));

/* Set the condition of a word. The value is borrowed as long as the selection is used. now: ages
 * are counted back from there. -1 with `err`: what the value should be. */
int criterion_take(struct queue_selection *selection, enum criterion word, const char *value,
                   time_t now, struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
