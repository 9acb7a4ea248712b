/* SPDX-License-Identifier: ISC */
/*
 * verdict: the outcome of the last start or reload of a daemon, in a file beside the file that the
 * daemon locks ("LOCK.reload"). The daemon writes it; `splitctl reload` waits for it, `splitctl
 * check` and `status` read it. A verdict is valid only as long as the process with the pid in it
 * holds the lock.
 *
 *   line = "splitmilter-verdict 1" SP pid SP begun-us SP unix-time SP outcome SP text LF
 *
 * One thread at a time writes; any process reads.
 */
#ifndef SPLIT_VERDICT_H
#define SPLIT_VERDICT_H

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum verdict_outcome {
    VERDICT_STARTED,  /* no reload yet */
    VERDICT_RELOADED, /* the new configuration is in use */
    VERDICT_RESTART,  /* as RELOADED, but the options in `text` need a restart */
    VERDICT_FAILED,   /* the old configuration stays in use; `text` has the reason */
};

struct verdict {
    pid_t pid;
    int64_t begun_us; /* clock_now_us() when the daemon began to read the configuration */
    time_t at;        /* when the start or reload was done; CLOCK_REALTIME */
    enum verdict_outcome outcome;
    struct err text; /* printable */
};

/* Replace the verdict beside this lock. If that fails, the reason is logged, and the file keeps the
 * former verdict. */
void verdict_write(const char *lock_path, int64_t begun_us, enum verdict_outcome outcome,
                   const char *text) __attribute__((nonnull));

/* Read the verdict beside this lock into *out. -1 with `err` and errno, which is ENOENT if there is
 * no verdict, and EINVAL if the file is damaged. */
int verdict_read(const char *lock_path, struct verdict *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
