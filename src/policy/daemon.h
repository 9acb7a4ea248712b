/* SPDX-License-Identifier: ISC */
/*
 * daemon: how the two daemons start: the same command line, the same way to a configuration and its
 * log. For their main() functions, before the first thread and at a reload.
 */
#ifndef SPLIT_DAEMON_H
#define SPLIT_DAEMON_H

#include "base/err.h"
#include "policy/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

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

/* Say on stderr, made printable, what is wrong: for as long as there is no configuration of the
 * log.
 */
void daemon_print(const char *name, const struct err *err) __attribute__((nonnull));

/* Log why the daemon cannot start. What is logged to syslog is on stderr as well, unless that is
 * the journal: a daemon that was started by hand does not end without a word. */
void daemon_complain(const char *name, const struct err *err) __attribute__((nonnull));

/* Write the verdict about a reload beside the lock (verdict.h; "": there is no lock, nothing is
 * written). failure: NULL, or why the old configuration stays; restart: options that need one. */
void daemon_tell_reloaded(const char *lock_path, int64_t begun_us, const struct err *failure,
                          const char *restart) __attribute__((nonnull(1, 4)));

#endif
