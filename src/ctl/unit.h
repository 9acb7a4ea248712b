/* SPDX-License-Identifier: ISC */
/*
 * unit: the settings of a daemon's unit that splitctl needs, from `systemctl show': whether the
 * daemon is to run on this machine, its user, and which files its sandbox (systemd.exec(5)) allows.
 * One thread.
 */
#ifndef SPLIT_CTL_UNIT_H
#define SPLIT_CTL_UNIT_H

#include "config/config.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct unit {
    char *name;        /* "splitrelay" */
    bool is_known;     /* systemd has the unit, perhaps masked; if not, all below is false or "" */
    bool is_enabled;   /* by itself or by a socket unit */
    bool is_by_socket; /* a socket unit listens for the daemon */
    bool is_active;    /* runs, starts, or has failed */
    pid_t main_pid;    /* 0: none */
    char *user, *group;
    char *ambient; /* capabilities: "cap_net_bind_service ..." */
    char *protect_system, *protect_home, *private_tmp,
        *private_users; /* "strict", "yes", "no", ... */
    /* groups: SupplementaryGroups=. The others are paths: ReadWritePaths= and the directories that
     * systemd makes for the unit; ReadOnlyPaths=; InaccessiblePaths=. */
    struct string_list groups, writable, read_only, hidden;
};

/* Ask systemctl(1) for the settings of the unit NAME.service. _clear() frees what the struct
 * owns. */
void unit_read(const char *name, struct unit *out) __attribute__((nonnull));
void unit_clear(struct unit *u) __attribute__((nonnull));

/* Check that the sandbox lets the daemon read (with to_write: write) this path. -1 with `err`,
 * which names the setting that forbids it. */
int unit_allows(const struct unit *u, const char *path, bool to_write, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
