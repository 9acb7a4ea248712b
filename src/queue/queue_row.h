/* SPDX-License-Identifier: ISC */
/* queue_row: rows of the tables message and recipient as structures, and back. Pure functions. */
#ifndef SPLIT_QUEUE_ROW_H
#define SPLIT_QUEUE_ROW_H

#include "queue/db.h"
#include "queue/queue.h"

/* The columns of `message AS m`, in the order that queue_row_message() expects. */
#define QUEUE_ROW_MESSAGE                                                                          \
    "m.arrival, m.size, m.sender, m.client_name, m.client_addr, m.helo, m.protocol,"               \
    " m.mta_queue_id, m.message_id, m.flags"
#define QUEUE_ROW_MESSAGE_COLUMNS 10

/* The columns of `recipient AS r`, in the order that queue_row_recipient() expects. */
#define QUEUE_ROW_RECIPIENT "r.address, r.orcpt, r.state, r.reason, r.number"
#define QUEUE_ROW_RECIPIENT_COLUMNS 5

/* Convert a row of message. The strings in *out are borrowed from the columns. */
void queue_row_message(const struct db_value *columns, struct queue_message *out)
    __attribute__((nonnull));
/* Convert a row of recipient. The strings in *out are copies, which the caller frees. */
void queue_row_recipient(const struct db_value *columns, struct queue_recipient *out)
    __attribute__((nonnull));

/* Write the flags of a message, such as "8bit,utf8,requiretls"; "" if there are none. */
#define QUEUE_ROW_FLAGS_SIZE 32
void queue_row_flags(const struct queue_message *m, char out[QUEUE_ROW_FLAGS_SIZE])
    __attribute__((nonnull));
/* Return the text of a recipient's state: "pending", "sent" or "dead". */
const char *queue_row_state(enum queue_recipient_state state) __attribute__((returns_nonnull));

/* Return the QUEUE_IN_... of a copy's state: "queued", "held" or "dead". 0: it is another text. */
unsigned queue_row_place(const char *state) __attribute__((nonnull));

#endif
