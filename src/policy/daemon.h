/* SPDX-License-Identifier: ISC */
/*
 * daemon: what the two daemons have in common at start and reload: command line, loading the
 * configuration, opening the log. Called by their main() functions before the first thread starts,
 * and at a reload.
 */
#ifndef SPLIT_DAEMON_H
#define SPLIT_DAEMON_H

#include "base/err.h"
#include "policy/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

enum daemon_sections {
    DAEMON_ONE_SECTION,   /* the configuration has at most one section for the daemon */
    DAEMON_NAMED_SECTIONS /* several daemons may run, one for each section "milter NAME": -n */
};

struct daemon_options {
    const char *config_path; /* borrowed from argv, or the default */
    const char *milter;      /* -n; borrowed from argv; "": not given */
    bool check_only;         /* -t: do not run, only check */
};

/* Parse -c FILE, -t, -V, -h, and with DAEMON_NAMED_SECTIONS -n NAME. name: of the program. Returns
 * -1 if the daemon is to go on; otherwise its exit code, after all output was written to stdout or
 * stderr. */
int daemon_parse_options(int argc, char **argv, const char *name, enum daemon_sections sections,
                         struct daemon_options *out) __attribute__((nonnull, warn_unused_result));

/* Log from now on as the configuration says. `name` is borrowed for the life of the process. -1
 * with `err`: the log is unchanged. */
int daemon_use_log(const char *name, const struct config_log *log, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Call snapshot_load(), then daemon_use_log(). The caller has one reference to the result. NULL
 * with `err`: the log is unchanged. */
struct snapshot *daemon_load(const char *name, const struct daemon_options *options,
                             enum snapshot_parts parts, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Print an error to stderr, with control characters replaced. For the time before the log is
 * configured. */
void daemon_print(const char *name, const struct err *err) __attribute__((nonnull));

/* Log why the daemon cannot start. If the log is syslog, the message is also printed to stderr, so
 * that a start by hand shows it. It is not printed if stderr goes to the journal, which would have
 * it twice. */
void daemon_complain(const char *name, const struct err *err) __attribute__((nonnull));

/*
 * Write the result of a reload beside the lock file (verdict.h). lock_path "": there is no lock,
 * and nothing is written. begun_us: clock_now_us() before the configuration was read. failure:
 * NULL, or why the old configuration stays in use. restart: names of the changed options that need
 * a restart, or "".
 */
void daemon_tell_reloaded(const char *lock_path, int64_t begun_us, const struct err *failure,
                          const char *restart) __attribute__((nonnull(1, 4)));

#endif
