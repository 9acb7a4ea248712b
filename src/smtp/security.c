/* SPDX-License-Identifier: ISC */
#include "smtp/security.h"

#include "base/mem.h"
#include "net/sasl.h"
#include "net/tls.h"

#include <stdlib.h>

struct security {
    struct tls_context *tls;
    struct sasl *sasl;
};

struct tls_context *security_tls(const struct config_destination *d)
{
    return d->security == NULL ? NULL : d->security->tls;
}

const struct sasl *security_sasl(const struct config_destination *d)
{
    return d->security == NULL ? NULL : d->security->sasl;
}

bool security_authenticates(const struct config_destination *d)
{
    return d->auth.user != NULL && d->auth.user[0] != '\0';
}

bool security_hides_password(const struct config_destination *d)
{
    return security_authenticates(d) && d->auth.plaintext == 0;
}

static void destination_close(struct config_destination *d)
{
    if (d->security == NULL)
        return;
    tls_context_free(d->security->tls);
    sasl_free(d->security->sasl);
    free(d->security);
    d->security = NULL;
}

static void release(struct config *c)
{
    for (size_t i = 0; i < c->destination_count; i++)
        destination_close(&c->destinations[i]);
    for (size_t i = 0; i < c->listener_count; i++) {
        destination_close(&c->listeners[i].primary);
        tls_context_free(c->listeners[i].tls.context);
    }
    tls_context_free(c->relay.tls.context);
}

static int open_client_tls(struct config_destination *d, struct err *err)
{
    const struct config_tls *t = &d->tls;
    struct tls_options o = {.cert_file = t->cert_file,
                            .key_file = t->key_file,
                            .ca_file = t->ca_file,
                            .system_ca =
                                t->level == CONFIG_TLS_VERIFY && t->fingerprints.count == 0,
                            .fingerprints = &t->fingerprints};
    bool may_lack =
        (t->level == CONFIG_TLS_AUTO || t->level == CONFIG_TLS_MAY) && !security_hides_password(d);

#ifndef HAVE_OPENSSL
    if (may_lack)
        return 0;
#else
    (void)may_lack;
#endif
    d->security->tls = tls_client_new(&o, err);
    return d->security->tls == NULL ? -1 : 0;
}

static int open_destination(const char *kind, struct config_destination *d, struct err *err)
{
    int result = 0;

    d->security = mem_zalloc(sizeof *d->security);
    if (d->tls.level != CONFIG_TLS_NONE)
        result = open_client_tls(d, err);
    if (result == 0 && security_authenticates(d)) {
        d->security->sasl = sasl_open(d->auth.user, d->auth.password_file, err);
        result = d->security->sasl == NULL ? -1 : 0;
    }
    if (result == 0)
        return 0;
    err_wrap(err, "%s %s", kind, d->name);
    return config_place_fail(d->place, err);
}

static int open_server(const char *kind, const char *name, struct text_place place,
                       struct config_server_tls *t, struct err *err)
{
    struct tls_options o = {.cert_file = t->cert_file,
                            .key_file = t->key_file,
                            .ca_file = t->client_ca_file,
                            .asks = t->client != CONFIG_TLS_CLIENT_NONE,
                            .fingerprints = &t->client_fingerprints};

    if (t->cert_file[0] == '\0' || t->level == CONFIG_TLS_NONE)
        return 0;
    t->context = tls_server_new(&o, err);
    if (t->context != NULL)
        return 0;
    err_wrap(err, "%s%s%s", kind, name[0] != '\0' ? " " : "", name);
    return config_place_fail(place, err);
}

int security_open(struct config *c, struct err *err)
{
    c->release = release;
    for (size_t i = 0; i < c->destination_count; i++)
        if (open_destination("destination", &c->destinations[i], err) != 0)
            return -1;
    for (size_t i = 0; i < c->listener_count; i++) {
        struct config_listener *l = &c->listeners[i];
        if (open_destination("listener", &l->primary, err) != 0 ||
            open_server("listener", l->name, l->place, &l->tls, err) != 0)
            return -1;
    }
    return open_server("relay", "", c->relay.place, &c->relay.tls, err);
}

struct secrets {
    void (*fn)(const char *where, const char *path, void *ctx);
    void *ctx;
};

static void secret(const struct secrets *s, const char *kind, const char *name, const char *path)
{
    struct err where;

    if (path[0] == '\0')
        return;
    err_set(&where, "%s%s%s", kind, name[0] != '\0' ? " " : "", name);
    s->fn(where.text, path, s->ctx);
}

/* The key is in a file of its own, or behind the certificate. */
static void key_secret(const struct secrets *s, const char *kind, const char *name,
                       const char *key_file, const char *cert_file)
{
    secret(s, kind, name, key_file[0] != '\0' ? key_file : cert_file);
}

void security_secrets(const struct config *c,
                      void (*fn)(const char *where, const char *path, void *ctx), void *ctx)
{
    struct secrets s = {fn, ctx};
    const struct config_server_tls *server = &c->relay.tls;

    key_secret(&s, "relay", "", server->key_file, server->cert_file);
    for (size_t i = 0; i < c->destination_count; i++) {
        const struct config_destination *d = &c->destinations[i];
        key_secret(&s, "destination", d->name, d->tls.key_file, d->tls.cert_file);
        secret(&s, "destination", d->name, d->auth.password_file);
    }
    for (size_t i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        key_secret(&s, "listener", l->name, l->tls.key_file, l->tls.cert_file);
        key_secret(&s, "listener", l->name, l->primary.tls.key_file, l->primary.tls.cert_file);
        secret(&s, "listener", l->name, l->primary.auth.password_file);
    }
}
