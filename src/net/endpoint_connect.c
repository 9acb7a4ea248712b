/* SPDX-License-Identifier: ISC */
#include "net/endpoint.h"
#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* Wait for the end of connect(2). Returns 0, or an errno. */
static int wait_connected(int fd, int64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;

    for (;;) {
        int64_t left = deadline_ms - clock_now_ms();
        int n = left <= 0 ? 0 : poll(&p, 1, (int)left);
        if (n == 0)
            return ETIMEDOUT;
        if (n > 0)
            return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
        if (errno != EINTR)
            return errno;
    }
}

/* Returns the descriptor, or -1 with an errno in *error. */
static int try_connect(const struct sockaddr *sa, socklen_t len, int64_t deadline_ms, int *error)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *error = fd < 0 ? errno : 0;
    if (fd < 0)
        return -1;
    if (connect(fd, sa, len) < 0)
        *error = errno == EINPROGRESS ? wait_connected(fd, deadline_ms) : errno;
    if (*error == 0)
        return fd;
    close(fd);
    return -1;
}

static int connect_inet(const struct endpoint *e, int64_t deadline_ms, struct err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[8];
    int fd = -1, error = EHOSTUNREACH;

    snprintf(port, sizeof port, "%u", (unsigned)e->port);
    int rc = getaddrinfo(e->host[0] == '\0' ? NULL : e->host, port, &hints, &list);
    if (rc != 0) {
        err_set(err, "%s", rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
        return -1;
    }
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next)
        fd = try_connect(a->ai_addr, a->ai_addrlen, deadline_ms, &error);
    freeaddrinfo(list);
    if (fd < 0)
        err_set(err, "%s", strerror(error));
    return fd;
}

int endpoint_connect_address(const struct sockaddr *sa, socklen_t len, unsigned timeout_ms,
                             struct err *err)
{
    int error;
    int fd = try_connect(sa, len, clock_now_ms() + timeout_ms, &error);

    if (fd < 0)
        err_set(err, "%s", strerror(error));
    return fd;
}

int endpoint_connect(const struct endpoint *e, unsigned timeout_ms, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int64_t deadline_ms = clock_now_ms() + timeout_ms;
    int error;

    if (e->kind == ENDPOINT_INET)
        return connect_inet(e, deadline_ms, err);
    memcpy(sa.sun_path, e->path, sizeof sa.sun_path);
    int fd = try_connect((struct sockaddr *)&sa, sizeof sa, deadline_ms, &error);
    if (fd < 0)
        err_set(err, "%s", strerror(error));
    return fd;
}
