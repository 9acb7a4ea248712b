/* SPDX-License-Identifier: ISC */
/*
 * transaction: one mail transaction as a server sees it, from MAIL to the end of the content:
 * gathers the recipients by destination and brings the content into the queue. Knows the replies
 * but not the dialogue that they are part of: where a function takes `struct err *reply`, that is
 * the whole reply to be sent, "550 5.7.1 ...", on success and on refusal. Belongs to one thread.
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
    bool has_tls;               /* set by the caller: MAIL may say REQUIRETLS */
    bool is_open;               /* MAIL was accepted */
    enum queue_put_status room; /* what MAIL found */

    /* Set by the caller: the replies are about the client's own mail, of which there may be no
       copies (duplicate.h). MAIL does not fail for lack of room, and a message that is too large is
       refused for good. Without it the message is a copy, with NOTIFY=NEVER: nobody would hear of
       such a refusal, so the MTA is made to keep it. */
    bool is_original;

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

/* --- the parts of it, for who decides otherwise about recipients (duplicate.h) --- */

/* The destination that the suffix of this address names (the configuration's own string) and the
 * address below it. -1: refused. */
int transaction_route(const struct transaction *t, const struct address *tagged,
                      struct address *plain_out, const char **destination_out, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* The words of RCPT; dsn was initialised. -1: refused. */
int transaction_rcpt_words(const struct smtp_command *c, struct dsn *dsn, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* One more recipient of the copy for this destination (the configuration's own string), unless it
 * is there already. Not counted as accepted. */
void transaction_add_copy(struct transaction *t, const char *destination, const struct address *a,
                          const char *orcpt) __attribute__((nonnull));

/* Give up what is being put, if there is anything. */
void transaction_drop_put(struct transaction *t) __attribute__((nonnull));

/* "452 ...", "451 ..." for a status that is not QUEUE_PUT_OK; always -1. */
int transaction_refuse_fault(struct transaction *t, enum queue_put_status status, struct err *reply)
    __attribute__((nonnull));

/* DATA: find room. 0: reply is the 354; -1: refused, the transaction is still open. */
int transaction_data(struct transaction *t, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

enum transaction_result {
    TRANSACTION_COMMITTED,
    TRANSACTION_REFUSED,
    TRANSACTION_FINISHED, /* with a listener: duplicate_replies() are the replies */
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
