/* SPDX-License-Identifier: ISC */
#include "smtp/route.h"

#include "base/ascii.h"
#include "base/clock.h"
#include "base/mem.h"
#include "task/task.h"
#include "smtp/route_down.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define SMTP_PORT 25

struct hop {
    struct route_hop pub;
    char host[256];
    unsigned preference; /* of its MX record */
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
    int64_t deadline_ms; /* for the look-ups of the present entry */
    size_t entry;        /* index in relay_to of the entry to be looked up next */
    struct hops fresh;   /* the hops of the present entry */
    struct hops parked;  /* hops of all entries that refused a connection lately; tried last */
};

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

/* Parse a numeric address, which needs no look-up. False: the host is a name. */
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
    h->pub.nexthop = "";
    snprintf(h->pub.text, sizeof h->pub.text, "%.250s[%.107s]", r->hostname, e->path);
}

static void add_inet(struct route *r, const char *host, uint16_t port,
                     const struct sockaddr_storage *sa, socklen_t len)
{
    struct hop *h = add_hop(&r->fresh);
    char ip[64] = "unknown";

    memcpy(&h->pub.sa, sa, len);
    h->pub.sa_len = len;
    h->pub.nexthop = r->destination->relay_to[r->entry - 1].host;
    if (sa->ss_family == AF_INET)
        ((struct sockaddr_in *)&h->pub.sa)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&h->pub.sa)->sin6_port = htons(port);
    snprintf(h->host, sizeof h->host, "%s", host);
    getnameinfo((const struct sockaddr *)sa, len, ip, sizeof ip, NULL, 0, NI_NUMERICHOST);
    snprintf(h->pub.text, sizeof h->pub.text, "%s[%s]:%u", host, ip, (unsigned)port);
}

static void set_fault(struct outcome *fault, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void set_fault(struct outcome *fault, const char *dsn, const char *fmt, ...)
{
    va_list ap;

    fault->result = OUTCOME_RETRY;
    snprintf(fault->dsn, sizeof fault->dsn, "%s", dsn);
    va_start(ap, fmt);
    vsnprintf(fault->reason, sizeof fault->reason, fmt, ap);
    va_end(ap);
}

static struct resolver_query query_for(const struct route *r, const char *name)
{
    static const int families[] = {
        [CONFIG_INET_ALL] = AF_UNSPEC, [CONFIG_INET_IPV4] = AF_INET, [CONFIG_INET_IPV6] = AF_INET6};
    int64_t left_ms = r->deadline_ms - clock_now_ms();

    return (struct resolver_query){.name = name,
                                   .family = families[r->destination->inet_protocols],
                                   .timeout_ms = left_ms > 1 ? (unsigned)left_ms : 1,
                                   .dns = r->destination->dns,
                                   .wake_fd = r->wake_fd};
}

/* Cut the list to `room` addresses, but leave addresses of both families in it, because one of the
 * families may not work here. */
static void cut_addresses(struct resolver_addresses *found, size_t room)
{
    sa_family_t first = found->items[0].sa.ss_family;
    size_t other = 0;

    if (found->count <= room)
        return;
    while (other < found->count && found->items[other].sa.ss_family == first)
        other++;
    if (room > 1 && other >= room && other < found->count)
        found->items[room - 1] = found->items[other];
    found->count = room;
}

/* --- look-ups, which block --- */

struct look_up {
    const struct resolver *resolver;
    const struct resolver_query *query;
    struct resolver_addresses *addresses;
    struct resolver_mx **mx;
    size_t *mx_count;
    struct err *err;
    enum resolver_status status;
};

static void do_look_up(void *arg)
{
    struct look_up *l = arg;

    if (l->addresses != NULL)
        l->status = l->resolver->addresses(l->query, l->addresses, l->err);
    else
        l->status = l->resolver->mx(l->query, l->mx, l->mx_count, l->err);
}

static enum resolver_status look_up_addresses(const struct resolver *resolver,
                                              const struct resolver_query *q,
                                              struct resolver_addresses *out, struct err *err)
{
    struct look_up l = {.resolver = resolver, .query = q, .addresses = out, .err = err};

    task_block(do_look_up, &l);
    return l.status;
}

static enum resolver_status look_up_mx(const struct resolver *resolver,
                                       const struct resolver_query *q, struct resolver_mx **out,
                                       size_t *count_out, struct err *err)
{
    struct look_up l = {
        .resolver = resolver, .query = q, .mx = out, .mx_count = count_out, .err = err};

    task_block(do_look_up, &l);
    return l.status;
}

/* Add the addresses of one host, as many as there is room for. -1 with *fault: none was found. */
static int add_host(struct route *r, const char *host, uint16_t port, struct outcome *fault)
{
    struct resolver_query q = query_for(r, host);
    struct resolver_addresses found;
    struct err why;

    if (!parse_address(host, &found)) {
        enum resolver_status status = look_up_addresses(r->resolver, &q, &found, &why);
        if (status != RESOLVER_FOUND) {
            set_fault(fault, status == RESOLVER_NOT_FOUND ? "4.4.4" : "4.4.3",
                      "Host or domain name not found. Name service error for name=%s type=%s: %s",
                      host, q.family == AF_INET6 ? "AAAA" : "A", why.text);
            return -1;
        }
    }
    cut_addresses(&found, ROUTE_ADDRESSES_MAX - r->fresh.count);
    for (size_t i = 0; i < found.count; i++)
        add_inet(r, host, port, &found.items[i].sa, found.items[i].len);
    return 0;
}

static int by_preference(const void *a, const void *b)
{
    const struct resolver_mx *x = a, *y = b;

    return (x->preference > y->preference) - (x->preference < y->preference);
}

/* Sort by preference; hosts of equal preference come in random order. */
static void sort_mx(struct resolver_mx *list, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        uint32_t random = 0;
        if (getentropy(&random, sizeof random) != 0)
            break; /* the order stays that of the name server */
        struct resolver_mx one = list[i - 1];
        list[i - 1] = list[random % i];
        list[random % i] = one;
    }
    qsort(list, count, sizeof *list, by_preference);
}

static bool is_own_address(const struct sockaddr_storage *sa, const struct ifaddrs *own)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;

    for (; own != NULL; own = own->ifa_next) {
        if (own->ifa_addr == NULL || own->ifa_addr->sa_family != sa->ss_family)
            continue;
        if (sa->ss_family == AF_INET &&
            ((const struct sockaddr_in *)(const void *)own->ifa_addr)->sin_addr.s_addr ==
                v4->sin_addr.s_addr)
            return true;
        if (sa->ss_family == AF_INET6 &&
            memcmp(&((const struct sockaddr_in6 *)(const void *)own->ifa_addr)->sin6_addr,
                   &v6->sin6_addr, sizeof v6->sin6_addr) == 0)
            return true;
    }
    return false;
}

/* Is one of the hops from index `first` on an address of this host? */
static bool leads_here(const struct route *r, size_t first)
{
    struct ifaddrs *own = NULL;
    bool is_own = false;

    if (getifaddrs(&own) != 0)
        return false; /* a loop then shows by the name in the server's reply to EHLO */
    for (size_t i = first; i < r->fresh.count; i++)
        is_own = is_own || is_own_address(&r->fresh.items[i].pub.sa, own);
    freeifaddrs(own);
    return is_own;
}

/* Remove the hops that are not preferred to this host (RFC 5321 5.1). preference: that of this
 * host. */
static void cut_hops(struct route *r, unsigned preference)
{
    while (r->fresh.count > 0 && r->fresh.items[r->fresh.count - 1].preference >= preference)
        r->fresh.count--;
}

/* Add the hosts of a sorted list. With port 25: if this host itself is in the list, leave out this
 * host and all that are not preferred to it. */
static void add_mx_hosts(struct route *r, const struct endpoint *e, const struct resolver_mx *list,
                         size_t count, struct outcome *fault)
{
    bool checks_loops = e->port == SMTP_PORT;

    for (size_t i = 0; i < count && r->fresh.count < ROUTE_ADDRESSES_MAX; i++) {
        size_t first = r->fresh.count;
        bool is_here = checks_loops && ascii_equal(list[i].host, r->hostname);
        if (!is_here && (list[i].host[0] == '\0' || add_host(r, list[i].host, e->port, fault) < 0))
            continue;
        for (size_t k = first; k < r->fresh.count; k++) {
            r->fresh.items[k].preference = list[i].preference;
            r->fresh.items[k].pub.is_foreign = checks_loops;
        }
        if (!is_here && !(checks_loops && leads_here(r, first)))
            continue;
        cut_hops(r, list[i].preference);
        if (r->fresh.count == 0)
            set_fault(fault, "4.4.6", "mail for %s loops back to myself", e->host);
        return;
    }
}

/* Is this a name that must not be looked up in the DNS (RFC 6761 6.3)? */
static bool is_localhost(const char *name)
{
    size_t len = strlen(name);

    return ascii_equal(name, "localhost") ||
           (len > 10 && ascii_equal(name + len - 10, ".localhost"));
}

static void add_domain(struct route *r, const struct endpoint *e, struct outcome *fault)
{
    struct resolver_query q = query_for(r, e->host);
    struct resolver_mx *list = NULL;
    size_t count = 0;
    struct err why;

    enum resolver_status status = is_localhost(e->host)
                                      ? RESOLVER_NOT_FOUND
                                      : look_up_mx(r->resolver, &q, &list, &count, &why);
    switch (status) {
    case RESOLVER_FOUND:
        sort_mx(list, count);
        if (count == 1 && list[0].host[0] == '\0')
            set_fault(fault, "4.1.0", "Domain %s does not accept mail (nullMX)", e->host);
        else
            add_mx_hosts(r, e, list, count, fault);
        break;
    case RESOLVER_NOT_FOUND: /* RFC 5321 5.1: the implicit MX; sets *fault if there is no host
                                either */
        (void)add_host(r, e->host, e->port, fault);
        break;
    case RESOLVER_TRY_AGAIN:
        set_fault(fault, "4.4.3",
                  "Host or domain name not found. Name service error for name=%s type=MX: %s",
                  e->host, why.text);
        break;
    }
    free(list);
}

/* Look up the next entry of relay_to, and replace r->fresh by its hops. */
static void add_entry(struct route *r, struct outcome *fault)
{
    const struct endpoint *e = &r->destination->relay_to[r->entry++];

    r->fresh.count = r->fresh.next = 0;
    r->deadline_ms = clock_now_ms() + r->destination->connect_timeout_ms;
    if (e->kind == ENDPOINT_UNIX)
        add_unix(r, e);
    else if (endpoint_is_domain(e))
        add_domain(r, e, fault);
    else
        (void)add_host(r, e->host, e->port, fault);
}

static const struct route_hop *publish(struct hop *h)
{
    h->pub.host = h->host;
    return &h->pub;
}

const struct route_hop *route_next(struct route *r, struct outcome *fault)
{
    for (;;) {
        while (r->fresh.next < r->fresh.count) {
            struct hop *h = &r->fresh.items[r->fresh.next++];
            if (!route_down_is(&h->pub.sa, h->pub.sa_len, clock_now_ms() / 1000))
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
    route_down_add(&hop->sa, hop->sa_len, clock_now_ms() / 1000);
}

void route_worked(const struct route_hop *hop)
{
    route_down_remove(&hop->sa, hop->sa_len);
}
