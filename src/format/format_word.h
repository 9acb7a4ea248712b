/* SPDX-License-Identifier: ISC */
/*
 * format_word: text that is not ASCII in a header field (RFC 2047). Pure; any thread.
 */
#ifndef SPLIT_FORMAT_WORD_H
#define SPLIT_FORMAT_WORD_H

#include "base/buf.h"

/*
 * Append the text, one line of valid UTF-8: as it is if it is ASCII, else as encoded words, folded,
 * each no longer than a line may be. column: bytes that are on the line already.
 */
void format_word_encode(const char *text, size_t column, struct buf *out) __attribute__((nonnull));

#endif
