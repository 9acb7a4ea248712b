/* SPDX-License-Identifier: ISC */
/*
 * c-ares, one channel for each look-up: it reads /etc/hosts and /etc/resolv.conf, asks by itself,
 * and leaves the waiting to us, who also look at the deadline and at wake_fd.
 */
#include "resolver.h"

#include "../mem.h"

#include <ares.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLASS_IN 1
#define TYPE_MX 15

struct lookup {
    const struct resolver_query *query;
    ares_channel channel;
    bool is_done;
    int status; /* of c-ares */
    struct resolver_addresses *addresses;
    struct resolver_mx *mx;
    size_t mx_count;
};

static void init_library(void)
{
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        abort(); /* out of memory */
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The servers of the configuration instead of those of /etc/resolv.conf. */
static int set_servers(ares_channel channel, const struct config_dns *dns)
{
    struct ares_addr_port_node *list = mem_zalloc(dns->server_count * sizeof *list);

    for (size_t i = 0; i < dns->server_count; i++) {
        const struct endpoint *e = &dns->servers[i];
        struct ares_addr_port_node *node = &list[i];
        node->next = i + 1 < dns->server_count ? node + 1 : NULL;
        node->family = strchr(e->host, ':') != NULL ? AF_INET6 : AF_INET;
        node->udp_port = node->tcp_port = e->port;
        if (ares_inet_pton(node->family, e->host, &node->addr) != 1)
            abort(); /* checked with the configuration */
    }
    int status = ares_set_servers_ports(channel, list);
    free(list);
    return status;
}

static enum resolver_status open_channel(struct lookup *l, const struct resolver_query *q,
                                         struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    l->query = q;
    pthread_once(&once, init_library);
    int status = ares_init(&l->channel);
    if (status == ARES_SUCCESS && q->dns != NULL && q->dns->server_count > 0) {
        status = set_servers(l->channel, q->dns);
        if (status != ARES_SUCCESS)
            ares_destroy(l->channel);
    }
    if (status == ARES_SUCCESS)
        return RESOLVER_FOUND;
    err_set(err, "%s", ares_strerror(status));
    return RESOLVER_TRY_AGAIN;
}

/* Wait for the sockets of the channel once. False: we were told to give up. */
static bool wait_once(struct lookup *l, int64_t left_ms)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd polled[ARES_GETSOCK_MAXNUM + 1];
    struct timeval left = {.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000}, next;
    nfds_t count = 0;
    bool is_any_ready = false;

    unsigned bits = (unsigned)ares_getsock(l->channel, sockets, ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        /* As ARES_GETSOCK_READABLE and _WRITABLE, which shift into the sign. */
        short events = (short)((bits >> i & 1U ? POLLIN : 0) |
                               (bits >> (i + ARES_GETSOCK_MAXNUM) & 1U ? POLLOUT : 0));
        if (events != 0)
            polled[count++] = (struct pollfd){.fd = sockets[i], .events = events};
    }
    polled[count] = (struct pollfd){.fd = l->query->wake_fd, .events = POLLIN};
    const struct timeval *wait = ares_timeout(l->channel, &left, &next);
    if (poll(polled, count + 1, (int)(wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1)) < 0 &&
        errno != EINTR)
        return false;
    if (polled[count].revents != 0)
        return false;
    for (nfds_t i = 0; i < count; i++)
        if (polled[i].revents != 0) {
            bool is_for_write = (polled[i].revents & POLLOUT) != 0;
            bool is_for_read = (polled[i].revents & ~POLLOUT) != 0;
            is_any_ready = true;
            ares_process_fd(l->channel, is_for_read ? polled[i].fd : ARES_SOCKET_BAD,
                            is_for_write ? polled[i].fd : ARES_SOCKET_BAD);
        }
    if (!is_any_ready)
        ares_process_fd(l->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    return true;
}

/* Until there is an answer; releases the channel. */
static enum resolver_status finish(struct lookup *l, struct err *err)
{
    int64_t deadline_ms = now_ms() + l->query->timeout_ms;
    bool is_interrupted = false;

    while (!l->is_done && !is_interrupted && now_ms() < deadline_ms) {
        int64_t left_ms = deadline_ms - now_ms();
        is_interrupted = !wait_once(l, left_ms > 1000000 ? 1000000 : left_ms > 0 ? left_ms : 0);
    }
    bool is_late = !l->is_done;
    ares_destroy(l->channel); /* answers what is not answered yet */
    if (is_interrupted || is_late) {
        err_set(err, "%s", is_interrupted ? "interrupted" : "Timeout while contacting DNS servers");
        return RESOLVER_TRY_AGAIN;
    }
    if (l->status == ARES_SUCCESS)
        return RESOLVER_FOUND;
    err_set(err, "%s", ares_strerror(l->status));
    return l->status == ARES_ENOTFOUND || l->status == ARES_ENODATA ? RESOLVER_NOT_FOUND
                                                                    : RESOLVER_TRY_AGAIN;
}

static void take_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    struct lookup *l = arg;

    (void)timeouts;
    l->is_done = true;
    l->status = status;
    if (status != ARES_SUCCESS || found == NULL)
        return;
    struct resolver_addresses *out = l->addresses;
    for (const struct ares_addrinfo_node *n = found->nodes;
         n != NULL && out->count < RESOLVER_ADDRESSES_MAX; n = n->ai_next) {
        if (n->ai_family != AF_INET && n->ai_family != AF_INET6)
            continue;
        memcpy(&out->items[out->count].sa, n->ai_addr, n->ai_addrlen);
        out->items[out->count++].len = n->ai_addrlen;
    }
    if (out->count == 0)
        l->status = ARES_ENODATA;
    ares_freeaddrinfo(found);
}

static enum resolver_status find_addresses(const struct resolver_query *q,
                                           struct resolver_addresses *out, struct err *err)
{
    struct ares_addrinfo_hints hints = {.ai_family = q->family, .ai_socktype = SOCK_STREAM};
    struct lookup l = {.addresses = out};

    out->count = 0;
    enum resolver_status status = open_channel(&l, q, err);
    if (status != RESOLVER_FOUND)
        return status;
    ares_getaddrinfo(l.channel, q->name, NULL, &hints, take_addresses, &l);
    return finish(&l, err);
}

/* Names come from outside, and go into messages. */
static bool is_host_name(const char *name)
{
    return strlen(name) < sizeof((struct resolver_mx *)0)->host &&
           name[strspn(
               name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")] == '\0';
}

static void take_mx(void *arg, int status, int timeouts, unsigned char *answer, int len)
{
    struct lookup *l = arg;
    struct ares_mx_reply *list = NULL;

    (void)timeouts;
    l->is_done = true;
    l->status = status == ARES_SUCCESS ? ares_parse_mx_reply(answer, len, &list) : status;
    for (const struct ares_mx_reply *m = list; m != NULL; m = m->next) {
        if (!is_host_name(m->host))
            continue;
        l->mx = mem_grow(l->mx, l->mx_count + 1, sizeof *l->mx);
        l->mx[l->mx_count].preference = m->priority;
        memcpy(l->mx[l->mx_count++].host, m->host, strlen(m->host) + 1);
    }
    if (l->status == ARES_SUCCESS && l->mx_count == 0)
        l->status = list != NULL ? ARES_EBADRESP : ARES_ENODATA;
    ares_free_data(list);
}

static enum resolver_status find_mx(const struct resolver_query *q, struct resolver_mx **list_out,
                                    size_t *count_out, struct err *err)
{
    struct lookup l = {0};

    *list_out = NULL;
    *count_out = 0;
    enum resolver_status status = open_channel(&l, q, err);
    if (status != RESOLVER_FOUND)
        return status;
    ares_query(l.channel, q->name, CLASS_IN, TYPE_MX, take_mx, &l);
    status = finish(&l, err);
    if (status == RESOLVER_FOUND) {
        *list_out = l.mx;
        *count_out = l.mx_count;
    } else {
        free(l.mx);
    }
    return status;
}

const struct resolver resolver_system = {find_addresses, find_mx};
