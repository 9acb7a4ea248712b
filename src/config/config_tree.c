/* SPDX-License-Identifier: ISC */
#include "config/config_tree.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void config_tree_init(struct config_tree *t)
{
    *t = (struct config_tree){0};
    for (enum config_section s = CONFIG_SECTION_TOP; s < CONFIG_SECTION_COUNT; s++)
        if (!config_section_has_title(s))
            (void)config_tree_add(t, s, NULL, (struct text_place){"", 0});
}

static void clear_setting(struct config_setting *s)
{
    while (s->count > 0)
        free(s->values[--s->count].text);
}

void config_tree_clear(struct config_tree *t)
{
    for (size_t i = 0; i < t->part_count; i++) {
        struct config_part *part = &t->parts[i];
        for (size_t k = 0; k < part->count; k++) {
            clear_setting(&part->settings[k]);
            free(part->settings[k].values);
        }
        free(part->settings);
        free(part->title);
    }
    free(t->parts);
    for (size_t i = 0; i < t->file_count; i++)
        free(t->files[i]);
    free(t->files);
    *t = (struct config_tree){0};
}

const char *config_tree_file(struct config_tree *t, const char *path)
{
    t->files = mem_grow(t->files, t->file_count + 1, sizeof *t->files);
    t->files[t->file_count] = mem_strdup(path);
    return t->files[t->file_count++];
}

struct config_part *config_tree_find(const struct config_tree *t, enum config_section section,
                                     const char *title)
{
    for (size_t i = 0; i < t->part_count; i++)
        if (t->parts[i].section == section &&
            (title == NULL ? t->parts[i].title == NULL
                           : t->parts[i].title != NULL && strcmp(t->parts[i].title, title) == 0))
            return &t->parts[i];
    return NULL;
}

struct config_part *config_tree_add(struct config_tree *t, enum config_section section,
                                    const char *title, struct text_place place)
{
    t->parts = mem_grow(t->parts, t->part_count + 1, sizeof *t->parts);
    struct config_part *part = &t->parts[t->part_count++];

    *part = (struct config_part){.section = section, .place = place};
    part->title = title == NULL ? NULL : mem_strdup(title);
    return part;
}

size_t config_tree_count(const struct config_tree *t, enum config_section section)
{
    size_t count = 0;

    for (size_t i = 0; i < t->part_count; i++)
        count += t->parts[i].section == section;
    return count;
}

const struct config_part *config_tree_part(const struct config_tree *t, enum config_section section,
                                           size_t index)
{
    for (size_t i = 0; i < t->part_count; i++)
        if (t->parts[i].section == section && index-- == 0)
            return &t->parts[i];
    abort();
}

const struct config_setting *config_part_setting(const struct config_part *part, const char *name)
{
    for (size_t i = 0; i < part->count; i++)
        if (strcmp(part->settings[i].option->name, name) == 0)
            return &part->settings[i];
    return NULL;
}

struct config_setting *config_part_set(struct config_part *part, const struct config_option *option,
                                       struct text_place place, bool keep)
{
    size_t i = 0;

    while (i < part->count && part->settings[i].option != option)
        i++;
    if (i == part->count) {
        part->settings = mem_grow(part->settings, ++part->count, sizeof *part->settings);
        part->settings[i] = (struct config_setting){.option = option};
    } else if (!keep) {
        clear_setting(&part->settings[i]);
    }
    part->settings[i].place = place;
    return &part->settings[i];
}

void config_setting_add(struct config_setting *s, const char *text, struct text_place place)
{
    s->values = mem_grow(s->values, s->count + 1, sizeof *s->values);
    s->values[s->count++] = (struct config_value){.place = place, .text = mem_strdup(text)};
}
