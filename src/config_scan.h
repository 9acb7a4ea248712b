/* SPDX-License-Identifier: ISC */
/*
 * config_scan: what libconfuse's lexer (3.3) gets wrong, done before it sees the text. It counts a
 * "#" comment as three lines, refuses comments inside lists, takes the end of the file for a
 * missing
 * "}", drops stray characters in silence, and stays inside the string after a bad escape, so that
 * the next file it reads (a reload) begins there. Pure function.
 */
#ifndef SPLIT_CONFIG_SCAN_H
#define SPLIT_CONFIG_SCAN_H

#include "err.h"

#include <stddef.h>

/*
 * Overwrite all comments in text (len bytes, NUL-terminated) with spaces; line ends stay. Returns
 * 0, or -1 with *line_out (counted from 1) and `err` for: a NUL byte, an unterminated string,
 * comment or ${VAR} (the line where it begins), unbalanced braces (the line of the one that has no
 * partner), characters and escapes that libconfuse would drop or trip over.
 */
int config_scan(char *text, size_t len, unsigned *line_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
