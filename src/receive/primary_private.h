/* SPDX-License-Identifier: ISC */
/*
 * primary_private: what the files of primary.h share: primary.c has the connection, and what
 * becomes of it between messages; primary_talk.c the commands and their answers.
 *
 * Whatever is written to a kept connection before the first answer can be written again to a new
 * one: a server may close a connection between two messages, or have enough of it.
 */
#ifndef SPLIT_PRIMARY_PRIVATE_H
#define SPLIT_PRIMARY_PRIVATE_H

#include "smtp/connection_private.h"
#include "receive/primary.h"

struct primary {
    const struct config_listener *listener;
    struct snapshot *snapshot;
    struct primary_pool *pool;
    struct client *client;
    struct buf unsent;      /* commands */
    struct buf message;     /* all commands of this message, as long as none was answered */
    struct xforward origin; /* said before them, if has_origin */
    bool has_origin;
    bool may_begin_again;   /* a kept connection, and no answer yet */
    bool needs_rset;        /* before the next MAIL */
    bool awaits_rset;       /* its reply comes before all others */
    bool has_refusals;      /* on this connection */
    bool is_answered_early; /* before the final dot was sent */
    bool is_cut_short;      /* the content could not be written, for cut_status at cut_step */
    enum client_step cut_step;
    enum stream_status cut_status;
    size_t unanswered; /* commands sent; a content until its replies are read */
    size_t taken;      /* recipients of this message that were accepted */
    enum client_step first_step;
    enum client_line_state line_state;
    char dsn[16];
    struct buf text;
};

/* The commands of this message. */
void primary_forget(struct primary *p) __attribute__((nonnull));

/* A new connection, in place of the one there may be. -1 with the client's `fault`. */
int primary_connect(struct primary *p) __attribute__((nonnull, warn_unused_result));

#endif
