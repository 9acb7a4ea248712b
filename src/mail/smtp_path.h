/* SPDX-License-Identifier: ISC */
/*
 * smtp_path: the path of MAIL and RCPT as clients write it, read as one address and written in the
 * one form that every server reads in the same way (RFC 5321 4.1.2). Programs put comments, display
 * names, blanks and source routes into a path; servers take these, but some interpret the rest
 * differently. Pure functions, any thread.
 */
#ifndef SPLIT_SMTP_PATH_H
#define SPLIT_SMTP_PATH_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Read the inside of the outer brackets, or a path that has none. NULL: *out is the address without
 * brackets ("local@domain", "local", "" for the null path), and is the text itself if that is in
 * the right form already. Otherwise a static text with the fault, and *out is undefined.
 *
 * Dropped: comments, blanks and tabs around the parts, a display name with brackets around the
 * address, a source route, the last dot of the domain. A local part that is more than a dot-string
 * or one quoted string becomes a quoted string. Octets above 127 stay as they are.
 *
 * Refused: what is no single address (lists, groups, more than one "@"), what does not end (quoted
 * string, comment, bracket), a local part of several words without dots between them, an empty
 * local part or domain, an "@" in an address without domain. The characters of the domain are not
 * checked.
 */
const char *smtp_path_read(const char *text, size_t len, struct buf *out)
    __attribute__((nonnull, warn_unused_result));

/*
 * The bytes of the path that text begins with: brackets up to the one that closes them, with what
 * is nested in them; a display name and brackets; else up to a blank outside quotes. 0: there is
 * none, or it does not end before a blank or the end of the text.
 */
size_t smtp_path_len(const char *text) __attribute__((nonnull, warn_unused_result));

#endif
