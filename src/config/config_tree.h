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
    struct text_place place; /* where the option was last given */
    struct config_value *values;
    size_t count;
};

/* A section. When a section without title is written several times, all of it is one config_part.
 * Of the sections milter, the one without title is the first. */
struct config_part {
    enum config_section section;
    char *title;             /* NULL: a section without title */
    struct text_place place; /* where the section first begins; line 0: no file has it */
    struct config_setting *settings;
    size_t count;
};

struct config_tree {
    struct config_part *parts;
    size_t part_count;
    char **files; /* the configuration and what it includes, in the order of reading */
    size_t file_count;
};

/* Make a tree that has only the sections without title, all of them empty. */
void config_tree_init(struct config_tree *t) __attribute__((nonnull));
/* Free what the tree owns, and empty the tree. */
void config_tree_clear(struct config_tree *t) __attribute__((nonnull));

/* Add the name of a file, which is copied. Returns the copy, to which a struct text_place may
 * point. */
const char *config_tree_file(struct config_tree *t, const char *path)
    __attribute__((nonnull, returns_nonnull));

/* config_tree_find() returns the section with this title, or NULL if there is none. title NULL: the
 * section without title. config_tree_add() adds a section, and copies the title. The pointer is
 * valid until the next section is added. */
struct config_part *config_tree_find(const struct config_tree *t, enum config_section section,
                                     const char *title) __attribute__((nonnull(1)));
struct config_part *config_tree_add(struct config_tree *t, enum config_section section,
                                    const char *title, struct text_place place)
    __attribute__((nonnull(1), returns_nonnull));

/* The number of sections of this kind, and the section with this index among them, in the order of
 * the files. The index must exist. A section without title always exists. */
size_t config_tree_count(const struct config_tree *t, enum config_section section)
    __attribute__((nonnull));
const struct config_part *config_tree_part(const struct config_tree *t, enum config_section section,
                                           size_t index) __attribute__((nonnull, returns_nonnull));

/* The setting of the option of this name. NULL: the option was not given. */
const struct config_setting *config_part_setting(const struct config_part *part, const char *name)
    __attribute__((nonnull));

/* Find or add the setting of this option, and set its place. Its former values are removed unless
 * `keep`. The caller adds values by config_setting_add(), which copies the text. */
struct config_setting *config_part_set(struct config_part *part, const struct config_option *option,
                                       struct text_place place, bool keep)
    __attribute__((nonnull, returns_nonnull));
void config_setting_add(struct config_setting *s, const char *text, struct text_place place)
    __attribute__((nonnull));

#endif
