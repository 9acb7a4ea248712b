/* SPDX-License-Identifier: ISC */
/*
 * A report to a sender has the recipient as it is in the queue of Postfix, with suffix, in its text
 * and in Final-Recipient. Address tables do not apply to these places, but body_checks do.
 * bounce(8) gets a cleanup(8) of its own, so that the body_checks see no other mail.
 */
#include "base/mem.h"
#include "ctl/setup/setup_postfix.h"

#include <stdlib.h>
#include <string.h>

#define SERVICE "splitbounce"
#define TABLE "regexp:$config_directory/split_bounce"

/* The name of the cleanup service to which a bounce service passes its reports, for the caller to
 * free. */
static char *cleanup_name(const struct postfix *p, const struct postfix_service *bounce)
{
    return mem_strdup(postfix_get_for(p, bounce, "cleanup_service_name"));
}

/* Return true if reports already go through header and body checks and milters. */
static bool is_filtered(const struct postfix *p, const struct postfix_service *bounce)
{
    const char *classes = postfix_get_for(p, bounce, "internal_mail_filter_classes");

    return strstr(classes, "bounce") != NULL;
}

static void add_service(struct setup_edit *e, const struct postfix_service *s, const char *name)
{
    buf_addf(&e->master_part, "%s %s %s %s %s %s %s %s%s%s\n", name, s->type, s->is_private,
             s->unprivileged, s->chroot, s->wakeup, s->maxproc, s->command,
             s->arguments[0] == '\0' ? "" : " ", s->arguments);
}

/* Add a copy of cleanup(8). If reports went through no checks before, they go through our table
 * only. */
static void add_cleanup(const struct postfix *p, const struct postfix_service *cleanup,
                        bool is_filtered_already, const char *more, struct setup_edit *e)
{
    static const char *const off[] = {"header_checks", "mime_header_checks", "nested_header_checks",
                                      "non_smtpd_milters"};
    char *own = NULL;
    bool has_own = postfix_service_option(cleanup, "body_checks", &own);
    const char *checks = has_own ? own : postfix_get(p, "body_checks");
    bool is_joined = is_filtered_already && checks[0] != '\0';

    add_service(e, cleanup, SERVICE);
    buf_addf(&e->master_part, "    -o { body_checks = " TABLE "%s%s }\n", is_joined ? ", " : "",
             is_joined ? checks : "");
    buf_addf(&e->master_part, "    -o body_checks_size_limit=10000000\n%s", more);
    for (size_t i = 0; !is_filtered_already && i < sizeof off / sizeof off[0]; i++)
        buf_addf(&e->master_part, "    -o %s=\n", off[i]);
    free(own);
}

void setup_bounce_services(const struct setup *s, const struct postfix *p, const char *more,
                           struct setup_edit *e)
{
    const struct postfix_service *bounce = postfix_service(p, "bounce", "unix");

    if (s->config->filter_count == 0 || bounce == NULL || strcmp(bounce->command, "bounce") != 0)
        return;
    char *name = cleanup_name(p, bounce);
    const struct postfix_service *cleanup = postfix_service(p, name, "unix");
    bool filtered = is_filtered(p, bounce);
    for (size_t i = 0; cleanup != NULL && i < p->service_count; i++) {
        const struct postfix_service *t = &p->services[i];
        if (strcmp(t->command, "bounce") != 0)
            continue;
        char *own = cleanup_name(p, t);
        if (strcmp(own, name) == 0 && is_filtered(p, t) == filtered) {
            setup_switch_off(e, t);
            add_service(e, t, t->name);
            buf_adds(&e->master_part, "    -o cleanup_service_name=" SERVICE "\n"
                                      "    -o internal_mail_filter_classes=bounce,notify\n");
        }
        free(own);
    }
    if (cleanup != NULL)
        add_cleanup(p, cleanup, filtered, more, e);
    free(name);
}

char *setup_bounce_table(const char *tag)
{
    return mem_printf("/^((Final|Original)-Recipient: *[a-z0-9-]+;.*)\\.[a-z0-9-]+\\.filter\\.%s$/"
                      "    REPLACE $1\n"
                      "/^(<.*)\\.[a-z0-9-]+\\.filter\\.%s(>.*)$/    REPLACE $1$2\n",
                      tag, tag);
}
