/* SPDX-License-Identifier: ISC */
/* The systemd units of secondary instances, which Debian has in two styles. */
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "ctl/ctl.h"
#include "ctl/setup/setup_postfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEMPLATE "postfix@.service"
#define TEMPLATE_PREFIX "/etc/postfix-"
#define WANTS "/etc/systemd/system/multi-user.target.wants"

enum style {
    STYLE_NONE,      /* no systemd, or postfix.service alone: postfix(1) acts on all instances */
    STYLE_GENERATED, /* Debian up to 12: a generator makes postfix@NAME for each instance */
    STYLE_TEMPLATE   /* Debian 13: postfix@X for /etc/postfix-X, which must be enabled */
};

static bool is_there(const char *directory, const char *name)
{
    char *path = mem_printf("%s/%s", directory, name);
    bool is = access(path, F_OK) == 0;

    free(path);
    return is;
}

bool setup_has_generator(void)
{
    return is_there("/usr/lib/systemd/system-generators", "postfix-instance-generator") ||
           is_there("/lib/systemd/system-generators", "postfix-instance-generator");
}

static enum style find_style(void)
{
    if (!is_there("/run/systemd", "system"))
        return STYLE_NONE;
    if (setup_has_generator())
        return STYLE_GENERATED;
    return is_there("/etc/systemd/system", TEMPLATE) ||
                   is_there("/usr/lib/systemd/system", TEMPLATE) ||
                   is_there("/lib/systemd/system", TEMPLATE)
               ? STYLE_TEMPLATE
               : STYLE_NONE;
}

/* The unit of a secondary instance, for the caller to free; NULL: it has none. */
static char *unit_of(const char *directory)
{
    const char *name = strrchr(directory, '/');

    switch (find_style()) {
    case STYLE_NONE:
        return NULL;
    case STYLE_GENERATED:
        return name == NULL ? NULL : mem_printf("postfix@%s.service", name + 1);
    case STYLE_TEMPLATE:
        return strncmp(directory, TEMPLATE_PREFIX, strlen(TEMPLATE_PREFIX)) != 0
                   ? NULL
                   : mem_printf("postfix@%s.service", directory + strlen(TEMPLATE_PREFIX));
    }
    abort();
}

static int run(const char *const *argv, struct err *err)
{
    struct buf text = {0}, ignored = {0};

    command_format(argv, &text);
    ctl_printf("run: %s\n", buf_str(&text));
    fflush(stdout);
    int rc = command_need(argv, &ignored, err);
    buf_clear(&text);
    buf_clear(&ignored);
    return rc;
}

/* Return true if the unit is active. On Debian 12 it is not if the instance was started by `postfix
 * start'. */
static bool is_active(const char *unit)
{
    const char *argv[] = {"systemctl", "is-active", "--quiet", unit, NULL};
    struct buf ignored = {0};
    struct err err;
    bool is = command_run(argv, &ignored, &ignored, &err) == 0;

    buf_clear(&ignored);
    return is;
}

int setup_stop_instance(const char *directory, struct err *err)
{
    char *unit = unit_of(directory);
    const char *by_systemd[] = {"systemctl", "stop", unit, NULL};
    const char *by_postfix[] = {"postfix", "-c", directory, "stop", NULL};
    int rc = unit != NULL && is_active(unit) ? run(by_systemd, err) : 0;

    if (rc == 0 && postfix_is_running(directory))
        rc = run(by_postfix, err);
    free(unit);
    return rc;
}

bool setup_restart_all(const struct setup *s, const char *const *directories)
{
    const char *const reload[] = {"systemctl", "daemon-reload", NULL};
    const char *const restart[] = {"systemctl", "restart", "postfix", NULL};

    if (!is_there("/run/systemd", "system"))
        return false;
    steps_reload(s->steps, reload);
    steps_reload(s->steps, restart);
    if (find_style() != STYLE_TEMPLATE)
        return true;
    for (; *directories != NULL; directories++) {
        char *unit = unit_of(*directories);
        const char *start[] = {"systemctl", "start", unit, NULL};
        if (unit != NULL)
            steps_run(s->steps, start);
        free(unit);
    }
    return true;
}

void setup_enable_instance(const struct setup *s, const char *directory, bool is_wanted)
{
    char *unit = find_style() == STYLE_TEMPLATE ? unit_of(directory) : NULL;
    const char *argv[] = {"systemctl", is_wanted ? "enable" : "disable", unit, NULL};

    if (unit != NULL && is_there(WANTS, unit) != is_wanted)
        steps_run(s->steps, argv);
    free(unit);
}
