/* SPDX-License-Identifier: ISC */
#include "../config_file.h"
#include "../config_units.h"
#include "../mem.h"
#include "../policy.h"
#include "../process.h"
#include "../relay/route.h"
#include "../relay/security.h"
#include "command.h"
#include "ctl.h"
#include "json.h"
#include "postfix.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum level { LEVEL_OK, LEVEL_NOTE, LEVEL_WARNING, LEVEL_ERROR };

struct findings {
    bool is_json;
    unsigned notes, warnings, errors;
};

/* more: members for the JSON object besides level and text, or NULL; taken over */
static void report(struct findings *f, enum level level, const char *text, json_t *more)
{
    static const char *const names[] = {"ok", "note", "warning", "error"};

    f->notes += level == LEVEL_NOTE;
    f->warnings += level == LEVEL_WARNING;
    f->errors += level == LEVEL_ERROR;
    if (f->is_json) {
        json_t *o = json_object();
        ctl_json_set(o, "level", ctl_json_text(names[level]));
        ctl_json_set(o, "text", ctl_json_text(text));
        if (more != NULL && json_object_update(o, more) != 0)
            abort(); /* out of memory */
        ctl_json_line(o);
    } else {
        printf("%-7s  ", names[level]);
        ctl_print(text);
        putchar('\n');
    }
    json_decref(more);
    fflush(stdout);
}

static void find(struct findings *f, enum level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void find(struct findings *f, enum level level, const char *fmt, ...)
{
    struct err text;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text.text, sizeof text.text, fmt, ap);
    va_end(ap);
    report(f, level, text.text, NULL);
}

static void table_fault(bool is_warning, const char *text, void *ctx)
{
    find(ctx, is_warning ? LEVEL_WARNING : LEVEL_ERROR, "tables: %s", text);
}

/* Does a listener copy to it, or may it, by its own tables? */
static bool listener_uses(const struct config *config, const char *destination)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        if (l->copy_maps.count > 0)
            return true;
        for (size_t k = 0; k < l->copies.count; k++)
            if (strcmp(l->copies.items[k], destination) == 0)
                return true;
    }
    return false;
}

/* Notes on what no table names. */
static void check_use(struct findings *f, const struct config *config,
                      const struct policy_review *review)
{
    const char *more = review->sees_all ? "" : ", as far as can be seen without look-ups";

    for (size_t i = 0; i < config->filter_count; i++)
        if (!review->filter_is_used[i])
            find(f, LEVEL_NOTE, "%s:%u: filter %s: no table names it%s", config->path,
                 config->filters[i].line, config->filters[i].name, more);
    for (size_t i = 0; i < config->destination_count; i++)
        if (!review->destination_is_used[i] && !listener_uses(config, config->destinations[i].name))
            find(f, LEVEL_NOTE, "%s:%u: destination %s: no table names it%s", config->path,
                 config->destinations[i].line, config->destinations[i].name, more);
}

static void check_tables(struct findings *f, const struct config *config)
{
    unsigned errors = f->errors;
    struct policy_review review;

    policy_review(config, table_fault, f, &review);
    if (f->errors == errors)
        find(f, LEVEL_OK, "tables: %zu", review.tables);
    check_use(f, config, &review);
    policy_review_clear(&review);
}

static void check_milter(struct findings *f, const struct config_milter *m)
{
    struct err err;

    if (m->socket_group[0] != '\0' && getgrnam(m->socket_group) == NULL)
        find(f, LEVEL_ERROR, "milter: socket_group: there is no group '%s'", m->socket_group);
    if (ctl_probe(&m->socket, CTL_CONNECT_TIMEOUT_MS, &err) < 0)
        find(f, LEVEL_WARNING, "milter: %s: nobody answers: %s", m->socket_text, err.text);
    else
        find(f, LEVEL_OK, "milter: %s answers", m->socket_text);
}

static const char *user_name(uid_t uid)
{
    const struct passwd *pw = getpwuid(uid);

    return pw == NULL ? "?" : pw->pw_name;
}

static void check_lock(struct findings *f, const struct config *config)
{
    struct err err;
    char *path = ctl_relay_lock(config);

    errno = 0;
    pid_t pid = process_lock_owner(path, &err);
    if (pid > 0)
        find(f, LEVEL_OK, "spool: splitrelay runs (process %ld)", (long)pid);
    else if (pid == 0 || errno == ENOENT)
        find(f, LEVEL_WARNING, "spool: splitrelay does not run");
    else
        find(f, LEVEL_ERROR, "spool: %s", err.text);
    free(path);
}

static void check_space(struct findings *f, const struct config_relay *r)
{
    struct statvfs fs;
    char limit[24];

    if (statvfs(r->spool_directory, &fs) < 0) {
        find(f, LEVEL_ERROR, "spool: %s: %s", r->spool_directory, strerror(errno));
        return;
    }
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    config_units_format_size(r->min_free_space_bytes, limit, sizeof limit);
    if (available < r->min_free_space_bytes)
        find(f, LEVEL_WARNING,
             "spool: %llu MB free, less than min_free_space = %s: no copies are "
             "taken",
             (unsigned long long)(available >> 20), limit);
    if (fs.f_files > 0 && fs.f_favail == 0)
        find(f, LEVEL_WARNING, "spool: the file system has no inodes left");
}

static void check_spool(struct findings *f, const struct config *config)
{
    const char *path = config->relay.spool_directory;
    struct stat st;
    unsigned errors = f->errors;

    if (stat(path, &st) < 0) {
        find(f, LEVEL_ERROR, "spool: %s: %s", path, strerror(errno));
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        find(f, LEVEL_ERROR, "spool: %s is no directory", path);
        return;
    }
    if ((st.st_mode & 022) != 0)
        find(f, LEVEL_ERROR, "spool: %s: others than its owner may write (mode %04o)", path,
             (unsigned)st.st_mode & 07777);
    if (geteuid() != 0 && st.st_uid != geteuid())
        find(f, LEVEL_ERROR,
             "spool: %s belongs to %s, and you are user %lu: check as that user, or "
             "as root",
             path, user_name(st.st_uid), (unsigned long)geteuid());
    if (access(path, R_OK | W_OK | X_OK) < 0)
        find(f, LEVEL_ERROR, "spool: %s: %s", path, strerror(errno));
    if (f->errors == errors)
        find(f, LEVEL_OK, "spool: %s, owner %s", path, user_name(st.st_uid));
    check_space(f, &config->relay);
    check_lock(f, config);
}

/* relay: where; why: NULL if it answers */
static void report_relay(struct findings *f, const char *kind, const char *name, const char *relay,
                         const char *why)
{
    struct err text;
    json_t *more = json_object();

    err_set(&text, "%s %s: %s%s%s", kind, name, relay, why == NULL ? " answers" : "",
            why == NULL ? "" : why);
    ctl_json_set(more, strcmp(kind, "destination") == 0 ? "destination" : "listener",
                 ctl_json_text(name));
    ctl_json_set(more, "relay", ctl_json_text(relay));
    ctl_json_set(more, "answers", json_boolean(why == NULL));
    report(f, why == NULL ? LEVEL_OK : LEVEL_WARNING, text.text, more);
}

/* One entry of relay_to: every address that splitrelay would try. kind: what it is, a destination
 * or the primary of a listener. */
static void check_entry(struct findings *f, const char *kind, const struct config_destination *d,
                        const char *hostname)
{
    struct route *route = route_new(d, hostname, NULL, -1);
    struct delivery_outcome fault = {0};
    const struct route_hop *hop;
    char entry[sizeof d->relay_to->host + 16];
    struct err err;

    endpoint_format(d->relay_to, entry, sizeof entry);
    while ((hop = route_next(route, &fault)) != NULL) {
        const char *name = endpoint_is_domain(d->relay_to) ? hop->text : entry;
        int fd = endpoint_connect_address((const struct sockaddr *)&hop->sa, hop->sa_len,
                                          CTL_CONNECT_TIMEOUT_MS, &err);
        if (fd < 0)
            err_wrap(&err, " does not answer");
        else
            close(fd);
        report_relay(f, kind, d->name, name, fd < 0 ? err.text : NULL);
    }
    if (fault.reason[0] != '\0') {
        err_set(&err, ": %s", fault.reason);
        report_relay(f, kind, d->name, entry, err.text);
    }
    route_free(route);
}

/* splitrelay makes what is missing in the directory, and the directory, but not the one it is in.
 */
static void check_maildir(struct findings *f, const struct config_destination *d)
{
    const char *path = d->relay_to[0].path;
    char entry[ENDPOINT_PATH_SIZE + 16];
    char *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    struct err err;

    endpoint_format(d->relay_to, entry, sizeof entry);
    bool is_there = access(path, F_OK) == 0;
    bool may_write = access(is_there ? path : parent, R_OK | W_OK | X_OK) == 0;
    if (!may_write)
        err_set_errno(&err, ": cannot be written to");
    report_relay(f, "destination", d->name, entry, may_write ? NULL : err.text);
    free(parent);
}

static void check_destination(struct findings *f, const char *kind,
                              const struct config_destination *d, const char *hostname)
{
    if (d->relay_to[0].kind == ENDPOINT_MAILDIR) {
        check_maildir(f, d);
        return;
    }
    for (size_t i = 0; i < d->relay_to_count; i++) {
        struct config_destination one = *d;
        one.relay_to += i;
        one.relay_to_count = 1;
        one.connect_timeout_ms = CTL_CONNECT_TIMEOUT_MS;
        check_entry(f, kind, &one, hostname);
    }
}

/* Group members may read it: that is how a file of root's becomes readable for splitrelay. */
static void check_secret(const char *where, const char *path, void *ctx)
{
    struct findings *f = ctx;
    struct stat st;

    if (stat(path, &st) < 0)
        find(f, LEVEL_ERROR, "%s: %s: %s", where, path, strerror(errno));
    else if ((st.st_mode & 027) != 0)
        find(f, LEVEL_ERROR,
             "%s: %s: others than its owner may read or write it (mode %04o); allowed: 0600, 0640",
             where, path, (unsigned)st.st_mode & 07777);
    else
        find(f, LEVEL_OK, "%s: %s, owner %s", where, path, user_name(st.st_uid));
}

/* Keys, certificates and passwords: can they be used, and by whom. */
static void check_security(struct findings *f, struct config *config)
{
    struct err err;

    if (security_open(config, &err) < 0)
        find(f, LEVEL_ERROR, "%s", err.text);
    security_secrets(config, check_secret, f);
}

static void check_listener(struct findings *f, const struct config *config,
                           const struct config_listener *l)
{
    struct err err;
    struct policy *copies = policy_open_copies(config, &l->copy_maps, &err);

    if (copies == NULL)
        find(f, LEVEL_ERROR, "listener %s: %s", l->name, err.text);
    policy_close(copies);
    check_destination(f, "primary of listener", &l->primary, config->relay.hostname);
}

/* What postconf(1) says of a parameter in this directory; NULL: nothing. For the caller to free. */
static char *postfix_value(const char *directory, const char *name)
{
    const char *argv[] = {"postconf", "-c", directory, "-h", name, NULL};
    struct buf out = {0};
    struct err ignored;
    char *value = NULL;

    if (command_need(argv, &out, &ignored) == 0)
        value = mem_strndup(buf_str(&out), strcspn(buf_str(&out), "\n"));
    buf_clear(&out);
    return value;
}

/* What splitrelay does not take for its size stays in the MTA's queue, until it is too old there:
 * nobody is told, since copies have NOTIFY=NEVER. */
static void check_size_limit(struct findings *f, const struct config_relay *r,
                             const char *directory)
{
    char *value = postfix_value(directory, "message_size_limit");
    unsigned long long limit = value == NULL ? 1 : strtoull(value, NULL, 10); /* 0: none */

    if (limit == 0)
        find(f, LEVEL_WARNING,
             "relay.message_size_limit is %llu, Postfix in %s has none: copies of larger messages "
             "wait in its queue until the limit is raised",
             (unsigned long long)r->message_size_limit_bytes, directory);
    else if (limit > r->message_size_limit_bytes)
        find(f, LEVEL_WARNING,
             "relay.message_size_limit is %llu, that of Postfix in %s is %llu: copies of larger "
             "messages wait in its queue until the limit is raised",
             (unsigned long long)r->message_size_limit_bytes, directory, limit);
    free(value);
}

/* Of all instances that the default one knows. */
static void check_size_limits(struct findings *f, const struct config *config)
{
    struct err ignored;
    char *directory = config->destination_count > 0 ? postfix_default_directory(&ignored) : NULL;

    if (directory == NULL)
        return;
    check_size_limit(f, &config->relay, directory);
    char *others = postfix_value(directory, "multi_instance_directories");
    for (char *rest = others, *name; rest != NULL && (name = strsep(&rest, " ,\t")) != NULL;)
        if (name[0] == '/')
            check_size_limit(f, &config->relay, name);
    free(others);
    free(directory);
}

int ctl_check(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    struct findings f = {0};

    if (argc == 2 && strcmp(argv[1], "--json") == 0)
        f.is_json = true;
    else if (argc != 1)
        return ctl_usage(self);
    struct err err;
    struct config *config = config_file_load(config_path, &err);
    if (config == NULL) {
        find(&f, LEVEL_ERROR, "configuration: %s", err.text);
        return EXIT_CHECK_FAILED;
    }
    find(&f, LEVEL_OK, "configuration: %s: %zu filters, %zu destinations", config_path,
         config->filter_count, config->destination_count);
    check_tables(&f, config);
    check_milter(&f, &config->milter);
    check_spool(&f, config);
    check_security(&f, config);
    check_size_limits(&f, config);
    for (size_t i = 0; i < config->destination_count; i++)
        check_destination(&f, "destination", &config->destinations[i], config->relay.hostname);
    for (size_t i = 0; i < config->listener_count; i++)
        check_listener(&f, config, &config->listeners[i]);
    config_free(config);
    if (!f.is_json)
        printf("%u error%s, %u warning%s, %u note%s\n", f.errors, f.errors == 1 ? "" : "s",
               f.warnings, f.warnings == 1 ? "" : "s", f.notes, f.notes == 1 ? "" : "s");
    return f.errors == 0 ? EXIT_OK : EXIT_CHECK_FAILED;
}
