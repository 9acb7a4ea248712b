/* SPDX-License-Identifier: ISC */
/*
 * smtp_reply: one reply of an SMTP or LMTP server (RFC 5321 section 4.2, RFC 3463 codes). Pure
 * functions on lines.
 *
 *     reply = *( code "-" [text] CRLF ) code [ SP text ] CRLF        code = 2..5, two digits
 *
 * All lines should have the same code. Where they differ, the last line has the code of the reply
 * (and smtp_reply.is_mixed is set), as in Postfix's client. Long replies are accepted. The text
 * that is kept is capped, and the bytes that are read are bounded by a limit that no real server
 * reaches.
 */
#ifndef SPLIT_SMTP_REPLY_H
#define SPLIT_SMTP_REPLY_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

#define SMTP_REPLY_LINE_MAX 2048    /* bytes of a line that are examined */
#define SMTP_REPLY_TEXT_MAX 8192    /* bytes of a reply's text that are kept */
#define SMTP_REPLY_BYTES_MAX 262144 /* a reply with more bytes is malformed */

struct smtp_reply {
    int code;          /* 200..599; 0 as long as there is none */
    char enhanced[16]; /* "2.1.5", or "" if the reply has none */
    struct buf text;   /* lines joined by '\n', without codes; enhanced codes stay in the text */
    unsigned lines;
    size_t bytes;  /* of all lines, also of text that was not kept */
    bool is_mixed; /* the lines have different codes */
    bool is_complete;
};

/* Make an empty reply. _clear() frees what the reply owns, _reset() empties it for the next
 * reply. */
void smtp_reply_init(struct smtp_reply *r) __attribute__((nonnull));
void smtp_reply_clear(struct smtp_reply *r) __attribute__((nonnull));
void smtp_reply_reset(struct smtp_reply *r) __attribute__((nonnull));

/* Add one line, or the first bytes of a long one, with or without its line end (CRLF or LF). -1
 * with `err`: the line or the reply is malformed. */
int smtp_reply_add_line(struct smtp_reply *r, const char *line, size_t len, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Count bytes of the last line that were read and discarded. -1 with `err`: the reply has too many
 * bytes. */
int smtp_reply_skip(struct smtp_reply *r, size_t len, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Append "code text" on one line, as Postfix logs it: lines joined by a space, printable characters
 * only, at most 300 bytes. */
void smtp_reply_one_line(const struct smtp_reply *r, struct buf *out) __attribute__((nonnull));

/* Write to `out` the enhanced code of the reply, or "C.0.0" with the first digit C of its code.
 * Returns `out`. */
const char *smtp_reply_dsn(const struct smtp_reply *r, char out[16]) __attribute__((nonnull));

#endif
