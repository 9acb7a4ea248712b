/* SPDX-License-Identifier: ISC */
/*
 * command: run another program to its end. No shell in between; standard input is empty; PATH is
 * that of the caller with the directories for administrators behind it. One thread.
 */
#ifndef SPLIT_CTL_COMMAND_H
#define SPLIT_CTL_COMMAND_H

#include "base/buf.h"
#include "base/err.h"

#define COMMAND_OUTPUT_MAX (64U << 20) /* bytes; what writes more is killed */
#define COMMAND_TIMEOUT_MS 120000

/*
 * argv: NULL-terminated. What the program writes is appended to `out` (standard output) and `said`
 * (standard error); they may be the same buffer. Returns its exit status (0 to 255), or -1 with
 * `err`: it could not be started, was killed, wrote too much, or took too long.
 */
int command_run(const char *const *argv, struct buf *out, struct buf *said, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The same; a status other than 0 is a failure, too: -1 with `err` made of what it said. */
int command_need(const char *const *argv, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#define COMMAND_LINE_MAX (16U << 20) /* bytes */

/*
 * Run it and hand each line of its standard output, without line end, to each_line(), as they
 * come; memory does not grow with their number. -1 with `err`: as command_need(), or a line is too
 * long.
 */
int command_each_line(const char *const *argv, void (*each_line)(void *ctx, const char *line),
                      void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* The command line as a shell would take it, for messages. */
void command_format(const char *const *argv, struct buf *out) __attribute__((nonnull));

#endif
