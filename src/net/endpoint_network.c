/* SPDX-License-Identifier: ISC */
#include "net/endpoint.h"
#include "base/ascii.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* Change a network of IPv4-mapped IPv6 addresses to the IPv4 network. */
static void unmap_network(struct endpoint_network *net)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

    if (net->family != AF_INET6 || net->prefix < 96 || memcmp(net->address, mapped, 12) != 0)
        return;
    net->family = AF_INET;
    net->prefix -= 96;
    memmove(net->address, net->address + 12, 4);
    memset(net->address + 4, 0, 12);
}

static bool has_host_bits(const struct endpoint_network *net, unsigned bits)
{
    for (unsigned i = net->prefix; i < bits; i++)
        if (net->address[i / 8] & (0x80 >> (i % 8)))
            return true;
    return false;
}

/* Parse the address part, which may be in brackets. */
static int parse_network_address(const char *text, size_t len, struct endpoint_network *out)
{
    char address[INET6_ADDRSTRLEN + 1];

    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len >= sizeof address)
        return -1;
    memcpy(address, text, len);
    address[len] = '\0';
    out->family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
    return inet_pton(out->family, address, out->address) == 1 ? 0 : -1;
}

int endpoint_parse_network(const char *text, struct endpoint_network *out, struct err *err)
{
    memset(out, 0, sizeof *out);
    size_t len = strcspn(text, "/");
    if (parse_network_address(text, len, out) < 0) {
        err_set(err,
                "'%s' is no network; allowed: \"192.0.2.0/24\", \"2001:db8::/32\" or one address",
                text);
        return -1;
    }
    unsigned bits = out->family == AF_INET ? 32 : 128;
    out->prefix = bits;
    if (text[len] == '/') {
        const char *prefix = text + len + 1;
        size_t digits = strspn(prefix, "0123456789");
        if (digits == 0 || digits > 3 || prefix[digits] != '\0' ||
            (out->prefix = (unsigned)strtoul(prefix, NULL, 10)) > bits) {
            err_set(err, "'%s': the prefix length must be a number from 0 to %u", text, bits);
            return -1;
        }
    }
    if (has_host_bits(out, bits)) {
        err_set(err, "'%s': bits are set after the prefix of %u bits", text, out->prefix);
        return -1;
    }
    unmap_network(out);
    return 0;
}

bool endpoint_parse_address(const char *text, struct sockaddr_storage *out)
{
    static const char ipv6[] = "IPv6:";
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

    memset(out, 0, sizeof *out);
    out->ss_family = strchr(text, ':') == NULL ? AF_INET : AF_INET6;
    if (out->ss_family == AF_INET)
        return inet_pton(AF_INET, text, &v4->sin_addr) == 1;
    if (ascii_equal_n(text, ipv6, sizeof ipv6 - 1))
        text += sizeof ipv6 - 1;
    return inet_pton(AF_INET6, text, &v6->sin6_addr) == 1;
}

bool endpoint_network_has(const struct endpoint_network *net, const struct sockaddr *sa)
{
    struct endpoint_network one = {.family = sa->sa_family, .prefix = 128};

    if (sa->sa_family == AF_INET)
        memcpy(one.address, &((const struct sockaddr_in *)sa)->sin_addr, 4);
    else if (sa->sa_family == AF_INET6)
        memcpy(one.address, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
    else
        return false;
    unmap_network(&one);
    if (one.family != net->family)
        return false;
    unsigned bytes = net->prefix / 8, rest = net->prefix % 8;
    if (memcmp(one.address, net->address, bytes) != 0)
        return false;
    return rest == 0 || (one.address[bytes] ^ net->address[bytes]) >> (8 - rest) == 0;
}

bool endpoint_is_loopback_address(const struct sockaddr *sa)
{
    static const struct endpoint_network loopback[] = {{AF_INET, {127}, 8},
                                                       {AF_INET6, {[15] = 1}, 128}};

    return endpoint_network_has(&loopback[0], sa) || endpoint_network_has(&loopback[1], sa);
}

bool endpoint_is_loopback_host(const char *host)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (ascii_equal(host, "localhost"))
        return true;
    if (inet_aton(host, &in4.sin_addr) != 0)
        return endpoint_is_loopback_address((struct sockaddr *)&in4);
    return inet_pton(AF_INET6, host, &in6.sin6_addr) == 1 &&
           endpoint_is_loopback_address((struct sockaddr *)&in6);
}

bool endpoint_is_loopback(const struct endpoint *e)
{
    return e->kind != ENDPOINT_INET || endpoint_is_loopback_host(e->host);
}

bool endpoint_is_any_host(const char *host)
{
    return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

bool endpoint_leads_to(const struct endpoint *to, const struct endpoint *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct endpoint *l = &list[i];
        if (l->kind != to->kind)
            continue;
        if (l->kind == ENDPOINT_UNIX
                ? strcmp(l->path, to->path) == 0
                : l->port == to->port &&
                      (ascii_equal(l->host, to->host) ||
                       (endpoint_is_loopback_host(to->host) &&
                        (endpoint_is_any_host(l->host) || endpoint_is_loopback_host(l->host)))))
            return true;
    }
    return false;
}
