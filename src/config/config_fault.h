/* SPDX-License-Identifier: ISC */
/*
 * config_fault: the messages for a token that is not the name of an option or section. The messages
 * say what is allowed in place of the token. Private to config_parse.c. Any thread.
 */
#ifndef SPLIT_CONFIG_FAULT_H
#define SPLIT_CONFIG_FAULT_H

#include "config/config_lex.h"
#include "config/config_option.h"
#include "base/err.h"

/* The last setting before the present token. */
struct config_last {
    const char *key; /* NULL: none in this section */
    unsigned line;   /* line in which its last value ends; 0: an empty list */
};

/* The option of this name. NULL: the section has no such option. */
const struct config_option *config_fault_option(enum config_section section, const char *name)
    __attribute__((nonnull));

/* The section of this name. CONFIG_SECTION_COUNT: no section has it. */
enum config_section config_fault_section(const char *name) __attribute__((nonnull));

/* Report that the present token is a word that is neither an option nor a section. Returns -1 with
 * `err` as "FILE:LINE: ...". */
int config_fault_word(const struct config_lexer *l, enum config_section section,
                      struct config_last last, struct err *err) __attribute__((nonnull));

/* As config_fault_word(), for a present token that is a mark, such as '=' or '{'. */
int config_fault_mark(const struct config_lexer *l, struct config_last last, struct err *err)
    __attribute__((nonnull));

#endif
