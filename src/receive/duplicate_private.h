/* SPDX-License-Identifier: ISC */
/*
 * duplicate_private: what the files of duplicate.h share: duplicate.c has MAIL and RCPT,
 * duplicate_content.c the content and the commit of the copies.
 */
#ifndef SPLIT_DUPLICATE_PRIVATE_H
#define SPLIT_DUPLICATE_PRIVATE_H

#include "smtp/smtp_features.h"
#include "receive/duplicate.h"

/* A MAIL or RCPT that is passed to the primary. */
struct due {
    bool is_mail;
    char *path;             /* as the primary gets it, with <> */
    struct address address; /* RCPT: without suffix */
    char *orcpt;            /* of its copies */
    const char **copies;    /* destinations; owned array, borrowed items */
    size_t copy_count;
};

struct duplicate {
    struct duplicate_options o;
    struct table_scratch *scratch;
    bool is_lmtp; /* the client speaks LMTP */

    struct due *due; /* the answers to the first due_at are read */
    size_t due_count, due_at;
    char **accepted; /* recipients, without <>, in the order of RCPT */
    size_t accepted_count;

    struct smtp_features promised; /* in the reply to EHLO */
    bool has_promised;

    bool copies_missing; /* the message is delivered without them */
    int64_t begin_ms;
    struct buf trace;   /* our header field, for the primary */
    struct buf reply;   /* to one command */
    struct buf replies; /* to the content */
};

#endif
