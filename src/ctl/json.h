/* SPDX-License-Identifier: ISC */
/* json: functions for commands with --json, on top of libjansson. */
#ifndef SPLIT_CTL_JSON_H
#define SPLIT_CTL_JSON_H

#include <jansson.h>

/* Make a JSON string of any bytes. If the text is not valid UTF-8, what is not printable becomes
 * '?'. The caller owns the reference. */
json_t *ctl_json_text(const char *text) __attribute__((nonnull, warn_unused_result));

/* Set a member; takes over the reference to value. */
void ctl_json_set(json_t *object, const char *name, json_t *value) __attribute__((nonnull));

/* Write the object as one line to stdout and drop the reference. */
void ctl_json_line(json_t *object) __attribute__((nonnull));

#endif
