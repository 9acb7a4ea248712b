/* SPDX-License-Identifier: ISC */
/*
 * selection: struct queue_selection (queue.h) as a condition in SQL. Values go into parameters,
 * never into the text. Pure functions.
 */
#ifndef SPLIT_SELECTION_H
#define SPLIT_SELECTION_H

#include "base/buf.h"
#include "queue/db.h"
#include "queue/queue.h"

struct selection_sql {
    struct buf condition; /* about the tables copy (c), message (m) and, with EXISTS, recipient;
                             "1 = 1": all copies are selected */
    struct db_value values[DB_VALUES_MAX]; /* point into `texts` and into the selection */
    size_t count;
    char *texts[DB_VALUES_MAX]; /* owned */
    size_t text_count;
};

/* Make the condition for copies. first: the number of the first parameter ($N). -1 with `err`: the
 * id is not valid. In both cases the caller clears *s. */
int selection_sql_copies(struct selection_sql *s, const struct queue_selection *selection,
                         unsigned first, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Make the condition for rows of the table history. Otherwise as selection_sql_copies(). */
int selection_sql_history(struct selection_sql *s, const struct queue_selection *selection,
                          unsigned first, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void selection_sql_clear(struct selection_sql *s) __attribute__((nonnull));

#endif
