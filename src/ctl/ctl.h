/* SPDX-License-Identifier: ISC */
/*
 * ctl: the commands of splitctl. Each takes its arguments (argv[0] is the name of the command),
 * writes its output to stdout and errors to stderr as "splitctl: ...", and returns the exit code.
 * One thread.
 */
#ifndef SPLIT_CTL_H
#define SPLIT_CTL_H

#include "config/config.h"
#include "net/endpoint.h"
#include "base/err.h"

#include <stdbool.h>

#define CTL_CONNECT_TIMEOUT_MS 5000
#define CTL_REPLY_TIMEOUT_MS 30000

struct ctl_command {
    const char *name;
    const char *usage;   /* its arguments; SELECTION stands for the options of select.h */
    const char *purpose; /* what the command does, in a few words */
    int (*run)(const struct ctl_command *self, const char *config_path, int argc, char **argv);
};

/* The functions for ctl_command.run. ctl_change() serves retry, hold, release, delete and requeue;
 * ctl_suspend() serves suspend and resume. */
int ctl_check(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_explain(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_queue(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_change(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_history(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_suspend(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_show(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_stats(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_reload(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_status(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_trace(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_compare(const struct ctl_command *self, const char *config_path, int argc, char **argv);
int ctl_setup_postfix(const struct ctl_command *self, const char *config_path, int argc,
                      char **argv);
int ctl_setup_sendmail(const struct ctl_command *self, const char *config_path, int argc,
                       char **argv);

/* --- functions for all commands (ctl.c) --- */

/* Write "splitctl: ..." to stderr; control characters and the like become '?'. */
void ctl_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));

/* Write the usage of the command to stderr. Returns EXIT_USAGE. */
int ctl_usage(const struct ctl_command *self) __attribute__((nonnull));

/* Load the configuration, which the caller frees with config_free(). NULL: the error was written to
 * stderr, and the exit code is EXIT_CONFIG. */
struct config *ctl_load(const char *config_path) __attribute__((nonnull, warn_unused_result));

/* The path of the file that splitrelay locks, for the caller to free. */
char *ctl_relay_lock(const struct config *config)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/*
 * Write to stdout. All text is written with these functions, because any text may contain data from
 * outside (names of files, names of queues, replies of servers). Control characters and the like
 * become '?', except a line end at the end of `fmt`.
 */
void ctl_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));
void ctl_print(const char *text) __attribute__((nonnull));

/* As ctl_print(), for a text of several lines: line ends and tabs are kept. */
void ctl_print_lines(const char *text) __attribute__((nonnull));

/* Return true if the text is the id of a copy (queue_id.h). Only such a text may be put into a
 * control request. */
bool ctl_is_id(const char *text) __attribute__((nonnull));

/* Check that a connection can be opened within timeout_ms; all addresses of a name are tried, and
 * the look-up of the name is not bounded by timeout_ms. -1 with `err`. */
int ctl_probe(const struct endpoint *e, unsigned timeout_ms, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
