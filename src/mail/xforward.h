/* SPDX-License-Identifier: ISC */
/*
 * xforward: the attributes of the client from which the MTA received the message (XFORWARD_README
 * of Postfix). Plain data; one per session.
 */
#ifndef SPLIT_XFORWARD_H
#define SPLIT_XFORWARD_H

#include "base/err.h"

#include <stdbool.h>

#define XFORWARD_ATTRIBUTES "NAME ADDR PORT PROTO HELO IDENT SOURCE" /* for the reply to EHLO */

/* Strings are printable, "" where the MTA does not know the attribute. */
struct xforward {
    bool is_set; /* any attribute was given */
    char name[256], addr[64], proto[64], helo[256], ident[256];
};

/*
 * Take one word, "ATTRIBUTE=xtext". "[UNAVAILABLE]" and "[TEMPUNAVAIL]" give "". PORT and SOURCE
 * are checked for form and not kept. Values that are too long are cut. -1 with `err` as text for a
 * 501 reply: unknown attribute, value that is not xtext.
 */
int xforward_set(struct xforward *x, const char *word, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
