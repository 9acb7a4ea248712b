/* SPDX-License-Identifier: ISC */
/* Prints what Sendmail needs of the configuration: lines for sendmail.mc
 * (conf/sendmail/splitmilter.m4 defines their macros) and for the mailertable. */
#include "net/endpoint.h"
#include "base/mem.h"
#include "base/process.h"
#include "ctl/ctl.h"
#include "base/ascii.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define M4_FILE PKGDATADIR "/sendmail/splitmilter.m4"
#define LMTP_PORT_DEFAULT 24

/* A filter as a next hop of Sendmail. */
struct hop {
    const char *name; /* borrowed */
    bool is_lmtp;
    struct endpoint to;
    unsigned path_number; /* of a unix socket: part of its mailer's name */
    struct endpoint *fallback;
    size_t fallback_count;
};

struct setup {
    const struct config *config;
    struct hop *hops; /* one for each filter */
    const char *reinject;
};

/* Refuse characters that are special to m4 or Sendmail. */
static int check_text(const char *what, const char *text, struct err *err)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "/._+:@[]-";

    if (text[strspn(text, good)] == '\0')
        return 0;
    err_set(err, "%s: \"%s\" cannot be written in sendmail.mc: letters, digits and %s are allowed",
            what, text, strchr(good, '/'));
    return -1;
}

/* Parse the endpoint in a value "transport:nexthop" of option `what` of the filter. */
static int parse_nexthop(const struct config_filter *f, const char *what, const char *nexthop,
                         bool is_lmtp, struct endpoint *to, struct err *err)
{
    const char *text = config_hop(nexthop), *bracket = strrchr(text, ']');

    if (endpoint_parse_nexthop(text, to, err) != 0) {
        err_wrap(err, "filter %s: %s", f->name, what);
        return -1;
    }
    /* Without a port the parser has set 25, the default of SMTP. */
    if (is_lmtp && strchr(bracket == NULL ? text : bracket, ':') == NULL)
        to->port = LMTP_PORT_DEFAULT;
    return check_text(f->name, to->kind == ENDPOINT_UNIX ? to->path : to->host, err);
}

/* Parse the fallbacks. The hosts of an entry in the mailertable have one mailer, and so one port.
 */
static int parse_fallback(const struct config_filter *f, struct hop *hop, struct err *err)
{
    hop->fallback = mem_zalloc((f->fallback.count + 1) * sizeof *hop->fallback);
    for (size_t i = 0; i < f->fallback.count; i++) {
        struct endpoint *e = &hop->fallback[hop->fallback_count++];
        if (parse_nexthop(f, "fallback", f->fallback.items[i], hop->is_lmtp, e, err) != 0)
            return -1;
        if (e->port == hop->to.port)
            continue;
        err_set(err,
                "filter %s: fallback \"%s\": Sendmail needs the port of the nexthop, %u, for all "
                "hosts of a filter",
                f->name, f->fallback.items[i], (unsigned)hop->to.port);
        return config_place_fail(f->place, err);
    }
    return 0;
}

static int parse_hop(const struct config_filter *f, struct hop *hop, struct err *err)
{
    size_t len = strcspn(f->nexthop, ":");
    bool is_smtp = (len == 4 && ascii_equal_n(f->nexthop, "smtp", len)) ||
                   (len == 5 && ascii_equal_n(f->nexthop, "relay", len));

    hop->name = f->name;
    hop->is_lmtp = len == 4 && ascii_equal_n(f->nexthop, "lmtp", len);
    if (!is_smtp && !hop->is_lmtp) {
        err_set(err,
                "filter %s: nexthop \"%s\": Sendmail has no such transport, allowed are smtp:, "
                "relay: and lmtp:",
                f->name, f->nexthop);
        return -1;
    }
    if (parse_nexthop(f, "nexthop", f->nexthop, hop->is_lmtp, &hop->to, err) != 0)
        return -1;
    if (hop->to.kind == ENDPOINT_UNIX && is_smtp) {
        err_set(err, "filter %s: nexthop \"%s\": a unix socket needs lmtp:", f->name, f->nexthop);
        return -1;
    }
    return parse_fallback(f, hop, err);
}

static bool same_mailer(const struct hop *a, const struct hop *b)
{
    if (a->is_lmtp != b->is_lmtp || a->to.kind != b->to.kind)
        return false;
    return a->to.kind == ENDPOINT_UNIX ? strcmp(a->to.path, b->to.path) == 0
                                       : a->to.port == b->to.port;
}

/* The first filter that uses the mailer of filter i, perhaps i itself. */
static size_t first_with_mailer(const struct setup *s, size_t i)
{
    size_t k = 0;

    while (k < i && !same_mailer(&s->hops[k], &s->hops[i]))
        k++;
    return k;
}

static int parse_hops(struct setup *s, struct err *err)
{
    unsigned paths = 0;

    for (size_t i = 0; i < s->config->filter_count; i++) {
        struct hop *hop = &s->hops[i];
        if (parse_hop(&s->config->filters[i], hop, err) != 0)
            return -1;
        if (hop->to.kind != ENDPOINT_UNIX)
            continue;
        size_t first = first_with_mailer(s, i);
        hop->path_number = first < i ? s->hops[first].path_number : ++paths;
    }
    return 0;
}

/* The host of a mailertable entry. Brackets keep Sendmail from looking for MX records. */
static char *route_host(const struct endpoint *e)
{
    struct in6_addr ip6;
    struct in_addr ip4;

    if (e->kind == ENDPOINT_UNIX)
        return mem_strdup("localhost"); /* the mailer has the path */
    if (e->host[0] == '\0' || strcmp(e->host, "0.0.0.0") == 0)
        return mem_strdup("[127.0.0.1]");
    if (inet_pton(AF_INET6, e->host, &ip6) == 1)
        return mem_printf("[IPv6:%s]", strcmp(e->host, "::") == 0 ? "::1" : e->host);
    bool is_address = inet_pton(AF_INET, e->host, &ip4) == 1;
    return mem_printf(e->is_literal || is_address ? "[%s]" : "%s", e->host);
}

/* The endpoint to which Sendmail sends copies; TCP is preferred to unix sockets. NULL without
 * copies. */
static const struct endpoint *copy_endpoint(const struct config *c)
{
    if (c->destination_count == 0 || c->relay.listen_count == 0)
        return NULL;
    for (size_t i = 0; i < c->relay.listen_count; i++) {
        if (c->relay.listen[i].kind == ENDPOINT_INET)
            return &c->relay.listen[i];
    }
    return &c->relay.listen[0];
}

static void print_filter_mailer(const struct hop *hop)
{
    if (hop->to.kind == ENDPOINT_UNIX)
        printf("SPLIT_FILTER_LMTP(`%s', `u%u')dnl\n", hop->to.path, hop->path_number);
    else
        printf("SPLIT_FILTER_%s(`%u')dnl\n", hop->is_lmtp ? "LMTP" : "SMTP",
               (unsigned)hop->to.port);
}

static void print_milter(const struct config_milter *m)
{
    if (m->socket.kind == ENDPOINT_UNIX)
        printf("SPLIT_MILTER(`unix:%s')dnl\n", m->socket.path);
    else if (m->socket.host[0] == '\0')
        printf("SPLIT_MILTER(`inet:%u@127.0.0.1')dnl\n", (unsigned)m->socket.port);
    else
        printf("SPLIT_MILTER(`%s:%u@%s')dnl\n", strchr(m->socket.host, ':') ? "inet6" : "inet",
               (unsigned)m->socket.port, m->socket.host);
}

static void print_mc(const struct setup *s)
{
    const struct endpoint *copy = copy_endpoint(s->config);

    printf(
        "dnl splitmilter, made by splitctl setup-sendmail. Include this in sendmail.mc, below all\n"
        "dnl define()s and above the MAILER() lines; FEATURE(`mailertable') must be there, too.\n"
        "define(`SPLIT_TAG_DOMAIN', `%s')dnl\n"
        "include(`" M4_FILE "')dnl\n",
        s->config->tag_domain);
    print_milter(&s->config->milter);
    printf("SPLIT_REINJECT(`%s')dnl\n", s->reinject);
    for (size_t i = 0; i < s->config->filter_count; i++) {
        if (first_with_mailer(s, i) == i)
            print_filter_mailer(&s->hops[i]);
    }
    if (copy != NULL && copy->kind == ENDPOINT_UNIX)
        printf("SPLIT_COPY_LMTP(`%s')dnl\n", copy->path);
    else if (copy != NULL)
        printf("SPLIT_COPY_SMTP(`%u')dnl\n", (unsigned)copy->port);
}

/* Print the further hosts of an entry. Sendmail tries them in order. */
static void print_fallback(const struct hop *hop)
{
    for (size_t i = 0; i < hop->fallback_count; i++) {
        char *host = route_host(&hop->fallback[i]);
        printf(":%s", host);
        free(host);
    }
    putchar('\n');
}

static void print_mailertable(const struct setup *s)
{
    const struct endpoint *copy = copy_endpoint(s->config);
    char *host;

    for (size_t i = 0; i < s->config->filter_count; i++) {
        const struct hop *hop = &s->hops[i];
        host = route_host(&hop->to);
        printf(".%s.filter.%s\tsplit%s", hop->name, s->config->tag_domain,
               hop->is_lmtp ? "lmtp" : "smtp");
        if (hop->to.kind == ENDPOINT_UNIX)
            printf("u%u:%s", hop->path_number, host);
        else
            printf("%u:%s", (unsigned)hop->to.port, host);
        free(host);
        print_fallback(hop);
    }
    if (copy != NULL) {
        host = route_host(copy);
        printf(".copy.%s\tsplitcopy:%s\n", s->config->tag_domain, host);
        free(host);
    }
}

static int check_config(struct setup *s, struct err *err)
{
    const struct config *c = s->config;
    const struct endpoint *copy = copy_endpoint(c);

    if (c->milter.filter_method == CONFIG_METHOD_HEADER) {
        err_set(err, "milter.filter_method = \"header\" works with Postfix only: Sendmail reads no "
                     "header that a milter adds; use \"tag\"");
        return -1;
    }
    if (check_text("tag_domain", c->tag_domain, err) != 0 ||
        check_text("milter.socket", c->milter.socket_text, err) != 0 || parse_hops(s, err) != 0)
        return -1;
    if (copy == NULL)
        return 0;
    return check_text("relay.listen", copy->kind == ENDPOINT_UNIX ? copy->path : copy->host, err);
}

static bool is_port(const char *text)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    return ascii_is_digit(*text) && *end == '\0' && port > 0 && port <= 65535;
}

int ctl_setup_sendmail(const struct ctl_command *self, const char *config_path, int argc,
                       char **argv)
{
    struct setup s = {.reinject = "10025"};
    struct err err;
    int c;

    optind = 0; /* main() has used getopt(3); 0 makes glibc start again */
    while ((c = getopt(argc, argv, "+r:")) != -1) {
        if (c != 'r' || !is_port(optarg))
            return ctl_usage(self);
        s.reinject = optarg;
    }
    const char *part = optind == argc ? "" : argv[optind];
    bool wants_mc = strcmp(part, "mailertable") != 0, wants_table = strcmp(part, "mc") != 0;
    if (argc - optind > 1 || (*part != '\0' && wants_mc && wants_table))
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    s.config = config;
    s.hops = mem_zalloc((config->filter_count + 1) * sizeof *s.hops);
    int rc = check_config(&s, &err);
    if (rc != 0) {
        ctl_complain("%s: %s", config->path, err.text);
    } else {
        if (wants_mc)
            print_mc(&s);
        if (wants_mc && wants_table)
            fputs("dnl\ndnl For the mailertable:\n", stdout);
        if (wants_table)
            print_mailertable(&s);
    }
    for (size_t i = 0; i < config->filter_count; i++)
        free(s.hops[i].fallback);
    free(s.hops);
    config_free(config);
    return rc == 0 ? EXIT_OK : EXIT_CONFIG;
}
