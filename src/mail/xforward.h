/* SPDX-License-Identifier: ISC */
/*
 * xforward: what the MTA says about the client that it had the message from (XFORWARD_README of
 * Postfix). Plain data; one per session.
 */
#ifndef SPLIT_XFORWARD_H
#define SPLIT_XFORWARD_H

#include "base/err.h"

#include <stdbool.h>

#define XFORWARD_ATTRIBUTES "NAME ADDR PORT PROTO HELO IDENT SOURCE" /* for the reply to EHLO */

/* Strings are printable, "" where the MTA knows nothing either. */
struct xforward {
    bool is_set; /* any attribute was given */
    char name[256], addr[64], proto[64], helo[256], ident[256];
};

/*
 * Take one word, "ATTRIBUTE=xtext". "[UNAVAILABLE]" and "[TEMPUNAVAIL]" give "". PORT and SOURCE
 * are checked for form and not kept. What is too long is cut. -1 with `err` as text for a 501
 * reply: unknown attribute, value that is no xtext.
 */
int xforward_set(struct xforward *x, const char *word, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
