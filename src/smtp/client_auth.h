/* SPDX-License-Identifier: ISC */
/*
 * client_auth: authentication to a server (RFC 4954). Part of client.c; see connection_private.h.
 */
#ifndef SPLIT_CLIENT_AUTH_H
#define SPLIT_CLIENT_AUTH_H

#include <stddef.h>

struct client;

/* What of "AUTH ..." in the answer to EHLO; a set. */
enum client_auth {
    CLIENT_AUTH_NONE = 0,
    CLIENT_AUTH_PLAIN = 1,
    CLIENT_AUTH_LOGIN = 2,
    CLIENT_AUTH_SCRAM_SHA_256 = 4,
};

/* The mechanisms in an EHLO line that begins with "AUTH" or "AUTH=". */
unsigned client_auth_parse(const char *line, size_t len) __attribute__((nonnull));

/* After EHLO and TLS: authenticate, if the configuration says so. -1 with `fault`. */
int client_authenticate(struct client *c) __attribute__((nonnull, warn_unused_result));

#endif
