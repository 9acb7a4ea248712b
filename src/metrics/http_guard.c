/* SPDX-License-Identifier: ISC */
#include "metrics/http_guard.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <string.h>

void http_guard_address(const struct sockaddr *sa, char out[INET6_ADDRSTRLEN])
{
    struct in6_addr network = {0};

    mem_copy_string(out, INET6_ADDRSTRLEN, "unix");
    if (sa != NULL && sa->sa_family == AF_INET) {
        const struct sockaddr_in *in4 = (const void *)sa;
        (void)inet_ntop(AF_INET, &in4->sin_addr, out, INET6_ADDRSTRLEN);
    } else if (sa != NULL && sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            (void)inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], out, INET6_ADDRSTRLEN);
            return;
        }
        memcpy(&network, &in6->sin6_addr, IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ? 16 : 8);
        (void)inet_ntop(AF_INET6, &network, out, INET6_ADDRSTRLEN);
    }
}

/* Return the time from now until the period is over; 0: it is over. */
static int64_t left_ms(int64_t began_ms, int64_t now_ms)
{
    int64_t left = HTTP_GUARD_PERIOD_MS - (now_ms - began_ms);

    return left > 0 ? left : 0;
}

static struct http_guard_address *find(struct http_guard *g, const char *address)
{
    for (size_t i = 0; i < HTTP_GUARD_ADDRESSES; i++)
        if (strcmp(g->addresses[i].address, address) == 0)
            return &g->addresses[i];
    return NULL;
}

/* Return an entry for another address: a free one, or the longest unused. */
static struct http_guard_address *replace(struct http_guard *g, const char *address)
{
    struct http_guard_address *oldest = &g->addresses[0];

    for (size_t i = 0; i < HTTP_GUARD_ADDRESSES && oldest->address[0] != '\0'; i++) {
        struct http_guard_address *a = &g->addresses[i];
        if (a->address[0] == '\0' || a->used_ms < oldest->used_ms)
            oldest = a;
    }
    memset(oldest, 0, sizeof *oldest);
    mem_copy_string(oldest->address, sizeof oldest->address, address);
    return oldest;
}

/* Return for how long all addresses have to wait that are not known. */
static int64_t all_wait_ms(const struct http_guard *g, int64_t now_ms)
{
    return g->wrong >= HTTP_GUARD_ALL_MAX ? left_ms(g->began_ms, now_ms) : 0;
}

unsigned http_guard_wait_s(struct http_guard *g, const char *address, int64_t now_ms)
{
    const struct http_guard_address *a = find(g, address);
    bool is_known = a != NULL && a->right_ms != 0 && now_ms - a->right_ms < HTTP_GUARD_KNOWN_MS;
    int64_t wait_ms = is_known ? 0 : all_wait_ms(g, now_ms);

    if (a != NULL && a->wrong >= HTTP_GUARD_WRONG_MAX && left_ms(a->began_ms, now_ms) > wait_ms)
        wait_ms = left_ms(a->began_ms, now_ms);
    g->refused += wait_ms > 0;
    return (unsigned)((wait_ms + 999) / 1000);
}

bool http_guard_note(struct http_guard *g, const char *address, bool is_right, int64_t now_ms)
{
    struct http_guard_address *a = find(g, address);

    a = a == NULL ? replace(g, address) : a;
    a->used_ms = now_ms;
    if (is_right) {
        a->right_ms = now_ms;
        return false;
    }
    if (a->wrong == 0 || left_ms(a->began_ms, now_ms) == 0) {
        a->wrong = 0;
        a->began_ms = now_ms;
    }
    if (g->wrong == 0 || left_ms(g->began_ms, now_ms) == 0) {
        g->wrong = 0;
        g->began_ms = now_ms;
    }
    a->wrong++;
    g->wrong++;
    return a->wrong == HTTP_GUARD_WRONG_MAX || g->wrong == HTTP_GUARD_ALL_MAX;
}

uint64_t http_guard_take_refused(struct http_guard *g, int64_t now_ms)
{
    uint64_t refused = g->refused;

    for (size_t i = 0; i < HTTP_GUARD_ADDRESSES; i++)
        if (g->addresses[i].wrong >= HTTP_GUARD_WRONG_MAX &&
            left_ms(g->addresses[i].began_ms, now_ms) > 0)
            return 0;
    if (all_wait_ms(g, now_ms) > 0)
        return 0;
    g->refused = 0;
    return refused;
}
