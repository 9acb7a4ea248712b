/* SPDX-License-Identifier: ISC */
/* diff: what changes between two texts, line by line. Pure. */
#ifndef SPLIT_CTL_DIFF_H
#define SPLIT_CTL_DIFF_H

#include "base/buf.h"

/* Append the lines of `before` that go ("  - line") and those of `after` that come ("  + line"), in
 * their order. Very large texts are shown as gone and come as a whole. Control characters become
 * '?'. */
void diff_lines(const char *before, const char *after, struct buf *out) __attribute__((nonnull));

#endif
