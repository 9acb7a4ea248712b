/* SPDX-License-Identifier: ISC */
/*
 * config_option_text: options whose values are words, names and other text. Private to
 * config_option.c. Pure; any thread.
 */
#ifndef SPLIT_CONFIG_OPTION_TEXT_H
#define SPLIT_CONFIG_OPTION_TEXT_H

#include "config/config_option.h"

/* Set `err` to "'TEXT' is not allowed; allowed: WORDS", followed by `more`. Returns -1. */
int config_option_fail_words(const char *text, const char *const *words, const char *more,
                             struct err *err) __attribute__((nonnull));

/* The index of text in the NULL-terminated list, or -1. */
int config_option_find_word(const char *const *words, const char *text) __attribute__((nonnull));

/* Put a copy of text in place of *field, which is freed. */
void config_option_set_text(char **field, const char *text) __attribute__((nonnull));

/* For the types from WORD_TEXT to QUEUE: check the text and put a copy into *field. -1 with
 * `err`. */
int config_option_store_text(const struct config_option *o, char **field, const char *text,
                             struct err *err) __attribute__((nonnull, warn_unused_result));

/* For the types from HOSTNAMES to FINGERPRINTS: a value of the list in the form in which it is
 * stored. The caller frees it. NULL with `err`. */
char *config_option_list_text(const struct config_option *o, const char *text, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* For the type ADDRESS: set *field; set *fixed to the address or template if *field is
 * CONFIG_ADDRESS_FIXED or CONFIG_ADDRESS_TEMPLATE, otherwise to "". -1 with `err`. */
int config_option_store_address(const struct config_option *o, enum config_address *field,
                                char **fixed, const char *text, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
