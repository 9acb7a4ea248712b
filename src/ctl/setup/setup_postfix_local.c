/* SPDX-License-Identifier: ISC */
/*
 * Closes the tag domain to local users, with one instance. Mail of sendmail(1) and of .forward
 * files, and a bounce for a message with a forged sender, pass no restriction of smtpd(8). Such
 * mail could be sent to the tag domain, to forge copies in an archive. cleanup(8) cannot refuse a
 * recipient. So pickup(8) and all other programs except smtpd(8) get a cleanup service of their
 * own:
 *
 *     splitlocal   for pickup(8). It asks splitmilter, which refuses a message to or from the tag
 *                  domain when the whole message has arrived; the message goes back to its sender.
 *                  Mail that postsuper -r puts back into the queue comes by pickup(8), too, with
 *                  suffixes, but is not shown to milters.
 *     splitclosed  for local(8) and the others. It rewrites a recipient in the tag domain to an
 *                  address that has the transport error. splitbounce (setup_postfix_bounces.c), if
 *                  there is one, does the same.
 *
 * The settings of both are parameters of our own that are empty in main.cf, so that settings in
 * main.cf for all cleanup services also apply to these.
 */
#include "base/mem.h"
#include "ctl/setup/setup_postfix.h"

#include <stdlib.h>
#include <string.h>

#define CLOSED "closed@local"
#define KEEP "regexp:$config_directory/split_keep"

static const char service_name[] =
    "${{$process_name} == {smtpd} ? {cleanup} : "
    "{${{$process_name} == {pickup} ? {splitlocal} : {splitclosed}}}}";

static const struct postfix_service *cleanup_of(const struct postfix *p)
{
    return postfix_service(p, "cleanup", "unix");
}

bool setup_can_close_local(const struct postfix *p)
{
    const struct postfix_service *pickup = postfix_service(p, "pickup", "unix");

    if (pickup == NULL)
        pickup = postfix_service(p, "pickup", "fifo");
    /* Expressions with == need Postfix 3.0. */
    return strtol(postfix_get(p, "mail_version"), NULL, 10) >= 3 && cleanup_of(p) != NULL &&
           strcmp(postfix_get(p, "cleanup_service_name"), "cleanup") == 0 &&
           (pickup == NULL || !postfix_service_option(pickup, "cleanup_service_name", NULL));
}

static void add_cleanup(const struct postfix *p, const char *name, struct setup_edit *e)
{
    const struct postfix_service *base = cleanup_of(p);

    buf_addf(&e->master_part, "%s unix n - %s - %s %s%s%s\n", name, base->chroot, base->maxproc,
             base->command, base->arguments[0] == '\0' ? "" : " ", base->arguments);
}

static void set_maps(const struct postfix *p, struct setup_edit *e)
{
    const char *now = postfix_get(p, "recipient_canonical_maps");

    setup_set(e, "split_local_maps", "%s", "");
    if (postfix_get_expanded(p, "recipient_canonical_maps")[0] == '\0')
        setup_set(e, "recipient_canonical_maps", "$split_local_maps");
    else
        setup_set(e, "recipient_canonical_maps", "$split_local_maps, " KEEP ", %s", now);
}

char *setup_local_route(const char *tag)
{
    return mem_printf("/^" CLOSED "\\.%s$/    error:5.7.1 Internal routing domain\n", tag);
}

void setup_close_local(const struct setup *s, const struct postfix *p, const char *milter,
                       struct setup_edit *e)
{
    struct buf tag = {0};

    if (!setup_can_close_local(p)) {
        steps_say(
            s->steps,
            "%s: cleanup_service_name is set already, or this Postfix is older than 3.0: local "
            "users (sendmail(1), .forward files) can write to the tag domain, and so put "
            "messages into archives as if they had been received",
            p->directory);
        return;
    }
    setup_escape(s->config->tag_domain, &tag);
    setup_set(e, "cleanup_service_name", "%s", service_name);
    setup_set(e, "split_local_milters", "%s", "");
    set_maps(p, e);
    add_cleanup(p, "splitlocal", e);
    buf_addf(&e->master_part,
             "    -o { split_local_milters = { %s, protocol=6, connect_timeout=10s, "
             "command_timeout=30s, default_action=accept } }\n"
             "    -o milter_macro_daemon_name=splitlocal\n",
             milter);
    add_cleanup(p, "splitclosed", e);
    buf_adds(&e->master_part, SETUP_CLOSED_OPTION);
    setup_file(e, "split_local",
               mem_printf("if !/^" CLOSED "\\.%s$/\n"
                          "/[@.%%!:]%s([^[:alnum:].-]|\\.?$)/    " CLOSED ".%s\n"
                          "endif\n",
                          buf_str(&tag), buf_str(&tag), s->config->tag_domain));
    buf_clear(&tag);
}
