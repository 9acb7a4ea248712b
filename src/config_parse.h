/* SPDX-License-Identifier: ISC */
/*
 * config_parse: the configuration file and what it includes, parsed by libconfuse into values that
 * know where they stand, not yet checked. Private to config_file.c. One parse at a time in the
 * process (libconfuse keeps static state).
 */
#ifndef SPLIT_CONFIG_PARSE_H
#define SPLIT_CONFIG_PARSE_H

#include "err.h"

#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>

/* What cfg_opt_getnptr() returns for every option. */
struct config_value {
    const char *file; /* borrowed from the parse */
    unsigned line;
    bool is_mark; /* no value of the file: what a required option has at first */
    char text[];
};

/* Where a section with a title begins. */
struct config_section_start {
    const cfg_t *sec;
    const char *file;
    unsigned line;
    unsigned marks; /* that were set so far */
};

struct config_parse {
    cfg_t *cfg;
    char **files; /* the configuration and what it includes, in the order of reading */
    size_t file_count;
    struct config_section_start *sections;
    size_t section_count;
    const char *file; /* being read */
    unsigned depth;
    struct err *err;
};

/* Parse the file into *p. -1 with `err` as "FILE:LINE: what is wrong"; nothing stays open. */
int config_parse_open(struct config_parse *p, const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void config_parse_close(struct config_parse *p) __attribute__((nonnull));

/* Put "FILE:LINE: " before `err`. Returns -1. */
int config_parse_fail(const char *file, unsigned line, struct err *err) __attribute__((nonnull));

/* Where this section begins; for a section without title, of which libconfuse makes one from many
 * parts, where it ends. */
struct config_section_start config_parse_section(const struct config_parse *p, const cfg_t *sec)
    __attribute__((nonnull));

#endif
