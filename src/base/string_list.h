/* SPDX-License-Identifier: ISC */
/*
 * string_list: a list of strings, as values of options in the configuration. Plain data. The list
 * owns its strings and the array; no string is NULL. All zero is the empty list.
 */
#ifndef SPLIT_STRING_LIST_H
#define SPLIT_STRING_LIST_H

#include <stddef.h>

/* A line of a text file. */
struct text_place {
    const char *file; /* borrowed */
    unsigned line;
};

struct string_list {
    char **items;
    size_t count;
    struct text_place *places; /* of the items, owned; NULL where they are not known */
};

/* Free the strings and the array. */
void string_list_clear(struct string_list *s) __attribute__((nonnull));

#endif
