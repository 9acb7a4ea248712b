/* SPDX-License-Identifier: ISC */
/*
 * tls_private: what tls_context.c (files, trust, sessions) and tls_stream.c (handshake, reading,
 * writing) share. Private to tls*.c.
 */
#ifndef SPLIT_TLS_PRIVATE_H
#define SPLIT_TLS_PRIVATE_H

#include "net/tls.h"

#include <openssl/ssl.h>
#include <pthread.h>

#define TLS_SESSIONS_MAX 32 /* kept in a context */

struct tls_session {
    char *place;
    SSL_SESSION *session;
};

struct tls_context {
    SSL_CTX *ctx;
    bool trusts;       /* there are authorities to trust */
    bool has_slow_key; /* the own key signs so slowly (RSA: 0.3 ms with 2048 bits, 4 ms with 4096)
                          that a task does it on a helper thread */
    const struct string_list *fingerprints;

    pthread_mutex_t lock; /* guards the sessions, oldest first */
    struct tls_session sessions[TLS_SESSIONS_MAX];
    size_t session_count;
};

/* Keep a session for this place. The caller's reference is taken over. */
void tls_session_keep(struct tls_context *c, const char *place, SSL_SESSION *session)
    __attribute__((nonnull));

/* Remove a session for this place from the context, and return it for the caller to free. NULL:
 * there is none. */
SSL_SESSION *tls_session_take(struct tls_context *c, const char *place)
    __attribute__((nonnull, warn_unused_result));

/* Put the first error in OpenSSL's queue into out as text, and empty the queue. */
void tls_error_text(char *out, size_t size) __attribute__((nonnull));

/* The application data of an SSL object: where new sessions are kept. */
struct tls_owner {
    struct tls_context *context;
    char *place;      /* NULL: a server */
    bool is_accepted; /* the peer has the wanted trust: sessions may be kept */
};

#endif
