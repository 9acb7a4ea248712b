/* SPDX-License-Identifier: ISC */
/*
 * route: finds the addresses that a connection to a destination tries, one after the other. Each
 * entry of relay_to stands for a unix socket, for a host, or for a domain whose MX hosts are looked
 * up (RFC 5321 5.1). MX hosts are tried in order of preference, those of equal preference in random
 * order; without MX records the domain is the host. An entry gives at most ROUTE_ADDRESSES_MAX
 * addresses, within connect_timeout for all its look-ups, and is looked up only when all before it
 * have failed.
 *
 * If this very host is among the MX hosts, by its name or by an address, it and all hosts that are
 * not preferred to it are left out. This holds for port 25 only, as in Postfix's smtp(8).
 *
 * The process remembers for ROUTE_DOWN_S seconds which addresses refused a connection; they are
 * tried last. After that time one connection tries such an address again, while the others still
 * avoid it.
 *
 * A route belongs to one thread; the memory of addresses is shared by all.
 */
#ifndef SPLIT_ROUTE_H
#define SPLIT_ROUTE_H

#include "config/config.h"
#include "smtp/outcome.h"
#include "net/resolver.h"

#include <stdbool.h>
#include <sys/socket.h>

#define ROUTE_ADDRESSES_MAX 5 /* as Postfix's smtp_mx_address_limit */
#define ROUTE_DOWN_S 60

struct route;

struct route_hop {
    struct sockaddr_storage sa;
    socklen_t sa_len;
    /* its name as relay_to or the MX record has it; "" with a unix socket; valid until the next
     * route_next() */
    const char *host;
    /* for TLS: its name as relay_to has it, which no DNS server can change; "" with a unix
     * socket */
    const char *nexthop;
    char text[400]; /* for messages: "host[ip]:port", "HOSTNAME[/path]" */
    /* found by an MX look-up, for port 25; if its reply has our own name, mail to it loops */
    bool is_foreign;
};

/* Make a route. d, hostname (our own) and resolver (NULL: the system's) are borrowed for its life.
 * wake_fd: see struct resolver_query. No I/O yet. */
struct route *route_new(const struct config_destination *d, const char *hostname,
                        const struct resolver *resolver, int wake_fd)
    __attribute__((nonnull(1, 2), returns_nonnull, warn_unused_result));

/* Free the route. NULL is legal. */
void route_free(struct route *r);

/* Does relay_to have names, which have to be looked up? */
bool route_has_names(const struct config_destination *d) __attribute__((nonnull));

/*
 * The next address to try; NULL: there are no more. The hop belongs to the route, and is valid
 * until the next call. *fault is set (OUTCOME_RETRY, in Postfix's words) when a look-up fails, and
 * stays as it is otherwise. Blocks for look-ups.
 */
const struct route_hop *route_next(struct route *r, struct outcome *fault)
    __attribute__((nonnull, warn_unused_result));

/* Note that the hop refused the connection, or sent no reply on it: its address is avoided for
 * ROUTE_DOWN_S. */
void route_failed(const struct route_hop *hop) __attribute__((nonnull));

/* Note that the hop works: its address is not avoided any more. */
void route_worked(const struct route_hop *hop) __attribute__((nonnull));

#endif
