/* SPDX-License-Identifier: ISC */
/*
 * duplicate_private: what the files of duplicate.h share: duplicate.c has MAIL and RCPT,
 * duplicate_content.c the content and the commit of the copies.
 */
#ifndef SPLIT_DUPLICATE_PRIVATE_H
#define SPLIT_DUPLICATE_PRIVATE_H

#include "smtp/smtp_features.h"
#include "receive/duplicate.h"

/* A MAIL or RCPT that is passed to the primary, and whose answer is due. */
struct due {
    bool is_mail;
    char *path;             /* with <>, as the primary gets it */
    struct address address; /* RCPT: without suffix */
    char *orcpt;            /* ORCPT for the recipient's copies */
    const char **copies;    /* destinations; owned array, borrowed items */
    size_t copy_count;
};

struct duplicate {
    struct duplicate_options o;
    struct table_scratch *scratch;
    bool is_lmtp; /* the client speaks LMTP */

    struct due *due; /* the answers to the first due_at are read */
    size_t due_count, due_at;
    char **accepted; /* the accepted recipients, without <>, in the order of RCPT */
    size_t accepted_count;

    struct smtp_features promised; /* what the reply to EHLO offered */
    bool has_promised;

    bool copies_missing; /* the message goes to the primary without its copies being stored */
    int64_t begin_ms;
    struct buf trace;   /* our header field, for the primary */
    struct buf reply;   /* the reply to one command */
    struct buf replies; /* the replies to the content */
};

#endif
