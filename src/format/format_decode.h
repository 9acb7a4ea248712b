/* SPDX-License-Identifier: ISC */
/*
 * format_decode: the text of a header field in UTF-8, from encoded words (RFC 2047) and from bytes
 * in the charset of the message. Pure; any thread.
 *
 *     word = "=?" charset [ "*" language ] "?" ( "B" / "Q" ) "?" text "?="
 *
 * Mail programs do not keep to RFC 2047, so a word counts wherever it stands and however long it
 * is, its text may contain blanks, and the bytes of neighbouring words in one charset are put
 * together before they are converted, because some programs cut characters in two. Blanks between
 * two words are dropped.
 *
 * Charsets are converted by iconv(3). A charset that is not in the table of format_decode.c never
 * gets there, because the name comes from outside, and some converters of C libraries had faults
 * that a message could use.
 */
#ifndef SPLIT_FORMAT_DECODE_H
#define SPLIT_FORMAT_DECODE_H

#include "base/buf.h"

/* The name for iconv(3) of a charset that is called `name` in mail; NULL: it is not converted. */
const char *format_decode_charset(const char *name, size_t len) __attribute__((nonnull));

/* The same for the parameter charset of a Content-Type field; NULL, too, if it has none. */
const char *format_decode_charset_of(const char *content_type) __attribute__((nonnull));

/*
 * Append the text of a field, which is unfolded. A word with an unknown charset, or whose text is
 * not base64, stays as it is. charset: of bytes above 127 outside of words that are not UTF-8;
 * NULL: they stay as they are. What a charset does not define becomes '?', and so does NUL. So the
 * result may have control characters and bytes that are not UTF-8, but no NUL.
 */
void format_decode(const char *text, size_t len, const char *charset, struct buf *out)
    __attribute__((nonnull(1, 4)));

#endif
