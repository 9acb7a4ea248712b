/* SPDX-License-Identifier: ISC */
/* diff: the differences between two texts, line by line. Pure. */
#ifndef SPLIT_CTL_DIFF_H
#define SPLIT_CTL_DIFF_H

#include "base/buf.h"

/* Append the lines that are only in `before` (" - line") and those that are only in `after` (" +
 * line"), in their order. Very large texts are not compared: all lines of both are appended. A tab
 * becomes a space, any other control character '?'. */
void diff_lines(const char *before, const char *after, struct buf *out) __attribute__((nonnull));

#endif
