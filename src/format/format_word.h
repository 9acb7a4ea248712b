/* SPDX-License-Identifier: ISC */
/*
 * format_word: encodes text for a header field (RFC 2047). Pure; any thread.
 */
#ifndef SPLIT_FORMAT_WORD_H
#define SPLIT_FORMAT_WORD_H

#include "base/buf.h"

/*
 * Append the text, which must be one line of valid UTF-8. ASCII is appended as it is; other text,
 * and text that contains "=?" and would be decoded, is appended as encoded words, folded so that no
 * line is longer than 76 columns. column: bytes that are on the line already.
 */
void format_word_encode(const char *text, size_t column, struct buf *out) __attribute__((nonnull));

#endif
