/* SPDX-License-Identifier: ISC */
/* In place of tls_context.c and tls_stream.c in a build without OpenSSL. */
#include "net/tls.h"

static const char text[] = "splitrelay was built without OpenSSL: no TLS";

struct tls_context *tls_client_new(const struct tls_options *o, struct err *err)
{
    (void)o;
    err_set(err, "%s", text);
    return NULL;
}

struct tls_context *tls_server_new(const struct tls_options *o, struct err *err)
{
    return tls_client_new(o, err);
}

void tls_context_free(struct tls_context *c)
{
    (void)c;
}

enum stream_status tls_connect(struct stream *s, struct tls_context *c, const struct tls_peer *peer,
                               unsigned timeout_ms, struct tls_info *info, struct err *err)
{
    (void)peer;
    return tls_accept(s, c, timeout_ms, info, err);
}

enum stream_status tls_accept(struct stream *s, struct tls_context *c, unsigned timeout_ms,
                              struct tls_info *info, struct err *err)
{
    (void)s;
    (void)c;
    (void)timeout_ms;
    (void)info;
    err_set(err, "%s", text);
    return STREAM_ERROR;
}

void tls_thread_end(void)
{
}
