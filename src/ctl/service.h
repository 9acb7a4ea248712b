/* SPDX-License-Identifier: ISC */
/*
 * service: one of the two daemons as splitctl finds it on this machine: does it run, does it belong
 * here at all, as which user, in which mount namespace. Root can put itself in its place, so as to
 * judge files as the daemon meets them. One thread.
 */
#ifndef SPLIT_CTL_SERVICE_H
#define SPLIT_CTL_SERVICE_H

#include "config/config.h"
#include "base/err.h"
#include "ctl/unit.h"

#include <stdbool.h>
#include <sys/types.h>

#define SERVICE_GROUPS_MAX 64

enum service_kind { SERVICE_MILTER, SERVICE_RELAY };
enum service_run { SERVICE_STOPPED, SERVICE_RUNS, SERVICE_UNKNOWN };

struct service {
    const char *name; /* "splitmilter" */
    char *lock_path;  /* "": it has none */
    enum service_run run;
    pid_t pid; /* 0: not known */
    /* It runs, but its lock is not where this configuration has it: an older one is in use. */
    bool has_other_lock;
    struct err problem; /* with SERVICE_UNKNOWN */
    struct unit unit;
    bool belongs_here;
    const char *why_not; /* with belongs_here false */

    bool has_user; /* false: nothing tells */
    uid_t uid;
    gid_t gid, groups[SERVICE_GROUPS_MAX];
    int group_count;
    char *user; /* its name, or its number; "" without */
};

/*
 * Look at the daemon. It belongs here when it runs, else when its unit is enabled; where no systemd
 * runs, or there is no unit, when the configuration has work for it. Its user is that of the
 * running process, else that of the unit, else the owner of the spool directory.
 */
void service_find(enum service_kind kind, const struct config *config, struct service *out)
    __attribute__((nonnull));
void service_clear(struct service *s) __attribute__((nonnull));

/* Is this process, which is root's, anything else than the daemon is? */
bool service_is_other(const struct service *s) __attribute__((nonnull));

/*
 * Become the daemon's user, for good, with its view of the file system if it runs in a mount
 * namespace of its own. For a child process. -1 with `err`.
 */
int service_become(const struct service *s, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* unit_allows() for a daemon whose view of the file system cannot be had, since it does not run. */
int service_allows(const struct service *s, const char *path, bool to_write, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
