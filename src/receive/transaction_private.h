/* SPDX-License-Identifier: ISC */
/* transaction_private: what the files of the module share: transaction.c has MAIL and RCPT,
 * transaction_content.c has the content. */
#ifndef SPLIT_TRANSACTION_PRIVATE_H
#define SPLIT_TRANSACTION_PRIVATE_H

#include "receive/transaction.h"

/* The reply to a message of so many bytes, which is too large; always -1. */
int transaction_refuse_size(struct transaction *t, uint64_t size, struct err *reply)
    __attribute__((nonnull));

#endif
