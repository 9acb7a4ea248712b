/* SPDX-License-Identifier: ISC */
/*
 * casefold: upper and lower case are one, as Postfix sees it. With smtputf8_enable it folds
 * addresses, and the keys of its tables, by Unicode (ICU, full case folding: CaseFolding.txt of
 * Unicode 14, C and F): a recipient in "\u212aunde.example", with a Kelvin sign, is in its
 * relay_domains for "kunde.example". What does not fold alike finds nothing there, and such mail
 * would pass unfiltered. Pure functions; bytes that are no UTF-8 stay as they are.
 */
#ifndef SPLIT_CASEFOLD_H
#define SPLIT_CASEFOLD_H

#include "base/buf.h"

/* Append the text with all letters folded. It may become longer: at most threefold. */
void casefold_add(struct buf *out, const char *text, size_t len) __attribute__((nonnull));

/*
 * For patterns, which administrators write with the letters that they see: append the text with
 * ASCII letters in lower case, and those letters as ASCII that are nothing else when folded
 * (U+017F, U+212A, ligatures). Sharp s stays.
 */
void casefold_add_ascii(struct buf *out, const char *text, size_t len) __attribute__((nonnull));

#endif
