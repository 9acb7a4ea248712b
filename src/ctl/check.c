/* SPDX-License-Identifier: ISC */
#include "ctl/check.h"
#include "config/config_file.h"
#include "base/process.h"
#include "base/verdict.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef void part(struct findings *f, const struct config *config, const struct service *s);

/* In the child: become the daemon's user and read the configuration, as the daemon does. */
static void check_as(struct findings *f, const struct service *s, part *check,
                     const char *config_path, const char *milter)
{
    struct err err;

    if (service_become(s, &err) < 0) {
        find(f, LEVEL_ERROR, "%s: %s", s->name, err.text);
        return;
    }
    struct config *config = config_file_load(config_path, &err);
    if (config == NULL || config_use_milter(config, milter, &err) < 0) {
        config_free(config);
        find(f, LEVEL_ERROR, "configuration: for %s (user %s): %s", s->name, s->user, err.text);
        return;
    }
    check(f, config, s);
    config_free(config);
}

/* Run a part of the check. If service_is_other(), a child process becomes the daemon's user for it,
 * because root has other permissions and perhaps another mount namespace than the daemon. */
static void check_part(struct findings *f, const struct service *s, part *check,
                       const struct config *config, const char *config_path)
{
    int status = 0;

    if (!service_is_other(s)) {
        check(f, config, s);
        return;
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        check_as(f, s, check, config_path, config->milter.name);
        _exit(fflush(stdout) == 0 && !ferror(stdout) ? EXIT_OK : EXIT_CHECK_FAILED);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0)
        find(f, LEVEL_ERROR, "%s: fork: %s", s->name, strerror(errno));
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_OK)
        find(f, LEVEL_ERROR, "%s: its part of the check did not finish", s->name);
}

/* Report which user's permissions the check uses. */
static void check_user(struct findings *f, const struct service *s)
{
    if (service_is_other(s))
        find(f, LEVEL_OK, "%s: files are opened as user %s%s", s->name, s->user,
             s->run == SERVICE_RUNS ? ", as its process does" : "");
    else if (geteuid() != 0 && s->has_user && s->uid != geteuid())
        find(f, LEVEL_WARNING,
             "%s is user %s, and you are user %lu: its access to files is not known (run this "
             "as root)",
             s->name, s->user, (unsigned long)geteuid());
}

/* Warn if the last reload of the daemon failed, or if the daemon needs a restart after it. */
static void check_verdict(struct findings *f, const struct service *s)
{
    struct verdict v;
    struct err ignored;
    struct tm tm;
    char when[64] = "?";

    if (s->pid == 0 || s->lock_path[0] == '\0' || verdict_read(s->lock_path, &v, &ignored) < 0 ||
        v.pid != s->pid)
        return;
    if (localtime_r(&v.at, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    if (v.outcome == VERDICT_FAILED)
        find(f, LEVEL_WARNING,
             "%s: the last reload (%s) failed, an older configuration is in use: %s", s->name, when,
             v.text.text);
    else if (v.outcome == VERDICT_RESTART)
        find(f, LEVEL_WARNING, "%s: since the last reload (%s) it needs a restart: %s", s->name,
             when, v.text.text);
}

static void check_service(struct findings *f, enum service_kind kind, const struct config *config,
                          const char *config_path)
{
    struct service s;

    service_find(kind, config, &s);
    check_user(f, &s);
    check_part(f, &s, kind == SERVICE_MILTER ? check_milter : check_relay, config, config_path);
    check_verdict(f, &s);
    service_clear(&s);
}

static void check_all(struct findings *f, const struct config *config, const char *config_path)
{
    char absolute[PATH_MAX];

    if (realpath(config_path, absolute) == NULL)
        snprintf(absolute, sizeof absolute, "%s", config_path);
    for (size_t i = 0; i <= config->other_milter_count; i++) {
        struct config view = config_of_milter(config, i);
        check_service(f, SERVICE_MILTER, &view, absolute);
    }
    check_service(f, SERVICE_RELAY, config, absolute);
    check_ports(f, config);
    check_postfix(f, config);
}

int ctl_check(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    bool is_json = argc == 2 && strcmp(argv[1], "--json") == 0;
    struct err err;

    if (argc != 1 && !is_json)
        return ctl_usage(self);
    struct findings *f = findings_new(is_json);
    struct config *config = config_file_load(config_path, &err);
    if (config == NULL) {
        find(f, LEVEL_ERROR, "configuration: %s", err.text);
        return EXIT_CHECK_FAILED;
    }
    find(f, LEVEL_OK, "configuration: %s: %zu filters, %zu destinations", config_path,
         config->filter_count, config->destination_count);
    check_all(f, config, config_path);
    config_free(config);
    if (!f->is_json)
        ctl_printf("%u error%s, %u warning%s, %u note%s\n", f->errors, f->errors == 1 ? "" : "s",
                   f->warnings, f->warnings == 1 ? "" : "s", f->notes, f->notes == 1 ? "" : "s");
    return f->errors == 0 ? EXIT_OK : EXIT_CHECK_FAILED;
}
