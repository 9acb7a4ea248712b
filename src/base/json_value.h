/* SPDX-License-Identifier: ISC */
/*
 * json_value: JSON documents on top of libjansson. Texts from outside may be in any encoding; the
 * documents are valid JSON all the same. A lack of memory ends the process (mem.h). Any thread.
 */
#ifndef SPLIT_JSON_VALUE_H
#define SPLIT_JSON_VALUE_H

#include "base/buf.h"

#include <jansson.h>

/* Make a JSON string of any bytes. If the text is not valid UTF-8, what is not printable becomes
 * '?'. The caller owns the reference. */
json_t *json_value_text(const char *text)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/* Set a member of an object, or append to an array. The reference to value is taken over. */
void json_value_set(json_t *object, const char *name, json_t *value) __attribute__((nonnull));
void json_value_append(json_t *array, json_t *value) __attribute__((nonnull));

/* Append the value as one line of ASCII without LF, and drop the reference. Escapes take the place
 * of all other characters, some of which control a terminal. */
void json_value_dump(json_t *value, struct buf *out) __attribute__((nonnull));

#endif
