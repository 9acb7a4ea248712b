/* SPDX-License-Identifier: ISC */
/*
 * xtext: the encoding of ORCPT, ENVID and XFORWARD values (RFC 3461 section 4), and the ORCPT of
 * RFC 6533 section 3 for addresses with non-ASCII characters. Pure functions.
 */
#ifndef SPLIT_XTEXT_H
#define SPLIT_XTEXT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* Append text as xtext: bytes outside 33..126, '+' and '=' become "+HH". */
void xtext_encode(const char *text, size_t len, struct buf *out) __attribute__((nonnull));

/* Append the decoded value. -1, and nothing appended, if the text is not xtext (RFC 3461): it has a
 * '+' without two hexadecimal digits, a byte outside 33..126, or '='. Lower-case digits are
 * accepted although the RFC does not allow them. */
int xtext_decode(const char *text, size_t len, struct buf *out)
    __attribute__((nonnull, warn_unused_result));

/* Is the text a valid xtext of at least one character? */
bool xtext_is_valid(const char *text, size_t len) __attribute__((nonnull));

/*
 * Append "rfc822;<xtext>" with the octets of the address as xtext, also for an address with
 * characters outside ASCII. RFC 6533 has the type utf-8 for such addresses. But Postfix (up to
 * 3.11) does not decode that type when a milter adds a recipient, and itself generates the form
 * used here.
 */
void xtext_encode_orcpt(const char *address, struct buf *out) __attribute__((nonnull));

/*
 * Append the address of an ORCPT of type rfc822, or utf-8 (RFC 6533 section 3: with \x{HEX}, or
 * UTF-8 as it is). -1, and nothing appended, if the ORCPT has another type, is malformed, or has a
 * NUL.
 */
int xtext_decode_orcpt(const char *orcpt, struct buf *out)
    __attribute__((nonnull, warn_unused_result));

#endif
