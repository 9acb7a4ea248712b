/* SPDX-License-Identifier: ISC */
/*
 * sasl: the client's side of an authentication exchange (RFC 4422, in the form of RFC 4954), by GNU
 * SASL: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 7677). Credentials are immutable and may be
 * used by any number of threads; an exchange belongs to one thread. In a build without GNU SASL no
 * credentials can be made.
 */
#ifndef SPLIT_SASL_H
#define SPLIT_SASL_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

#define SASL_PASSWORD_MAX 1024
/* Iterations of SCRAM. This many take about a second; servers ask for 4096 to 600000. */
#define SASL_ITERATIONS_MAX 1000000

struct sasl;
struct sasl_exchange;

/* Make credentials. Both strings are copied; sasl_free() wipes the copies. NULL with `err`. */
struct sasl *sasl_new(const char *user, const char *password, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void sasl_free(struct sasl *s);

/* As sasl_new(), with the first line of a file as the password. */
struct sasl *sasl_open(const char *user, const char *password_file, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The password of the credentials, so that it can be kept out of the log. */
const char *sasl_password(const struct sasl *s) __attribute__((nonnull, returns_nonnull));

/* Begin an exchange with this mechanism ("PLAIN"). The caller ends it with sasl_end() before it
 * frees the credentials. NULL with `err`. */
struct sasl_exchange *sasl_begin(const struct sasl *s, const char *mechanism, struct err *err)
    __attribute__((nonnull, warn_unused_result));
void sasl_end(struct sasl_exchange *x);

/* Does the client send first in this mechanism, as the initial response of AUTH? */
bool sasl_begins(const char *mechanism) __attribute__((nonnull));

/* Put the response to a challenge of the server into *out (reset first), both in base64. A
 * challenge of "" is an empty challenge, or stands for the start of the exchange. -1 with `err`:
 * the challenge is malformed or one too many, it asks for more than SASL_ITERATIONS_MAX iterations,
 * or the server failed to prove that it knows the password. */
int sasl_step(struct sasl_exchange *x, const char *challenge, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Is the exchange complete? With SCRAM this includes the server's proof that it knows the password.
 */
bool sasl_is_complete(const struct sasl_exchange *x) __attribute__((nonnull));

#endif
