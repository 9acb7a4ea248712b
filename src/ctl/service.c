/* SPDX-License-Identifier: ISC */
#include "ctl/service.h"
#include "base/mem.h"
#include "base/process.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- whether the daemon runs and belongs here --- */

static void find_process(struct service *s)
{
    errno = 0;
    s->pid = process_lock_owner(s->lock_path, &s->problem);
    bool is_missing = s->pid < 0 && errno == ENOENT;
    s->run = s->pid > 0                  ? SERVICE_RUNS
             : s->pid == 0 || is_missing ? SERVICE_STOPPED
                                         : SERVICE_UNKNOWN;
    if (s->pid < 0)
        s->pid = 0;
    if (s->run == SERVICE_STOPPED && s->unit.main_pid > 0) {
        s->run = SERVICE_RUNS;
        s->pid = s->unit.main_pid;
        s->has_other_lock = true;
    }
}

/* Without a pid file, splitmilter counts as running if its unit has a main process, or if its
 * socket accepts a connection. */
static void find_listener(struct service *s, const struct config_milter *m)
{
    s->pid = s->unit.main_pid;
    s->run = s->pid > 0 || ctl_probe(&m->socket, CTL_CONNECT_TIMEOUT_MS, &s->problem) == 0
                 ? SERVICE_RUNS
                 : SERVICE_STOPPED;
}

static void set_belongs_here(struct service *s, enum service_kind kind, const struct config *config)
{
    bool has_work = kind == SERVICE_MILTER ? config_milter_table_count(&config->milter) > 0
                                           : config->destination_count + config->listener_count > 0;

    s->belongs_here = s->run == SERVICE_RUNS ||
                      (s->unit.is_known ? s->unit.is_enabled || s->unit.is_active : has_work);
    s->why_not = s->unit.is_known         ? "its unit is not enabled"
                 : kind == SERVICE_MILTER ? "the configuration has no tables for it"
                                          : "the configuration has no destination and no listener";
}

/* --- the user of the daemon --- */

static void name_user(struct service *s)
{
    const struct passwd *pw = getpwuid(s->uid);

    s->has_user = true;
    s->user = pw != NULL ? mem_strdup(pw->pw_name) : mem_printf("%lu", (unsigned long)s->uid);
}

/* Get the second number after `name`: the effective id in the list of real, effective, saved and
 * file system ids. False: the line begins with another name, or has no such number. */
static bool take_effective(const char *line, const char *name, unsigned long *out)
{
    size_t len = strlen(name);
    char *real_end, *end;

    if (strncmp(line, name, len) != 0)
        return false;
    (void)strtoul(line + len, &real_end, 10);
    *out = strtoul(real_end, &end, 10);
    return end != real_end;
}

/* Read a line "Uid:", "Gid:" or "Groups:" of /proc/PID/status. */
static void take_ids(struct service *s, const char *line, bool found[2])
{
    unsigned long id;

    if (take_effective(line, "Uid:", &id)) {
        s->uid = (uid_t)id;
        found[0] = true;
    } else if (take_effective(line, "Gid:", &id)) {
        s->gid = (gid_t)id;
        found[1] = true;
    } else if (strncmp(line, "Groups:", 7) == 0) {
        const char *at = line + 7;
        char *end;
        for (s->group_count = 0; s->group_count < SERVICE_GROUPS_MAX; at = end) {
            id = strtoul(at, &end, 10);
            if (end == at)
                return;
            s->groups[s->group_count++] = (gid_t)id;
        }
    }
}

static bool take_user_of_process(struct service *s)
{
    char path[64], line[1024];
    bool found[2] = {false, false};

    if (s->pid <= 0)
        return false;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)s->pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof line, f) != NULL)
        take_ids(s, line, found);
    fclose(f);
    return found[0] && found[1];
}

/* Set the groups that the system's database has for the user. */
static void take_groups(struct service *s, const char *user)
{
    s->group_count = SERVICE_GROUPS_MAX;
    if (getgrouplist(user, s->gid, s->groups, &s->group_count) < 0)
        s->group_count = SERVICE_GROUPS_MAX;
}

static bool take_user_of_unit(struct service *s)
{
    const struct unit *u = &s->unit;
    const struct passwd *pw = u->user[0] == '\0' ? NULL : getpwnam(u->user);

    if (!u->is_known || pw == NULL)
        return false;
    s->uid = pw->pw_uid;
    s->gid = pw->pw_gid;
    const struct group *group = u->group[0] == '\0' ? NULL : getgrnam(u->group);
    if (group != NULL)
        s->gid = group->gr_gid;
    take_groups(s, u->user);
    for (size_t i = 0; i < u->groups.count && s->group_count < SERVICE_GROUPS_MAX; i++)
        if ((group = getgrnam(u->groups.items[i])) != NULL)
            s->groups[s->group_count++] = group->gr_gid;
    return true;
}

static bool take_owner_of_spool(struct service *s, const struct config *config)
{
    struct stat st;

    if (stat(config->relay.spool_directory, &st) < 0)
        return false;
    const struct passwd *pw = getpwuid(st.st_uid);
    s->uid = st.st_uid;
    s->gid = pw == NULL ? st.st_gid : pw->pw_gid;
    s->groups[0] = s->gid;
    s->group_count = 1;
    if (pw != NULL)
        take_groups(s, pw->pw_name);
    return true;
}

void service_find(enum service_kind kind, const struct config *config, struct service *out)
{
    const char *section = config->milter.name;

    memset(out, 0, sizeof *out);
    out->name = kind == SERVICE_RELAY
                    ? mem_strdup("splitrelay")
                    : mem_printf("splitmilter%s%s", section[0] == '\0' ? "" : "@", section);
    unit_read(out->name, &out->unit);
    out->lock_path =
        kind == SERVICE_RELAY ? ctl_relay_lock(config) : mem_strdup(config->milter.pid_file);
    if (out->lock_path[0] != '\0')
        find_process(out);
    else
        find_listener(out, &config->milter);
    set_belongs_here(out, kind, config);
    if (take_user_of_process(out) || take_user_of_unit(out) || take_owner_of_spool(out, config))
        name_user(out);
    else
        out->user = mem_strdup("");
}

void service_clear(struct service *s)
{
    free(s->name);
    free(s->lock_path);
    free(s->user);
    unit_clear(&s->unit);
    memset(s, 0, sizeof *s);
}

/* --- becoming that user --- */

/* Open the mount namespace of a process, for setns(2); -1: it cannot be opened, or is the one of
 * this process. */
static int open_other_namespace(pid_t pid)
{
    char path[64];
    struct stat own, other;

    if (pid <= 0 || stat("/proc/self/ns/mnt", &own) < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/%ld/ns/mnt", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 &&
        (fstat(fd, &other) < 0 || (own.st_dev == other.st_dev && own.st_ino == other.st_ino))) {
        close(fd);
        return -1;
    }
    return fd;
}

bool service_is_other(const struct service *s)
{
    if (geteuid() != 0 || !s->has_user)
        return false;
    int fd = open_other_namespace(s->pid);
    if (fd >= 0)
        close(fd);
    return s->uid != 0 || fd >= 0;
}

int service_become(const struct service *s, struct err *err)
{
    int fd = open_other_namespace(s->pid);

    /* If the namespace cannot be entered, permissions can still be checked. */
    if (fd >= 0) {
        (void)!setns(fd, CLONE_NEWNS);
        close(fd);
    }
    if (setgroups((size_t)s->group_count, s->groups) < 0 || setresgid(s->gid, s->gid, s->gid) < 0 ||
        setresuid(s->uid, s->uid, s->uid) < 0) {
        err_set_errno(err, "cannot become user %s", s->user);
        return -1;
    }
    (void)unsetenv("HOME"); /* libpq looks for certificates there */
    return 0;
}

int service_allows(const struct service *s, const char *path, bool to_write, struct err *err)
{
    return s->run == SERVICE_RUNS ? 0 : unit_allows(&s->unit, path, to_write, err);
}
