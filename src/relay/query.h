/* SPDX-License-Identifier: ISC */
/*
 * query: the conditions that select copies, as words with values. They have the same names and
 * values as options of splitctl (`--from PATTERN`) and as parameters of the page's documents
 * (`?from=PATTERN`). Pure functions; any thread.
 */
#ifndef SPLIT_QUERY_H
#define SPLIT_QUERY_H

#include "base/err.h"
#include "queue/queue.h"

#include <time.h>

#define QUERY_TEXT_MAX 1000    /* bytes of a pattern or a text */
#define QUERY_WILDCARDS_MAX 20 /* `*` in a pattern */

enum query_word {
    QUERY_FROM,
    QUERY_TO,
    QUERY_REASON,
    QUERY_OLDER,
    QUERY_NEWER,
    QUERY_LARGER,
    QUERY_MTA_ID,
    QUERY_MESSAGE_ID,
    QUERY_LIMIT,
    QUERY_IN,
    QUERY_WORDS,
};

/* Return the word with this name, such as "mta-id"; QUERY_WORDS: there is no such word. */
enum query_word query_find(const char *name) __attribute__((nonnull));
/* Return the name of a word. */
const char *query_name(enum query_word word) __attribute__((returns_nonnull));

/* Set the condition of a word. The value is borrowed as long as the selection is used. now: ages
 * are counted back from there. -1 with `err`: what the value should be. */
int query_take(struct queue_selection *selection, enum query_word word, const char *value,
               time_t now, struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
