/* SPDX-License-Identifier: ISC */
/*
 * smtp_command: the parser of one command line of an SMTP or LMTP client (RFC 5321 section 4.1.1,
 * RFC 2033, RFC 3461, XFORWARD_README). Pure functions without state: session.c interprets the
 * commands.
 */
#ifndef SPLIT_SMTP_COMMAND_H
#define SPLIT_SMTP_COMMAND_H

#include "mail/address.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes of a command line. RFC 5321 4.5.3.1.4 requires less. But the XFORWARD command of an MTA has
 * the HELO argument of its client as xtext (with Postfix up to 2048 bytes), and a client must not
 * be able to prevent copies by a long HELO argument. */
#define SMTP_COMMAND_LINE_MAX 16384
#define SMTP_COMMAND_WORDS_MAX 16

enum smtp_verb {
    SMTP_UNKNOWN,
    SMTP_HELO,
    SMTP_EHLO,
    SMTP_LHLO,
    SMTP_MAIL,
    SMTP_RCPT,
    SMTP_DATA,
    SMTP_RSET,
    SMTP_NOOP,
    SMTP_QUIT,
    SMTP_VRFY,
    SMTP_HELP,
    SMTP_STARTTLS,
    SMTP_XFORWARD,
};

struct smtp_command {
    enum smtp_verb verb;
    char text[SMTP_COMMAND_LINE_MAX]; /* the line, cut into strings by NULs. The pointers below
                                         point into it, except `fault`, and `address` where it
                                         points to `reformed` */
    const char *argument;             /* HELO etc.: the argument, "" if there is none */
    const char *path;                 /* MAIL, RCPT: the path as written, with <> */
    const char *address; /* the path in the form of smtp_path.h, with <>; NULL: it is not one
                            address, and `fault` has the reason */
    const char *fault;   /* a static text; NULL while `address` is not NULL */
    char reformed[ADDRESS_MAX + 3];                /* `address`, if it is not the same as `path` */
    const char *words[SMTP_COMMAND_WORDS_MAX + 1]; /* ESMTP words of MAIL, RCPT and XFORWARD,
                                                      "KEYWORD=value", NULL-terminated */
    size_t word_count;
};

/*
 * Parse a line without its CRLF. -1 with `err` as text for a 501 reply: a line that is too long,
 * control characters outside MAIL, no "FROM:" or "TO:", no path, an argument where none is allowed,
 * malformed or too many words. An unknown verb is no error (SMTP_UNKNOWN), nor is a path that is no
 * address (`address` is NULL then). In MAIL control characters become "?", and `address` is NULL. A
 * tab outside quotes counts as a blank. There may be several blanks between words, and blanks at
 * either end.
 */
int smtp_command_parse(const char *line, size_t len, struct smtp_command *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Is the word "KEYWORD=value" or "KEYWORD" (case is ignored)? If so, *value_out is set to the
 * value, or to "" if there is none. */
bool smtp_command_word(const char *word, const char *keyword, const char **value_out)
    __attribute__((nonnull));

#endif
