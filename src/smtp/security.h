/* SPDX-License-Identifier: ISC */
/*
 * security: what splitrelay reads from files to encrypt and authenticate: keys, certificates,
 * passwords. Opened right after a configuration was loaded, for all of its sections; immutable,
 * with a reference count. A reload reads all files anew; a reload of a table shares what is open
 * (runtime.h). Tokens of OAuth are not among it: each connection reads its token.
 */
#ifndef SPLIT_SECURITY_H
#define SPLIT_SECURITY_H

#include "config/config.h"
#include "base/err.h"

#include <stdbool.h>

struct sasl;
struct tls_context;

/* For connections to one server. */
struct security_client {
    struct tls_context *tls; /* NULL: TLS is not set up */
    struct sasl *sasl;       /* NULL: authentication with a password is not set up */
};

struct security {
    const struct config *config;          /* borrowed */
    struct security_client *destinations; /* by the index in config->destinations */
    struct security_client *primaries;    /* for listeners, by the index in config->listeners */
    /* for the clients of a listener, by the same index; an item is NULL without a certificate */
    struct tls_context **listeners;
    /* for the clients of section relay; NULL without a certificate */
    struct tls_context *relay;
    unsigned refs; /* atomic, private */
};

/* Open the files of all sections; the caller has one reference. config is borrowed until the last
 * reference is gone. NULL with `err` ("FILE:LINE: destination archive: what is wrong"). */
struct security *security_open(const struct config *config, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Take one more reference, which the caller releases. Returns s, which may be NULL. */
struct security *security_ref(struct security *s);
/* Release a reference; the last one frees everything. NULL is legal. */
void security_unref(struct security *s);

/* A file with a key, a password or a token. */
struct security_secret {
    const char *where; /* the section, "destination archive" */
    const char *path;
    bool is_token; /* of OAuth */
};

/* Call fn for each file that the configuration names and that has a secret in it. */
void security_secrets(const struct config *c,
                      void (*fn)(const struct security_secret *secret, void *ctx), void *ctx)
    __attribute__((nonnull(1, 2)));

/* What connections to this destination, or to this primary of a listener, use. NULL: s is NULL, or
 * d is not part of the configuration of s. */
const struct security_client *security_find_client(const struct security *s,
                                                   const struct config_destination *d)
    __attribute__((nonnull(2)));

/* The TLS context for the clients of this listener; listener NULL: for the clients of section
 * relay. Returns NULL if s is NULL, or if TLS is not set up there. */
struct tls_context *security_find_server(const struct security *s,
                                         const struct config_listener *listener);

/* Does the destination have credentials? */
bool security_authenticates(const struct config_destination *d) __attribute__((nonnull));

/* Are the credentials a token of OAuth, not a password? */
bool security_has_token(const struct config_destination *d) __attribute__((nonnull));

/* Does the destination have credentials that must not be sent without TLS? */
bool security_hides_password(const struct config_destination *d) __attribute__((nonnull));

#endif
