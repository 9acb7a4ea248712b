/* SPDX-License-Identifier: ISC */
#include "net/endpoint.h"
#include "base/ascii.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_FORMS "\"inet:PORT@HOST\", \"inet:PORT\", \"inet6:PORT@HOST\" or \"unix:/path\""
#define UNIX_PATH_SIZE (sizeof((struct sockaddr_un *)NULL)->sun_path)
#define NEXTHOP_FORMS "\"[host]:port\", \"[host]\", \"domain:port\", \"domain\" or \"unix:/path\""

static int parse_port(const char *text, size_t len, uint16_t *out)
{
    unsigned long port = 0;

    if (len == 0 || len > 5)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (!ascii_is_digit(text[i]))
            return -1;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    if (port == 0 || port > UINT16_MAX)
        return -1;
    *out = (uint16_t)port;
    return 0;
}

/* Parse a host name, an IPv4 address, or (if may_be_v6) an IPv6 address into out->host. */
static int parse_host(const char *text, size_t len, bool may_be_v6, struct endpoint *out)
{
    struct in6_addr v6;

    if (len == 0 || len >= sizeof out->host)
        return -1;
    memcpy(out->host, text, len);
    out->host[len] = '\0';
    if (strchr(out->host, ':') != NULL)
        return may_be_v6 && inet_pton(AF_INET6, out->host, &v6) == 1 ? 0 : -1;
    for (size_t i = 0; i < len; i++)
        if (!ascii_is_alnum(text[i]) && strchr("-._", text[i]) == NULL)
            return -1;
    return text[0] == '.' || text[0] == '-' ? -1 : 0;
}

/* Parse the host that was between brackets. Postfix also writes "[ipv6:2001:db8::1]". */
static int parse_bracketed(const char *text, size_t len, struct endpoint *out)
{
    if (len > 5 && ascii_equal_n(text, "ipv6:", 5)) {
        text += 5;
        len -= 5;
    }
    return parse_host(text, len, true, out);
}

static int parse_unix(const char *path, const char *text, struct endpoint *out, struct err *err)
{
    out->kind = ENDPOINT_UNIX;
    if (path[0] != '/' || path[1] == '\0') {
        err_set(err, "'%s': the path of a unix socket must begin with '/'", text);
        return -1;
    }
    if (strlen(path) >= UNIX_PATH_SIZE) {
        err_set(err, "'%s': the path of a unix socket may have %zu characters", text,
                UNIX_PATH_SIZE - 1);
        return -1;
    }
    memcpy(out->path, path, strlen(path) + 1);
    return 0;
}

int endpoint_parse_socket(const char *text, struct endpoint *out, struct err *err)
{
    memset(out, 0, sizeof *out);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, text, out, err);
    if (strncmp(text, "local:", 6) == 0)
        return parse_unix(text + 6, text, out, err);

    const char *port = NULL;
    if (strncmp(text, "inet:", 5) == 0)
        port = text + 5;
    else if (strncmp(text, "inet6:", 6) == 0)
        port = text + 6;
    out->is_literal = true;
    if (port == NULL) {
        err_set(err, "'%s' is no socket; allowed: " SOCKET_FORMS, text);
        return -1;
    }
    out->kind = ENDPOINT_INET;
    size_t port_len = strcspn(port, "@");
    if (parse_port(port, port_len, &out->port) < 0) {
        err_set(err, "'%s': the port must be a number from 1 to 65535; allowed: " SOCKET_FORMS,
                text);
        return -1;
    }
    if (port[port_len] == '\0')
        return 0;
    const char *host = port + port_len + 1;
    size_t len = strlen(host);
    int bad = host[0] == '[' && host[len - 1] == ']' ? parse_bracketed(host + 1, len - 2, out)
                                                     : parse_host(host, len, true, out);
    if (bad) {
        err_set(err, "'%s': no valid host behind '@'; allowed: " SOCKET_FORMS, text);
        return -1;
    }
    return 0;
}

int endpoint_parse_nexthop(const char *text, struct endpoint *out, struct err *err)
{
    memset(out, 0, sizeof *out);
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, text, out, err);
    out->kind = ENDPOINT_INET;
    out->port = 25;

    const char *rest;
    int bad;
    if (text[0] == '[') {
        size_t len = strcspn(text + 1, "]");
        out->is_literal = true;
        bad = text[1 + len] != ']' || parse_bracketed(text + 1, len, out) < 0;
        rest = text + 1 + len + (text[1 + len] == ']');
    } else {
        size_t len = strcspn(text, ":");
        bad = parse_host(text, len, false, out) < 0;
        rest = text + len;
    }
    if (bad || (rest[0] != '\0' && rest[0] != ':')) {
        err_set(err, "'%s' is no host to connect to; allowed: " NEXTHOP_FORMS, text);
        return -1;
    }
    if (rest[0] == ':' && parse_port(rest + 1, strlen(rest + 1), &out->port) < 0) {
        err_set(err, "'%s': the port must be a number from 1 to 65535; allowed: " NEXTHOP_FORMS,
                text);
        return -1;
    }
    return 0;
}

int endpoint_parse_destination(const char *text, struct endpoint *out, struct err *err)
{
    static const char maildir[] = "maildir:";

    if (strncmp(text, maildir, sizeof maildir - 1) != 0)
        return endpoint_parse_nexthop(text, out, err);
    const char *path = text + sizeof maildir - 1;
    memset(out, 0, sizeof *out);
    out->kind = ENDPOINT_MAILDIR;
    if (path[0] != '/' || path[1] == '\0' || path[strlen(path) - 1] == '/' ||
        strlen(path) >= sizeof out->path) {
        err_set(err,
                "'%s' is no Maildir; allowed: \"maildir:/path\", the path with at most %zu "
                "characters, no '/' at its end",
                text, sizeof out->path - 1);
        return -1;
    }
    memcpy(out->path, path, strlen(path) + 1);
    return 0;
}

static bool is_address(const char *host)
{
    unsigned char address[16];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

bool endpoint_is_domain(const struct endpoint *e)
{
    return e->kind == ENDPOINT_INET && !e->is_literal && !is_address(e->host);
}

int endpoint_parse_dns_server(const char *text, struct endpoint *out, struct err *err)
{
    size_t len = strlen(text);
    bool has_end = len > 0 && text[len - 1] == ']';
    char full[300];
    struct err why;

    if (is_address(text))
        snprintf(full, sizeof full, "[%s]:53", text);
    else
        snprintf(full, sizeof full, "%s%s", text, has_end ? ":53" : "");
    if (len < 280 && (is_address(text) || has_end || strchr(text, ':') != NULL) &&
        endpoint_parse_nexthop(full, out, &why) == 0 && out->kind == ENDPOINT_INET &&
        is_address(out->host))
        return 0;
    err_set(err,
            "'%s' is no name server; allowed: an address, like \"192.0.2.1\", \"192.0.2.1:5353\", "
            "\"2001:db8::1\" or \"[2001:db8::1]:5353\"",
            text);
    return -1;
}

void endpoint_format(const struct endpoint *e, char *out, size_t size)
{
    switch (e->kind) {
    case ENDPOINT_UNIX:
        snprintf(out, size, "unix:%s", e->path);
        break;
    case ENDPOINT_MAILDIR:
        snprintf(out, size, "maildir:%s", e->path);
        break;
    case ENDPOINT_INET:
        snprintf(out, size, endpoint_is_domain(e) ? "%s:%u" : "[%s]:%u", e->host, e->port);
        break;
    }
}

/* Remove the socket file that a crashed process has left. -1 with `err`: the file is no socket,
 * another process listens at it, or it is not certain that none does. */
static int remove_stale(const struct sockaddr_un *sa, struct err *err)
{
    struct stat st;

    if (lstat(sa->sun_path, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        err_set_errno(err, "unix:%s", sa->sun_path);
        return -1;
    }
    if (!S_ISSOCK(st.st_mode)) {
        err_set(err, "unix:%s: the file exists and is no socket", sa->sun_path);
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        err_set_errno(err, "unix:%s: socket", sa->sun_path);
        return -1;
    }
    int failed = connect(fd, (const struct sockaddr *)sa, sizeof *sa) < 0 ? errno : 0;
    close(fd);
    if (failed == 0 || failed == EAGAIN) {
        err_set(err, "unix:%s: another process listens there", sa->sun_path);
        return -1;
    }
    if (failed != ECONNREFUSED) {
        errno = failed;
        err_set_errno(err, "unix:%s: the old socket", sa->sun_path);
        return -1;
    }
    if (unlink(sa->sun_path) < 0 && errno != ENOENT) {
        err_set_errno(err, "unix:%s: remove the old socket", sa->sun_path);
        return -1;
    }
    return 0;
}

static int listen_unix(const struct endpoint *e, int backlog, unsigned mode, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    memcpy(sa.sun_path, e->path, sizeof sa.sun_path);
    if (remove_stale(&sa, err) < 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        err_set_errno(err, "unix:%s: socket", e->path);
        return -1;
    }
    /* bind(2) creates the file with the mode of the descriptor, less the umask, so the mode is
     * never wider than asked for, not even for a moment. chmod(2) then undoes the umask. */
    if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 ||
        chmod(e->path, mode) < 0 || listen(fd, backlog) < 0) {
        err_set_errno(err, "unix:%s: listen", e->path);
        close(fd);
        return -1;
    }
    return fd;
}

static int listen_address(const struct addrinfo *ai, int backlog)
{
    int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (ai->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, backlog) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int listen_inet(const struct endpoint *e, int backlog, int *fds_out, size_t max,
                       struct err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8], name[sizeof e->host + 16];
    size_t count = 0;

    endpoint_format(e, name, sizeof name);
    snprintf(port, sizeof port, "%u", e->port);
    int rc = getaddrinfo(e->host[0] == '\0' ? NULL : e->host, port, &hints, &found);
    if (rc != 0) {
        err_set(err, "%s: %s", name, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
        return -1;
    }
    for (const struct addrinfo *ai = found; ai != NULL && count < max; ai = ai->ai_next) {
        int fd = listen_address(ai, backlog);
        if (fd >= 0) {
            fds_out[count++] = fd;
            continue;
        }
        /* A kernel without IPv6 is no reason to refuse IPv4. */
        if (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) {
            err_set_errno(err, "%s: listen", name);
            continue;
        }
        err_set_errno(err, "%s: listen", name);
        while (count > 0)
            close(fds_out[--count]);
        break;
    }
    freeaddrinfo(found);
    return count == 0 ? -1 : (int)count;
}

int endpoint_listen(const struct endpoint *e, int backlog, unsigned mode, int *fds_out, size_t max,
                    struct err *err)
{
    if (max == 0) {
        err_set(err, "no room for another socket");
        return -1;
    }
    if (e->kind == ENDPOINT_INET)
        return listen_inet(e, backlog, fds_out, max, err);
    fds_out[0] = listen_unix(e, backlog, mode, err);
    return fds_out[0] < 0 ? -1 : 1;
}
