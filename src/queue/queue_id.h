/* SPDX-License-Identifier: ISC */
/*
 * queue_id: numbers of messages and copies. They increase in time and are unique among all nodes at
 * one database. In the tables they are 64-bit integers; the log and splitctl write them as
 * upper-case hexadecimal digits, so `WHERE id = 0x...` finds what the log names.
 *
 *     bits 15 to 62    time in units of 16 us since 1970, at least one more than the last id's
 *     bits 9 to 14     node (0 with SQLite)
 *     bits 0 to 8      0: a message; n: its n-th copy
 *
 * So the copies of message m are those with m < id <= m + QUEUE_ID_COPIES_MAX. This does not change
 * when they are moved or held, and no index is needed to find them.
 */
#ifndef SPLIT_QUEUE_ID_H
#define SPLIT_QUEUE_ID_H

#include "queue/queue.h"

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_ID_COPIES_MAX 511 /* of one message */
#define QUEUE_ID_NODES_MAX 64

/* A source of message ids. Thread-safe; there is nothing to release. */
struct queue_id_source {
    unsigned node;
    _Atomic int64_t last; /* units of time, of the id given out last */
};

/* Start after `last`, the highest id in the database (0: none). So no id is used twice when the
 * clock was set back. */
void queue_id_source_init(struct queue_id_source *s, unsigned node, int64_t last)
    __attribute__((nonnull));
/* Return the id of a new message. */
int64_t queue_id_next(struct queue_id_source *s) __attribute__((nonnull));

/* Return the id of the message that the copy belongs to. */
int64_t queue_id_message(int64_t copy) __attribute__((const));

/* Write an id as text. */
void queue_id_format(int64_t id, char out[QUEUE_ID_SIZE]) __attribute__((nonnull));
/* Parse an id as queue_id_format() writes it; digits may be in lower case. False: it is not one. */
bool queue_id_parse(const char *text, int64_t *out) __attribute__((nonnull));

/* Return true if the name of a destination is valid: [a-z0-9-]+, shorter than
 * QUEUE_DESTINATION_SIZE. */
bool queue_destination_is_valid(const char *name) __attribute__((nonnull));

#endif
