/* SPDX-License-Identifier: ISC */
/*
 * endpoint: addresses to listen at and to connect to, as written in the configuration. A function
 * endpoint_parse_...() returns 0, or -1 with `err`. All are pure functions, except for
 * endpoint_listen() and endpoint_connect...(). Any thread.
 */
#ifndef SPLIT_ENDPOINT_H
#define SPLIT_ENDPOINT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum endpoint_kind { ENDPOINT_INET, ENDPOINT_UNIX, ENDPOINT_MAILDIR };

#define ENDPOINT_PATH_SIZE 256

struct endpoint {
    enum endpoint_kind kind;
    char host[256];  /* inet: name or address, no brackets; "" listens on every address */
    uint16_t port;   /* inet */
    bool is_literal; /* inet: in brackets, or a socket to listen at: no MX look-up */
    char path[ENDPOINT_PATH_SIZE]; /* unix, at most 107 bytes; maildir */
};

/* A milter or listener socket: "inet:PORT@HOST", "inet:PORT", "inet6:PORT@HOST" (HOST may be in
 * brackets), "unix:/path", "local:/path". `err` lists what is allowed. */
int endpoint_parse_socket(const char *text, struct endpoint *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* A destination: "[host]:port", "[host]", "host:port", "host" (default port 25), "unix:/path". */
int endpoint_parse_nexthop(const char *text, struct endpoint *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Does the endpoint mean the MX hosts of a domain: a nexthop without brackets that is not an
 * address? */
bool endpoint_is_domain(const struct endpoint *e) __attribute__((nonnull));

/* A name server: an address with or without port (53): "192.0.2.1", "192.0.2.1:5353",
 * "2001:db8::1", "[2001:db8::1]:5353". */
int endpoint_parse_dns_server(const char *text, struct endpoint *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* A value of relay_to: a nexthop, or "maildir:/path". */
int endpoint_parse_destination(const char *text, struct endpoint *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Write the endpoint to `out`, of `size` bytes, for log lines and messages: "[host]:port",
 * "domain:port", "unix:/path" or "maildir:/path". */
void endpoint_format(const struct endpoint *e, char *out, size_t size) __attribute__((nonnull));

/* A network, as in the option trusted_networks: "192.0.2.0/24", "2001:db8::/32", "[::1]/128", or
 * one address. */
struct endpoint_network {
    int family; /* AF_INET, AF_INET6 */
    uint8_t address[16];
    unsigned prefix; /* bits */
};

/* Parse a network. Host bits after the prefix are an error, as in Postfix's mynetworks. */
int endpoint_parse_network(const char *text, struct endpoint_network *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Read the address of a client: "192.0.2.1", "2001:db8::1", "IPv6:2001:db8::1". False: the text is
 * no address. The port is 0. */
bool endpoint_parse_address(const char *text, struct sockaddr_storage *out)
    __attribute__((nonnull, warn_unused_result));

/* Is the address in the network? IPv4-mapped IPv6 addresses count as IPv4. False for other families
 * than AF_INET and AF_INET6. */
bool endpoint_network_has(const struct endpoint_network *net, const struct sockaddr *sa)
    __attribute__((nonnull));

/* Is the endpoint on this machine: a unix socket, a Maildir, or a loopback host? */
bool endpoint_is_loopback(const struct endpoint *e) __attribute__((nonnull));

/* Is the host, without brackets, "localhost", an address of 127.0.0.0/8 in any form that
 * inet_aton(3) reads, or ::1? Other names count as other hosts; they are not looked up. */
bool endpoint_is_loopback_host(const char *host) __attribute__((nonnull));

/* Is the address one of 127.0.0.0/8, also as an IPv4-mapped IPv6 address, or ::1? False for other
 * families. */
bool endpoint_is_loopback_address(const struct sockaddr *sa) __attribute__((nonnull));

/* Does this host of a listener stand for all addresses: "" (of IPv4 and IPv6), "0.0.0.0" (of IPv4)
 * or "::" (of IPv6)? */
bool endpoint_is_any_host(const char *host) __attribute__((nonnull));

/* Return true if a connection to `to` reaches a socket that listens at one of these endpoints.
 * Addresses are compared as written; names are not looked up. */
bool endpoint_leads_to(const struct endpoint *to, const struct endpoint *list, size_t count)
    __attribute__((nonnull(1)));

/*
 * Open listening sockets, close-on-exec. The file of a unix socket gets `mode`; an old file is
 * replaced if no process listens at it. A host name may have several addresses, and each gets a
 * socket: up to max descriptors are put into fds_out, for the caller to close. Returns their
 * number, or -1 with `err`.
 */
int endpoint_listen(const struct endpoint *e, int backlog, unsigned mode, int *fds_out, size_t max,
                    struct err *err) __attribute__((nonnull, warn_unused_result));

/* Connect to one address, as endpoint_connect() does. */
int endpoint_connect_address(const struct sockaddr *sa, socklen_t len, unsigned timeout_ms,
                             struct err *err) __attribute__((nonnull, warn_unused_result));

/*
 * Connect within timeout_ms; the addresses of a name are tried one after the other. Returns the
 * descriptor (close-on-exec, non-blocking), or -1 with `err` (without the endpoint's name).
 * timeout_ms does not bound the look-up of a name. In endpoint_connect.c.
 */
int endpoint_connect(const struct endpoint *e, unsigned timeout_ms, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
