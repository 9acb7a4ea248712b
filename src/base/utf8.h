/* SPDX-License-Identifier: ISC */
/*
 * utf8: strict UTF-8 (RFC 3629), without overlong forms, surrogates and code points above U+10FFFF.
 * Pure functions.
 */
#ifndef SPLIT_UTF8_H
#define SPLIT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decode the first character of the text into *code_out. Returns its length in bytes (1 to 4), or 0
 * if the first of the len bytes do not form a character (also when len is 0). */
size_t utf8_decode(const char *text, size_t len, uint32_t *code_out)
    __attribute__((nonnull, warn_unused_result));

/* Are all len bytes valid UTF-8? True for ASCII, and for the empty text. */
bool utf8_is_valid(const char *text, size_t len) __attribute__((nonnull, warn_unused_result));

#endif
