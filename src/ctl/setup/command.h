/* SPDX-License-Identifier: ISC */
/*
 * command: runs another program to its end, without a shell. Its standard input is empty. Its PATH
 * is that of the caller followed by /usr/sbin and /sbin. One thread.
 */
#ifndef SPLIT_CTL_COMMAND_H
#define SPLIT_CTL_COMMAND_H

#include "base/buf.h"
#include "base/err.h"

#define COMMAND_OUTPUT_MAX (64U << 20) /* bytes; a program that writes more is killed */
#define COMMAND_TIMEOUT_MS 120000

/*
 * Run a program. argv: NULL-terminated. Standard output is appended to `out`, standard error to
 * `said`; both may be the same buffer. Returns the exit status (0 to 255), or -1 with `err`: the
 * program could not be started, was killed, wrote too much, or took too long.
 */
int command_run(const char *const *argv, struct buf *out, struct buf *said, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As command_run(), but a status other than 0 is a failure, too: -1, with the standard error in
 * `err`. */
int command_need(const char *const *argv, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#define COMMAND_LINE_MAX (16U << 20) /* bytes */

/*
 * As command_need(), but each line of standard output is passed to each_line() as it arrives,
 * without its line end. Memory does not grow with the number of lines. -1 with `err`: a failure as
 * in command_need(), or a line longer than COMMAND_LINE_MAX.
 */
int command_each_line(const char *const *argv, void (*each_line)(void *ctx, const char *line),
                      void *ctx, struct err *err)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* Append the command line in the syntax of a shell, for messages. */
void command_format(const char *const *argv, struct buf *out) __attribute__((nonnull));

#endif
