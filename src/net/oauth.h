/* SPDX-License-Identifier: ISC */
/*
 * oauth: authentication with an access token: OAUTHBEARER (RFC 7628) and XOAUTH2, the mechanism of
 * Google and Microsoft before that RFC. GNU SASL has neither. Each has one message of the client:
 *
 *     OAUTHBEARER = "n,a=" saslname "," [ %x01 "host=" host %x01 "port=" port ] token-part
 *     XOAUTH2     = "user=" name token-part
 *     token-part  = %x01 "auth=Bearer " token %x01 %x01
 *
 * The server accepts it, or sends a challenge that explains its refusal, which the client answers.
 * Pure, except for oauth_read_token(); any thread.
 */
#ifndef SPLIT_OAUTH_H
#define SPLIT_OAUTH_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

/* Together with a user's name of 255 bytes and a host's name, a token of this length fits into a
 * line of 12288 bytes in base64 (RFC 4954 section 4). Tokens in use have 100 to 4000 bytes. */
#define OAUTH_TOKEN_MAX 8000
#define OAUTH_EXPLANATION_SIZE 120 /* with NUL */

struct oauth_client {
    const char *user;
    const char *host; /* to which the client is connected; "" is left out */
    unsigned port;
};

/* Is it one of the two mechanisms, in capitals? */
bool oauth_is_mechanism(const char *name) __attribute__((nonnull));

/* Read the token, the only line of a file, into *out (reset first), which the caller wipes. -1 with
 * `err`, which has no part of the file: it is missing, empty, or has something else than a token.
 */
int oauth_read_token(const char *path, struct buf *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Put the client's message into *out (reset first), in base64. The caller wipes *out.
 * mechanism: "OAUTHBEARER" or "XOAUTH2". */
void oauth_respond(const char *mechanism, const struct oauth_client *client, const char *token,
                   struct buf *out) __attribute__((nonnull));

/* The answer to the challenge with which a server refuses a token, in base64: RFC 7628 section
 * 3.2.3; nothing with XOAUTH2. */
const char *oauth_answer(const char *mechanism) __attribute__((nonnull, returns_nonnull));

/* Write what a challenge says about the refusal: "status invalid_token, scope mail". Printable
 * ASCII, "" if the challenge is malformed or says nothing. challenge: JSON in base64. */
void oauth_explain(const char *challenge, char out[OAUTH_EXPLANATION_SIZE])
    __attribute__((nonnull));

#endif
