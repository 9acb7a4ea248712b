/* SPDX-License-Identifier: ISC */
/*
 * transaction: one mail transaction on the server side, from MAIL to the end of the content. It
 * groups the recipients by destination and puts the content into the queue. `struct err *reply` is
 * the whole reply to be sent, e.g. "550 5.7.1 ...", on success and on refusal; the session sends
 * it. One thread.
 */
#ifndef SPLIT_TRANSACTION_H
#define SPLIT_TRANSACTION_H

#include "base/buf.h"
#include "config/config.h"
#include "mail/dsn.h"
#include "mail/smtp_command.h"
#include "queue/queue.h"
#include "receive/content_reader.h"

#include <stdbool.h>
#include <stdint.h>

struct transaction {
    const struct config *config;
    struct queue *queue;
    bool has_tls;               /* set by the caller: REQUIRETLS is allowed in MAIL */
    bool is_open;               /* MAIL was accepted */
    enum queue_put_status room; /* result of the queue's has_room at MAIL */

    /* Set by the caller. True: the message is the client's original mail, and may have no copies
       (duplicate.h). MAIL does not fail for lack of room, and a message that is too large gets a
       permanent refusal. False: the message is a copy with NOTIFY=NEVER, so that a permanent
       refusal would not be reported to its sender; the refusal is temporary, and the MTA keeps the
       copy. */
    bool is_original;

    /* sender and message_id are owned; message_id is "" until the content was read. The caller sets
       the strings about the client after MAIL was accepted; they are borrowed until the transaction
       ends. */
    struct queue_message message;

    struct queue_new_copy *copies; /* owned, with their recipients */
    size_t copy_count;
    size_t recipient_count; /* in all copies together */
    size_t accepted_count;  /* RCPT commands answered with 250; with LMTP the number of replies to
                               the content */

    struct queue_put *put; /* NULL unless content is being received */
    struct buf block;      /* scratch memory of the reader; kept from message to message */

    /* The local fault that caused a refusal, for the log; "" otherwise. */
    struct err detail;
};

/* Initialise a transaction. config and queue are borrowed for its life. */
void transaction_init(struct transaction *t, const struct config *config, struct queue *queue)
    __attribute__((nonnull));
/* Free what it owns. */
void transaction_clear(struct transaction *t) __attribute__((nonnull));

/* Drop the recipients and the content (RSET). The state is as after transaction_init(), but what
 * the caller set stays. */
void transaction_reset(struct transaction *t) __attribute__((nonnull));

/* Handle MAIL, which opens the transaction. 0, or -1: MAIL is refused. */
int transaction_mail(struct transaction *t, const struct smtp_command *c, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* Handle RCPT. 0, or -1: this recipient is refused. */
int transaction_rcpt(struct transaction *t, const struct smtp_command *c, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* --- steps, for duplicate.h, which decides about recipients by itself --- */

/* Find the destination that the suffix of this address names (the result is the configuration's own
 * string), and the address without the suffix. -1: refused. */
int transaction_route(const struct transaction *t, const struct address *tagged,
                      struct address *plain_out, const char **destination_out, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* Check the ESMTP parameters of RCPT, and put them into dsn, which is initialised. -1: refused. */
int transaction_rcpt_words(const struct smtp_command *c, struct dsn *dsn, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* Add a recipient to the copy for this destination (the configuration's own string), unless the
 * copy has it already. Does not change accepted_count. */
void transaction_add_copy(struct transaction *t, const char *destination, const struct address *a,
                          const char *orcpt) __attribute__((nonnull));

/* Abort t->put, if there is one. */
void transaction_drop_put(struct transaction *t) __attribute__((nonnull));

/* Set `reply` to "452 ..." or "451 ..." for a status that is not QUEUE_PUT_OK. Returns -1. */
int transaction_refuse_fault(struct transaction *t, enum queue_put_status status, struct err *reply)
    __attribute__((nonnull));

/* Handle DATA: begin t->put. 0: `reply` is the 354; -1: DATA is refused, and the transaction is
 * still open. */
int transaction_data(struct transaction *t, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

enum transaction_result {
    TRANSACTION_COMMITTED,
    TRANSACTION_REFUSED,
    TRANSACTION_FINISHED, /* with a listener: the replies are duplicate_replies() */
};

/*
 * Read the content up to its end, commit the copies and write the reply. STREAM_OK: *result_out and
 * reply tell what became of the message (committed copies are logged). Otherwise the connection
 * failed, and nothing was queued. Either way the caller resets the transaction. For relay.listen; a
 * listener has duplicate_receive().
 */
enum stream_status transaction_receive(struct transaction *t, const struct content_source *source,
                                       enum transaction_result *result_out, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

#endif
