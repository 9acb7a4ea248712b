/* SPDX-License-Identifier: ISC */
/*
 * resolver: look-up of addresses and MX hosts, with a deadline and a way to interrupt it. The
 * interface is a table of functions, so that tests can replace it. Any thread.
 */
#ifndef SPLIT_RESOLVER_H
#define SPLIT_RESOLVER_H

#include "base/err.h"
#include "net/endpoint.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define RESOLVER_ADDRESSES_MAX 16 /* of one host; further ones are ignored */

enum resolver_status {
    RESOLVER_FOUND,
    RESOLVER_NOT_FOUND, /* the name does not exist, or has no such record */
    RESOLVER_TRY_AGAIN, /* no answer, a malformed one, an interruption, a local fault */
};

/* The servers that are queried. */
struct resolver_servers {
    struct endpoint *servers; /* the hosts are addresses; empty: the servers of the system */
    size_t server_count;
};

struct resolver_query {
    const char *name;
    int family;                         /* of addresses: AF_UNSPEC, AF_INET, AF_INET6 */
    unsigned timeout_ms;                /* for the whole look-up */
    const struct resolver_servers *dns; /* NULL: the servers of the system */
    int wake_fd; /* when poll(2) reports POLLIN or POLLHUP, the look-up ends; -1: none */
};

struct resolver_addresses {
    struct {
        struct sockaddr_storage sa; /* the port is 0 */
        socklen_t len;
    } items[RESOLVER_ADDRESSES_MAX];
    size_t count;
};

struct resolver_mx {
    unsigned preference;
    char host[256]; /* "" is the root: the domain accepts no mail (RFC 7505) */
};

/* RESOLVER_FOUND means at least one result. Otherwise `err` has the reason ("Host not found"),
 * without the name. */
struct resolver {
    /* Look up the addresses of a host. */
    enum resolver_status (*addresses)(const struct resolver_query *q,
                                      struct resolver_addresses *out, struct err *err);
    /* Look up the MX hosts of a domain. The caller frees the list, which has every host of the
     * answer whose name is valid. An answer has 64 kB at most, which bounds the list. */
    enum resolver_status (*mx)(const struct resolver_query *q, struct resolver_mx **list_out,
                               size_t *count_out, struct err *err);
};

/* The resolver that uses /etc/hosts, and the servers of the query or of /etc/resolv.conf. It is in
 * resolver_cares.c, or in a build without c-ares in resolver_libc.c. */
extern const struct resolver resolver_system;

#endif
