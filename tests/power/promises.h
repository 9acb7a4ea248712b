/* SPDX-License-Identifier: ISC */
/*
 * promises: what the outside was told of each copy, as the driver's marks have it. A mark
 *
 *     copy ID TAG SIZE DESTINATION[,DESTINATION] PLACES STATES
 *
 * says what may be found of the copy from then on, in place of what an earlier one said. TAG and
 * SIZE tell its content, TAG and the number of a recipient its address (power_content.h). PLACES:
 * letters of where it may be: q queue, h hold, d dead letters, g gone, m gone, and the file is in
 * the Maildir. STATES: for each recipient letters of what it may be: q pending, s sent, d dead, x
 * not there at all; with commas. Marks that begin with another word are for people.
 */
#ifndef SPLIT_POWER_PROMISES_H
#define SPLIT_POWER_PROMISES_H

#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>

#define PROMISE_RECIPIENTS_MAX 8

struct promise {
    char id[QUEUE_ID_SIZE];
    char tag[32];
    size_t size;
    char destinations[3 * QUEUE_DESTINATION_SIZE];
    char places[8];
    char states[PROMISE_RECIPIENTS_MAX][8];
    size_t recipient_count;
    bool is_found; /* the checker's */
};

struct promises {
    struct promise *items;
    size_t count, size;
    unsigned version;    /* counts the marks that changed something */
    char last_note[256]; /* the last mark */
};

/* Ends the process if the mark is none. */
void promises_take(struct promises *p, const char *mark, size_t len);
struct promise *promises_find(struct promises *p, const char *id);
void promises_clear(struct promises *p);

#endif
