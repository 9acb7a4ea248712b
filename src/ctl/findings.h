/* SPDX-License-Identifier: ISC */
/*
 * findings: the findings of `splitctl check`, printed one per line and counted. The counts are in
 * memory that is shared with child processes, so that the findings of a child are counted, too. One
 * thread in each process, and one process at a time.
 */
#ifndef SPLIT_CTL_FINDINGS_H
#define SPLIT_CTL_FINDINGS_H

#include <jansson.h>

#include <stdbool.h>

enum level { LEVEL_OK, LEVEL_NOTE, LEVEL_WARNING, LEVEL_ERROR };

struct findings {
    bool is_json;
    unsigned notes, warnings, errors;
};

/* Begin the findings. They exist until the process ends. */
struct findings *findings_new(bool is_json) __attribute__((returns_nonnull, warn_unused_result));

/* Report a finding. The text has no line end. */
void find(struct findings *f, enum level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), nonnull));

/* As find(), with a text that is not a format. more: further members of the JSON object, besides
 * level and text; NULL for none. The reference is taken over. */
void find_more(struct findings *f, enum level level, const char *text, json_t *more)
    __attribute__((nonnull(1, 3)));

#endif
