/* SPDX-License-Identifier: ISC */
#include "net/inherited.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define FDS_MAX 1000

static long number_in(const char *variable)
{
    const char *text = getenv(variable);

    return text != NULL ? strtol(text, NULL, 10) : 0;
}

static bool is_inet(const struct endpoint *e, const char *ip, const char *any, uint16_t port)
{
    return e->kind == ENDPOINT_INET && e->port == port &&
           strcmp(ip, e->host[0] != '\0' ? e->host : any) == 0;
}

static bool is_at(int fd, const struct endpoint *e)
{
    struct sockaddr_storage sa = {0};
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&sa;
    const struct sockaddr_un *un = (const struct sockaddr_un *)&sa;
    socklen_t len = sizeof sa, option = sizeof(int);
    char ip[INET6_ADDRSTRLEN] = "";
    int listens = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &option) != 0 || listens == 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
        return false;
    switch (sa.ss_family) {
    case AF_INET:
        inet_ntop(AF_INET, &in4->sin_addr, ip, sizeof ip);
        return is_inet(e, ip, "0.0.0.0", ntohs(in4->sin_port));
    case AF_INET6:
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
        return is_inet(e, ip, "::", ntohs(in6->sin6_port));
    case AF_UNIX:
        return e->kind == ENDPOINT_UNIX && strncmp(un->sun_path, e->path, sizeof un->sun_path) == 0;
    default:
        return false;
    }
}

int inherited_take(const struct endpoint *e, int *fds_out, size_t max)
{
    long count = number_in("LISTEN_PID") == (long)getpid() ? number_in("LISTEN_FDS") : 0;
    int found = 0;

    for (int fd = FIRST_FD; fd < FIRST_FD + count && fd < FIRST_FD + FDS_MAX; fd++) {
        int flags = fcntl(fd, F_GETFD);
        /* Skip close-on-exec descriptors: they were taken before, or this process opened them. */
        if (flags == -1 || (flags & FD_CLOEXEC) != 0 || (size_t)found == max || !is_at(fd, e) ||
            fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == -1)
            continue;
        fds_out[found++] = fd;
    }
    return found;
}
