/* SPDX-License-Identifier: ISC */
#include "config/config_destination.h"
#include "config/config_tls.h"
#include "base/mem.h"
#include "mail/template.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int check_delays(const struct config_destination *d, struct config_blame *blame,
                        struct err *err)
{
    if (d->retry_min_s <= d->retry_max_s)
        return 0;
    err_set(err,
            "destination %s: retry_min is %us and retry_max %us; allowed: retry_min up to "
            "retry_max",
            d->name, d->retry_min_s, d->retry_max_s);
    *blame = (struct config_blame){.option = "retry_min", .otherwise = "retry_max"};
    return -1;
}

/* Check that no unix socket is used with SMTP. kind: "destination" or "listener"; option: the
 * option that has the hosts. */
static int check_hosts(const char *kind, const char *name, const char *option,
                       const struct config_destination *d, struct config_blame *blame,
                       struct err *err)
{
    for (size_t i = 0; i < d->relay_to_count; i++) {
        if (d->relay_to[i].kind == ENDPOINT_UNIX && d->protocol == CONFIG_SMTP) {
            err_set(err, "%s %s: %s: a unix socket needs protocol = \"lmtp\"", kind, name, option);
            *blame = (struct config_blame){.option = option, .index = (unsigned)i};
            return -1;
        }
    }
    return 0;
}

/* Refuse XCLIENT with authentication, because XCLIENT resets the session, and so ends the
 * authentication. */
static int check_xclient(const struct config_destination *d, struct config_blame *blame,
                         struct err *err)
{
    if (!d->xclient || d->auth.user[0] == '\0')
        return 0;
    err_set(err, "destination %s: xclient: XCLIENT ends the authentication (auth_user)", d->name);
    *blame = (struct config_blame){.option = "xclient"};
    return -1;
}

/* Options about a server have no effect with a Maildir, so they are refused. */
static int check_no_server(const struct config_destination *d, struct config_blame *blame,
                           struct err *err)
{
    const struct {
        bool is_asked;
        const char *option;
    } asked[] = {
        {d->protocol == CONFIG_LMTP, "protocol"},
        {d->tls.level != CONFIG_TLS_AUTO && d->tls.level != CONFIG_TLS_NONE, "tls"},
        {d->auth.user != NULL && d->auth.user[0] != '\0', "auth_user"},
        {d->xclient, "xclient"},
        {d->xforward, "xforward"},
    };

    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        if (asked[i].is_asked) {
            err_set(err, "destination %s: %s: a Maildir has no server to ask that of", d->name,
                    asked[i].option);
            *blame = (struct config_blame){.option = asked[i].option};
            return -1;
        }
    return 0;
}

/* A Maildir is always available, so it needs no alternative and is no alternative to a host. */
static int check_maildir(const struct config_destination *d, struct config_blame *blame,
                         struct err *err)
{
    for (size_t i = 0; i < d->relay_to_count; i++)
        if (d->relay_to[i].kind == ENDPOINT_MAILDIR && d->relay_to_count > 1) {
            err_set(err, "destination %s: relay_to: a Maildir must be the only one", d->name);
            *blame = (struct config_blame){.option = "relay_to", .index = (unsigned)i};
            return -1;
        }
    if (d->relay_to_count == 0 || d->relay_to[0].kind != ENDPOINT_MAILDIR)
        return 0;
    if (template_check_path(d->relay_to[0].path, err) < 0) {
        err_wrap(err, "destination %s: relay_to: '%s'", d->name, d->relay_to[0].path);
        *blame = (struct config_blame){.option = "relay_to"};
        return -1;
    }
    return check_no_server(d, blame, err);
}

int config_destination_check(const struct config_destination *d, struct config_blame *blame,
                             struct err *err)
{
    if (check_delays(d, blame, err) < 0 || check_maildir(d, blame, err) < 0 ||
        check_xclient(d, blame, err) < 0)
        return -1;
    if (check_hosts("destination", d->name, "relay_to", d, blame, err) < 0)
        return -1;
    return config_tls_check("destination", d->name, d, blame, err);
}

int config_primary_check(const struct config_listener *l, struct config_blame *blame,
                         struct err *err)
{
    if (check_hosts("listener", l->name, "primary", &l->primary, blame, err) < 0 ||
        config_tls_check("listener", l->name, &l->primary, blame, err) < 0)
        return -1;
    return config_server_tls_check("listener", &l->tls, blame, err);
}

int config_places_check(const struct config *c, const struct config_destination *d,
                        struct config_blame *blame, struct err *err)
{
    for (size_t i = 0; i < d->relay_to_count; i++)
        if (d->relay_to[i].kind == ENDPOINT_MAILDIR &&
            template_may_be_below(d->relay_to[i].path, c->relay.spool_directory)) {
            err_set(err, "destination %s: relay_to: %s %s spool_directory; allowed: elsewhere",
                    d->name, d->relay_to[i].path,
                    template_varies(d->relay_to[i].path) ? "can lead into" : "is in");
            *blame = (struct config_blame){.option = "relay_to", .index = (unsigned)i};
            return -1;
        }
    return 0;
}

/* Return true if a session at `from` can lead to `target`, directly or through other listeners.
 * is_passed: for each listener, whether it was visited; none is visited twice. */
static bool comes_back(const struct config *c, const struct config_listener *from,
                       const struct config_listener *target, bool *is_passed)
{
    for (size_t i = 0; i < from->primary.relay_to_count; i++)
        for (size_t k = 0; k < c->listener_count; k++) {
            const struct config_listener *next = &c->listeners[k];
            if (is_passed[k] ||
                !endpoint_leads_to(&from->primary.relay_to[i], next->listen, next->listen_count))
                continue;
            is_passed[k] = true;
            if (next == target || comes_back(c, next, target, is_passed))
                return true;
        }
    return false;
}

int config_loop_check(const struct config *c, const struct config_listener *l,
                      struct config_blame *blame, struct err *err)
{
    bool *is_passed = mem_zalloc(c->listener_count * sizeof *is_passed);
    bool is_loop = comes_back(c, l, l, is_passed);

    free(is_passed);
    if (!is_loop)
        return 0;
    err_set(err, "listener %s: primary: leads back to this listener; allowed: another server",
            l->name);
    *blame = (struct config_blame){.option = "primary"};
    return -1;
}

void config_destination_clear(struct config_destination *d)
{
    free(d->name);
    free(d->relay_to);
    free(d->recipient_address);
    free(d->sender_address);
    free(d->journal_from);
    string_list_clear(&d->direction);
    string_list_clear(&d->unless_header);
    config_tls_clear(&d->tls);
    config_auth_clear(&d->auth);
}
