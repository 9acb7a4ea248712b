/* SPDX-License-Identifier: ISC */
#include "ctl.h"
#include "../config_file.h"
#include "../log.h"
#include "../mem.h"
#include "../process.h"
#include "../relay/queue.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void ctl_complain(const char *fmt, ...)
{
    char text[1500];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_sanitize(text);
    fprintf(stderr, "splitctl: %s\n", text);
}

int ctl_usage(const struct ctl_command *self)
{
    fprintf(stderr, "usage: splitctl [-c FILE] %s%s%s\n", self->name,
            self->usage[0] == '\0' ? "" : " ", self->usage);
    return EXIT_USAGE;
}

struct config *ctl_load(const char *config_path)
{
    struct err err;
    struct config *config = config_file_load(config_path, &err);

    if (config == NULL)
        ctl_complain("%s", err.text);
    return config;
}

char *ctl_relay_lock(const struct config *config)
{
    return mem_printf("%s/lock", config->relay.spool_directory);
}

void ctl_print(const char *text)
{
    char *copy = mem_strdup(text);

    log_sanitize(copy);
    fputs(copy, stdout);
    free(copy);
}

bool ctl_is_id(const char *text)
{
    size_t len = 0;

    while (isalnum((unsigned char)text[len]))
        len++;
    return len > 0 && len < QUEUE_ID_SIZE && text[len] == '\0';
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* 0, or errno. */
static int wait_connected(int fd, int64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;

    for (;;) {
        int64_t left = deadline_ms - now_ms();
        int n = left <= 0 ? 0 : poll(&p, 1, (int)left);
        if (n == 0)
            return ETIMEDOUT;
        if (n > 0)
            return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
        if (errno != EINTR)
            return errno;
    }
}

/* 0, or errno. */
static int try_connect(const struct sockaddr *sa, socklen_t len, int64_t deadline_ms)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = 0;

    if (fd < 0)
        return errno;
    if (connect(fd, sa, len) < 0)
        error = errno == EINPROGRESS ? wait_connected(fd, deadline_ms) : errno;
    close(fd);
    return error;
}

int ctl_probe(const struct endpoint *e, unsigned timeout_ms, struct err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int64_t deadline_ms = now_ms() + timeout_ms;
    char port[8];
    int error = EHOSTUNREACH;

    if (e->kind == ENDPOINT_UNIX) {
        memcpy(sa.sun_path, e->path, sizeof sa.sun_path);
        error = try_connect((struct sockaddr *)&sa, sizeof sa, deadline_ms);
    } else {
        snprintf(port, sizeof port, "%u", (unsigned)e->port);
        int rc = getaddrinfo(e->host[0] == '\0' ? NULL : e->host, port, &hints, &list);
        if (rc != 0) {
            err_set(err, "%s", rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
            return -1;
        }
        for (const struct addrinfo *a = list; a != NULL && error != 0; a = a->ai_next)
            error = try_connect(a->ai_addr, a->ai_addrlen, deadline_ms);
        freeaddrinfo(list);
    }
    if (error == 0)
        return 0;
    err_set(err, "%s", strerror(error));
    return -1;
}
