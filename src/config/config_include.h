/* SPDX-License-Identifier: ISC */
/*
 * config_include: the files of a configuration. Private to config_parse.c. Any thread.
 */
#ifndef SPLIT_CONFIG_INCLUDE_H
#define SPLIT_CONFIG_INCLUDE_H

#include "base/err.h"

#include <stddef.h>

struct config_paths {
    char **items;
    size_t count;
};

/* The whole file as a string, for the caller to free; at most 4 MB. NULL with `err` as "PATH: what
 * is wrong". */
char *config_include_read(const char *path, size_t *len_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * The files that include("pattern") in `file` stands for: a relative one is below the directory of
 * that file. With one of *, ? and [ it is a pattern as of glob(7): all that match, in the order of
 * their bytes; none is fine, and so is a directory that does not exist. Without it is one path. -1
 * with `err`: a directory cannot be read. The caller frees with config_paths_clear().
 */
int config_include_expand(const char *file, const char *pattern, struct config_paths *out,
                          struct err *err) __attribute__((nonnull, warn_unused_result));
void config_paths_clear(struct config_paths *paths) __attribute__((nonnull));

#endif
