/* SPDX-License-Identifier: ISC */
/*
 * trace_word: the words that `splitctl trace` looks for, and which messages have them. A word is
 * the address of a recipient or sender, a queue id, the id of a copy, or a Message-ID. Upper and
 * lower case are the same in addresses and Message-IDs. One thread.
 */
#ifndef SPLIT_CTL_TRACE_WORD_H
#define SPLIT_CTL_TRACE_WORD_H

#include "ctl/trace/trace_facts.h"

#include <stdbool.h>

struct trace_log;
struct trace_words;

/* The suffix of an address in the tag domain. */
enum trace_route { TRACE_ROUTE_NONE, TRACE_ROUTE_FILTER, TRACE_ROUTE_COPY };

/* words, tag_domain: borrowed as long as the result is used. Brackets around a word are ignored. */
struct trace_words *trace_words_new(char **words, int count, const char *tag_domain)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void trace_words_free(struct trace_words *w);

/* Is this address, or the address before its suffix, one of the words? */
bool trace_words_have(const struct trace_words *w, struct slice address) __attribute__((nonnull));

/* May the line mention a word as an address or Message-ID? A value in a reply may count as well, so
 * a closer look is needed. */
bool trace_words_mention(const struct trace_words *w, enum trace_program program,
                         enum trace_kind kind, struct slice body) __attribute__((nonnull));

/* The words, as they were given. */
size_t trace_words_count(const struct trace_words *w) __attribute__((nonnull));
const char *trace_words_get(const struct trace_words *w, size_t i)
    __attribute__((nonnull, returns_nonnull));

/* Set is_named, is_wanted and is_touched of all messages. */
void trace_words_mark(const struct trace_words *w, struct trace_log *log) __attribute__((nonnull));

/* Split an address in the tag domain: the address before ".NAME.filter.TAG_DOMAIN" and NAME. For
 * another address *plain_out is the address. */
enum trace_route trace_word_untag(struct slice address, const char *tag_domain,
                                  struct slice *plain_out, struct slice *name_out)
    __attribute__((nonnull));

#endif
