/* SPDX-License-Identifier: ISC */
/*
 * service: one of the two daemons as splitctl finds it on this machine: whether it runs, whether it
 * is meant to run here, its user, its mount namespace. A process of root can become that user, to
 * check files as the daemon sees them. One thread.
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
    char *name;      /* "splitmilter", "splitmilter@NAME"; also the name of its unit */
    char *lock_path; /* the file that the daemon locks; "": none */
    enum service_run run;
    pid_t pid; /* 0: not known */
    /* The daemon runs, but does not hold the lock of this configuration: it uses an older
     * configuration. */
    bool has_other_lock;
    struct err problem; /* why the state is SERVICE_UNKNOWN */
    struct unit unit;
    bool belongs_here;
    const char *why_not; /* the reason, if it does not belong here */

    bool has_user; /* false: its user is not known */
    uid_t uid;
    gid_t gid, groups[SERVICE_GROUPS_MAX];
    int group_count;
    char *user; /* name or number of its user; "" if not known */
};

/*
 * Examine the daemon; SERVICE_MILTER: the one of config->milter. It belongs here if it runs, or if
 * its unit is enabled or active; if there is no systemd or no unit, it belongs here if the
 * configuration has work for it. Its user is that of the running process, else that of the unit,
 * else the owner of the spool directory.
 */
void service_find(enum service_kind kind, const struct config *config, struct service *out)
    __attribute__((nonnull));
void service_clear(struct service *s) __attribute__((nonnull));

/* Return true if this process runs as root, but the daemon has another user or another mount
 * namespace. */
bool service_is_other(const struct service *s) __attribute__((nonnull));

/*
 * Become the daemon's user, permanently, in the mount namespace of the daemon if it has its own.
 * For a child process. -1 with `err`.
 */
int service_become(const struct service *s, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Check with unit_allows() whether the daemon may access the path. Returns 0 if it may, or if the
 * daemon runs: then the caller tries the access in the daemon's mount namespace, which is more
 * reliable. -1 with `err`. */
int service_allows(const struct service *s, const char *path, bool to_write, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
