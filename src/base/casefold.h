/* SPDX-License-Identifier: ISC */
/*
 * casefold: case folding as Postfix does it. With smtputf8_enable Postfix folds addresses, and the
 * keys of its tables, by Unicode (ICU, full case folding: CaseFolding.txt of Unicode 14, statuses C
 * and F). A recipient in "\u212aunde.example", with a Kelvin sign, then matches "kunde.example" in
 * relay_domains. The tables of splitmilter must match this recipient as well, or its mail would
 * pass unfiltered. Pure functions; bytes that are not UTF-8 stay as they are.
 */
#ifndef SPLIT_CASEFOLD_H
#define SPLIT_CASEFOLD_H

#include "base/buf.h"

/* Append the text with all letters folded. The result is at most three times as long. */
void casefold_add(struct buf *out, const char *text, size_t len) __attribute__((nonnull));

/*
 * Append the text in the form in which patterns are matched with it: ASCII letters in lower case,
 * and letters that fold to ASCII letters alone (U+017F, U+212A, the ligatures U+FB00 to U+FB06) as
 * these. All other letters stay as they are, also sharp s (which folds to "ss"), because
 * administrators write patterns with the letters that they see.
 */
void casefold_add_ascii(struct buf *out, const char *text, size_t len) __attribute__((nonnull));

#endif
