/* SPDX-License-Identifier: ISC */
/*
 * utf8: strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. Pure
 * functions.
 */
#ifndef SPLIT_UTF8_H
#define SPLIT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length in bytes (1 to 4) of the character that text begins with, and the character in
 * *code_out. 0 if the first of the len bytes do not form one (also when len is 0). */
size_t utf8_decode(const char *text, size_t len, uint32_t *code_out)
    __attribute__((nonnull, warn_unused_result));

/* True if all len bytes are valid UTF-8; ASCII and the empty text are. */
bool utf8_is_valid(const char *text, size_t len) __attribute__((nonnull, warn_unused_result));

#endif
