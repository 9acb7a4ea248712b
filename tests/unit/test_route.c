/* SPDX-License-Identifier: ISC */
#include "smtp/route.h"
#include "base/buf.h"
#include "base/mem.h"
#include "smtp/route_down.h"
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The records of the name server: "mx NAME PREF HOST", "a NAME ADDRESS"; "retry NAME" for no
 * answer. */
static const char *const *zone;
static unsigned lookups;
static int last_family;

static bool has_word(const char *line, const char *kind, const char *name, const char **rest)
{
    size_t k = strlen(kind), n = strlen(name);

    if (strncmp(line, kind, k) != 0 || line[k] != ' ' || strncmp(line + k + 1, name, n) != 0 ||
        (line[k + 1 + n] != ' ' && line[k + 1 + n] != '\0'))
        return false;
    *rest = line + k + 1 + n + (line[k + 1 + n] == ' ');
    return true;
}

static bool must_retry(const char *name, struct err *err)
{
    const char *rest;

    for (size_t i = 0; zone[i] != NULL; i++)
        if (has_word(zone[i], "retry", name, &rest)) {
            err_set(err, "no answer");
            return true;
        }
    return false;
}

static void add_address(struct resolver_addresses *out, const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;

    ck_assert_uint_lt(out->count, RESOLVER_ADDRESSES_MAX);
    if (is_v4) {
        memcpy(&out->items[out->count].sa, &v4, sizeof v4);
    } else {
        ck_assert_int_eq(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        memcpy(&out->items[out->count].sa, &v6, sizeof v6);
    }
    out->items[out->count++].len = is_v4 ? sizeof v4 : sizeof v6;
}

static enum resolver_status find_addresses(const struct resolver_query *q,
                                           struct resolver_addresses *out, struct err *err)
{
    const char *rest;

    lookups++;
    last_family = q->family;
    out->count = 0;
    if (must_retry(q->name, err))
        return RESOLVER_TRY_AGAIN;
    for (size_t i = 0; zone[i] != NULL; i++)
        if (has_word(zone[i], "a", q->name, &rest))
            add_address(out, rest);
    err_set(err, "not there");
    return out->count > 0 ? RESOLVER_FOUND : RESOLVER_NOT_FOUND;
}

static enum resolver_status find_mx(const struct resolver_query *q, struct resolver_mx **list_out,
                                    size_t *count_out, struct err *err)
{
    char name[280];
    const char *rest;

    lookups++;
    *list_out = NULL;
    *count_out = 0;
    snprintf(name, sizeof name, "MX:%s", q->name);
    if (must_retry(name, err))
        return RESOLVER_TRY_AGAIN;
    for (size_t i = 0; zone[i] != NULL; i++)
        if (has_word(zone[i], "mx", q->name, &rest)) {
            *list_out = mem_grow(*list_out, *count_out + 1, sizeof **list_out);
            struct resolver_mx *m = &(*list_out)[(*count_out)++];
            memset(m, 0, sizeof *m);
            char *end;
            m->preference = (unsigned)strtoul(rest, &end, 10);
            snprintf(m->host, sizeof m->host, "%s", end + (*end == ' '));
        }
    err_set(err, "not there");
    return *count_out > 0 ? RESOLVER_FOUND : RESOLVER_NOT_FOUND;
}

static const struct resolver fake = {find_addresses, find_mx};

struct setup {
    struct endpoint entries[4];
    struct config_destination destination;
    struct outcome fault;
};

/* entries: as relay_to, separated by spaces */
static void setup_init(struct setup *s, const char *entries)
{
    char *text = mem_strdup(entries), *rest = text, *one;
    struct err err;

    memset(s, 0, sizeof *s);
    s->destination.relay_to = s->entries;
    s->destination.connect_timeout_ms = 1000;
    while ((one = strtok_r(rest, " ", &rest)) != NULL)
        ck_assert_int_eq(
            endpoint_parse_nexthop(one, &s->entries[s->destination.relay_to_count++], &err), 0);
    free(text);
}

/* All hops in order, as text. fails: each of them is reported as failed. */
static char *walk(struct setup *s, bool fails)
{
    struct route *r = route_new(&s->destination, "me.test", &fake, -1);
    struct buf out = {0};
    const struct route_hop *hop;

    memset(&s->fault, 0, sizeof s->fault);
    while ((hop = route_next(r, &s->fault)) != NULL) {
        buf_addf(&out, "%s%s%s", out.len > 0 ? " " : "", hop->text, hop->is_foreign ? "!" : "");
        if (fails)
            route_failed(hop);
        else
            route_worked(hop);
    }
    route_free(r);
    return buf_take(&out);
}

static void assert_walk(struct setup *s, const char *wanted)
{
    char *got = walk(s, false);

    ck_assert_str_eq(got, wanted);
    free(got);
}

static const struct {
    const char *relay_to;
    const char *zone[12];
    const char *hops;
    const char *dsn, *reason; /* of the fault; NULL: none */
} routes[] = {
    {"[192.0.2.1]:26", {NULL}, "192.0.2.1[192.0.2.1]:26", NULL, NULL},
    {"192.0.2.1:26", {NULL}, "192.0.2.1[192.0.2.1]:26", NULL, NULL},
    {"[2001:db8::1]", {NULL}, "2001:db8::1[2001:db8::1]:25", NULL, NULL},
    {"unix:/run/lmtp", {NULL}, "me.test[/run/lmtp]", NULL, NULL},
    {"[h.test]", {"mx h.test 1 x.test", "a h.test 192.0.2.1"}, "h.test[192.0.2.1]:25", NULL, NULL},
    {"[h.test]:26 [i.test]",
     {"a h.test 192.0.2.1", "a h.test 192.0.2.2", "a i.test 192.0.2.3"},
     "h.test[192.0.2.1]:26 h.test[192.0.2.2]:26 i.test[192.0.2.3]:25",
     NULL,
     NULL},
    {"[gone.test] [i.test]",
     {"a i.test 192.0.2.3"},
     "i.test[192.0.2.3]:25",
     "4.4.4",
     "Host or domain name not found. Name service error for name=gone.test type=A: not there"},
    {"[mute.test] [i.test]",
     {"retry mute.test", "a i.test 192.0.2.3"},
     "i.test[192.0.2.3]:25",
     "4.4.3",
     "Host or domain name not found. Name service error for name=mute.test type=A: no answer"},
    /* MX hosts by preference, then the next entry */
    {"d.test:26 [i.test]",
     {"mx d.test 30 c.test", "mx d.test 10 a.test", "mx d.test 20 b.test", "a a.test 192.0.2.1",
      "a b.test 192.0.2.2", "a c.test 192.0.2.3", "a i.test 192.0.2.9"},
     "a.test[192.0.2.1]:26 b.test[192.0.2.2]:26 c.test[192.0.2.3]:26 i.test[192.0.2.9]:25",
     NULL,
     NULL},
    {"d.test", {"mx d.test 10 a.test", "a a.test 192.0.2.1"}, "a.test[192.0.2.1]:25!", NULL, NULL},
    /* without MX hosts the domain is the host */
    {"d.test:26", {"a d.test 192.0.2.4"}, "d.test[192.0.2.4]:26", NULL, NULL},
    {"localhost:26",
     {"retry MX:localhost", "a localhost 127.0.0.1"},
     "localhost[127.0.0.1]:26",
     NULL,
     NULL},
    {"d.test",
     {NULL},
     "",
     "4.4.4",
     "Host or domain name not found. Name service error for name=d.test type=A: not there"},
    /* if the name server does not answer, the domain is not taken for the host */
    {"d.test",
     {"retry MX:d.test", "a d.test 192.0.2.4"},
     "",
     "4.4.3",
     "Host or domain name not found. Name service error for name=d.test type=MX: no answer"},
    /* an MX host without address is left out */
    {"d.test:26",
     {"mx d.test 10 gone.test", "mx d.test 20 b.test", "a b.test 192.0.2.2"},
     "b.test[192.0.2.2]:26",
     "4.4.4",
     "Host or domain name not found. Name service error for name=gone.test type=A: not there"},
    /* null MX (RFC 7505); a root among other hosts is invalid, and left out */
    {"d.test", {"mx d.test 0 "}, "", "4.1.0", "Domain d.test does not accept mail (nullMX)"},
    {"d.test:26",
     {"mx d.test 0 ", "mx d.test 5 b.test", "a b.test 192.0.2.2"},
     "b.test[192.0.2.2]:26",
     NULL,
     NULL},
    /* at most 5, of both families */
    {"[h.test]",
     {"a h.test 192.0.2.1", "a h.test 192.0.2.2", "a h.test 192.0.2.3", "a h.test 192.0.2.4",
      "a h.test 192.0.2.5", "a h.test 192.0.2.6", "a h.test 2001:db8::1"},
     "h.test[192.0.2.1]:25 h.test[192.0.2.2]:25 h.test[192.0.2.3]:25 h.test[192.0.2.4]:25 "
     "h.test[2001:db8::1]:25",
     NULL,
     NULL},
    {"d.test:26",
     {"mx d.test 1 a.test", "mx d.test 2 b.test", "mx d.test 3 c.test", "a a.test 192.0.2.1",
      "a a.test 192.0.2.2", "a a.test 192.0.2.3", "a b.test 192.0.2.4", "a b.test 192.0.2.5",
      "a b.test 192.0.2.6", "a c.test 192.0.2.7"},
     "a.test[192.0.2.1]:26 a.test[192.0.2.2]:26 a.test[192.0.2.3]:26 b.test[192.0.2.4]:26 "
     "b.test[192.0.2.5]:26",
     NULL,
     NULL},
    /* loops: by name, by address; only with port 25 */
    {"d.test",
     {"mx d.test 10 a.test", "mx d.test 20 ME.test", "mx d.test 30 c.test", "a a.test 192.0.2.1",
      "a c.test 192.0.2.3"},
     "a.test[192.0.2.1]:25!",
     NULL,
     NULL},
    {"d.test",
     {"mx d.test 10 a.test", "mx d.test 20 b.test", "mx d.test 30 c.test", "a a.test 192.0.2.1",
      "a b.test 127.0.0.1", "a c.test 192.0.2.3"},
     "a.test[192.0.2.1]:25!",
     NULL,
     NULL},
    {"d.test",
     {"mx d.test 10 a.test", "mx d.test 10 me.test", "a a.test 192.0.2.1"},
     "",
     "4.4.6",
     "mail for d.test loops back to myself"},
    {"d.test:26",
     {"mx d.test 10 me.test", "a me.test 127.0.0.1"},
     "me.test[127.0.0.1]:26",
     NULL,
     NULL},
};

START_TEST(finds_hops)
{
    struct setup s;

    zone = routes[_i].zone;
    setup_init(&s, routes[_i].relay_to);
    assert_walk(&s, routes[_i].hops);
    ck_assert_str_eq(s.fault.dsn, routes[_i].dsn == NULL ? "" : routes[_i].dsn);
    ck_assert_str_eq(s.fault.reason, routes[_i].reason == NULL ? "" : routes[_i].reason);
    if (routes[_i].dsn != NULL)
        ck_assert_int_eq(s.fault.result, OUTCOME_RETRY);
}
END_TEST

/* The probability that all 40 draws begin with the same host is 1 in 2^39. */
START_TEST(equal_preferences_take_turns)
{
    static const char *const records[] = {"mx d.test 5 a.test", "mx d.test 5 b.test",
                                          "a a.test 192.0.2.1", "a b.test 192.0.2.2", NULL};
    unsigned first[2] = {0};
    struct setup s;

    zone = records;
    setup_init(&s, "d.test:26");
    for (int i = 0; i < 40; i++) {
        char *got = walk(&s, false);
        first[got[0] == 'b']++;
        free(got);
    }
    ck_assert_uint_gt(first[0], 0);
    ck_assert_uint_gt(first[1], 0);
}
END_TEST

START_TEST(families_are_asked_for)
{
    static const char *const records[] = {"a h.test 192.0.2.1", NULL};
    struct setup s;

    zone = records;
    setup_init(&s, "[h.test]:26");
    assert_walk(&s, "h.test[192.0.2.1]:26");
    ck_assert_int_eq(last_family, AF_UNSPEC);
    s.destination.inet_protocols = CONFIG_INET_IPV4;
    assert_walk(&s, "h.test[192.0.2.1]:26");
    ck_assert_int_eq(last_family, AF_INET);
    s.destination.inet_protocols = CONFIG_INET_IPV6;
    assert_walk(&s, "h.test[192.0.2.1]:26");
    ck_assert_int_eq(last_family, AF_INET6);
}
END_TEST

START_TEST(later_entries_are_not_looked_up_early)
{
    static const char *const records[] = {"a h.test 192.0.2.1", "a i.test 192.0.2.2", NULL};
    struct outcome fault;
    struct setup s;

    zone = records;
    setup_init(&s, "[h.test]:26 [i.test]:26");
    lookups = 0;
    struct route *r = route_new(&s.destination, "me.test", &fake, -1);
    ck_assert_ptr_nonnull(route_next(r, &fault));
    ck_assert_uint_eq(lookups, 1);
    route_free(r);
    ck_assert(route_has_names(&s.destination));
    setup_init(&s, "[192.0.2.1]:26 unix:/run/lmtp");
    ck_assert(!route_has_names(&s.destination));
}
END_TEST

START_TEST(what_failed_comes_last)
{
    struct setup s;

    setup_init(&s, "[192.0.2.1]:26 [192.0.2.2]:26 [192.0.2.3]:26");
    struct route *r = route_new(&s.destination, "me.test", &fake, -1);
    const struct route_hop *hop = route_next(r, &s.fault);
    ck_assert_str_eq(hop->text, "192.0.2.1[192.0.2.1]:26");
    route_failed(hop);
    hop = route_next(r, &s.fault);
    route_worked(hop);
    route_free(r);
    assert_walk(&s, "192.0.2.2[192.0.2.2]:26 192.0.2.3[192.0.2.3]:26 192.0.2.1[192.0.2.1]:26");
    /* assert_walk() has reported that all hosts work */
    assert_walk(&s, "192.0.2.1[192.0.2.1]:26 192.0.2.2[192.0.2.2]:26 192.0.2.3[192.0.2.3]:26");
    free(walk(&s, true));
    assert_walk(&s, "192.0.2.1[192.0.2.1]:26 192.0.2.2[192.0.2.2]:26 192.0.2.3[192.0.2.3]:26");
}
END_TEST

static struct sockaddr_storage address_of(unsigned n, in_port_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0xc6336400 + n)};
    struct sockaddr_storage out = {0};

    memcpy(&out, &sa, sizeof sa);
    return out;
}

START_TEST(one_tries_again_when_the_time_is_over)
{
    struct sockaddr_storage a = address_of(1, 25), b = address_of(1, 26);
    socklen_t len = sizeof(struct sockaddr_in);

    ck_assert(!route_down_is(&a, len, 1000));
    route_down_add(&a, len, 1000);
    ck_assert(route_down_is(&a, len, 1000));
    ck_assert(route_down_is(&a, len, 1000 + ROUTE_DOWN_S - 1));
    ck_assert(!route_down_is(&b, len, 1000)); /* another port is another server */
    ck_assert(!route_down_is(&a, len, 1000 + ROUTE_DOWN_S));
    ck_assert(route_down_is(&a, len, 1000 + ROUTE_DOWN_S)); /* one caller tries, others wait */
    ck_assert(route_down_is(&a, len, 1000 + 2 * ROUTE_DOWN_S - 1));
    route_down_remove(&a, len);
    ck_assert(!route_down_is(&a, len, 1000 + ROUTE_DOWN_S));
}
END_TEST

START_TEST(memory_of_failures_is_bounded)
{
    socklen_t len = sizeof(struct sockaddr_in);

    for (unsigned i = 0; i <= ROUTE_DOWN_MAX; i++) {
        struct sockaddr_storage sa = address_of(i, 27);
        route_down_add(&sa, len, 5000);
    }
    struct sockaddr_storage first = address_of(0, 27), second = address_of(1, 27);
    ck_assert(!route_down_is(&first, len, 5000));
    ck_assert(route_down_is(&second, len, 5000));
    for (unsigned i = 0; i <= ROUTE_DOWN_MAX; i++) {
        struct sockaddr_storage sa = address_of(i, 27);
        route_down_remove(&sa, len);
    }
    ck_assert(!route_down_is(&second, len, 5000));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("route");

    tcase_add_loop_test(t, finds_hops, 0, UNIT_COUNT(routes));
    tcase_add_test(t, equal_preferences_take_turns);
    tcase_add_test(t, families_are_asked_for);
    tcase_add_test(t, later_entries_are_not_looked_up_early);
    tcase_add_test(t, what_failed_comes_last);
    tcase_add_test(t, one_tries_again_when_the_time_is_over);
    tcase_add_test(t, memory_of_failures_is_bounded);
    return unit_run("route", t);
}
