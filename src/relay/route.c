/* SPDX-License-Identifier: ISC */
#include "route.h"

#include "../mem.h"
#include "route_down.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>

struct hop {
    struct route_hop pub;
    char host[256];
};

struct hops {
    struct hop *items;
    size_t count, next;
};

struct route {
    const struct config_destination *destination;
    const char *hostname;
    const struct resolver *resolver;
    int wake_fd;
    size_t entry;       /* of relay_to, the next to be looked up */
    struct hops fresh;  /* of the present entry */
    struct hops parked; /* of all entries so far: took no connection lately */
};

static int64_t now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec;
}

struct route *route_new(const struct config_destination *d, const char *hostname,
                        const struct resolver *resolver, int wake_fd)
{
    struct route *r = mem_zalloc(sizeof *r);

    r->destination = d;
    r->hostname = hostname;
    r->resolver = resolver != NULL ? resolver : &resolver_system;
    r->wake_fd = wake_fd;
    return r;
}

void route_free(struct route *r)
{
    if (r == NULL)
        return;
    free(r->fresh.items);
    free(r->parked.items);
    free(r);
}

/* An address in numbers needs nobody to find it. */
static bool parse_address(const char *host, struct resolver_addresses *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    out->count = 1;
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(&out->items[0].sa, &v4, sizeof v4);
        out->items[0].len = sizeof v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(&out->items[0].sa, &v6, sizeof v6);
        out->items[0].len = sizeof v6;
        return true;
    }
    out->count = 0;
    return false;
}

bool route_has_names(const struct config_destination *d)
{
    struct resolver_addresses found;

    for (size_t i = 0; i < d->relay_to_count; i++)
        if (d->relay_to[i].kind == ENDPOINT_INET && !parse_address(d->relay_to[i].host, &found))
            return true;
    return false;
}

static struct hop *add_hop(struct hops *list)
{
    list->items = mem_grow(list->items, list->count + 1, sizeof *list->items);
    memset(&list->items[list->count], 0, sizeof *list->items);
    return &list->items[list->count++];
}

static void add_unix(struct route *r, const struct endpoint *e)
{
    struct hop *h = add_hop(&r->fresh);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    memcpy(sa.sun_path, e->path, sizeof sa.sun_path);
    memcpy(&h->pub.sa, &sa, sizeof sa);
    h->pub.sa_len = sizeof sa;
    snprintf(h->pub.text, sizeof h->pub.text, "%.250s[%s]", r->hostname, e->path);
}

static void add_inet(struct route *r, const char *host, uint16_t port, bool is_mx,
                     const struct sockaddr_storage *sa, socklen_t len)
{
    struct hop *h = add_hop(&r->fresh);
    char ip[64] = "unknown";

    memcpy(&h->pub.sa, sa, len);
    h->pub.sa_len = len;
    h->pub.is_mx = is_mx;
    if (sa->ss_family == AF_INET)
        ((struct sockaddr_in *)&h->pub.sa)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&h->pub.sa)->sin6_port = htons(port);
    snprintf(h->host, sizeof h->host, "%s", host);
    getnameinfo((const struct sockaddr *)sa, len, ip, sizeof ip, NULL, 0, NI_NUMERICHOST);
    snprintf(h->pub.text, sizeof h->pub.text, "%s[%s]:%u", host, ip, (unsigned)port);
}

static void set_fault(struct delivery_outcome *fault, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void set_fault(struct delivery_outcome *fault, const char *dsn, const char *fmt, ...)
{
    va_list ap;

    fault->result = DELIVERY_RETRY;
    snprintf(fault->dsn, sizeof fault->dsn, "%s", dsn);
    va_start(ap, fmt);
    vsnprintf(fault->reason, sizeof fault->reason, fmt, ap);
    va_end(ap);
}

/* The addresses of one host. */
static void add_host(struct route *r, const struct endpoint *e, struct delivery_outcome *fault)
{
    struct resolver_query q = {.name = e->host,
                               .family = AF_UNSPEC,
                               .timeout_ms = r->destination->connect_timeout_ms,
                               .wake_fd = r->wake_fd};
    struct resolver_addresses found;
    struct err why;

    if (!parse_address(e->host, &found) &&
        r->resolver->addresses(&q, &found, &why) != RESOLVER_FOUND) {
        set_fault(fault, "4.4.3", "Host or domain name not found: %s: %s", e->host, why.text);
        return;
    }
    for (size_t i = 0; i < found.count && i < ROUTE_ADDRESSES_MAX; i++)
        add_inet(r, e->host, e->port, false, &found.items[i].sa, found.items[i].len);
}

/* Look the next entry up. */
static void add_entry(struct route *r, struct delivery_outcome *fault)
{
    const struct endpoint *e = &r->destination->relay_to[r->entry++];

    r->fresh.count = r->fresh.next = 0;
    switch (e->kind) {
    case ENDPOINT_UNIX:
        add_unix(r, e);
        break;
    case ENDPOINT_INET:
        add_host(r, e, fault);
        break;
    }
}

static const struct route_hop *publish(struct hop *h)
{
    h->pub.host = h->host;
    return &h->pub;
}

const struct route_hop *route_next(struct route *r, struct delivery_outcome *fault)
{
    for (;;) {
        while (r->fresh.next < r->fresh.count) {
            struct hop *h = &r->fresh.items[r->fresh.next++];
            if (!route_down_is(&h->pub.sa, h->pub.sa_len, now_s()))
                return publish(h);
            *add_hop(&r->parked) = *h;
        }
        if (r->entry == r->destination->relay_to_count)
            break;
        add_entry(r, fault);
    }
    if (r->parked.next < r->parked.count)
        return publish(&r->parked.items[r->parked.next++]);
    return NULL;
}

void route_failed(const struct route_hop *hop)
{
    route_down_add(&hop->sa, hop->sa_len, now_s());
}

void route_worked(const struct route_hop *hop)
{
    route_down_remove(&hop->sa, hop->sa_len);
}
