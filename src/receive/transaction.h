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
#include "net/stream.h"
#include "queue/queue.h"

#include <stdatomic.h>
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

/* Commit t->put, which is gone then; size bytes. Copies that were committed are logged and counted,
 * of others t->detail says why not. */
enum queue_put_status transaction_commit(struct transaction *t, uint64_t size)
    __attribute__((nonnull, warn_unused_result));

/* DATA: find room. 0: reply is the 354; -1: refused, the transaction is still open. */
int transaction_data(struct transaction *t, struct err *reply)
    __attribute__((nonnull, warn_unused_result));

/* Who gets the content besides the queue, and then decides over it. */
struct transaction_tee {
    /* Content as it comes, at least one byte, as long as nothing speaks against the message. */
    void (*write)(void *ctx, const char *data, size_t len);
    /* The message is not to be delivered: its connection failed, or it was refused. */
    void (*abandon)(void *ctx);
    /* The content is complete and fit to be delivered; size bytes. put_status: of what t->put got,
       which is NULL if that is not QUEUE_PUT_OK. Commits or drops t->put. */
    void (*finish)(void *ctx, enum queue_put_status put_status, uint64_t size);
    void *ctx;
};

enum transaction_result {
    TRANSACTION_COMMITTED,
    TRANSACTION_REFUSED,
    TRANSACTION_FINISHED, /* by the tee, which knows the replies */
};

/* Where the content comes from, and how long it may take. */
struct transaction_source {
    struct stream *stream;
    unsigned timeout_ms; /* for each block */
    unsigned min_rate;   /* bytes per second, of the time in which the client is waited for, beyond
                            timeout_ms; 0: any */
    atomic_llong *idle_since_ms; /* session.h */
};

/*
 * Read the content up to its end and commit it, or let the tee (NULL: none) do so. STREAM_OK:
 * *result_out and reply say what became of the message (committed copies are logged). Anything
 * else: the connection failed, nothing was queued. Either way the caller resets the transaction.
 */
enum stream_status transaction_receive(struct transaction *t,
                                       const struct transaction_source *source,
                                       const struct transaction_tee *tee,
                                       enum transaction_result *result_out, struct err *reply)
    __attribute__((nonnull(1, 2, 4, 5), warn_unused_result));

#endif
