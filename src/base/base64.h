/* SPDX-License-Identifier: ISC */
/* base64: the encoding of RFC 4648 section 4, without line ends. Pure; any thread. */
#ifndef SPLIT_BASE64_H
#define SPLIT_BASE64_H

#include "base/buf.h"

/* Append the encoded bytes. */
void base64_encode(const char *data, size_t len, struct buf *out) __attribute__((nonnull));

/* Append the decoded bytes, which may contain NUL. -1: the text is not base64, or is not padded;
 * then nothing is appended. */
int base64_decode(const char *text, size_t len, struct buf *out)
    __attribute__((nonnull, warn_unused_result));

#endif
