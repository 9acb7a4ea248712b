/* SPDX-License-Identifier: ISC */
/*
 * config_include: reads the files of a configuration, and finds the files that an include() names.
 * Private to config_parse.c. Any thread.
 */
#ifndef SPLIT_CONFIG_INCLUDE_H
#define SPLIT_CONFIG_INCLUDE_H

#include "base/err.h"

#include <stddef.h>

struct config_paths {
    char **items;
    size_t count;
};

/* Read a whole file of at most 4 MB as a string, which the caller frees. NULL with `err` as "PATH:
 * what is wrong". */
char *config_include_read(const char *path, size_t *len_out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * The files that include("pattern") in `file` names. A relative pattern is below the directory of
 * `file`. A pattern with *, ? or [ is expanded as by glob(7): to all files that match, sorted by
 * bytes. No match, and a directory that does not exist, are no error. Any other pattern is a path.
 * -1 with `err`: a directory cannot be read. The caller frees with config_paths_clear().
 */
int config_include_expand(const char *file, const char *pattern, struct config_paths *out,
                          struct err *err) __attribute__((nonnull, warn_unused_result));
/* Free the paths, and empty the struct. */
void config_paths_clear(struct config_paths *paths) __attribute__((nonnull));

#endif
