/* SPDX-License-Identifier: ISC */
/*
 * table_pcre_needs: what every text that a pattern matches contains, as sets of letter pairs and
 * triples. A text without them is not passed to pcre2: most patterns of a long table are ruled out
 * by two comparisons. Only table_pcre.c includes this.
 */
#ifndef SPLIT_TABLE_PCRE_NEEDS_H
#define SPLIT_TABLE_PCRE_NEEDS_H

#include "table/table_rules.h"

/* The pairs and triples that are in every text that the regex matches. The sets are empty if
 * nothing is known. The result is used only if pcre2 accepts the regex. is_extended: white space in
 * the regex is not significant. */
struct rule_needs table_pcre_needs(const char *regex, bool is_extended) __attribute__((nonnull));

/* The pairs and triples of a text. The text can match a pattern only if these sets include all that
 * the pattern needs. */
struct rule_needs table_pcre_has(const char *text, size_t len) __attribute__((nonnull));

#endif
