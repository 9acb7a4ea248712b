/* SPDX-License-Identifier: ISC */
/*
 * The resolver without c-ares. It uses getaddrinfo(3), which has its own timeouts, cannot be
 * interrupted, and does not look up MX records.
 */
#include "net/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

static enum resolver_status find_addresses(const struct resolver_query *q,
                                           struct resolver_addresses *out, struct err *err)
{
    struct addrinfo hints = {.ai_family = q->family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;

    out->count = 0;
    int error = getaddrinfo(q->name, NULL, &hints, &list);
    if (error != 0) {
        err_set(err, "%s", error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        return error == EAI_NONAME ? RESOLVER_NOT_FOUND : RESOLVER_TRY_AGAIN;
    }
    for (const struct addrinfo *a = list; a != NULL && out->count < RESOLVER_ADDRESSES_MAX;
         a = a->ai_next) {
        memcpy(&out->items[out->count].sa, a->ai_addr, a->ai_addrlen);
        out->items[out->count++].len = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return RESOLVER_FOUND;
}

static enum resolver_status find_mx(const struct resolver_query *q, struct resolver_mx **list_out,
                                    size_t *count_out, struct err *err)
{
    (void)q;
    *list_out = NULL;
    *count_out = 0;
    err_set(err, "MX hosts cannot be looked up: built without c-ares; a host is written [host]");
    return RESOLVER_TRY_AGAIN;
}

const struct resolver resolver_system = {find_addresses, find_mx};
