/* SPDX-License-Identifier: ISC */
/*
 * trace_select: which lines may be about the mail that the words mean, so that the others need not
 * be kept. One thread.
 *
 * Of each line it remembers which queue ids the line connects: its own and those that it names. An
 * id is selected if it is a word, if a line with it mentions a word, or if it is connected with a
 * selected id. All that trace_join connects is connected here; more may be, because short ids are
 * used again. What is remembered takes 16 bytes for each connection.
 */
#ifndef SPLIT_CTL_TRACE_SELECT_H
#define SPLIT_CTL_TRACE_SELECT_H

#include "base/slice.h"
#include "ctl/trace/trace_kind.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_select;
struct trace_words;

/* words: borrowed. */
struct trace_select *trace_select_new(const struct trace_words *words)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void trace_select_free(struct trace_select *s);

/* What is known of a line: the hash of its id, 0 if it has none; and does it mention a word? */
struct trace_noted {
    uint64_t key;
    bool is_mentioned;
};

/* Take a line into account. id: "" if it has none. body: what follows the id. */
struct trace_noted trace_select_note(struct trace_select *s, enum trace_program program,
                                     enum trace_kind kind, struct slice id, struct slice body)
    __attribute__((nonnull));

/* Select an id. */
void trace_select_want(struct trace_select *s, struct slice id) __attribute__((nonnull));

/* Select all ids that are connected with a selected one. Returns true if there are more than after
 * the last call. */
bool trace_select_close(struct trace_select *s) __attribute__((nonnull));

/* Frozen, it forgets all connections, and remembers no further ones. */
void trace_select_freeze(struct trace_select *s, bool is_frozen) __attribute__((nonnull));

/* Is the line selected? */
bool trace_select_has(const struct trace_select *s, const struct trace_noted *line)
    __attribute__((nonnull));

/* Forget the connections from before the last call. */
void trace_select_age(struct trace_select *s) __attribute__((nonnull));

/* The memory that the connections take, in bytes. */
size_t trace_select_bytes(const struct trace_select *s) __attribute__((nonnull));

#endif
