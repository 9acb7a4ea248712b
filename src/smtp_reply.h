/* SPDX-License-Identifier: ISC */
/*
 * smtp_reply: one reply of an SMTP or LMTP server (RFC 5321 section 4.2, RFC 3463 codes). Pure
 * functions on lines.
 *
 *     reply = *( code "-" [text] CRLF ) code [ SP text ] CRLF        code = 2..5, two digits; all
 * lines the same
 */
#ifndef SPLIT_SMTP_REPLY_H
#define SPLIT_SMTP_REPLY_H

#include "buf.h"
#include "err.h"

#include <stdbool.h>

#define SMTP_REPLY_LINE_MAX                                                                        \
    2048 /* bytes of one line, line end included; longer ones are malformed */
#define SMTP_REPLY_LINES_MAX 128 /* lines of one reply */
#define SMTP_REPLY_TEXT_MAX 8192 /* bytes of text kept of one reply */

struct smtp_reply {
    int code;          /* 200..599; 0 as long as there is none */
    char enhanced[16]; /* "2.1.5", or "" if the reply has none */
    struct buf text;   /* lines joined by '\n', without code; the enhanced code is kept in place */
    unsigned lines;
    bool is_complete;
};

void smtp_reply_init(struct smtp_reply *r) __attribute__((nonnull));
void smtp_reply_clear(struct smtp_reply *r) __attribute__((nonnull));
void smtp_reply_reset(struct smtp_reply *r) __attribute__((nonnull));

/* Add one line (with or without its line end; CRLF and bare LF are both accepted from a server).
 * -1: malformed, with `err`. */
int smtp_reply_add_line(struct smtp_reply *r, const char *line, size_t len, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Append "code text" on one line, as Postfix logs it: lines joined by a space, printable characters
 * only, at most 300 bytes. */
void smtp_reply_one_line(const struct smtp_reply *r, struct buf *out) __attribute__((nonnull));

/* The enhanced code of the reply, or "C.0.0" made from its code's first digit C. */
const char *smtp_reply_dsn(const struct smtp_reply *r, char out[16]) __attribute__((nonnull));

#endif
