/* SPDX-License-Identifier: ISC */
/*
 * content: the content of a message on its way in, as a state machine over bytes: finds the end
 * (CRLF . CRLF and nothing else), removes the stuffed dots, refuses bare LF (smuggling), and looks
 * at header fields for loops and for the Message-ID without holding them. Pure; one per message.
 */
#ifndef SPLIT_CONTENT_H
#define SPLIT_CONTENT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define CONTENT_HOPS_MAX 50          /* Received: fields; more are a loop */
#define CONTENT_LOOP_DESTINATIONS 64 /* X-Split-Copy fields of this host that are remembered */
#define CONTENT_MESSAGE_ID_SIZE 1000 /* bytes of a Message-ID with NUL; the rest is cut off */

struct content;

/* hostname: of this splitrelay, as in X-Split-Copy: host=; borrowed. */
struct content *content_new(const char *hostname)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void content_free(struct content *c);

/*
 * Take bytes as they came from the wire. Unstuffed content is appended to out. Returns how many
 * bytes were used: fewer than len only at the end of the content (content_is_complete()).
 */
size_t content_feed(struct content *c, const char *data, size_t len, struct buf *out)
    __attribute__((nonnull));

/* Was the final "." line read? */
bool content_is_complete(const struct content *c) __attribute__((nonnull));
/* Did the content have an LF without CR before it? Such an LF ends no line here, but it may in
 * other servers. Therefore the session refuses the message (550 5.5.2) after its end, as Postfix's
 * smtpd_forbid_bare_newline = reject does. A lone CR is passed on as it is. */
bool content_has_bare_lf(const struct content *c) __attribute__((nonnull));

/* More than CONTENT_HOPS_MAX Received: fields (or more X-Split-Copy fields of this host than are
 * stored). */
bool content_has_too_many_hops(const struct content *c) __attribute__((nonnull));

/* The header has "X-Split-Copy: destination=NAME; ...; host=<this host>" for this destination. */
bool content_has_copy_for(const struct content *c, const char *destination)
    __attribute__((nonnull));

/* The body of the first Message-ID field (RFC 5322 3.6.4), as a rule "<left@right>": on one line,
 * without white space around it, unprintable characters replaced (log_sanitize()); "" if there is
 * none. Valid as long as c, and final when the content is complete. */
const char *content_message_id(const struct content *c) __attribute__((nonnull, returns_nonnull));

#endif
