/* SPDX-License-Identifier: ISC */
/*
 * resolver_cares_private: the query for MX hosts, whose interface differs between releases of
 * c-ares. resolver_cares_dnsrec.c is for c-ares 1.28 and newer, and uses ares_query_dnsrec().
 * resolver_cares_reply.c is for older releases, and uses ares_query() and ares_parse_mx_reply(),
 * which newer releases deprecate. configure selects one. Private to resolver_cares*.c.
 */
#ifndef SPLIT_RESOLVER_CARES_PRIVATE_H
#define SPLIT_RESOLVER_CARES_PRIVATE_H

#include "net/resolver.h"

#include <ares.h>
#include <poll.h>
#include <stdbool.h>

/* One look-up; it exists until its channel is destroyed. */
struct cares_lookup {
    const struct resolver_query *query;
    ares_channel channel;
    struct pollfd *sockets; /* the open sockets of c-ares; the descriptor is -1 in free places */
    size_t socket_count;
    bool is_done;
    int status; /* of c-ares */
    struct resolver_addresses *addresses;
    struct resolver_mx *mx;
    size_t mx_count;
};

/* Query the MX hosts of the query's name. is_done, status and mx are set now, or later while c-ares
 * processes its sockets. With the status ARES_SUCCESS there is at least one host; with
 * ARES_EBADRESP no MX record has a valid host name. */
void cares_ask_mx(struct cares_lookup *l);

/* Add a host to `mx`. A text that is not a valid host name is skipped: names come from outside and
 * appear in messages. */
void cares_add_mx(struct cares_lookup *l, unsigned preference, const char *host);

#endif
