/* SPDX-License-Identifier: ISC */
/*
 * transaction: one mail transaction as a server sees it, from MAIL to the end of the content:
 * gathers the recipients by destination and brings the content into the queue. Knows the replies
 * but not the dialogue that they are part of: where a function takes `struct err *reply`, that is
 * the whole reply to be sent, "550 5.7.1 ...", on success and on refusal. Belongs to one thread.
 */
#ifndef SPLIT_TRANSACTION_H
#define SPLIT_TRANSACTION_H

#include "../buf.h"
#include "../config.h"
#include "../smtp_command.h"
#include "../stream.h"
#include "queue.h"

#include <stdbool.h>
#include <stdint.h>

struct transaction {
    const struct config *config;
    struct queue *queue;
    bool is_open; /* MAIL was accepted */

    /* sender is owned; the strings about the client are for the caller to set when MAIL was
       accepted, and borrowed until the transaction ends. */
    struct queue_message message;

    struct queue_new_copy *copies; /* owned, with their recipients */
    size_t copy_count;
    size_t recipient_count; /* of all copies */
    size_t accepted_count;  /* RCPT commands that were answered with 250: LMTP answers each */

    struct queue_put *put; /* while content is received */
    struct buf block;      /* content on its way; kept from message to message */

    /* Why a local fault refused it, for the log; "" otherwise. */
    struct err detail;
};

/* config and queue are borrowed for its life. */
void transaction_init(struct transaction *t, const struct config *config, struct queue *queue)
    __attribute__((nonnull));
void transaction_clear(struct transaction *t) __attribute__((nonnull));

/* Forget the recipients and whatever was received (RSET); as after init. */
void transaction_reset(struct transaction *t) __attribute__((nonnull));

/* MAIL: opens the transaction. 0, or -1: refused. */
int transaction_mail(struct transaction *t, const struct smtp_command *c, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* RCPT. 0, or -1: this recipient is refused. */
int transaction_rcpt(struct transaction *t, const struct smtp_command *c, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* DATA: find room. 0: reply is the 354; -1: refused, the transaction is still open. */
int transaction_data(struct transaction *t, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

enum transaction_result { TRANSACTION_COMMITTED, TRANSACTION_REFUSED };

/*
 * Read the content up to its end and commit it; timeout_ms is for each block. STREAM_OK:
 * *result_out and reply say what became of the message (committed copies are logged). Anything
 * else: the connection failed, nothing was queued. Either way the caller resets the transaction.
 */
enum stream_status transaction_receive(struct transaction *t, struct stream *stream,
                                       unsigned timeout_ms, enum transaction_result *result_out,
                                       struct err *reply)
    __attribute__((nonnull, warn_unused_result));

#endif
