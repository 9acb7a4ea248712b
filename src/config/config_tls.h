/* SPDX-License-Identifier: ISC */
/*
 * config_tls: which values of TLS and authentication may be combined. Private to config.c,
 * config_destination.c and config_file.c. Pure; any thread.
 */
#ifndef SPLIT_CONFIG_TLS_H
#define SPLIT_CONFIG_TLS_H

#include "config/config.h"
#include "config/config_destination.h"
#include "base/err.h"

/* Check TLS and authentication to a server. kind: "destination", or "listener" for its primary,
 * whose options begin with "primary_". -1 with `err`, and the option at fault in *blame. */
int config_tls_check(const char *kind, const char *name, const struct config_destination *d,
                     struct config_blame *blame, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* As config_tls_check(), for TLS from clients. kind: "relay" or "listener". */
int config_server_tls_check(const char *kind, const struct config_server_tls *t,
                            struct config_blame *blame, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Free what the structs own, not the structs. */
void config_tls_clear(struct config_tls *t) __attribute__((nonnull));
void config_auth_clear(struct config_auth *a) __attribute__((nonnull));
void config_server_tls_clear(struct config_server_tls *t) __attribute__((nonnull));

#endif
