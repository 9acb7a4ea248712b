/* SPDX-License-Identifier: ISC */
#include "smtp/connection_private.h"

#include "base/log.h"
#include "net/endpoint.h"
#include "net/tls.h"
#include "smtp/security.h"

void connection_tls_reset(struct connection *c, const char *host, const struct sockaddr *sa)
{
    const struct config_destination *d = c->destination;
    enum config_tls_level level = d->tls.level;
    bool is_local = sa->sa_family == AF_UNIX || endpoint_is_loopback_address(sa);

    if (level == CONFIG_TLS_AUTO)
        level = is_local ? CONFIG_TLS_NONE : CONFIG_TLS_MAY;
    if (level < CONFIG_TLS_ENCRYPT && security_hides_password(d))
        level = CONFIG_TLS_ENCRYPT;
    c->tls = (struct connection_tls){.level = level, .host = host};
}

static int fail(struct connection *c, const char *dsn, const char *text, const char *why)
{
    return connection_fail(c, dsn, "%s%s%s%s", text, c->link.peer, why[0] != '\0' ? ": " : "", why);
}

/* Make the TLS handshake. -1 also if the certificate must be verified and is not. */
static int begin(struct connection *c, struct tls_context *context)
{
    const struct config_destination *d = c->destination;
    bool must_verify = c->tls.level == CONFIG_TLS_VERIFY;
    struct tls_peer peer = {.name = c->tls.host,
                            .names = &d->tls.names,
                            .place = c->link.peer,
                            .wanted = must_verify ? TLS_VERIFIED : TLS_ANONYMOUS};
    struct tls_info info;
    char text[768];
    struct err err;

    if (tls_connect(c->link.stream, context, &peer, d->command_timeout_ms, &info, &err) !=
        STREAM_OK) {
        c->tls.has_failed = true;
        return fail(c, "4.7.5", "Cannot start TLS with ", err.text);
    }
    c->tls.is_on = true;
    c->tls.is_verified = info.trust == TLS_VERIFIED;
    tls_format_info(&info, "to", c->link.peer, text, sizeof text);
    log_info("%s, dest=%s", text, d->name);
    if (must_verify && info.trust != TLS_VERIFIED)
        return fail(c, "4.7.5", "Server certificate not verified: ", info.why);
    return 0;
}

/* The TLS context of this destination; NULL: TLS is not set up. */
static struct tls_context *client_context(const struct connection *c)
{
    return c->security == NULL ? NULL : c->security->tls;
}

int connection_tls_wrap(struct connection *c)
{
    struct tls_context *context = client_context(c);

    c->tls.is_on = c->tls.is_verified = false;
    if (c->destination->tls.wrap == 0)
        return 0;
    if (context == NULL)
        return fail(c, "4.7.5", "TLS is required, but not set up, for ", "");
    return begin(c, context);
}

int connection_tls_start(struct connection *c)
{
    struct tls_context *context = client_context(c);
    bool is_must = c->tls.level >= CONFIG_TLS_ENCRYPT;

    if (c->tls.is_on || c->tls.level == CONFIG_TLS_NONE || (context == NULL && !is_must))
        return 0;
    if (context == NULL)
        return fail(c, "4.7.5", "TLS is required, but not set up, for ", "");
    if (!c->link.features.starttls)
        return is_must ? fail(c, "4.7.4", "TLS is required, but was not offered by host ", "") : 0;
    if (connection_send(c, CONNECTION_STARTTLS, "STARTTLS\r\n", 10) != 0 ||
        connection_ask(c, CONNECTION_STARTTLS) != 0)
        return -1;
    if (c->reply.code / 100 != 2)
        return is_must ? connection_fail_reply(c, CONNECTION_STARTTLS) : 0;
    return begin(c, context);
}

int connection_tls_lacks_requiretls(struct connection *c)
{
    const char *why = !c->tls.is_on         ? "the connection is not encrypted to"
                      : !c->tls.is_verified ? "the certificate is not verified of"
                                            : "it was not offered by";

    c->lacks_requiretls = true;
    outcome_set(&c->fault, OUTCOME_RETRY, "4.7.30", "REQUIRETLS is required, but %s host %s", why,
                c->link.peer);
    connection_quit(c);
    return -1;
}

bool connection_tls_gives_up(struct connection *c)
{
    if (!c->tls.has_failed || c->tls.level != CONFIG_TLS_MAY || connection_is_interrupted(c))
        return false;
    log_warning("dest=%s: %s: going on without TLS", c->destination->name, c->fault.reason);
    c->tls.level = CONFIG_TLS_NONE;
    c->tls.has_failed = false;
    return true;
}
