/* SPDX-License-Identifier: ISC */
#include "base/log.h"
#include "base/mem.h"
#include "net/tls_private.h"
#include "task/task.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tls {
    SSL *ssl;
    struct tls_owner owner;
    short wants;    /* the event that OpenSSL waits for: POLLIN or POLLOUT */
    bool is_broken; /* nothing more may be sent, not even close_notify (SSL_shutdown(3)) */
};

/* The result of a call that did not succeed, as read(2) reports it: 0 at the end of the peer's
 * data, or -1 with errno. */
static ssize_t failed(struct tls *t)
{
    int error = errno;

    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        t->wants = POLLIN;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_WRITE:
        t->wants = POLLOUT;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        t->is_broken = true;
        ERR_clear_error();
        errno = error;
        return error == 0 ? 0 : -1;
    default:
        t->is_broken = true;
        /* SMTP itself marks the end of a message and of a session, so a connection that ends
         * without close_notify is treated as closed, not as a fault of TLS. */
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            ERR_clear_error();
            return 0;
        }
        ERR_clear_error();
        errno = EPROTO;
        return -1;
    }
}

static ssize_t tls_read(void *state, void *data, size_t len)
{
    struct tls *t = state;
    size_t n = 0;

    ERR_clear_error();
    errno = 0;
    return SSL_read_ex(t->ssl, data, len, &n) == 1 ? (ssize_t)n : failed(t);
}

static ssize_t tls_write(void *state, const void *data, size_t len)
{
    struct tls *t = state;
    size_t n = 0;

    ERR_clear_error();
    errno = 0;
    if (SSL_write_ex(t->ssl, data, len, &n) == 1)
        return (ssize_t)n;
    ssize_t result = failed(t);
    if (result != 0)
        return result;
    errno = EPIPE;
    return -1;
}

static short tls_wants(void *state)
{
    const struct tls *t = state;

    return t->wants;
}

static void tls_close(void *state)
{
    struct tls *t = state;

    if (!t->is_broken)
        (void)SSL_shutdown(t->ssl); /* sends close_notify and does not wait for the peer's */
    ERR_clear_error();
    SSL_free(t->ssl);
    free(t->owner.place);
    free(t);
}

static const struct stream_transport transport = {tls_read, tls_write, tls_wants, tls_close};

static bool is_ip(const char *name)
{
    struct in6_addr ip;

    return inet_pton(AF_INET, name, &ip) == 1 || inet_pton(AF_INET6, name, &ip) == 1;
}

static bool is_for_name(X509 *cert, const char *name)
{
    if (is_ip(name))
        return X509_check_ip_asc(cert, name, 0) == 1;
    return X509_check_host(cert, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static bool is_for_peer(X509 *cert, const struct tls_peer *peer)
{
    if (peer->names->count == 0)
        return is_for_name(cert, peer->name);
    for (size_t i = 0; i < peer->names->count; i++)
        if (is_for_name(cert, peer->names->items[i]))
            return true;
    return false;
}

static bool has_fingerprint(const struct tls_context *c, const char *fingerprint)
{
    for (size_t i = 0; i < c->fingerprints->count; i++)
        if (strcmp(c->fingerprints->items[i], fingerprint) == 0)
            return true;
    return false;
}

static void describe_certificate(X509 *cert, struct tls_info *info)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, info->subject,
                              sizeof info->subject);
    log_sanitize(info->subject);
    if (X509_digest(cert, EVP_sha256(), digest, &len) != 1)
        len = 0;
    for (size_t i = 0; i < len && 3 * i + 3 <= sizeof info->fingerprint; i++)
        snprintf(info->fingerprint + 3 * i, sizeof info->fingerprint - 3 * i, "%02X%s", digest[i],
                 i + 1 < len ? ":" : "");
}

/* Determine the trust in a certificate. peer: NULL on a server. */
static void set_trust(const struct tls *t, X509 *cert, const struct tls_peer *peer,
                      struct tls_info *info)
{
    const struct tls_context *c = t->owner.context;
    /* For a resumed session this is the result of its first handshake. */
    long result = SSL_get_verify_result(t->ssl);

    if (has_fingerprint(c, info->fingerprint)) {
        info->trust = TLS_VERIFIED;
        return;
    }
    info->trust = c->trusts && result == X509_V_OK ? TLS_TRUSTED : TLS_UNTRUSTED;
    if (c->trusts && result != X509_V_OK)
        snprintf(info->why, sizeof info->why, "%s", X509_verify_cert_error_string(result));
    else if (c->fingerprints->count > 0)
        snprintf(info->why, sizeof info->why, "its fingerprint is %s", info->fingerprint);
    else if (!c->trusts)
        snprintf(info->why, sizeof info->why, "no authority is trusted");
    else if (peer != NULL && is_for_peer(cert, peer))
        info->trust = TLS_VERIFIED;
    else if (peer != NULL)
        snprintf(info->why, sizeof info->why, "the certificate is for another name (%.100s)",
                 info->subject);
}

static void describe(const struct tls *t, const struct tls_peer *peer, struct tls_info *info)
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);

    memset(info, 0, sizeof *info);
    info->is_resumed = SSL_session_reused(t->ssl) == 1;
    snprintf(info->protocol, sizeof info->protocol, "%s", SSL_get_version(t->ssl));
    snprintf(info->cipher, sizeof info->cipher, "%s", SSL_get_cipher_name(t->ssl));
    info->bits = SSL_get_cipher_bits(t->ssl, &info->algorithm_bits);
    if (cert == NULL) {
        snprintf(info->why, sizeof info->why, "no certificate");
        return;
    }
    describe_certificate(cert, info);
    set_trust(t, cert, peer, info);
}

/* One call of SSL_do_handshake(3), which may run on a helper thread. OpenSSL has a queue of errors
 * for each thread, so do_step() also takes the error out of the queue of its thread. */
struct step {
    SSL *ssl;
    int error; /* SSL_ERROR_NONE: the handshake is done */
    bool is_eof;
    char text[160]; /* set with SSL_ERROR_SSL and SSL_ERROR_SYSCALL */
};

static void do_step(void *arg)
{
    struct step *step = arg;

    ERR_clear_error();
    errno = 0;
    step->error = SSL_get_error(step->ssl, SSL_do_handshake(step->ssl));
    step->is_eof = step->error == SSL_ERROR_SYSCALL ||
                   ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    if (step->error == SSL_ERROR_SYSCALL || step->error == SSL_ERROR_SSL)
        tls_error_text(step->text, sizeof step->text);
    ERR_clear_error();
}

static void handshake_error(struct stream *s, const struct step *step, enum stream_status status,
                            struct err *err)
{
    long result = SSL_get_verify_result(step->ssl);

    if (status != STREAM_ERROR)
        err_set(err, "%s", stream_status_text(s, status));
    else if (result != X509_V_OK)
        err_set(err, "%s (%s)", step->text, X509_verify_cert_error_string(result));
    else
        err_set(err, "%s", step->text);
}

/* Do the handshake, until it is complete, fails, or the deadline passes. */
static enum stream_status handshake(struct stream *s, struct tls *t, unsigned timeout_ms,
                                    struct err *err)
{
    enum stream_status status = STREAM_OK;
    struct step step = {.ssl = t->ssl};

    stream_set_deadline(s, timeout_ms);
    while (status == STREAM_OK) {
        if (t->owner.context->has_slow_key)
            task_block(do_step, &step);
        else
            do_step(&step);
        if (step.error == SSL_ERROR_NONE)
            return STREAM_OK;
        if (step.error == SSL_ERROR_WANT_READ)
            status = stream_wait(s, POLLIN);
        else if (step.error == SSL_ERROR_WANT_WRITE)
            status = stream_wait(s, POLLOUT);
        else
            status = step.is_eof ? STREAM_EOF : STREAM_ERROR;
    }
    handshake_error(s, &step, status, err);
    return status;
}

static struct tls *tls_new(struct stream *s, struct tls_context *c, struct err *err)
{
    struct tls *t = mem_zalloc(sizeof *t);
    char text[160];

    t->owner.context = c;
    t->is_broken = true;
    ERR_clear_error();
    t->ssl = SSL_new(c->ctx);
    if (t->ssl != NULL && SSL_set_fd(t->ssl, stream_fd(s)) == 1) {
        SSL_set_app_data(t->ssl, &t->owner);
        return t;
    }
    tls_error_text(text, sizeof text);
    err_set(err, "%s", text);
    tls_close(t);
    return NULL;
}

static void start_client(struct tls *t, const struct tls_peer *peer)
{
    SSL_SESSION *session = tls_session_take(t->owner.context, peer->place);
    const char *name = peer->name;

    t->owner.place = mem_strdup(peer->place);
    if (peer->names->count > 0 && peer->names->items[0][0] != '.')
        name = peer->names->items[0];
    if (name[0] != '\0' && !is_ip(name)) /* RFC 6066 3: no address in SNI */
        SSL_set_tlsext_host_name(t->ssl, name);
    if (session != NULL) {
        SSL_set_session(t->ssl, session);
        SSL_SESSION_free(session);
    }
    SSL_set_connect_state(t->ssl);
}

static void keep_session_now(struct tls *t)
{
    SSL_SESSION *session = SSL_get1_session(t->ssl);

    if (session == NULL)
        return;
    if (SSL_SESSION_is_resumable(session) == 1)
        tls_session_keep(t->owner.context, t->owner.place, session);
    else
        SSL_SESSION_free(session);
}

enum stream_status tls_connect(struct stream *s, struct tls_context *c, const struct tls_peer *peer,
                               unsigned timeout_ms, struct tls_info *info, struct err *err)
{
    struct tls *t = tls_new(s, c, err);

    if (t == NULL)
        return STREAM_ERROR;
    start_client(t, peer);
    enum stream_status status = handshake(s, t, timeout_ms, err);
    if (status != STREAM_OK) {
        tls_close(t);
        return status;
    }
    t->is_broken = false;
    describe(t, peer, info);
    t->owner.is_accepted = info->trust >= peer->wanted;
    if (t->owner.is_accepted && SSL_version(t->ssl) < TLS1_3_VERSION)
        keep_session_now(t);
    stream_set_transport(s, &transport, t);
    return STREAM_OK;
}

enum stream_status tls_accept(struct stream *s, struct tls_context *c, unsigned timeout_ms,
                              struct tls_info *info, struct err *err)
{
    struct tls *t = tls_new(s, c, err);

    if (t == NULL)
        return STREAM_ERROR;
    SSL_set_accept_state(t->ssl);
    enum stream_status status = handshake(s, t, timeout_ms, err);
    if (status != STREAM_OK) {
        tls_close(t);
        return status;
    }
    t->is_broken = false;
    describe(t, NULL, info);
    stream_set_transport(s, &transport, t);
    return STREAM_OK;
}
