/* SPDX-License-Identifier: ISC */
#include "base/ascii.h"
#include "base/mem.h"
#include "ctl/milter_list.h"
#include "ctl/setup/setup_postfix.h"

#include <stdlib.h>
#include <string.h>

char *setup_fallback(const struct config_filter *f)
{
    struct buf hosts = {0};

    for (size_t i = 0; i < f->fallback.count; i++)
        buf_addf(&hosts, "%s%s", i == 0 ? "" : ",", config_hop(f->fallback.items[i]));
    return buf_take(&hosts);
}

bool setup_is_near_filter(const struct config_filter *f)
{
    bool is_near = setup_is_near(config_hop(f->nexthop));

    for (size_t i = 0; i < f->fallback.count; i++)
        is_near = is_near && setup_is_near(config_hop(f->fallback.items[i]));
    return is_near;
}

/* Return true if the service asks milters that are not those of main.cf. With an empty list it
 * takes mail back from a filter, and filters nothing. */
static bool has_other_milters(const struct postfix_service *v)
{
    struct milter_list list = {0};
    char *value = NULL;

    if (postfix_service_option(v, "smtpd_milters", &value))
        milter_list_parse(value, &list);
    bool has = list.count > 0;
    milter_list_clear(&list);
    free(value);
    return has;
}

/* Return true if the fallback leads to a port of this Postfix where splitmilter is asked, or where
 * mail comes back from the filters. Names are not looked up. */
static bool leads_to_us(const struct setup *s, const struct postfix *p, const char *fallback)
{
    const struct endpoint *const ours[] = {&s->options->reinject, &s->options->local,
                                           &s->options->submission};
    struct endpoint e;
    struct err ignored;

    if (endpoint_parse_nexthop(config_hop(fallback), &e, &ignored) < 0)
        return false;
    bool is_here = endpoint_is_loopback_host(e.host) ||
                   ascii_equal(e.host, postfix_get_expanded(p, "myhostname"));
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (ours[i]->port == e.port && (is_here || ascii_equal(e.host, ours[i]->host)))
            return true;
    for (size_t i = 0; is_here && i < p->service_count; i++)
        if (strcmp(p->services[i].type, "inet") == 0 && postfix_takes_mail(&p->services[i]) &&
            setup_listener_port(p->services[i].name) == e.port &&
            !has_other_milters(&p->services[i]))
            return true;
    return false;
}

int setup_check_fallback(const struct setup *s, const struct postfix *p,
                         const struct postfix_service *base, const struct config_filter *f,
                         struct err *err)
{
    char *parameter = mem_printf("%s_fallback_relay", base->command);
    bool is_known = postfix_knows(p, parameter);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < f->fallback.count; i++) {
        const char *text = f->fallback.items[i];
        rc = -1;
        if (!is_known)
            err_set(err, "filter %s: fallback: Postfix %s has no %s", f->name,
                    postfix_get(p, "mail_version"), parameter);
        else if (!setup_is_harmless(text))
            err_set(err, "filter %s: cannot use the fallback \"%s\"", f->name, text);
        else if (leads_to_us(s, p, text))
            err_set(
                err,
                "filter %s: fallback: \"%s\" is a port of this Postfix: mail would come back, or "
                "pass unfiltered; allowed: another filter",
                f->name, text);
        else
            rc = 0;
    }
    free(parameter);
    return rc == 0 ? 0 : config_place_fail(f->place, err);
}

/* Return true if a service with this value of smtp_tls_security_level sends no mail without TLS. */
static bool needs_tls(const char *level)
{
    return level[0] != '\0' && strcmp(level, "none") != 0 && strcmp(level, "may") != 0 &&
           strcmp(level, "dane") != 0;
}

void setup_remark_fallbacks(const struct setup *s, const struct postfix *p)
{
    for (size_t i = 0; i < s->config->filter_count; i++) {
        const struct config_filter *f = &s->config->filters[i];
        if (!setup_is_near(config_hop(f->nexthop)) || setup_is_near_filter(f))
            continue;
        char *transport = mem_strndup(f->nexthop, strcspn(f->nexthop, ":"));
        const struct postfix_service *base = postfix_service(p, transport, "unix");
        char *parameter =
            base == NULL ? mem_strdup("") : mem_printf("%s_tls_security_level", base->command);
        if (base != NULL && needs_tls(postfix_get_for(p, base, parameter)))
            steps_say(s->steps,
                      "filter %s: a fallback is on another machine, so %s = %s applies to %s, too: "
                      "without TLS there, all mail goes to the fallback",
                      f->name, parameter, postfix_get_for(p, base, parameter), f->nexthop);
        free(parameter);
        free(transport);
    }
}
