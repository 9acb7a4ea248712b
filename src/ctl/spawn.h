/* SPDX-License-Identifier: ISC */
/*
 * spawn: starts other programs, without a shell. The PATH in which they are looked for, and which
 * they get, is that of the caller followed by /usr/sbin and /sbin. One thread.
 */
#ifndef SPLIT_CTL_SPAWN_H
#define SPLIT_CTL_SPAWN_H

#include <sys/types.h>

/* Start a program. argv: ends with NULL. in, out, said: its standard input, output and error; in
 * -1: empty; out, said -1: those of the caller. Returns 0, or an error number. */
int spawn_start(const char *const *argv, int in, int out, int said, pid_t *pid_out)
    __attribute__((nonnull, warn_unused_result));

#endif
