/* SPDX-License-Identifier: ISC */
/*
 * config_file: reads splitmilter.conf into a struct config. One table of options (config_option.h)
 * {name, type, offset, default, min, max} drives parsing, defaults and checks; tests compare it
 * with conf/ and the man page.
 */
#ifndef SPLIT_CONFIG_FILE_H
#define SPLIT_CONFIG_FILE_H

#include "config/config.h"
#include "base/err.h"

#define CONFIG_FILE_DEFAULT SYSCONFDIR "/splitmilter/splitmilter.conf"

/*
 * Read and check the file. All checks are made that need no table, socket or network: words,
 * ranges, names, duplicate sections, relay_to, networks. NULL with `err` as "FILE:LINE: what is
 * wrong, what is allowed", or as "FILE: ..." where no line is at fault. The caller frees with
 * config_free(). Any thread.
 */
struct config *config_file_load(const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As config_file_load(), for a text in memory, which may not contain include(). `name` is the FILE
 * in messages. */
struct config *config_file_load_text(const char *name, const char *text, size_t len,
                                     struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
