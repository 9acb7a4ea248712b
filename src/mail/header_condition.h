/* SPDX-License-Identifier: ISC */
/*
 * header_condition: a condition "NAME: VALUE" that a header field meets if it has this name and
 * this value. `*` in VALUE stands for any text, also for none. Name and value are compared without
 * case (ASCII). White space at the ends of the value does not count, and white space within it,
 * also where the field is folded (RFC 5322 2.2.3), is one space. Encoded words (RFC 2047) are
 * compared as they are. Pure functions; any thread.
 */
#ifndef SPLIT_HEADER_CONDITION_H
#define SPLIT_HEADER_CONDITION_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define HEADER_CONDITION_MAX 200 /* bytes of a condition */

/* Bytes of a field's value that are compared. A longer value meets only a VALUE that ends in `*`.
 */
#define HEADER_VALUE_MAX 4096

/* Check a condition as it is written in the configuration, and return it in the form for the
 * functions below, for the caller to free. NULL with `err`: what is wrong. */
char *header_condition_parse(const char *text, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Is the condition about fields of this name (name_len bytes)? */
bool header_condition_has_name(const char *condition, const char *name, size_t name_len)
    __attribute__((nonnull));

/* The value of a field, collected line by line. All zero: nothing was added. */
struct header_value {
    struct buf text; /* in the form that is compared */
    bool is_cut;     /* the value goes on */
};

/* Add a part of the value: a line without its line end. is_cut: the line went on. */
void header_value_add(struct header_value *v, const char *text, size_t len, bool is_cut)
    __attribute__((nonnull));
/* Forget what was added. */
void header_value_reset(struct header_value *v) __attribute__((nonnull));

/* Does a field with the name of the condition and this value meet the condition? */
bool header_condition_is_met(const char *condition, const struct header_value *value)
    __attribute__((nonnull));

#endif
