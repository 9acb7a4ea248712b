/* SPDX-License-Identifier: ISC */
/* queue_row: rows of the tables message and recipient as structures, and back. Pure functions. */
#ifndef SPLIT_QUEUE_ROW_H
#define SPLIT_QUEUE_ROW_H

#include "queue/db.h"
#include "queue/queue.h"

/* Of `message AS m`, in the order that queue_row_message() wants. */
#define QUEUE_ROW_MESSAGE                                                                          \
    "m.arrival, m.size, m.sender, m.client_name, m.client_addr, m.helo, m.protocol,"               \
    " m.mta_queue_id, m.message_id, m.flags"
#define QUEUE_ROW_MESSAGE_COLUMNS 10

/* Of `recipient`, in the order that queue_row_recipient() wants. */
#define QUEUE_ROW_RECIPIENT "address, orcpt, state, reason, number"

/* The strings are the columns' own. */
void queue_row_message(const struct db_value *columns, struct queue_message *out)
    __attribute__((nonnull));
/* The strings are copies, for the caller to free. */
void queue_row_recipient(const struct db_value *columns, struct queue_recipient *out)
    __attribute__((nonnull));

/* "8bit,utf8,requiretls", as many as apply. */
#define QUEUE_ROW_FLAGS_SIZE 32
void queue_row_flags(const struct queue_message *m, char out[QUEUE_ROW_FLAGS_SIZE])
    __attribute__((nonnull));
/* "pending", "sent", "dead" */
const char *queue_row_state(enum queue_recipient_state state) __attribute__((returns_nonnull));

/* "queued", "held", "dead" and the bits of queue.h. 0: none of them. */
unsigned queue_row_place(const char *state) __attribute__((nonnull));

#endif
