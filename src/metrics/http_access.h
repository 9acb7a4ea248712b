/* SPDX-License-Identifier: ISC */
/*
 * http_access: the passwords for the page that metrics_http serves. They come from a file of
 * lines NAME:PASSWORD, in UTF-8 without control characters; blank lines, and lines that begin with
 * '#', do not count. A client gives one of them by HTTP's Basic authentication (RFC 7617).
 * Immutable; any thread.
 */
#ifndef SPLIT_HTTP_ACCESS_H
#define SPLIT_HTTP_ACCESS_H

#include "base/err.h"

#include <stdbool.h>

struct http_access;

/* Read the file. NULL with `err`: it cannot be read, has no line or a wrong one, or is too large.
 */
struct http_access *http_access_open(const char *path, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* NULL is legal. */
void http_access_free(struct http_access *a);

/* Does the value of the header field Authorization have one of the names with its password? NULL:
 * the client sent no such field. The time that this takes does not depend on the password. */
bool http_access_allows(const struct http_access *a, const char *authorization)
    __attribute__((nonnull(1)));

#endif
