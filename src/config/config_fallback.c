/* SPDX-License-Identifier: ISC */
#include "config/config_fallback.h"
#include "net/endpoint.h"

#include <string.h>

/* Check a fallback by itself. MTAs try other hosts only after a connection by TCP has failed. */
static int check_form(const struct config_filter *f, const char *text, struct err *err)
{
    size_t len = strcspn(f->nexthop, ":");
    struct endpoint e;
    struct err ignored;

    if (strncmp(config_hop(f->nexthop), "unix:", 5) == 0) {
        err_set(
            err,
            "filter %s: fallback: the nexthop \"%s\" is a unix socket; allowed with fallback: a "
            "nexthop with a host",
            f->name, f->nexthop);
        return -1;
    }
    if (strncmp(text, f->nexthop, len + 1) == 0 &&
        endpoint_parse_nexthop(config_hop(text), &e, &ignored) == 0 && e.kind == ENDPOINT_INET)
        return 0;
    err_set(err,
            "filter %s: fallback: '%s' is not allowed; allowed: the transport of the nexthop and a "
            "host, like \"%.*s:[filter.example.com]:10024\"",
            f->name, text, (int)len, f->nexthop);
    return -1;
}

/* Return true if the fallback is the nexthop of the filter, or one of the fallbacks before it. */
static bool is_double(const struct config_filter *f, size_t index)
{
    const char *text = f->fallback.items[index];

    if (config_is_same_nexthop(text, f->nexthop))
        return true;
    for (size_t i = 0; i < index; i++)
        if (config_is_same_nexthop(text, f->fallback.items[i]))
            return true;
    return false;
}

/* Return true if the next hop is in the unfiltered_nexthops of any section milter: all sections
 * have the same filters. */
static bool is_unfiltered(const struct config *c, const char *nexthop)
{
    for (size_t i = 0; i <= c->other_milter_count; i++) {
        struct config view = config_of_milter(c, i);
        if (config_is_unfiltered_nexthop(&view, nexthop))
            return true;
    }
    return false;
}

/* Refuse next hops at which mail would pass unfiltered or could not be taken. */
static int check_place(const struct config *c, const struct config_filter *f, size_t index,
                       struct err *err)
{
    const char *text = f->fallback.items[index];
    struct endpoint e;

    if (endpoint_parse_nexthop(config_hop(text), &e, err) < 0)
        return -1;
    if (is_double(f, index))
        err_set(err, "filter %s: fallback: '%s' is tried already; allowed: another filter", f->name,
                text);
    else if (is_unfiltered(c, text))
        err_set(err,
                "filter %s: fallback: '%s' is one of unfiltered_nexthops, where mail passes "
                "unfiltered; allowed: another filter",
                f->name, text);
    else if (endpoint_leads_to(&e, c->relay.listen, c->relay.listen_count))
        err_set(err,
                "filter %s: fallback: '%s' is splitrelay (relay.listen), which takes copies only; "
                "allowed: another filter",
                f->name, text);
    else
        return 0;
    return -1;
}

int config_fallback_check(const struct config *c, const struct config_filter *f, size_t *index_out,
                          struct err *err)
{
    for (size_t i = 0; i < f->fallback.count; i++) {
        *index_out = i;
        if (check_form(f, f->fallback.items[i], err) < 0 || check_place(c, f, i, err) < 0)
            return -1;
    }
    return 0;
}
