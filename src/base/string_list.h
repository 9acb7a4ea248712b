/* SPDX-License-Identifier: ISC */
/*
 * string_list: a list of strings, such as the values of an option of the configuration. Plain data.
 * The list owns its strings and the arrays; no string is NULL. All zero is the empty list.
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
    struct text_place *places; /* one for each item, owned; NULL: not known */
};

/* Free the strings and both arrays. The fields keep their values, so the list is not used
 * afterwards. */
void string_list_clear(struct string_list *s) __attribute__((nonnull));

#endif
