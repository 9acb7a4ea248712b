/* SPDX-License-Identifier: ISC */
/* json: functions for commands with --json. */
#ifndef SPLIT_CTL_JSON_H
#define SPLIT_CTL_JSON_H

#include "base/json_value.h"

/* As json_value_text(). */
json_t *ctl_json_text(const char *text) __attribute__((nonnull, warn_unused_result));

/* As json_value_set(). */
void ctl_json_set(json_t *object, const char *name, json_t *value) __attribute__((nonnull));

/* Write the object as one line to stdout and drop the reference. */
void ctl_json_line(json_t *object) __attribute__((nonnull));

#endif
