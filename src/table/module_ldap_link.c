/* SPDX-License-Identifier: ISC */
#include "table/module_ldap_private.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openldap.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The transport below the library's own layers. Unlike the library's, it does not raise SIGPIPE,
 * does not depend on O_NONBLOCK, which the library sets and clears, and notes when the socket takes
 * no more, for poll(2). While wait_until_ms is set, it waits for the socket: the library's
 * handshake of TLS repeats its calls without a pause and without end.
 */
static int io_setup(Sockbuf_IO_Desc *d, void *link)
{
    d->sbiod_pvt = link;
    return 0;
}

static int io_ctrl(Sockbuf_IO_Desc *d, int option, void *argument)
{
    (void)d;
    (void)option;
    (void)argument;
    return 0;
}

/* After EAGAIN: wait for the socket, if the link does so. False, with errno: do not try again. */
static bool wait_for_socket(const struct module_ldap_link *link, short events)
{
    struct pollfd p = {.fd = link->fd, .events = events};
    int64_t left = link->wait_until_ms - clock_now_ms();

    if (link->wait_until_ms == 0) {
        errno = EWOULDBLOCK;
        return false;
    }
    if (left > 0 && (poll(&p, 1, (int)left) > 0 || errno == EINTR))
        return true;
    errno = ETIMEDOUT;
    return false;
}

static ber_slen_t io_read(Sockbuf_IO_Desc *d, void *data, ber_len_t len)
{
    const struct module_ldap_link *link = d->sbiod_pvt;
    ssize_t n;

    do
        n = recv(link->fd, data, len, MSG_DONTWAIT);
    while (n < 0 && errno == EWOULDBLOCK && wait_for_socket(link, POLLIN));
    return n;
}

static ber_slen_t io_write(Sockbuf_IO_Desc *d, void *data, ber_len_t len)
{
    struct module_ldap_link *link = d->sbiod_pvt;
    ssize_t n;

    do
        n = send(link->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EWOULDBLOCK && wait_for_socket(link, POLLOUT));
    if (n < 0 && errno == EWOULDBLOCK)
        link->wants_write = true;
    return n;
}

static int io_close(Sockbuf_IO_Desc *d)
{
    struct module_ldap_link *link = d->sbiod_pvt;

    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    return 0;
}

static const Sockbuf_IO io = {
    .sbi_setup = io_setup,
    .sbi_ctrl = io_ctrl,
    .sbi_read = io_read,
    .sbi_write = io_write,
    .sbi_close = io_close,
};

void module_ldap_fault(const struct module_ldap_link *link, int code, const char *what,
                       struct err *err)
{
    char *text = NULL;

    ldap_get_option(link->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text);
    if (text != NULL && text[0] != '\0')
        err_set(err, "%s: %s (%.300s)", what, ldap_err2string(code), text);
    else
        err_set(err, "%s: %s", what, ldap_err2string(code));
    ldap_memfree(text);
}

enum module_ldap_event module_ldap_next(struct module_ldap_link *link, int msgid,
                                        int64_t deadline_ms, LDAPMessage **message_out,
                                        struct err *err)
{
    enum module_ldap_event event = MODULE_LDAP_LOST;

    *message_out = NULL;
    for (;;) {
        struct timeval none = {0, 0};
        errno = 0;
        /* Any message, because the library would keep notifications for ever. */
        int type = ldap_result(link->ld, LDAP_RES_ANY, LDAP_MSG_ONE, &none, message_out);
        int id = type > 0 ? ldap_msgid(*message_out) : msgid;
        if (type > 0 && id == msgid)
            return MODULE_LDAP_MESSAGE;
        if (type > 0) {
            ldap_msgfree(*message_out);
            *message_out = NULL;
            if (id == LDAP_RES_UNSOLICITED)
                break;
        }
        if (type < 0) {
            event = errno == ERANGE ? MODULE_LDAP_TOO_LONG : MODULE_LDAP_LOST;
            break;
        }
        int64_t left = deadline_ms - clock_now_ms();
        if (left <= 0) {
            event = MODULE_LDAP_TIMEOUT;
            break;
        }
        if (type > 0)
            continue; /* more may have been read already */
        struct pollfd p = {.fd = link->fd, .events = POLLIN};
        if (link->wants_write)
            p.events |= POLLOUT;
        if (poll(&p, 1, (int)left) > 0 && (p.revents & POLLOUT) != 0)
            link->wants_write = false;
    }
    link->is_dead = true;
    if (event == MODULE_LDAP_TIMEOUT)
        err_set(err, "timed out");
    else if (event == MODULE_LDAP_TOO_LONG)
        err_set(err, "the server sends a message of more than %d bytes", MODULE_LDAP_MESSAGE_MAX);
    else
        err_set(err, "lost connection");
    return event;
}

int module_ldap_result(struct module_ldap_link *link, int msgid, int64_t deadline_ms,
                       struct err *err)
{
    LDAPMessage *message;
    int code;

    switch (module_ldap_next(link, msgid, deadline_ms, &message, err)) {
    case MODULE_LDAP_MESSAGE:
        break;
    case MODULE_LDAP_TIMEOUT:
        return LDAP_TIMEOUT;
    case MODULE_LDAP_LOST:
    case MODULE_LDAP_TOO_LONG:
        return LDAP_SERVER_DOWN;
    }
    int rc = ldap_parse_result(link->ld, message, &code, NULL, NULL, NULL, NULL, 1);
    if (rc != LDAP_SUCCESS)
        code = rc;
    if (code != LDAP_SUCCESS)
        module_ldap_fault(link, code, "the server answers", err);
    return code;
}

static int set_options(struct module_ldap_link *link, const struct module_ldap_settings *s,
                       struct err *err)
{
    LDAP *ld = link->ld;

    if (ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &s->version) != LDAP_OPT_SUCCESS ||
        ldap_set_option(ld, LDAP_OPT_DEREF, &s->dereference) != LDAP_OPT_SUCCESS ||
        ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) != LDAP_OPT_SUCCESS ||
        ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON) != LDAP_OPT_SUCCESS) {
        err_set(err, "the LDAP library does not take an option");
        return -1;
    }
    return 0;
}

/* The handshake. */
static int install_tls(struct module_ldap_link *link, const struct module_ldap_settings *s,
                       int64_t deadline_ms, struct err *err)
{
    link->wait_until_ms = deadline_ms;
    int rc = ldap_install_tls(link->ld);
    link->wait_until_ms = 0;
    if (rc == LDAP_SUCCESS)
        return 0;
    module_ldap_fault(link, rc, "TLS", err);
    if (clock_now_ms() >= deadline_ms)
        err_set(err, "TLS: timed out");
    else if (cf_bool(s->cf, "tls_require_cert"))
        err_wrap(err, "tls_require_cert = yes");
    return -1;
}

static int start_tls(struct module_ldap_link *link, const struct module_ldap_settings *s,
                     int64_t deadline_ms, struct err *err)
{
    int msgid;
    int rc = ldap_start_tls(link->ld, NULL, NULL, &msgid);

    if (rc != LDAP_SUCCESS)
        module_ldap_fault(link, rc, "StartTLS", err);
    else if ((rc = module_ldap_result(link, msgid, deadline_ms, err)) != LDAP_SUCCESS)
        err_wrap(err, "StartTLS");
    return rc == LDAP_SUCCESS ? install_tls(link, s, deadline_ms, err) : -1;
}

/* Make the library use the socket. */
static int attach(struct module_ldap_link *link, struct err *err)
{
    ber_len_t message_max = MODULE_LDAP_MESSAGE_MAX;
    Sockbuf *sockbuf = NULL;
    int on = 1;

    if (link->at.at.kind != ENDPOINT_UNIX) {
        setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(link->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    int rc = ldap_init_fd(link->fd, LDAP_PROTO_EXT, link->at.url, &link->ld);
    if (rc != LDAP_SUCCESS) {
        link->ld = NULL;
        err_set(err, "the LDAP library: %s", ldap_err2string(rc));
        return -1;
    }
    if (ldap_get_option(link->ld, LDAP_OPT_SOCKBUF, &sockbuf) != LDAP_OPT_SUCCESS ||
        ber_sockbuf_add_io(sockbuf, (Sockbuf_IO *)&io, LBER_SBIOD_LEVEL_PROVIDER, link) < 0 ||
        ber_sockbuf_ctrl(sockbuf, LBER_SB_OPT_SET_MAX_INCOMING, &message_max) < 0) {
        err_set(err, "the LDAP library does not take a socket");
        return -1;
    }
    return 0;
}

static int prepare(struct module_ldap_link *link, const struct module_ldap_settings *s,
                   bool is_anonymous, int64_t deadline_ms, struct err *err)
{
    if (set_options(link, s, err) < 0)
        return -1;
    if (link->at.is_tls || s->start_tls) {
        if (module_ldap_tls_prepare(link, s, err) < 0)
            return -1;
        int rc = link->at.is_tls ? install_tls(link, s, deadline_ms, err)
                                 : start_tls(link, s, deadline_ms, err);
        if (rc < 0)
            return -1;
    }
    return is_anonymous ? 0 : module_ldap_bind(link, s, deadline_ms, err);
}

struct module_ldap_link *module_ldap_link_open(const struct module_ldap_settings *s,
                                               const struct module_ldap_server *at,
                                               bool is_anonymous, int64_t deadline_ms,
                                               struct err *err)
{
    int64_t now_ms = clock_now_ms();

    if (deadline_ms - now_ms > s->timeout_ms)
        deadline_ms = now_ms + s->timeout_ms;
    int64_t left = deadline_ms - now_ms;
    int fd = endpoint_connect(&at->at, left > 0 ? (unsigned)left : 1, err);
    if (fd < 0) {
        err_wrap(err, "cannot connect");
        return NULL;
    }
    struct module_ldap_link *link = mem_zalloc(sizeof *link);
    link->fd = fd;
    link->at = *at;
    link->at.url = mem_strdup(at->url);
    if (attach(link, err) == 0 && prepare(link, s, is_anonymous, deadline_ms, err) == 0)
        return link;
    module_ldap_link_close(link);
    return NULL;
}

void module_ldap_link_close(struct module_ldap_link *link)
{
    if (link == NULL)
        return;
    if (link->ld != NULL)
        ldap_unbind_ext(link->ld, NULL, NULL);
    if (link->fd >= 0)
        close(link->fd);
    free(link->at.url);
    free(link);
}
