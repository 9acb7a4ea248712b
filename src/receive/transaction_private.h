/* SPDX-License-Identifier: ISC */
/*
 * transaction_private: what transaction.c (MAIL and RCPT), transaction_content.c (the content) and
 * duplicate_content.c (the content with a listener) share.
 */
#ifndef SPLIT_TRANSACTION_PRIVATE_H
#define SPLIT_TRANSACTION_PRIVATE_H

#include "receive/content_reader.h"
#include "receive/transaction.h"

/* Write the reply to a message that is too large (size: bytes). Returns -1. */
int transaction_refuse_size(struct transaction *t, uint64_t size, struct err *reply)
    __attribute__((nonnull));

/* The content of a message, after it was read. */
struct transaction_content {
    struct content_found found;
    bool is_refused;  /* bare LF or size: all sinks were dropped, the reply is written */
    const char *loop; /* the reply if all copies loop, or the message has too many hops; else NULL.
                         Copies that loop are marked dead */
};

/* Read the content into t->put (if there is one) and the primary (NULL: none), check it, mark the
 * copies that their destinations do not want as skipped, and set t->message.message_id. trace:
 * header fields that the primary gets before the content. Not STREAM_OK: the connection failed, all
 * sinks were dropped. */
enum stream_status transaction_read(struct transaction *t, const struct content_source *source,
                                    struct primary *primary, struct buf *trace,
                                    struct transaction_content *out, struct err *reply)
    __attribute__((nonnull(1, 2, 5, 6), warn_unused_result));

/* Is there a copy that is not skipped? */
bool transaction_has_wanted(const struct transaction *t) __attribute__((nonnull));

/* Commit t->put, which is NULL afterwards. size: bytes of the content. QUEUE_PUT_OK: the copies
 * were committed, logged and counted; otherwise t->detail has the reason. */
enum queue_put_status transaction_commit(struct transaction *t, uint64_t size)
    __attribute__((nonnull, warn_unused_result));

#endif
