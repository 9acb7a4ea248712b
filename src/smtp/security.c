/* SPDX-License-Identifier: ISC */
#include "smtp/security.h"

#include "base/mem.h"
#include "net/sasl.h"
#include "net/tls.h"

#include <stdlib.h>

const struct security_client *security_find_client(const struct security *s,
                                                   const struct config_destination *d)
{
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < s->config->destination_count; i++)
        if (&s->config->destinations[i] == d)
            return &s->destinations[i];
    for (size_t i = 0; i < s->config->listener_count; i++)
        if (&s->config->listeners[i].primary == d)
            return &s->primaries[i];
    return NULL;
}

struct tls_context *security_find_server(const struct security *s,
                                         const struct config_listener *listener)
{
    if (s == NULL)
        return NULL;
    if (listener == NULL)
        return s->relay;
    for (size_t i = 0; i < s->config->listener_count; i++)
        if (&s->config->listeners[i] == listener)
            return s->listeners[i];
    return NULL;
}

bool security_authenticates(const struct config_destination *d)
{
    return d->auth.user != NULL && d->auth.user[0] != '\0';
}

bool security_has_token(const struct config_destination *d)
{
    return d->auth.token_file != NULL && d->auth.token_file[0] != '\0';
}

bool security_hides_password(const struct config_destination *d)
{
    return security_authenticates(d) && d->auth.plaintext == 0;
}

static void client_clear(struct security_client *client)
{
    tls_context_free(client->tls);
    sasl_free(client->sasl);
}

struct security *security_ref(struct security *s)
{
    if (s != NULL)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void security_unref(struct security *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < s->config->destination_count; i++)
        client_clear(&s->destinations[i]);
    for (size_t i = 0; i < s->config->listener_count; i++) {
        client_clear(&s->primaries[i]);
        tls_context_free(s->listeners[i]);
    }
    tls_context_free(s->relay);
    free(s->destinations);
    free(s->primaries);
    free(s->listeners);
    free(s);
}

static int open_client_tls(const struct config_destination *d, struct tls_context **out,
                           struct err *err)
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
    *out = tls_client_new(&o, err);
    return *out == NULL ? -1 : 0;
}

static int open_client(const char *kind, const struct config_destination *d,
                       struct security_client *out, struct err *err)
{
    int result = 0;

    if (d->tls.level != CONFIG_TLS_NONE)
        result = open_client_tls(d, &out->tls, err);
    if (result == 0 && security_authenticates(d) && !security_has_token(d)) {
        out->sasl = sasl_open(d->auth.user, d->auth.password_file, err);
        result = out->sasl == NULL ? -1 : 0;
    }
    if (result == 0)
        return 0;
    err_wrap(err, "%s %s", kind, d->name);
    return config_place_fail(d->place, err);
}

static int open_server(const char *kind, const char *name, struct text_place place,
                       const struct config_server_tls *t, struct tls_context **out, struct err *err)
{
    struct tls_options o = {.cert_file = t->cert_file,
                            .key_file = t->key_file,
                            .ca_file = t->client_ca_file,
                            .asks = t->client != CONFIG_TLS_CLIENT_NONE,
                            .fingerprints = &t->client_fingerprints};

    if (t->cert_file[0] == '\0' || t->level == CONFIG_TLS_NONE)
        return 0;
    *out = tls_server_new(&o, err);
    if (*out != NULL)
        return 0;
    err_wrap(err, "%s%s%s", kind, name[0] != '\0' ? " " : "", name);
    return config_place_fail(place, err);
}

static int open_all(struct security *s, struct err *err)
{
    const struct config *c = s->config;

    for (size_t i = 0; i < c->destination_count; i++)
        if (open_client("destination", &c->destinations[i], &s->destinations[i], err) != 0)
            return -1;
    for (size_t i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        if (open_client("listener", &l->primary, &s->primaries[i], err) != 0 ||
            open_server("listener", l->name, l->place, &l->tls, &s->listeners[i], err) != 0)
            return -1;
    }
    return open_server("relay", "", c->relay.place, &c->relay.tls, &s->relay, err);
}

struct security *security_open(const struct config *config, struct err *err)
{
    struct security *s = mem_zalloc(sizeof *s);

    s->config = config;
    s->refs = 1;
    s->destinations = mem_zalloc(config->destination_count * sizeof *s->destinations);
    s->primaries = mem_zalloc(config->listener_count * sizeof *s->primaries);
    s->listeners = mem_zalloc(config->listener_count * sizeof(struct tls_context *));
    if (open_all(s, err) == 0)
        return s;
    security_unref(s);
    return NULL;
}

struct secrets {
    void (*fn)(const struct security_secret *secret, void *ctx);
    void *ctx;
};

static void report(const struct secrets *s, const char *kind, const char *name, const char *path,
                   bool is_token)
{
    struct err where;

    if (path[0] == '\0')
        return;
    err_set(&where, "%s%s%s", kind, name[0] != '\0' ? " " : "", name);
    s->fn(&(struct security_secret){where.text, path, is_token}, s->ctx);
}

static void secret(const struct secrets *s, const char *kind, const char *name, const char *path)
{
    report(s, kind, name, path, false);
}

/* Report the file with the password, or with the token. */
static void auth_secret(const struct secrets *s, const char *kind,
                        const struct config_destination *d)
{
    secret(s, kind, d->name, d->auth.password_file);
    report(s, kind, d->name, d->auth.token_file, true);
}

/* Report the file with the private key: key_file, or cert_file if the key is in there. */
static void key_secret(const struct secrets *s, const char *kind, const char *name,
                       const char *key_file, const char *cert_file)
{
    secret(s, kind, name, key_file[0] != '\0' ? key_file : cert_file);
}

void security_secrets(const struct config *c,
                      void (*fn)(const struct security_secret *secret, void *ctx), void *ctx)
{
    struct secrets s = {fn, ctx};
    const struct config_server_tls *server = &c->relay.tls;

    key_secret(&s, "relay", "", server->key_file, server->cert_file);
    secret(&s, "relay", "", c->relay.page_password_file);
    for (size_t i = 0; i < c->destination_count; i++) {
        const struct config_destination *d = &c->destinations[i];
        key_secret(&s, "destination", d->name, d->tls.key_file, d->tls.cert_file);
        auth_secret(&s, "destination", d);
    }
    for (size_t i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        key_secret(&s, "listener", l->name, l->tls.key_file, l->tls.cert_file);
        key_secret(&s, "listener", l->name, l->primary.tls.key_file, l->primary.tls.cert_file);
        auth_secret(&s, "listener", &l->primary);
    }
}
