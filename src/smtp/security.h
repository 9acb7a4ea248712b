/* SPDX-License-Identifier: ISC */
/*
 * security: what splitrelay reads from files to encrypt and authenticate: keys, certificates,
 * passwords. Opened right after a configuration was loaded; belongs to it, is immutable, and is
 * closed with it. A reload therefore reads all files anew.
 */
#ifndef SPLIT_SECURITY_H
#define SPLIT_SECURITY_H

#include "config/config.h"
#include "base/err.h"

#include <stdbool.h>

struct security;
struct sasl;
struct tls_context;

/* For all sections. -1 with `err` ("destination archive: FILE: what is wrong"). Call it once. */
int security_open(struct config *c, struct err *err) __attribute__((nonnull, warn_unused_result));

/* Call fn for each file with a secret in it, a key or a password. where: "destination archive". */
void security_secrets(const struct config *c,
                      void (*fn)(const char *where, const char *path, void *ctx), void *ctx)
    __attribute__((nonnull(1, 2)));

/* NULL: TLS was not set up for this destination. */
struct tls_context *security_tls(const struct config_destination *d) __attribute__((nonnull));

/* NULL: authentication was not set up. */
const struct sasl *security_sasl(const struct config_destination *d) __attribute__((nonnull));

/* The destination has credentials. */
bool security_authenticates(const struct config_destination *d) __attribute__((nonnull));

/* It has, and they must not be sent without TLS. */
bool security_hides_password(const struct config_destination *d) __attribute__((nonnull));

#endif
