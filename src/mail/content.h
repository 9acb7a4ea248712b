/* SPDX-License-Identifier: ISC */
/*
 * content: a state machine over the bytes of a content that is received. It finds the end (CRLF .
 * CRLF and nothing else), removes the stuffed dots, reports a bare LF (smuggling), and searches the
 * header for loops, for the Message-ID and for fields that meet conditions, without storing the
 * header. Pure functions; one object per message.
 */
#ifndef SPLIT_CONTENT_H
#define SPLIT_CONTENT_H

#include "base/buf.h"
#include "base/string_list.h"

#include <stdbool.h>
#include <stddef.h>

#define CONTENT_HOPS_MAX 50          /* Received: fields; more mean a loop */
#define CONTENT_LOOP_DESTINATIONS 64 /* destinations in X-Split-Copy fields of this host */
#define CONTENT_MESSAGE_ID_SIZE 1000 /* bytes of a Message-ID with NUL; the rest is cut off */

struct content;

/* Make the state for one message. hostname: of this splitrelay, as in X-Split-Copy: host=;
 * borrowed. */
struct content *content_new(const char *hostname)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void content_free(struct content *c);

/* Conditions, and what was found. */
struct content_watch {
    const struct string_list *conditions; /* header_condition.h; borrowed */
    const char *met; /* the condition that a field met first, one of the list; NULL: none yet */
};

/* Compare each field of the header with the conditions. `watches` is borrowed until content_free(),
 * and its results are final when the content is complete. Called before the first content_feed().
 */
void content_watch(struct content *c, struct content_watch *watches, size_t count)
    __attribute__((nonnull(1)));

/*
 * Take bytes as the client sent them. The content without stuffed dots is appended to out. Returns
 * the number of bytes used, which is less than len only at the end of the content
 * (content_is_complete()).
 */
size_t content_feed(struct content *c, const char *data, size_t len, struct buf *out)
    __attribute__((nonnull));

/* Was the final "." line read? */
bool content_is_complete(const struct content *c) __attribute__((nonnull));

/* Has the content an LF without CR before it? Here such an LF ends no line, but other servers may
 * take it for the end of a line. Therefore the session refuses the message (550 5.5.2) after its
 * end, as Postfix does with smtpd_forbid_bare_newline = reject. A lone CR is passed on as it is. */
bool content_has_bare_lf(const struct content *c) __attribute__((nonnull));

/* Has the header more than CONTENT_HOPS_MAX Received: fields, or X-Split-Copy fields of this host
 * for more than CONTENT_LOOP_DESTINATIONS destinations? */
bool content_has_too_many_hops(const struct content *c) __attribute__((nonnull));

/* Has the header "X-Split-Copy: destination=NAME; ...; host=<this host>" for this destination? */
bool content_has_copy_for(const struct content *c, const char *destination)
    __attribute__((nonnull));

/* The body of the first Message-ID field (RFC 5322 3.6.4), usually "<left@right>"; "" if there is
 * no such field. The text is one line without white space at either end, and its unprintable
 * characters are replaced (log_sanitize()). Valid as long as c, and final when the content is
 * complete. */
const char *content_message_id(const struct content *c) __attribute__((nonnull, returns_nonnull));

#endif
