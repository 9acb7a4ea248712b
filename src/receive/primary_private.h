/* SPDX-License-Identifier: ISC */
/*
 * primary_private: what the files of primary.h share. primary.c has the connection between
 * messages, primary_talk.c the commands and their answers.
 *
 * Until the first answer on a kept connection, all commands of the message can be sent again over a
 * new connection: a server may close a connection between two messages, or accept no more messages
 * on it.
 */
#ifndef SPLIT_PRIMARY_PRIVATE_H
#define SPLIT_PRIMARY_PRIVATE_H

#include "receive/primary.h"
#include "smtp/connection.h"

struct primary {
    const struct config_listener *listener;
    struct runtime *runtime;
    struct primary_pool *pool;
    struct connection *connection;
    struct buf unsent;      /* commands */
    struct buf message;     /* all commands of this message, to be sent again if may_begin_again */
    struct xforward origin; /* sent by XFORWARD before MAIL, if has_origin */
    bool has_origin;
    /* the connection was kept, and no command of this message was answered yet */
    bool may_begin_again;
    bool awaits_rset;                /* the primary's next reply is that to RSET */
    bool has_refusals;               /* the primary has sent a refusal on this connection */
    size_t unanswered;               /* replies that the primary still owes */
    size_t taken;                    /* recipients of this message that were accepted */
    enum connection_step first_step; /* that of the next answer: MAIL, RCPT or DOT */
    char dsn[16];
    struct buf text;
};

/* Forget the commands of this message. */
void primary_forget(struct primary *p) __attribute__((nonnull));

/* Open a new connection; one that is open is replaced. -1 with the connection's fault. */
int primary_connect(struct primary *p) __attribute__((nonnull, warn_unused_result));

#endif
