/* SPDX-License-Identifier: ISC */
/* Which requests get the page. */
#include "metrics/metrics_http_private.h"

#include "base/ascii.h"
#include "base/clock.h"
#include "base/log.h"

#include <string.h>

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* Does the value of Host ("NAME", "NAME:PORT", "[ADDRESS]:PORT") name a loopback host? */
static bool is_loopback_name(const char *host)
{
    char name[256];

    if (host == NULL)
        return false;
    bool has_brackets = host[0] == '[';
    host += has_brackets;
    size_t len = strcspn(host, has_brackets ? "]" : ":");
    if (len >= sizeof name || (has_brackets && host[len] == '\0') || strcspn(host, " \t") < len)
        return false;
    const char *port = host + len + has_brackets;
    if (port[0] != '\0' && (port[0] != ':' || port[1 + strspn(port + 1, "0123456789")] != '\0'))
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    return endpoint_is_loopback_host(name);
}

/* Is the request one that a web server passes on for a client elsewhere? nginx adds none of these
 * fields unless it is told to, and then speaks HTTP/1.0, which no browser does. */
static bool is_passed_on(struct MHD_Connection *c, const char *version)
{
    static const char *const names[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

    if (strcmp(version, MHD_HTTP_VERSION_1_1) != 0)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (header(c, names[i]) != NULL)
            return true;
    return false;
}

/* Look at a password, unless its address has to wait. */
static void look_at_password(struct metrics_http *h, struct MHD_Connection *c,
                             const char *authorization, struct metrics_http_refusal *out)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char address[INET6_ADDRSTRLEN];
    bool is_right = false, must_wait = false;
    int64_t now_ms = clock_now_ms();

    http_guard_address(info == NULL ? NULL : info->client_addr, address);
    pthread_mutex_lock(&h->lock);
    out->retry_after_s = http_guard_wait_s(&h->guard, address, now_ms);
    if (out->retry_after_s == 0) {
        is_right = http_access_allows(h->access, authorization);
        must_wait = http_guard_note(&h->guard, address, is_right, now_ms);
    }
    pthread_mutex_unlock(&h->lock);
    if (!is_right)
        h->o.site->denied(h->o.site->ctx, out->retry_after_s > 0);
    if (out->retry_after_s > 0) {
        out->status = MHD_HTTP_TOO_MANY_REQUESTS;
        out->why = "too many wrong passwords";
    } else if (is_right) {
        out->status = MHD_HTTP_OK;
    } else {
        log_warning("page: wrong name or password from [%s]", address);
    }
    if (must_wait)
        log_warning("page: too many wrong passwords, the last from [%s]: further ones are refused"
                    " unseen for a while",
                    address);
}

void metrics_http_report_refused(struct metrics_http *h, int64_t now_ms)
{
    pthread_mutex_lock(&h->lock);
    uint64_t refused = http_guard_take_refused(&h->guard, now_ms);
    pthread_mutex_unlock(&h->lock);
    if (refused > 0)
        log_warning("page: %llu requests were refused after too many wrong passwords",
                    (unsigned long long)refused);
}

static void refuse(struct metrics_http_refusal *out, const char *why)
{
    out->status = MHD_HTTP_FORBIDDEN;
    out->why = why;
}

void metrics_http_check_access(struct metrics_http_socket *s, struct MHD_Connection *c,
                               const char *version, struct metrics_http_refusal *out)
{
    const char *authorization = header(c, MHD_HTTP_HEADER_AUTHORIZATION);

    memset(out, 0, sizeof *out);
    if (s->http->wants_passwords) {
        out->status = MHD_HTTP_UNAUTHORIZED;
        out->why = "name and password, please";
        if (authorization != NULL)
            look_at_password(s->http, c, authorization, out);
        return;
    }
    out->status = MHD_HTTP_OK;
    if (s->unix_path[0] != '\0')
        return;
    if (!s->is_loopback)
        refuse(out, "the page is not at this address unless page_password_file is set");
    else if (!is_loopback_name(header(c, MHD_HTTP_HEADER_HOST)))
        refuse(out, "the page is at http://127.0.0.1 and http://localhost only, unless"
                    " page_password_file is set");
    else if (is_passed_on(c, version))
        refuse(out, "a web server passes this request on: the page needs a unix socket for it, or"
                    " page_password_file");
}
