/* SPDX-License-Identifier: ISC */
/*
 * client_origin: what a client tells a server about where a message came from: XFORWARD, for its
 * log and its filters, and XCLIENT, which makes it treat the connection as if that client had made
 * it (XFORWARD_README, XCLIENT_README of Postfix). Only attributes that the server offers are sent.
 * Part of client.c and primary.c; see connection_private.h.
 */
#ifndef SPLIT_CLIENT_ORIGIN_H
#define SPLIT_CLIENT_ORIGIN_H

#include "base/buf.h"
#include "queue/queue.h"
#include "mail/xforward.h"

#include <stdbool.h>

struct client;

/* The attributes in the reply to EHLO, behind the keyword: "NAME ADDR ..." (len bytes). Returns a
 * set of them; unknown ones are left out. */
unsigned client_origin_attributes(const char *text, size_t len) __attribute__((nonnull));

/*
 * Tell the server by XFORWARD, and read its answers; RSET comes first if a transaction may be open.
 * A refusal of XFORWARD is logged, with `who`, and no more: mail is not lost for it. -1 with the
 * client's `fault`: the connection is lost, or was closed because RSET was refused.
 */
int client_origin_forward(struct client *c, const struct xforward *x, const char *who)
    __attribute__((nonnull, warn_unused_result));

/*
 * Before a transaction with this copy, what the destination's `xforward` and `xclient` ask for.
 * XCLIENT ends the server's right to hear another one (its answer counts for the new client), so it
 * is said once in a connection; EHLO follows, with the client's own name, and the server's features
 * may be others.
 */
enum client_origin_told {
    CLIENT_ORIGIN_TOLD,    /* or there was nothing to tell */
    CLIENT_ORIGIN_LOST,    /* `fault` is set, the connection closed */
    CLIENT_ORIGIN_REFUSED, /* the server does not take XCLIENT, or not that client: `fault` is set
                              for this copy, the connection closed */
};
enum client_origin_told client_origin_tell(struct client *c, const struct queue_copy *copy)
    __attribute__((nonnull, warn_unused_result));

/* False if XCLIENT was said in this connection, and of another client than that of this copy. */
bool client_origin_fits(const struct client *c, const struct queue_copy *copy)
    __attribute__((nonnull));

#endif
