/* SPDX-License-Identifier: ISC */
/*
 * daemon: how the two daemons start: the same command line, the same way to a configuration and its
 * log. For their main() functions, before the first thread and at a reload.
 */
#ifndef SPLIT_DAEMON_H
#define SPLIT_DAEMON_H

#include "err.h"
#include "snapshot.h"

#include <stdbool.h>

struct daemon_options {
    const char *config_path; /* borrowed from argv, or the default */
    bool check_only;         /* -t */
};

/* Parse -c FILE, -t, -V, -h. Returns -1 to go on; otherwise the exit code, with everything said on
 * stdout or stderr. */
int daemon_parse_options(int argc, char **argv, const char *name, struct daemon_options *out)
    __attribute__((nonnull, warn_unused_result));

/* snapshot_load(), and log_open() as it says. name is borrowed for good. NULL with `err`; the log
 * is as before then. */
struct snapshot *daemon_load(const char *name, const char *config_path, enum snapshot_parts parts,
                             struct err *err) __attribute__((nonnull, warn_unused_result));

#endif
