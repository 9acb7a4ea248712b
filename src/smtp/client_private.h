/* SPDX-License-Identifier: ISC */
/*
 * client_private: what the files of client.h share. client.c decides which connection a copy uses;
 * client_mail.c keeps the recipients of a copy; client_transaction.c sends one message, and
 * client_content.c its content; client_origin.c sends XCLIENT and XFORWARD, which say where the
 * message came from. The connection is used through connection.h.
 */
#ifndef SPLIT_CLIENT_PRIVATE_H
#define SPLIT_CLIENT_PRIVATE_H

#include "format/format.h"
#include "smtp/client.h"
#include "smtp/client_mail.h"
#include "smtp/connection.h"

struct client {
    const struct config_destination *destination;
    const char *hostname;
    struct connection *connection;
    /* a line was logged about an extension that the server of this connection does not offer */
    bool has_logged_missing;
    struct buf command;   /* commands of the present window (client_transaction.c) */
    char *block;          /* for content that is in a file; NULL until it is first needed */
    struct format format; /* of the present copy */
};

enum client_sent {
    CLIENT_SENT,       /* recipients are decided, or postponed; the connection may be closed */
    CLIENT_LOST_EARLY, /* the connection was lost before content was sent */
    /* it was lost during the content, or before all replies to the content were read */
    CLIENT_LOST_LATE,
    /* the content cannot be read; the connection is closed, and connection_fault() has the
     * reason */
    CLIENT_LOCAL_FAULT,
};

/* --- client_transaction.c --- */

/*
 * Send one message over the open connection to the next recipients, at most recipient_limit of
 * them. c->format is begun (format_begin()). Unless the connection is lost or the content cannot be
 * read, each of these recipients is decided or postponed; a refusal of XCLIENT, and a size above
 * the server's limit, decide all recipients of the copy; a refusal of MAIL decides those with the
 * same sender.
 */
enum client_sent client_transaction(struct client *c, struct client_mail *m)
    __attribute__((nonnull, warn_unused_result));

/* --- client_content.c --- */

/*
 * After connection_begin_content(): write c->format's head, the content and the tail, and the final
 * dot. If the connection fails, connection_is_cut_short() is true afterwards. -1: the content
 * cannot be read; the connection is closed, and connection_fault() has the reason.
 */
int client_send_content(struct client *c) __attribute__((nonnull, warn_unused_result));

/* --- client_origin.c --- */

/* Before a transaction with this copy: send XCLIENT and XFORWARD, as the destination's `xclient`
 * and `xforward` say. */
enum connection_xclient_result client_send_origin(struct client *c, const struct queue_copy *copy)
    __attribute__((nonnull, warn_unused_result));

/* False: XCLIENT was sent in this connection, about another client than that of this copy. */
bool client_origin_fits(const struct client *c, const struct queue_copy *copy)
    __attribute__((nonnull));

#endif
