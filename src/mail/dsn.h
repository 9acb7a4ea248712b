/* SPDX-License-Identifier: ISC */
/*
 * dsn: the requests of one recipient for delivery status notifications (RFC 3461): NOTIFY and
 * ORCPT, as words of RCPT TO. Pure functions; any thread.
 */
#ifndef SPLIT_DSN_H
#define SPLIT_DSN_H

#include "mail/address.h"
#include "base/buf.h"

#include <stdbool.h>

struct dsn {
    char *notify; /* the value as the client gave it ("NEVER", "SUCCESS,FAILURE"), "" if it gave
                     none; never NULL after dsn_init() */
    char *orcpt;  /* "addr-type;xtext" as the client gave it, "" if it gave none */
};

/* Set both strings to "". dsn_clear() frees them. */
void dsn_init(struct dsn *d) __attribute__((nonnull));
void dsn_clear(struct dsn *d) __attribute__((nonnull));

/*
 * Take one ESMTP word ("NOTIFY=...", "ORCPT=..."; the keyword in any case). Returns 1 if it is one
 * of the two and valid, with its value stored; 0 if it is another word; -1 with `err` if the value
 * is not valid (RFC 3461 4.1, 4.2; ORCPT at most 500 bytes) or the word was given before.
 */
int dsn_parse_word(struct dsn *d, const char *word, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * Append the words for an added recipient, "NOTIFY=x ORCPT=y". NOTIFY is left out if notify is "".
 * The ORCPT is made from `original` if the client gave none. An ORCPT of type utf-8 is rewritten as
 * by xtext_encode_orcpt(). An ORCPT of more than 500 bytes is left out.
 */
void dsn_words(const struct dsn *d, const char *notify, const struct address *original,
               struct buf *out) __attribute__((nonnull));

#endif
