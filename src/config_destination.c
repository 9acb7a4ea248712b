/* SPDX-License-Identifier: ISC */
#include "config_destination.h"
#include "config_tls.h"

#include <stdlib.h>

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

/* kind: "destination" or "listener"; option: where its hosts are given */
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

/* The server forgets who we are. */
static int check_xclient(const struct config_destination *d, struct config_blame *blame,
                         struct err *err)
{
    if (d->xclient == 0 || d->auth.user[0] == '\0')
        return 0;
    err_set(err, "destination %s: xclient: XCLIENT ends the authentication (auth_user)", d->name);
    *blame = (struct config_blame){.option = "xclient"};
    return -1;
}

/* It needs no other host to go to, and no other host can stand in for it. */
static int check_maildir(const struct config_destination *d, struct config_blame *blame,
                         struct err *err)
{
    for (size_t i = 0; i < d->relay_to_count; i++)
        if (d->relay_to[i].kind == ENDPOINT_MAILDIR && d->relay_to_count > 1) {
            err_set(err, "destination %s: relay_to: a Maildir must be the only one", d->name);
            *blame = (struct config_blame){.option = "relay_to", .index = (unsigned)i};
            return -1;
        }
    return 0;
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

void config_destination_clear(struct config_destination *d)
{
    free(d->name);
    free(d->relay_to);
    free(d->recipient_address);
    free(d->sender_address);
    free(d->journal_from);
    config_tls_clear(&d->tls);
    config_auth_clear(&d->auth);
}
