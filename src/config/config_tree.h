/* SPDX-License-Identifier: ISC */
/*
 * config_tree: the configuration files as sections, settings and values with their lines, before
 * they are checked. config_parse.c builds it. Private to config_*.c. Any thread.
 */
#ifndef SPLIT_CONFIG_TREE_H
#define SPLIT_CONFIG_TREE_H

#include "config/config_option.h"

#include <stdbool.h>
#include <stddef.h>

struct config_value {
    struct text_place place;
    char *text;
};

/* An option that was given, possibly as an empty list. */
struct config_setting {
    const struct config_option *option;
    struct text_place place; /* of its name, the last time */
    struct config_value *values;
    size_t count;
};

/* A section; all parts of a section without title are one. */
struct config_part {
    enum config_section section;
    char *title;             /* NULL: sections without */
    struct text_place place; /* where it begins, the first time; line 0: nowhere */
    struct config_setting *settings;
    size_t count;
};

struct config_tree {
    struct config_part *parts;
    size_t part_count;
    char **files; /* the configuration and what it includes, in the order of reading */
    size_t file_count;
};

/* Empty but for the sections without title. */
void config_tree_init(struct config_tree *t) __attribute__((nonnull));
void config_tree_clear(struct config_tree *t) __attribute__((nonnull));

/* Add the name of a file, which is copied; places may refer to what is returned. */
const char *config_tree_file(struct config_tree *t, const char *path)
    __attribute__((nonnull, returns_nonnull));

/* The section of that title (NULL for sections without), or NULL. Valid until one is added. */
struct config_part *config_tree_find(const struct config_tree *t, enum config_section section,
                                     const char *title) __attribute__((nonnull(1)));
struct config_part *config_tree_add(struct config_tree *t, enum config_section section,
                                    const char *title, struct text_place place)
    __attribute__((nonnull(1), returns_nonnull));

/* The number of sections of this kind, in the order of the files; and one of them. A section
 * without title is always there. */
size_t config_tree_count(const struct config_tree *t, enum config_section section)
    __attribute__((nonnull));
const struct config_part *config_tree_part(const struct config_tree *t, enum config_section section,
                                           size_t index) __attribute__((nonnull, returns_nonnull));

/* NULL: not given. */
const struct config_setting *config_part_setting(const struct config_part *part, const char *name)
    __attribute__((nonnull));

/* The setting of this option, for values to be added; without values if it is new, or unless they
 * are to be kept. */
struct config_setting *config_part_set(struct config_part *part, const struct config_option *option,
                                       struct text_place place, bool keep)
    __attribute__((nonnull, returns_nonnull));
void config_setting_add(struct config_setting *s, const char *text, struct text_place place)
    __attribute__((nonnull));

#endif
