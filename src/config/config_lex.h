/* SPDX-License-Identifier: ISC */
/*
 * config_lex: the tokens of a configuration file, each with its line. Private to config_parse.c.
 * Pure, except that ${NAME} reads the environment; any thread.
 */
#ifndef SPLIT_CONFIG_LEX_H
#define SPLIT_CONFIG_LEX_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum config_token {
    CONFIG_TOKEN_END,
    CONFIG_TOKEN_WORD,   /* the word, or the content of a string, is in `word` */
    CONFIG_TOKEN_EQUAL,  /* = */
    CONFIG_TOKEN_APPEND, /* += */
    CONFIG_TOKEN_COMMA,
    CONFIG_TOKEN_OPEN, /* { */
    CONFIG_TOKEN_CLOSE,
    CONFIG_TOKEN_OPEN_ROUND, /* ( */
    CONFIG_TOKEN_CLOSE_ROUND,
};

struct config_lexer {
    const char *file; /* name of the file for messages, borrowed */
    const char *at, *end;
    unsigned line;           /* of `at` */
    enum config_token token; /* the present token */
    unsigned token_line;     /* the line where the present token begins */
    bool is_quoted;          /* the present word is the content of a string */
    struct buf word;
    /* First and last line of the last string; long_string_end is 0 if the string is in one line. */
    unsigned long_string_line, long_string_end;
};

/* Start to read `text`, which is borrowed. There is no present token before config_lex_next(). -1
 * with `err`: the file is not text. */
int config_lex_open(struct config_lexer *l, const char *file, const char *text, size_t len,
                    struct err *err) __attribute__((nonnull, warn_unused_result));
/* Free what the lexer owns. */
void config_lex_close(struct config_lexer *l) __attribute__((nonnull));

/* Go to the next token; after the last one each call gives END. -1 with `err` as "FILE:LINE: what
 * is wrong". */
int config_lex_next(struct config_lexer *l, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Write the present token to `out`, of `size` bytes, for a message: "'='", "'WORD'" or "the end of
 * the file". */
void config_lex_describe(const struct config_lexer *l, char *out, size_t size)
    __attribute__((nonnull));

/* Return how many bytes of a word a message may show, at most `max`. A URI is shown up to its "://"
 * only, because there may be a password in the rest. */
int config_lex_shown(const char *word, int max) __attribute__((nonnull));

/* Put "FILE:LINE: " before `err`. If a string of several lines ends in this line, its closing quote
 * may be missing further up, so LINE is the line in which that string begins. Returns -1. */
int config_lex_fail(const struct config_lexer *l, unsigned line, struct err *err)
    __attribute__((nonnull));

#endif
