/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "net/tls_private.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A resumed session is not checked again, so a certificate that has expired, or is not trusted any
 * more, may be accepted for this time. */
#define SESSION_LIFE_S 3600

void tls_error_text(char *out, size_t size)
{
    unsigned long code = ERR_get_error();
    const char *reason = ERR_reason_error_string(code);
    char system[128];

    if (code == 0)
        snprintf(out, size, "unknown error");
    else if (ERR_SYSTEM_ERROR(code))
        snprintf(out, size, "%s", strerror_r(ERR_GET_REASON(code), system, sizeof system));
    else if (reason != NULL)
        snprintf(out, size, "%s", reason);
    else
        ERR_error_string_n(code, out, size);
    ERR_clear_error();
}

static int fail(struct err *err, const char *path)
{
    char text[160];

    tls_error_text(text, sizeof text);
    err_set(err, "%s: %s", path, text);
    return -1;
}

static int load_certificate(struct tls_context *c, const struct tls_options *o, struct err *err)
{
    const char *key = o->key_file[0] != '\0' ? o->key_file : o->cert_file;

    if (o->cert_file[0] == '\0')
        return 0;
    if (SSL_CTX_use_certificate_chain_file(c->ctx, o->cert_file) != 1)
        return fail(err, o->cert_file);
    if (SSL_CTX_use_PrivateKey_file(c->ctx, key, SSL_FILETYPE_PEM) != 1)
        return fail(err, key);
    if (SSL_CTX_check_private_key(c->ctx) != 1)
        return fail(err, key);
    int type = EVP_PKEY_get_base_id(SSL_CTX_get0_privatekey(c->ctx));
    c->has_slow_key = type == EVP_PKEY_RSA || type == EVP_PKEY_RSA_PSS;
    return 0;
}

static int load_authorities(struct tls_context *c, const struct tls_options *o, struct err *err)
{
    c->trusts = true;
    if (o->ca_file[0] != '\0')
        return SSL_CTX_load_verify_file(c->ctx, o->ca_file) == 1 ? 0 : fail(err, o->ca_file);
    if (o->system_ca)
        return SSL_CTX_set_default_verify_paths(c->ctx) == 1 ? 0 : fail(err, "system's CAs");
    c->trusts = false;
    return 0;
}

static struct tls_context *context_new(const SSL_METHOD *method, const struct tls_options *o,
                                       struct err *err)
{
    struct tls_context *c = mem_zalloc(sizeof *c);

    c->fingerprints = o->fingerprints;
    pthread_mutex_init(&c->lock, NULL);
    ERR_clear_error();
    c->ctx = SSL_CTX_new(method);
    if (c->ctx == NULL) {
        (void)fail(err, "OpenSSL");
        tls_context_free(c);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(c->ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    /* Release the buffers of idle connections. Allow that a write which was cut short is continued
     * from another buffer. */
    SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_timeout(c->ctx, SESSION_LIFE_S);
    if (load_certificate(c, o, err) != 0 || load_authorities(c, o, err) != 0) {
        tls_context_free(c);
        return NULL;
    }
    return c;
}

static void session_clear(struct tls_session *s)
{
    free(s->place);
    SSL_SESSION_free(s->session);
}

static void forget_session(struct tls_context *c, size_t i)
{
    c->session_count--;
    memmove(&c->sessions[i], &c->sessions[i + 1], (c->session_count - i) * sizeof *c->sessions);
}

void tls_session_keep(struct tls_context *c, const char *place, SSL_SESSION *session)
{
    pthread_mutex_lock(&c->lock);
    if (c->session_count == TLS_SESSIONS_MAX) {
        session_clear(&c->sessions[0]);
        forget_session(c, 0);
    }
    c->sessions[c->session_count++] = (struct tls_session){mem_strdup(place), session};
    pthread_mutex_unlock(&c->lock);
}

/* Callback of SSL_CTX_sess_set_new_cb(3). Returns 1 if it takes over the reference to the session.
 * With TLS 1.2 OpenSSL calls it within the handshake, before the trust is known. Therefore
 * tls_connect() keeps such a session itself. */
static int new_session(SSL *ssl, SSL_SESSION *session)
{
    const struct tls_owner *owner = SSL_get_app_data(ssl);

    if (!owner->is_accepted)
        return 0;
    tls_session_keep(owner->context, owner->place, session);
    return 1;
}

SSL_SESSION *tls_session_take(struct tls_context *c, const char *place)
{
    SSL_SESSION *found = NULL;

    /* Remove the session, because each is used once (RFC 8446 C.4); every connection provides new
     * ones. */
    pthread_mutex_lock(&c->lock);
    for (size_t i = c->session_count; i-- > 0 && found == NULL;) {
        if (strcmp(c->sessions[i].place, place) != 0)
            continue;
        found = c->sessions[i].session;
        free(c->sessions[i].place);
        forget_session(c, i);
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

struct tls_context *tls_client_new(const struct tls_options *o, struct err *err)
{
    struct tls_context *c = context_new(TLS_client_method(), o, err);

    if (c == NULL)
        return NULL;
    SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ctx, new_session);
    return c;
}

/* The handshake accepts any certificate; the trust in it is determined afterwards. */
static int take_any(int is_good, X509_STORE_CTX *store)
{
    (void)is_good;
    (void)store;
    return 1;
}

struct tls_context *tls_server_new(const struct tls_options *o, struct err *err)
{
    static const unsigned char id[] = "splitrelay";
    struct tls_context *c = context_new(TLS_server_method(), o, err);

    if (c == NULL)
        return NULL;
    SSL_CTX_set_options(c->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(c->ctx, id, sizeof id - 1);
    if (o->asks) {
        SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, take_any);
        if (o->ca_file[0] != '\0')
            SSL_CTX_set_client_CA_list(c->ctx, SSL_load_client_CA_file(o->ca_file));
    }
    return c;
}

void tls_context_free(struct tls_context *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->session_count; i++)
        session_clear(&c->sessions[i]);
    SSL_CTX_free(c->ctx);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void tls_thread_end(void)
{
    OPENSSL_thread_stop();
}
