/* SPDX-License-Identifier: ISC */
/*
 * columns: a table on stdout, whose first column has names and whose other columns have numbers. On
 * a terminal the columns are as wide as their content; a name that is longer than what is left of
 * the width has lines of its own above its numbers. In a file or a pipe the widths are those that
 * are given, so that programs find the columns at the same place each time. One thread.
 */
#ifndef SPLIT_CTL_COLUMNS_H
#define SPLIT_CTL_COLUMNS_H

#include "ctl/terminal.h"

#include <stdbool.h>
#include <stddef.h>

struct columns;

/* widths: of each column in a file or pipe, for the life of the table. is_cut: whether longer names
 * are cut there, too. */
struct columns *columns_new(const int *widths, size_t count, bool is_cut)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void columns_free(struct columns *c) __attribute__((nonnull));

/* Add the next cell; a row is complete after `count` cells. The first row has the heads. */
void columns_add(struct columns *c, enum terminal_style style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull));

/* Set the text that follows the last cell that was added. */
void columns_note(struct columns *c, enum terminal_style style, const char *text)
    __attribute__((nonnull));

/* Print all rows, which are complete. */
void columns_print(const struct columns *c) __attribute__((nonnull));

#endif
