/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/setup_postfix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOPBACK "127.0.0.0/8, [::1]/128"
/* Options that our client services must not inherit from main.cf. Their names begin with "smtp_" or
 * "lmtp_", which add_client_options() puts before these texts. */
static const char *const client_options[] = {
    "header_checks=", "mime_header_checks=", "nested_header_checks=",    "body_checks=",
    "bind_address=",  "bind_address6=",      "send_xforward_command=yes"};

/* Options that our smtpd(8) services must not inherit from main.cf. Only this machine and the
 * filters may use their ports. */
static const char *const server_options[] = {
    "content_filter=",
    "smtpd_proxy_filter=",
    "smtpd_upstream_proxy_protocol=",
    "smtpd_tls_security_level=none",
    "smtpd_tls_wrappermode=no",
    "smtpd_sasl_auth_enable=no",
    "smtpd_authorized_xclient_hosts=",
    "smtpd_helo_required=no",
    "smtpd_client_restrictions=permit_mynetworks,reject",
    "smtpd_helo_restrictions=",
    "smtpd_sender_restrictions=check_sender_access,regexp:$config_directory/split_closed",
    "smtpd_relay_restrictions=",
    ("smtpd_recipient_restrictions=check_recipient_access,regexp:$config_directory/split_closed,"
     "permit_mynetworks,reject"),
    "smtpd_data_restrictions=",
    "smtpd_end_of_data_restrictions=",
    "smtpd_etrn_restrictions=reject",
    "smtpd_restriction_classes=",
    "smtpd_command_filter=",
    "smtpd_soft_error_limit=1001",
    "smtpd_hard_error_limit=1000",
    "smtpd_client_connection_count_limit=0",
    "smtpd_client_connection_rate_limit=0",
    "smtpd_client_message_rate_limit=0",
    "smtpd_client_recipient_rate_limit=0"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Return the host to connect to if a server listens on `host`: for a wildcard the loopback
 * address. */
static const char *connectable(const char *host)
{
    if (host[0] == '\0' || strcmp(host, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(host, "::") == 0 ? "::1" : host;
}

void setup_format_nexthop(const struct endpoint *e, char *out, size_t size)
{
    if (e->kind == ENDPOINT_UNIX)
        snprintf(out, size, "unix:%s", e->path);
    else
        snprintf(out, size, "[%s]:%u", connectable(e->host), (unsigned)e->port);
}

void setup_format_milter(const struct endpoint *e, char *out, size_t size)
{
    const char *host = connectable(e->host);

    snprintf(out, size, strchr(host, ':') != NULL ? "inet:[%s]:%u" : "inet:%s:%u", host,
             (unsigned)e->port);
}

static void format_listener(const struct endpoint *e, char *out, size_t size)
{
    if (e->host[0] == '\0')
        snprintf(out, size, "%u", (unsigned)e->port);
    else
        snprintf(out, size, strchr(e->host, ':') != NULL ? "[%s]:%u" : "%s:%u", e->host,
                 (unsigned)e->port);
}

static void add_option(struct setup_edit *e, const char *option)
{
    buf_addf(&e->master_part, "    -o %s\n", option);
}

/* Add "-o PROTOCOL_NAME=VALUE", unless the service that ours is copied from (NULL: none) has this
 * option. */
static void add_default(struct setup_edit *e, const struct postfix_service *base,
                        const char *protocol, const char *name, const char *value)
{
    char *full = mem_printf("%s_%s", protocol, name);

    if (base == NULL || !postfix_service_option(base, full, NULL))
        buf_addf(&e->master_part, "    -o %s=%s\n", full, value);
    free(full);
}

/* Add options of smtp(8) or lmtp(8). TLS wrapping and authentication that main.cf has for a relay
 * host must not apply to our services. fallback: hosts, or "" for none: with those of main.cf, mail
 * would pass unfiltered. */
static void add_client_options(struct setup_edit *e, const struct postfix *p,
                               const struct postfix_service *base, const char *protocol,
                               const char *fallback, const char *generic, bool is_near)
{
    char *requiretls = mem_printf("%s_requiretls_policy", protocol);

    buf_addf(&e->master_part, "    -o %s_fallback_relay=%s\n", protocol, fallback);
    for (size_t i = 0; i < COUNT(client_options); i++)
        buf_addf(&e->master_part, "    -o %s_%s\n", protocol, client_options[i]);
    buf_addf(&e->master_part, "    -o %s_generic_maps=%s\n", protocol, generic);
    add_default(e, base, protocol, "tls_wrappermode", "no");
    add_default(e, base, protocol, "sasl_auth_enable", "no");
    if (is_near)
        add_default(e, base, protocol, "tls_security_level", "none");
    /* Postfix 3.11 bounces a message with REQUIRETLS at a next hop that does not offer REQUIRETLS.
     * A copy would be lost without a bounce (NOTIFY=NEVER). */
    if (postfix_knows(p, requiretls))
        add_default(e, base, protocol, "requiretls_policy", "opportunistic");
    free(requiretls);
}

bool setup_is_harmless(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  ".:[]_-/+@";
    return text[0] != '\0' && text[strspn(text, allowed)] == '\0';
}

/* Return true if main.cf sets this limit of one of our services. postconf(1) reports such a
 * parameter only if the service is in master.cf already. */
static bool is_in_main_cf(const struct postfix *p, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = p->main_cf; (at = strstr(at, name)) != NULL; at += len)
        if ((at == p->main_cf || at[-1] == '\n') && strchr(" \t=", at[len]) != NULL)
            return true;
    return false;
}

/* Copy the queue manager's limits of the service that ours is copied from. */
static void take_limits(const struct postfix *p, const char *from, const char *to,
                        struct setup_edit *e)
{
    static const char *const limits[] = {
        "_destination_concurrency_limit", "_destination_recipient_limit",
        "_initial_destination_concurrency", "_destination_rate_delay", "_transport_rate_delay"};

    for (size_t i = 0; i < COUNT(limits); i++) {
        char *old_name = mem_printf("%s%s", from, limits[i]);
        char *new_name = mem_printf("%s%s", to, limits[i]);
        const char *value = postfix_get(p, old_name);
        if (value[0] != '\0' && value[0] != '$' && !is_in_main_cf(p, new_name))
            setup_set(e, new_name, "%s", value);
        free(old_name);
        free(new_name);
    }
}

bool setup_is_near(const char *nexthop)
{
    const char *from = nexthop + (nexthop[0] == '[');
    size_t len = strcspn(from, nexthop[0] == '[' ? "]" : ":");
    char *host = mem_strndup(from, len);
    bool is = endpoint_is_loopback_host(host) || strncmp(nexthop, "unix:", 5) == 0 ||
              strncmp(nexthop, "inet:127.", 9) == 0;

    free(host);
    return is;
}

static const struct postfix_service *base_service(const struct postfix *p,
                                                  const struct config_filter *f, struct err *err)
{
    char *transport = mem_strndup(f->nexthop, strcspn(f->nexthop, ":"));
    const struct postfix_service *base = postfix_service(p, transport, "unix");
    const struct postfix_service *usable = NULL;

    if (base == NULL)
        err_set(err, "filter %s: %s/master.cf has no service \"%s unix\"", f->name, p->directory,
                transport);
    else if (strcmp(base->command, "smtp") != 0 && strcmp(base->command, "lmtp") != 0)
        err_set(err, "filter %s: \"%s\" is %s(8); only smtp(8) and lmtp(8) can take the suffix off",
                f->name, transport, base->command);
    else
        usable = base;
    free(transport);
    return usable;
}

/* Add the service of a filter, as a copy of the service that its nexthop names. */
static int filter_service(const struct setup *s, const struct postfix *p,
                          const struct config_filter *f, struct setup_edit *e, struct err *err)
{
    if (config_hop(f->nexthop) == f->nexthop + 1 || !setup_is_harmless(f->nexthop)) {
        err_set(err, "filter %s: cannot use the nexthop \"%s\"", f->name, f->nexthop);
        return -1;
    }
    const struct postfix_service *base = base_service(p, f, err);
    if (base == NULL || setup_check_fallback(s, p, base, f, err) < 0)
        return -1;
    char *name = mem_printf("split-%s", f->name), *fallback = setup_fallback(f);
    buf_addf(&e->master_part, "%s unix - - n - %s %s%s%s\n", name, base->maxproc, base->command,
             base->arguments[0] == '\0' ? "" : " ", base->arguments);
    add_client_options(e, p, base, base->command, fallback, "regexp:$config_directory/split_untag",
                       setup_is_near_filter(f));
    /* After a cached connection has failed, smtp(8) leaves out its address in the rest of the
     * delivery, also at other ports, so a fallback on the same host would not be tried. */
    if (fallback[0] != '\0')
        add_default(e, base, base->command, "connection_cache_on_demand", "no");
    take_limits(p, base->name, name, e);
    free(fallback);
    free(name);
    return 0;
}

int setup_filter_services(const struct setup *s, const struct postfix *p, struct setup_edit *e,
                          struct err *err)
{
    for (size_t i = 0; i < s->config->filter_count; i++)
        if (filter_service(s, p, &s->config->filters[i], e, err) < 0)
            return -1;
    return 0;
}

void setup_format_relay(const struct setup *s, char *out, size_t size)
{
    if (s->options->relay[0] != '\0')
        snprintf(out, size, "%s", s->options->relay);
    else
        setup_format_nexthop(&s->config->relay.listen[0], out, size);
}

/* splitrelay answers within seconds. When its machine is lost in the middle of a connection,
 * Postfix would wait ten minutes for the last answer before it tries another splitrelay. */
static void add_copy_timeouts(struct setup_edit *e, const char *protocol)
{
    static const char *const answers[] = {"helo",      "xforward",  "mail",     "rcpt",
                                          "data_init", "data_xfer", "data_done"};

    add_default(e, NULL, protocol, "connect_timeout", "10s");
    for (size_t i = 0; i < COUNT(answers); i++) {
        char *name = mem_printf("%s_timeout", answers[i]);
        add_default(e, NULL, protocol, name, "60s");
        free(name);
    }
}

void setup_copy_service(const struct setup *s, const struct postfix *p, struct setup_edit *e)
{
    char to[300];

    setup_format_relay(s, to, sizeof to);
    const char *protocol = strncmp(to, "unix:", 5) == 0 ? "lmtp" : "smtp";
    buf_addf(&e->master_part, "splitcopy unix - - n - - %s\n", protocol);
    add_client_options(e, p, NULL, protocol, "", "", setup_is_near(to));
    /* On this machine a new connection costs less than scache(8), which Postfix asks under load. */
    if (setup_is_near(to))
        add_default(e, NULL, protocol, "connection_cache_on_demand", "no");
    else
        add_copy_timeouts(e, protocol);
    /* These two options keep the content of a copy byte for byte. */
    buf_addf(&e->master_part, "    -o %s_line_length_limit=0\n", protocol);
    add_option(e, "disable_mime_output_conversion=yes");
}

void setup_next_service(const struct postfix *p, struct setup_edit *e)
{
    buf_adds(&e->master_part, "splitnext unix - - n - - smtp\n");
    add_client_options(e, p, NULL, "smtp", "", "", true);
}

/* The networks from which this machine connects to this listener: a connection to an address of the
 * machine comes from that address. */
static char *own_networks(const struct endpoint *at)
{
    const char *host = connectable(at->host);
    bool is_ipv6 = strchr(host, ':') != NULL;

    if (endpoint_is_loopback_host(host))
        return mem_strdup(LOOPBACK);
    return mem_printf(is_ipv6 ? LOOPBACK ", [%s]/128" : LOOPBACK ", %s/32", host);
}

static void add_server(struct setup_edit *e, const struct endpoint *at, const char *label,
                       const char *networks)
{
    char listener[300], *own = own_networks(at);

    format_listener(at, listener, sizeof listener);
    buf_addf(&e->master_part, "%s inet n - n - - smtpd\n", listener);
    buf_addf(&e->master_part,
             "    -o syslog_name=${multi_instance_name?{$multi_instance_name}:{postfix}}/%s\n",
             label);
    for (size_t i = 0; i < COUNT(server_options); i++)
        add_option(e, server_options[i]);
    buf_addf(&e->master_part, "    -o { mynetworks = %s%s }\n", own, networks);
    free(own);
}

void setup_reinject_service(const struct setup *s, const struct postfix *p,
                            const char *queue_directory, struct setup_edit *e)
{
    const struct config_milter *after = setup_after(s);

    add_server(e, &s->options->reinject, "reinject", s->options->networks);
    add_option(e, "smtpd_authorized_xforward_hosts=$mynetworks");
    add_option(e, "local_header_rewrite_clients=");
    if (after == NULL) {
        add_option(e, "smtpd_milters=");
        add_option(e, "receive_override_options=no_header_body_checks,no_unknown_recipient_checks,"
                      "no_milters");
        return;
    }
    char *entry = setup_milter_entry(&after->socket, queue_directory);
    buf_addf(&e->master_part, "    -o { smtpd_milters = %s }\n", entry);
    free(entry);
    if (postfix_knows(p, "smtpd_milter_maps"))
        add_option(e, "smtpd_milter_maps=");
    add_option(e, "receive_override_options=no_header_body_checks,no_unknown_recipient_checks");
}

void setup_submission_service(const struct setup *s, struct setup_edit *e)
{
    add_server(e, &s->options->submission, "submission", "");
    add_option(e, "smtpd_milters=");
}

void setup_local_service(const struct setup *s, struct setup_edit *e)
{
    add_server(e, &s->options->local, "local", "");
}
