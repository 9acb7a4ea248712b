/* SPDX-License-Identifier: ISC */
/*
 * config_parse: reads the configuration file and what it includes into a config_tree. Private to
 * config_file.c. Any thread.
 */
#ifndef SPLIT_CONFIG_PARSE_H
#define SPLIT_CONFIG_PARSE_H

#include "config/config_tree.h"
#include "base/err.h"

#include <stddef.h>

/* Parse the file. -1 with `err` as "FILE:LINE: what is wrong"; the caller clears *out in any case.
 */
int config_parse_file(struct config_tree *out, const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As config_parse_file(), for a text in memory, which may not contain include(). `name` is the FILE
 * in messages. */
int config_parse_text(struct config_tree *out, const char *name, const char *text, size_t len,
                      struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
