/* SPDX-License-Identifier: ISC */
/* Checks whether the MTA's user may connect to the milter's socket. smtpd(8) runs as mail_owner,
 * with the groups that the group database has for that user. */
#include "base/mem.h"
#include "ctl/milter_list.h"
#include "ctl/setup/postfix_review.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { GROUPS_MAX = 256, DENIALS_MAX = 32 };

struct identity {
    uid_t uid;
    gid_t groups[GROUPS_MAX + 1]; /* with room for the group that helps() adds */
    int group_count;
};

/* A directory or socket in the path whose mode denies access to the user. */
struct denial {
    char *path;
    struct stat st;
    mode_t wanted; /* the permission that is missing: S_IXOTH or S_IWOTH */
};

/* What walk() has found on the way to the socket. */
struct way {
    struct denial denials[DENIALS_MAX];
    size_t count;
    bool is_there; /* the socket exists */
};

/* The class of the mode that applies to the user: 'u', 'g' or 'o'. */
static char class_of(const struct stat *st, const struct identity *id)
{
    if (st->st_uid == id->uid)
        return 'u';
    for (int i = 0; i < id->group_count; i++)
        if (id->groups[i] == st->st_gid)
            return 'g';
    return 'o';
}

static bool allows(const struct stat *st, mode_t wanted, const struct identity *id)
{
    char class = class_of(st, id);
    int shift = class == 'u' ? 6 : class == 'g' ? 3 : 0;

    return id->uid == 0 || (st->st_mode >> shift & wanted) != 0;
}

/* With an access control list the mode does not show what is allowed. */
static bool has_acl(const char *path)
{
    return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

static bool look_at(struct way *way, const char *path, mode_t wanted, const struct identity *id)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    if (way->count < DENIALS_MAX && !allows(&st, wanted, id) && !has_acl(path))
        way->denials[way->count++] =
            (struct denial){.path = mem_strdup(path), .st = st, .wanted = wanted};
    return true;
}

/* Check the directories of the path below `base`, and then the socket. base: the working directory
 * of the process that connects, if the path is below it; otherwise "". */
static void walk(struct way *way, const char *base, const char *path, const struct identity *id)
{
    char real[PATH_MAX], real_base[PATH_MAX];
    char *directory = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    bool is_real = realpath(directory[0] == '\0' ? "/" : directory, real) != NULL;
    char *full = is_real
                     ? mem_printf("%s%s", strcmp(real, "/") == 0 ? "" : real, strrchr(path, '/'))
                     : mem_strdup(path);
    const char *start =
        is_real && base[0] != '\0' && realpath(base, real_base) != NULL ? real_base : base;
    size_t skipped = strncmp(full, start, strlen(start)) == 0 ? strlen(start) : 0;
    bool is_there = skipped > 0 || look_at(way, "/", S_IXOTH, id);

    for (char *slash = strchr(full + (skipped > 0 ? skipped : 1), '/'); is_there && slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        is_there = look_at(way, full, S_IXOTH, id);
        *slash = '/';
    }
    way->is_there = is_there && look_at(way, full, S_IWOTH, id);
    free(directory);
    free(full);
}

static void clear_way(struct way *way)
{
    for (size_t i = 0; i < way->count; i++)
        free(way->denials[i].path);
}

/* Try to connect as the user, in a child process: 0 if it works, else the errno; -1: not known. */
static int try(const char *owner, const struct identity *id, gid_t gid, const char *base,
               bool is_chrooted, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const char *seen = base[0] == '\0' ? path : path + strlen(base) + 1;
    int status;

    if (geteuid() != 0 || strlen(seen) >= sizeof sa.sun_path)
        return -1;
    mem_copy_string(sa.sun_path, sizeof sa.sun_path, seen);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_ready = fd >= 0 && initgroups(owner, gid) == 0 && setgid(gid) == 0 &&
                        chdir(base[0] == '\0' ? "/" : base) == 0 &&
                        (!is_chrooted || chroot(".") == 0) && setuid(id->uid) == 0;
        if (!is_ready)
            _exit(0xff);
        _exit(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 ? 0 : errno & 0xff);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) == 0xff)
        return -1;
    return WEXITSTATUS(status);
}

/* Return true if the user could connect as a member of this group. Group 0 is never recommended. */
static bool helps(const struct way *way, const struct identity *id, gid_t gid)
{
    struct identity more = *id;

    more.groups[more.group_count++] = gid;
    for (size_t i = 0; i < way->count; i++)
        if (!allows(&way->denials[i].st, way->denials[i].wanted, &more))
            return false;
    return gid != 0;
}

/* Return the command, or the advice, that gives the user access; for the caller to free. */
static char *command_for(const struct config *config, const struct postfix *p, const char *owner,
                         const struct identity *id, const struct way *way)
{
    struct buf command = {0};

    for (size_t i = 0; i < way->count; i++)
        if (helps(way, id, way->denials[i].st.st_gid)) {
            const struct group *group = getgrgid(way->denials[i].st.st_gid);
            buf_addf(&command, "usermod -a -G ");
            if (group != NULL)
                buf_adds(&command, group->gr_name);
            else
                buf_addf(&command, "%lu", (unsigned long)way->denials[i].st.st_gid);
            buf_addf(&command, " %s && postfix -c %s reload", owner, p->directory);
            return buf_take(&command);
        }
    for (size_t i = 0; i < way->count; i++)
        if (way->denials[i].wanted == S_IXOTH)
            buf_addf(&command, "%schmod %c+x %s", command.len == 0 ? "" : " && ",
                     class_of(&way->denials[i].st, id), way->denials[i].path);
    if (command.len == 0)
        buf_addf(&command,
                 "set socket_mode = \"0660\" and socket_group = \"%s\" in section milter of %s, "
                 "and restart splitmilter",
                 postfix_get_expanded(p, "mail_owner"), config->path);
    return buf_take(&command);
}

static void report(const struct config *config, const struct postfix *p,
                   const struct postfix_service *v, const char *owner, const struct identity *id,
                   const struct way *way, const char *path, struct postfix_review *out)
{
    if (way->count == 0) {
        postfix_review_add(
            out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_ACCESS,
            "check which users may search each directory of that path and write to the "
            "socket",
            "%s/master.cf: service %s/%s: user %s may not connect to %s: all mail "
            "gets 451",
            p->directory, v->name, v->type, owner, path);
        return;
    }
    const struct denial *d = &way->denials[0];
    const struct passwd *pw = getpwuid(d->st.st_uid);
    char *user = mem_strdup(pw == NULL ? "?" : pw->pw_name);
    const struct group *gr = getgrgid(d->st.st_gid);
    char *command = command_for(config, p, owner, id, way);
    postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_ACCESS, command,
                       "%s/master.cf: service %s/%s: user %s may not connect to %s: %s has mode "
                       "%04o, owner %s:%s: all mail gets 451",
                       p->directory, v->name, v->type, owner, path, d->path,
                       (unsigned)d->st.st_mode & 07777, user, gr == NULL ? "?" : gr->gr_name);
    free(command);
    free(user);
}

static void review_path(const struct config *config, const struct postfix *p,
                        const struct postfix_service *v, const char *base, const char *path,
                        struct postfix_review *out)
{
    const char *owner = postfix_get_expanded(p, "mail_owner");
    const struct passwd *pw = getpwnam(owner);
    struct identity id = {.group_count = GROUPS_MAX};
    struct way way = {0};

    if (pw == NULL)
        return;
    gid_t gid = pw->pw_gid;
    id.uid = pw->pw_uid;
    if (getgrouplist(owner, gid, id.groups, &id.group_count) < 0)
        return;
    /* A path that this process cannot examine is not reported. A missing socket is not reported
     * either, because splitmilter makes it when it starts. */
    walk(&way, base, path, &id);
    int error = way.is_there ? try(owner, &id, gid, base, postfix_is_chrooted(p, v), path) : -1;
    if (error == EACCES || (error != 0 && way.count > 0))
        report(config, p, v, owner, &id, &way, path, out);
    clear_way(&way);
}

void postfix_review_access(const struct config *config, const struct postfix *p,
                           const struct postfix_service *v, const char *milter,
                           struct postfix_review *out)
{
    const struct endpoint *socket = &config->milter.socket;
    const char *queue_directory = postfix_get_expanded(p, "queue_directory");
    bool is_chrooted = postfix_is_chrooted(p, v);
    char *path = milter_path(milter, queue_directory, is_chrooted);

    if (path == NULL)
        return;
    bool is_below = is_chrooted || strchr(milter, ':')[1] != '/';
    if (strcmp(path, socket->path) != 0 && access(path, F_OK) != 0) {
        char *advice = mem_printf("set socket = \"unix:%s/splitmilter/milter.sock\" in %s, and run "
                                  "`splitctl setup-postfix'",
                                  queue_directory, config->path);
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_ACCESS, advice,
                           "%s/master.cf: service %s/%s is %schrooted: %s means %s there, and "
                           "splitmilter listens on %s: all mail gets 451",
                           p->directory, v->name, v->type, is_chrooted ? "" : "not ", milter, path,
                           socket->path);
        free(advice);
    } else {
        review_path(config, p, v, is_below ? queue_directory : "", path, out);
    }
    free(path);
}
