/* SPDX-License-Identifier: ISC */
/*
 * terminal: colour and the width of the terminal, for output to stdout. There is no colour unless
 * stdout is a terminal, TERM is not "dumb", and NO_COLOR is not set (no-color.org). Text is made
 * printable as by ctl_print(). One thread.
 */
#ifndef SPLIT_CTL_TERMINAL_H
#define SPLIT_CTL_TERMINAL_H

#include <stddef.h>

enum terminal_style {
    TERMINAL_PLAIN,
    TERMINAL_HEAD,   /* bold */
    TERMINAL_FAINT,  /* details */
    TERMINAL_GOOD,   /* green */
    TERMINAL_NOTICE, /* yellow */
    TERMINAL_BAD,    /* red */
};

/* The width of the terminal in columns; 0 if stdout is not a terminal, or its width is unknown. */
size_t terminal_width(void);

/* The number of columns that a text takes. Each character counts as one. */
size_t terminal_columns(const char *text) __attribute__((nonnull));

/* Print a text in this style. */
void terminal_print(enum terminal_style style, const char *text) __attribute__((nonnull));
void terminal_printf(enum terminal_style style, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));

/* Print a text, cut to `columns` columns with "..." at its end if it is longer, and filled with
 * blanks if it is shorter. */
void terminal_print_cell(enum terminal_style style, const char *text, size_t columns)
    __attribute__((nonnull));

/* Print a text that begins `indent` columns from the left. at: the column where the output is now,
 * at most `indent`. On a terminal the text is broken between words, and further lines have the same
 * indent. Does not end the last line. */
void terminal_print_wrapped(enum terminal_style style, size_t at, size_t indent, const char *text)
    __attribute__((nonnull));

#endif
