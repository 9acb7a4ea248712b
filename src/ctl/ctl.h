/* SPDX-License-Identifier: ISC */
/*
 * ctl: the commands of splitctl. Each takes its arguments (argv[0] is the command's name), writes
 * what was asked for to stdout and faults to stderr as "splitctl: ...", and returns the exit code.
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
    const char *purpose; /* in a few words */
    int (*run)(const struct ctl_command *self, const char *config_path, int argc, char **argv);
};

/* The commands: ctl_command.run. Each returns the exit code of the process.
 * ctl_change() is retry, hold, release, delete and requeue; ctl_suspend() is suspend and resume. */
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
int ctl_setup_postfix(const struct ctl_command *self, const char *config_path, int argc,
                      char **argv);
int ctl_setup_sendmail(const struct ctl_command *self, const char *config_path, int argc,
                       char **argv);

/* --- what they share (ctl.c) --- */

/* "splitctl: ..." to stderr; control characters and the like become '?'. */
void ctl_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));

/* Say how the command is called. Returns EXIT_USAGE. */
int ctl_usage(const struct ctl_command *self) __attribute__((nonnull));

/* Load the configuration for the caller to config_free(). NULL: complained, the exit code is
 * EXIT_CONFIG. */
struct config *ctl_load(const char *config_path) __attribute__((nonnull, warn_unused_result));

/* Where splitrelay holds its lock: for the caller to free(). */
char *ctl_relay_lock(const struct config *config)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));

/*
 * Write to stdout: the only way for text, since all of it may hold something from outside (names of
 * files, of queues, answers of servers). Control characters and the like become '?', except a line
 * end at the end of fmt.
 */
void ctl_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), nonnull));
void ctl_print(const char *text) __attribute__((nonnull));

/* The same with several lines, and with tabs as they are. */
void ctl_print_lines(const char *text) __attribute__((nonnull));

/* Is text an id of a copy, as it may stand in a control request? */
bool ctl_is_id(const char *text) __attribute__((nonnull));

/* Can a connection be opened within timeout_ms? All addresses of a name are tried. -1: `err`. */
int ctl_probe(const struct endpoint *e, unsigned timeout_ms, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
