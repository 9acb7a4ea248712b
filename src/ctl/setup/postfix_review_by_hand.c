/* SPDX-License-Identifier: ISC */
/* Reviews an instance that asks splitmilter and was not set up by setup-postfix: whether its
 * transport_maps have the suffixes, whether its services can send a message with REQUIRETLS
 * (Postfix 3.11) to a filter or to splitrelay, and whether they use the fallbacks of the filters.
 */
#include "net/endpoint.h"
#include "base/mem.h"
#include "ctl/setup/command.h"
#include "ctl/milter_list.h"
#include "ctl/setup/postfix_review.h"
#include "ctl/setup/setup_postfix.h"
#include "base/ascii.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum lookup { LOOKUP_FOUND, LOOKUP_ABSENT, LOOKUP_UNKNOWN };

/* Return true if a look-up has failed. postmap(1) exits with 1 for a key that is not in the table,
 * and also for a table that cannot be read; only its messages tell the two apart. */
static bool has_failed(const char *said)
{
    return strstr(said, "fatal:") != NULL || strstr(said, "error:") != NULL ||
           strstr(said, "unavailable") != NULL;
}

static enum lookup ask(const struct postfix *p, const char *table, const char *key,
                       struct buf *value)
{
    /* postmap(1) reads the table itself, not through proxymap(8). */
    const char *direct = strncmp(table, "proxy:", 6) == 0 ? table + 6 : table;
    const char *argv[] = {"postmap", "-c", p->directory, "-q", key, direct, NULL};
    struct buf said = {0};
    struct err ignored;

    buf_reset(value);
    int status = command_run(argv, value, &said, &ignored);
    bool is_known = (status == 0 || status == 1) && !has_failed(buf_str(&said));
    buf_clear(&said);
    while (value->len > 0 && value->data[value->len - 1] == '\n')
        buf_truncate(value, value->len - 1);
    return !is_known ? LOOKUP_UNKNOWN : status == 0 ? LOOKUP_FOUND : LOOKUP_ABSENT;
}

/* Search in the order of transport(5): the address, its domain, .parent for each parent, "*". */
static enum lookup find_in_table(const struct postfix *p, const char *table, const char *address,
                                 struct buf *value)
{
    const char *domain = strchr(address, '@') + 1;
    enum lookup result = ask(p, table, address, value);

    if (result == LOOKUP_ABSENT)
        result = ask(p, table, domain, value);
    for (const char *dot = strchr(domain, '.'); result == LOOKUP_ABSENT && dot != NULL;
         dot = strchr(dot + 1, '.'))
        result = ask(p, table, dot, value);
    return result == LOOKUP_ABSENT ? ask(p, table, "*", value) : result;
}

static enum lookup find_route(const struct postfix *p, const char *address, struct buf *value)
{
    enum lookup result = LOOKUP_ABSENT;
    struct milter_list tables; /* transport_maps has the same syntax */

    milter_list_parse(postfix_get_expanded(p, "transport_maps"), &tables);
    for (size_t i = 0; result == LOOKUP_ABSENT && i < tables.count; i++)
        result = find_in_table(p, tables.items[i].text, address, value);
    milter_list_clear(&tables);
    return result;
}

/* Return true if the policy list has this word as an entry of its own, outside of braces. */
static bool has_word_outside(const char *list, const char *word)
{
    struct milter_list words;
    bool is_found = false;

    milter_list_parse(list, &words);
    for (size_t i = 0; i < words.count; i++)
        is_found |= strcmp(words.items[i].text, word) == 0;
    milter_list_clear(&words);
    return is_found;
}

/* Return true if REQUIRETLS is not enforced for this next hop, or if the next hop is no host. The
 * default policy of Postfix does not enforce REQUIRETLS for IP addresses, localhost and hosts in
 * $mydomain. */
static bool is_relaxed(const struct postfix *p, const char *policy, const char *nexthop)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    const char *mydomain = postfix_get_expanded(p, "mydomain");
    struct endpoint e;
    struct err ignored;

    if (has_word_outside(policy, "opportunistic") || has_word_outside(policy, "disable") ||
        endpoint_parse_nexthop(nexthop, &e, &ignored) < 0 || e.kind != ENDPOINT_INET)
        return true;
    if (strstr(policy, "opportunistic") == NULL)
        return false;
    size_t host_len = strlen(e.host), domain_len = strlen(mydomain);
    const char *end = e.host + host_len - (host_len < domain_len ? host_len : domain_len);
    bool is_below = ascii_equal(end, mydomain) && (end == e.host || end[-1] == '.');
    return is_below || ascii_equal(e.host, "localhost") || inet_pton(AF_INET, e.host, bytes) == 1 ||
           inet_pton(AF_INET6, e.host, bytes) == 1;
}

/* Report a service that does not send messages with REQUIRETLS to this next hop. what: the filter
 * or destination, for the finding; route: "transport:nexthop". */
static void review_requiretls(const struct postfix *p, const char *what, const char *route,
                              struct postfix_review *out)
{
    const char *colon = strchr(route, ':');
    char *transport = mem_strndup(route, colon == NULL ? strlen(route) : (size_t)(colon - route));
    const struct postfix_service *v = postfix_service(p, transport, "unix");
    char *parameter = v == NULL ? mem_strdup("") : mem_printf("%s_requiretls_policy", v->command);

    if (v != NULL && colon != NULL && postfix_knows(p, parameter) &&
        !is_relaxed(p, postfix_get_for(p, v, parameter), colon + 1)) {
        char *advice = mem_printf("add `-o %s=opportunistic' to it", parameter);
        postfix_review_add(out, POSTFIX_FINDING_WARNING, POSTFIX_FINDING_TLS, advice,
                           "%s/master.cf: service %s/unix: a message with REQUIRETLS does not pass "
                           "to %s, which is for %s: mail bounces, copies vanish",
                           p->directory, transport, colon + 1, what);
        free(advice);
    }
    free(parameter);
    free(transport);
}

/* Report a service whose fallbacks are not these. With those of main.cf, mail for a filter may pass
 * unfiltered. */
static void review_fallback(const struct postfix *p, const char *what, const char *wanted,
                            const char *route, struct postfix_review *out)
{
    char *transport = mem_strndup(route, strcspn(route, ":"));
    const struct postfix_service *v = postfix_service(p, transport, "unix");

    if (v != NULL && (strcmp(v->command, "smtp") == 0 || strcmp(v->command, "lmtp") == 0)) {
        char *advice = mem_printf("add `-o %s_fallback_relay=%s' to it", v->command, wanted);
        postfix_review_fallback(p, v, what, wanted, advice, out);
        free(advice);
    }
    free(transport);
}

/* Report a missing route, or what is wrong with its service. fallback: as setup_fallback() writes
 * it. False: a table cannot be read, so it is not known whether there is a route. */
static bool review_route(const struct postfix *p, const char *what, const char *suffix,
                         const char *fallback, struct postfix_review *out)
{
    char *address = mem_printf("user@example.com%s", suffix);
    struct buf route = {0};
    enum lookup result = find_route(p, address, &route);

    if (result == LOOKUP_ABSENT)
        postfix_review_add(out, POSTFIX_FINDING_ERROR, POSTFIX_FINDING_ROUTES,
                           "add it; `splitctl setup-postfix' shows all that is needed",
                           "%s/main.cf: transport_maps have no entry for %s (%s): mail for it "
                           "bounces",
                           p->directory, suffix, what);
    else if (result == LOOKUP_FOUND) {
        review_requiretls(p, what, buf_str(&route), out);
        review_fallback(p, what, fallback, buf_str(&route), out);
    }
    buf_clear(&route);
    free(address);
    return result != LOOKUP_UNKNOWN;
}

void postfix_review_by_hand(const struct config *config, const struct postfix *p,
                            struct postfix_review *out)
{
    struct postfix_review milters = {0};
    bool is_known = p->main_state == MARKED_NONE, makes_copies = false;

    postfix_review_instance(config, p, &milters);
    bool has_filters = milters.asking > 0;
    for (size_t i = 0; i < config->other_milter_count; i++)
        makes_copies = makes_copies || milters.is_named_asked[i];
    is_known = is_known && (has_filters || makes_copies);
    postfix_review_clear(&milters);
    for (size_t i = 0; is_known && has_filters && i < config->filter_count; i++) {
        char *what = mem_printf("filter %s of %s", config->filters[i].name, config->path);
        char *suffix = mem_printf(".%s.filter.%s", config->filters[i].name, config->tag_domain);
        char *fallback = setup_fallback(&config->filters[i]);
        is_known = review_route(p, what, suffix, fallback, out);
        free(fallback);
        free(suffix);
        free(what);
    }
    for (size_t i = 0; is_known && i < config->destination_count; i++) {
        char *what = mem_printf("copies for destination %s", config->destinations[i].name);
        char *suffix = mem_printf(".%s.copy.%s", config->destinations[i].name, config->tag_domain);
        is_known = review_route(p, what, suffix, "", out);
        free(suffix);
        free(what);
    }
}
