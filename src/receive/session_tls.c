/* SPDX-License-Identifier: ISC */
#include "base/log.h"
#include "net/tls.h"
#include "deliver/maillog.h"
#include "receive/session_private.h"

#include <stdio.h>
#include <string.h>

#define HANDSHAKE_TIMEOUT_MS 60000

static const struct config_server_tls *settings(const struct session *s)
{
    return s->o->listener != NULL ? &s->o->listener->tls : &s->config->relay.tls;
}

/* The TLS context for the session's client; NULL: TLS is not set up. */
static struct tls_context *context(const struct session *s)
{
    return security_find_server(s->o->runtime->security, s->o->listener);
}

bool session_offers_tls(const struct session *s)
{
    return context(s) != NULL && !s->is_encrypted && !s->o->is_unix;
}

bool session_is_welcome(const struct session *s)
{
    const struct config_server_tls *t = settings(s);

    return s->o->is_trusted || (context(s) != NULL && t->client != CONFIG_TLS_CLIENT_NONE);
}

/* The refusal is temporary, because an MTA drops a copy after a permanent refusal. So the MTA keeps
 * the copy until the configuration of one side is corrected. */
const char *session_refusal(const struct session *s)
{
    const struct config_server_tls *t = settings(s);

    if (s->o->is_unix)
        return NULL;
    bool needs_cert = !s->o->is_trusted || t->client == CONFIG_TLS_CLIENT_REQUIRE;
    if ((needs_cert || t->level == CONFIG_TLS_ENCRYPT) && !s->is_encrypted)
        return "421 4.7.0 Must issue a STARTTLS command first";
    if (needs_cert && !s->has_trusted_cert)
        return "421 4.7.1 Access denied: no trusted certificate";
    return NULL;
}

bool session_is_refused(struct session *s)
{
    const char *text = session_refusal(s);

    if (text == NULL)
        return false;
    session_reject(s, "", text);
    s->is_over = true;
    return true;
}

static void log_client(const struct session *s, const struct tls_info *info)
{
    char peer[80], text[512];

    snprintf(peer, sizeof peer, "[%s]", s->o->client_addr);
    tls_format_info(info, "from", peer, text, sizeof text);
    if (settings(s)->client == CONFIG_TLS_CLIENT_NONE)
        log_info("%s", text);
    else if (info->trust >= TLS_TRUSTED)
        log_info("%s, client=%s", text, info->subject);
    else
        log_info("%s: %s", text, info->why);
}

void session_starttls(struct session *s)
{
    struct tls_info info;
    struct err err;

    if (!session_offers_tls(s)) {
        session_protocol_error(s, s->is_encrypted ? "503 5.5.1 TLS is active already"
                                                  : "502 5.5.1 Not offered");
        return;
    }
    session_reply(s, "220 2.0.0 Ready to start TLS");
    if (stream_has_input(s->stream) &&
        maillog_has_room()) /* the handshake discards this input: RFC 3207 4.2 */
        log_warning("input after STARTTLS from [%s] is discarded", s->o->client_addr);
    enum stream_status status = stream_flush(s->stream);
    if (status != STREAM_OK) {
        session_lost(s, status);
        return;
    }
    atomic_store(&s->o->presence->idle_since_ms, s->progress_ms);
    status = tls_accept(s->stream, context(s), HANDSHAKE_TIMEOUT_MS, &info, &err);
    atomic_store(&s->o->presence->idle_since_ms, 0);
    if (status != STREAM_OK) {
        if (maillog_has_room())
            log_warning("TLS handshake with [%s] failed: %s", s->o->client_addr, err.text);
        s->is_over = true;
        return;
    }
    log_client(s, &info);
    /* All that the client said before TLS is forgotten (RFC 3207 4.2). */
    session_end_transaction(s);
    memset(&s->xforward, 0, sizeof s->xforward);
    s->helo[0] = '\0';
    s->is_encrypted = s->transaction.has_tls = true;
    s->has_trusted_cert = info.trust >= TLS_TRUSTED;
}

const char *session_protocol_name(const struct session *s)
{
    if (s->is_encrypted && s->protocol == SESSION_ESMTP)
        return "ESMTPS";
    if (s->is_encrypted && s->protocol == SESSION_LMTP)
        return "LMTPS";
    return session_protocol_word(s);
}

const char *session_protocol_word(const struct session *s)
{
    static const char *const words[] = {
        [SESSION_SMTP] = "SMTP", [SESSION_ESMTP] = "ESMTP", [SESSION_LMTP] = "LMTP"};

    return words[s->protocol];
}
