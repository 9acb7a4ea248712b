/* SPDX-License-Identifier: ISC */
/*
 * The resolver with c-ares, with one channel for each look-up. c-ares reads /etc/hosts and
 * /etc/resolv.conf, and sends the queries. This file waits for the answer with poll(2), because the
 * wait also ends at the deadline, and when wake_fd is ready. The code that differs between releases
 * of c-ares is in resolver_cares_dnsrec.c (1.28 and newer) and resolver_cares_reply.c.
 */
#include "net/resolver_cares_private.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void init_library(void)
{
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        abort(); /* out of memory */
}

/* Callback of c-ares, which has opened or closed a socket, or now waits for other events at a
 * socket. Keeps the list for poll(2) up to date. A free place has the descriptor -1, which poll(2)
 * skips. Places do not move, because process_ready() may be iterating over them. */
static void note_socket(void *arg, ares_socket_t fd, int is_for_read, int is_for_write)
{
    struct cares_lookup *l = arg;
    short events = (short)((is_for_read ? POLLIN : 0) | (is_for_write ? POLLOUT : 0));
    size_t at = 0;

    while (at < l->socket_count && l->sockets[at].fd != fd)
        at++;
    if (at == l->socket_count) {
        if (events == 0)
            return;
        for (at = 0; at < l->socket_count && l->sockets[at].fd >= 0; at++)
            ;
        if (at == l->socket_count)
            l->sockets = mem_grow(l->sockets, ++l->socket_count, sizeof *l->sockets);
        l->sockets[at] = (struct pollfd){.fd = fd};
    }
    l->sockets[at].events = events;
    if (events == 0)
        l->sockets[at] = (struct pollfd){.fd = -1};
}

/* Use the servers of the configuration instead of those of /etc/resolv.conf. */
static int set_servers(ares_channel channel, const struct resolver_servers *dns)
{
    struct buf list = {0};

    for (size_t i = 0; i < dns->server_count; i++) {
        const struct endpoint *e = &dns->servers[i];
        bool is_ipv6 = strchr(e->host, ':') != NULL;
        buf_addf(&list, "%s%s%s%s:%u", i > 0 ? "," : "", is_ipv6 ? "[" : "", e->host,
                 is_ipv6 ? "]" : "", (unsigned)e->port);
    }
    int status = ares_set_servers_ports_csv(channel, buf_str(&list));
    buf_clear(&list);
    return status;
}

static enum resolver_status open_channel(struct cares_lookup *l, const struct resolver_query *q,
                                         struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct ares_options options = {.sock_state_cb = note_socket, .sock_state_cb_data = l};

    l->query = q;
    pthread_once(&once, init_library);
    int status = ares_init_options(&l->channel, &options, ARES_OPT_SOCK_STATE_CB);
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

/* Have c-ares read and write at the sockets that are ready. False: no socket is ready. */
static bool process_ready(struct cares_lookup *l)
{
    bool is_any_ready = false;

    /* ares_process_fd() may change the list (note_socket()), so a place is read only in its
     * turn. */
    for (size_t i = 0; i < l->socket_count; i++) {
        ares_socket_t fd = l->sockets[i].fd;
        short ready = l->sockets[i].revents;
        if (fd < 0 || ready == 0)
            continue;
        l->sockets[i].revents = 0;
        is_any_ready = true;
        ares_process_fd(l->channel, (ready & ~POLLOUT) != 0 ? fd : ARES_SOCKET_BAD,
                        (ready & POLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
    }
    return is_any_ready;
}

/* Wait for the sockets of the channel once. False: the look-up has to end, because wake_fd is ready
 * or poll(2) failed. */
static bool wait_once(struct cares_lookup *l, int64_t left_ms)
{
    struct timeval left = {.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000}, next;
    const struct timeval *wait = ares_timeout(l->channel, &left, &next);
    nfds_t count = (nfds_t)l->socket_count;

    l->sockets = mem_grow(l->sockets, count + 1, sizeof *l->sockets);
    l->sockets[count] = (struct pollfd){.fd = l->query->wake_fd, .events = POLLIN};
    if (poll(l->sockets, count + 1, (int)(wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1)) < 0) {
        if (errno != EINTR)
            return false;
        for (nfds_t i = 0; i <= count; i++)
            l->sockets[i].revents = 0;
    }
    if (l->sockets[count].revents != 0)
        return false;
    if (!process_ready(l))
        ares_process_fd(l->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    return true;
}

/* Wait for the answer, and release the channel. */
static enum resolver_status finish(struct cares_lookup *l, struct err *err)
{
    int64_t deadline_ms = clock_now_ms() + l->query->timeout_ms;
    bool is_interrupted = false;

    while (!l->is_done && !is_interrupted && clock_now_ms() < deadline_ms) {
        int64_t left_ms = deadline_ms - clock_now_ms();
        is_interrupted = !wait_once(l, left_ms > 1000000 ? 1000000 : left_ms > 0 ? left_ms : 0);
    }
    bool is_late = !l->is_done;
    ares_destroy(l->channel); /* calls the callbacks of open queries, and closes the sockets */
    free(l->sockets);
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
    struct cares_lookup *l = arg;

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
    struct cares_lookup l = {.addresses = out};

    out->count = 0;
    enum resolver_status status = open_channel(&l, q, err);
    if (status != RESOLVER_FOUND)
        return status;
    ares_getaddrinfo(l.channel, q->name, NULL, &hints, take_addresses, &l);
    return finish(&l, err);
}

/* Names come from outside and appear in messages, so only the characters of host names are allowed.
 */
static bool is_host_name(const char *name)
{
    return strlen(name) < sizeof((struct resolver_mx *)0)->host &&
           name[strspn(
               name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")] == '\0';
}

void cares_add_mx(struct cares_lookup *l, unsigned preference, const char *host)
{
    if (!is_host_name(host))
        return;
    l->mx = mem_grow(l->mx, l->mx_count + 1, sizeof *l->mx);
    l->mx[l->mx_count].preference = preference;
    memcpy(l->mx[l->mx_count++].host, host, strlen(host) + 1);
}

static enum resolver_status find_mx(const struct resolver_query *q, struct resolver_mx **list_out,
                                    size_t *count_out, struct err *err)
{
    struct cares_lookup l = {0};

    *list_out = NULL;
    *count_out = 0;
    enum resolver_status status = open_channel(&l, q, err);
    if (status != RESOLVER_FOUND)
        return status;
    cares_ask_mx(&l);
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
