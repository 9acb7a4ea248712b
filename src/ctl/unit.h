/* SPDX-License-Identifier: ISC */
/*
 * unit: what systemd knows of the unit of a daemon (systemctl(1) show), as far as it matters to
 * splitctl: whether the daemon is to run on this machine, as which user, and which files its
 * sandbox (systemd.exec(5)) lets it reach. One thread.
 */
#ifndef SPLIT_CTL_UNIT_H
#define SPLIT_CTL_UNIT_H

#include "config/config.h"
#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct unit {
    char *name;      /* "splitrelay" */
    bool is_known;   /* systemd runs here and has such a unit, perhaps masked; all else is empty if
                        not */
    bool is_enabled; /* by itself, or by a socket */
    bool is_by_socket; /* systemd listens for it */
    bool is_active;    /* runs, starts, or has failed */
    pid_t main_pid;    /* 0: none */
    char *user, *group;
    char *ambient; /* capabilities: "cap_net_bind_service ..." */
    char *protect_system, *protect_home, *private_tmp,
        *private_users; /* "strict", "yes", "no", ... */
    struct string_list groups, writable, read_only, hidden;
};

/* Ask systemctl(1) for the settings of a unit. _clear() frees what the struct owns. */
void unit_read(const char *name, struct unit *out) __attribute__((nonnull));
void unit_clear(struct unit *u) __attribute__((nonnull));

/* Does the sandbox let the daemon read (write, with to_write) this path? -1 with `err`: no, and
 * which setting is why. */
int unit_allows(const struct unit *u, const char *path, bool to_write, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
