/* SPDX-License-Identifier: ISC */
/*
 * client_tls: when a client's connection is encrypted, and when that is not good enough. Part of
 * client.c; see connection_private.h.
 */
#ifndef SPLIT_CLIENT_TLS_H
#define SPLIT_CLIENT_TLS_H

#include "config/config.h"

#include <stdbool.h>
#include <sys/socket.h>

struct client;

struct client_tls {
    enum config_tls_level level; /* NONE, MAY, ENCRYPT or VERIFY: for the present address */
    bool is_on;                  /* the connection is encrypted */
    bool is_verified;            /* and the server's certificate is trusted, and for its name */
    bool has_failed;             /* the handshake did, with an address where that is no obstacle */
    const char *host;            /* as relay_to has it; "" with a unix socket */
};

/* Before a connection to another address. host is borrowed until the next call. */
void client_tls_reset(struct client *c, const char *host, const struct sockaddr *sa)
    __attribute__((nonnull));

/* Right after the connection was made: start TLS if it comes before all else. -1 with `fault`. */
int client_tls_wrap(struct client *c) __attribute__((nonnull, warn_unused_result));

/* After EHLO: start TLS if it is offered and wanted. -1 with `fault`: it must be and cannot. */
int client_tls_start(struct client *c) __attribute__((nonnull, warn_unused_result));

/* After a connection that failed: because of TLS, which is not needed? Then the next connection
 * to this address does without. */
bool client_tls_gives_up(struct client *c) __attribute__((nonnull, warn_unused_result));

/* The present connection is no good for a copy with REQUIRETLS: set `fault` to why, and end it.
 * Always returns -1. */
int client_tls_lacks_requiretls(struct client *c) __attribute__((nonnull));

#endif
