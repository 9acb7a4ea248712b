/* SPDX-License-Identifier: ISC */
/*
 * smtp_path: reads the path of MAIL and RCPT as one address, and writes the address in the form
 * that every server reads in the same way (RFC 5321 4.1.2). Clients put comments, display names,
 * blanks and source routes into a path. Servers accept these, but do not all find the same address
 * in such a path. Pure functions; any thread.
 */
#ifndef SPLIT_SMTP_PATH_H
#define SPLIT_SMTP_PATH_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Read the text between the outer brackets, or a path without brackets. Returns NULL, and puts the
 * address without brackets into *out ("local@domain", "local", "" for the null path); if the text
 * has the right form already, *out equals it. If the text is refused, returns a static text with
 * the reason, and *out is undefined.
 *
 * Dropped: comments, blanks and tabs around the parts, a display name with brackets around the
 * address, a source route, the last dot of the domain. A local part that is more than a dot-string
 * or one quoted string becomes a quoted string. Octets above 127 stay as they are.
 *
 * Refused: text that is not a single address (lists, groups, more than one "@"); a quoted string,
 * comment or bracket that does not end; a local part of several words without dots between them; an
 * empty local part or domain; an "@" in an address without domain. The characters of the domain are
 * not checked.
 */
const char *smtp_path_read(const char *text, size_t len, struct buf *out)
    __attribute__((nonnull, warn_unused_result));

/*
 * The length in bytes of the path at the start of the text. A path is a pair of brackets with
 * everything between them, and the display name before it, if there is one. If there are no
 * brackets, the path is the text up to a blank outside quotes. 0: there is no path, or the path
 * does not end before a blank or the end of the text.
 */
size_t smtp_path_len(const char *text) __attribute__((nonnull, warn_unused_result));

#endif
