/* SPDX-License-Identifier: ISC */
#include "config/config_option.h"

/* Words for an enum are in the order of the enum in config.h. */
static const char *const method_words[] = {"tag", "header", NULL};
static const char *const mixed_words[] = {"tag", "defer", NULL};
static const char *const failure_words[] = {"tempfail", "accept", NULL};
static const char *const protocol_words[] = {"smtp", "lmtp", NULL};
static const char *const format_words[] = {"raw", "envelope-headers", "journal", NULL};
static const char *const inet_words[] = {"all", "ipv4", "ipv6", NULL};
static const char *const switch_words[] = {"no", "yes", NULL};

static const char *const target_words[] = {"syslog", "stderr", NULL};
static const char *const facility_words[] = {"mail",   "daemon", "user",   "local0",
                                             "local1", "local2", "local3", "local4",
                                             "local5", "local6", "local7", NULL};
static const char *const level_words[] = {"error", "warning", "info", "debug", NULL};
static const char *const style_words[] = {"splitmilter", "postfix", "json", NULL};
static const char *const class_words[] = {"envelope_recipient", "header_recipient", NULL};
static const char *const recipient_words[] = {"original", "canonical", NULL};
static const char *const direction_words[] = {"inbound", "outbound", "internal", NULL};
static const char *const sender_words[] = {"original", "null", NULL};

static const char *const tls_words[] = {"none", "may", "encrypt", "verify", "auto", NULL};
static const char *const server_tls_words[] = {"none", "may", "encrypt", NULL};
static const char *const tls_client_words[] = {"none", "ask", "require", NULL};
static const char *const mechanism_words[] = {"SCRAM-SHA-256", "PLAIN",   "LOGIN",
                                              "OAUTHBEARER",   "XOAUTH2", NULL};

#define YEAR_S (366u * 86400)

#define AT(section, field) offsetof(struct SECTION_##section, field)
#define OPTION(section, name, type, field)                                                         \
    CONFIG_SECTION_##section, name, CONFIG_OPT_##type, AT(section, field)

#define SECTION_TOP config
#define SECTION_LOG config_log
#define SECTION_MILTER config_milter
#define SECTION_FILTER config_filter
#define SECTION_RELAY config_relay
#define SECTION_DESTINATION config_destination
#define SECTION_LISTENER config_listener

/* (section, name, type, field), companion, default, min, max, words */
// clang-format off
const struct config_option config_options[] = {
    {OPTION(TOP, "tag_domain", DOMAIN, tag_domain), 0, "split.invalid", 0, 0, NULL},
    {OPTION(TOP, "recipient_delimiter", DELIMITER, recipient_delimiter), 0, "", 0, 0, NULL},
    {OPTION(LOG, "target", WORD_TEXT, target), 0, "syslog", 0, 0, target_words},
    {OPTION(LOG, "facility", WORD_TEXT, facility), 0, "mail", 0, 0, facility_words},
    {OPTION(LOG, "level", WORD_TEXT, level), 0, "info", 0, 0, level_words},
    {OPTION(LOG, "style", WORD_TEXT, style), 0, "splitmilter", 0, 0, style_words},
    {OPTION(MILTER, "socket", SOCKET, socket), AT(MILTER, socket_text), "unix:/run/splitmilter/milter.sock", 0, 0, NULL},
    {OPTION(MILTER, "socket_mode", MODE, socket_mode), 0, "0660", 0, 0777, NULL},
    {OPTION(MILTER, "socket_group", GROUP, socket_group), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "trusted_mtas", NETWORKS, trusted_mtas), AT(MILTER, trusted_mta_count), "", 0, 0, NULL},
    {OPTION(MILTER, "pid_file", PATH_OR_NONE, pid_file), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "canonical_maps", TABLES, canonical_maps), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "canonical_classes", WORDS, canonical_classes), 0, "envelope_recipient", 1, 8, class_words},
    {OPTION(MILTER, "filter_maps", TABLES, filter_maps), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "copy_maps", TABLES, copy_maps), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "sender_filter_maps", TABLES, sender_filter_maps), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "sender_copy_maps", TABLES, sender_copy_maps), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "orcpt_maps", TABLES, orcpt_maps), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "unfiltered_nexthops", TRANSPORTS, unfiltered_nexthops), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "bypass_clients", NETWORKS, bypass_clients), AT(MILTER, bypass_client_count), "", 0, 0, NULL},
    {OPTION(MILTER, "local_networks", NETWORKS, local_networks), AT(MILTER, local_network_count), "127.0.0.0/8, ::1/128", 0, 0, NULL},
    {OPTION(MILTER, "local_domains", DOMAINS, local_domains), 0, "", 0, 0, NULL},
    {OPTION(MILTER, "filter_method", WORD, filter_method), 0, "tag", 0, 0, method_words},
    {OPTION(MILTER, "mixed_filters", WORD, mixed_filters), 0, "tag", 0, 0, mixed_words},
    {OPTION(MILTER, "filter_header", HEADER, filter_header), 0, "X-Split-Filter", 0, 0, NULL},
    {OPTION(MILTER, "on_failure", WORD, on_failure), 0, "tempfail", 0, 0, failure_words},
    {OPTION(MILTER, "lookup_timeout", MILLISECONDS, lookup_timeout_ms), 0, "10s", 1, 29, NULL},
    {OPTION(MILTER, "metrics", SOCKETS, metrics), AT(MILTER, metrics_count), "", 0, 4, NULL},
    {OPTION(FILTER, "nexthop", TRANSPORT, nexthop), 0, NULL, 0, 0, NULL},
    {OPTION(FILTER, "fallback", TRANSPORTS, fallback), 0, "", 0, 8, NULL},
    {OPTION(RELAY, "listen", SOCKETS, listen), AT(RELAY, listen_count), "inet:10030@127.0.0.1", 1, 16, NULL},
    {OPTION(RELAY, "hostname", HOSTNAME, hostname), 0, "", 0, 0, NULL},
    {OPTION(RELAY, "spool_directory", PATH, spool_directory), 0, "/var/spool/splitmilter", 0, 0, NULL},
    {OPTION(RELAY, "queue", QUEUE, queue), 0, "sqlite", 0, 0, NULL},
    {OPTION(RELAY, "queue_replicated", SWITCH, queue_replicated), 0, "yes", 0, 0, switch_words},
    {OPTION(RELAY, "node", HOSTNAME, node), 0, "", 0, 0, NULL},
    {OPTION(RELAY, "history", SECONDS, history_s), 0, "7d", 0, YEAR_S, NULL},
    {OPTION(RELAY, "trusted_networks", NETWORKS, trusted_networks), AT(RELAY, trusted_network_count), "127.0.0.0/8, ::1/128", 0, 0, NULL},
    {OPTION(RELAY, "message_size_limit", SIZE, message_size_limit_bytes), 0, "50M", 1024, 1ULL << 40, NULL},
    {OPTION(RELAY, "max_connections", NUMBER, max_connections), 0, "200", 1, 100000, NULL},
    {OPTION(RELAY, "connection_reserve", NUMBER, connection_reserve), 0, "50", 0, 100000, NULL},
    {OPTION(RELAY, "client_connection_limit", NUMBER, client_connection_limit), 0, "100", 0, 100000, NULL},
    {OPTION(RELAY, "first_command_timeout", MILLISECONDS, first_command_timeout_ms), 0, "30s", 1, 3600, NULL},
    {OPTION(RELAY, "hard_error_limit", NUMBER, hard_error_limit), 0, "100", 0, 100000, NULL},
    {OPTION(RELAY, "min_data_rate", NUMBER, min_data_rate), 0, "500", 0, 1000000, NULL},
    {OPTION(RELAY, "min_free_space", SIZE, min_free_space_bytes), 0, "256M", 0, 1ULL << 50, NULL},
    {OPTION(RELAY, "metrics", SOCKETS, metrics), AT(RELAY, metrics_count), "", 0, 4, NULL},
    {OPTION(RELAY, "page", SWITCH, page), 0, "yes", 0, 0, switch_words},
    {OPTION(RELAY, "page_password_file", PATH_OR_NONE, page_password_file), 0, "", 0, 0, NULL},
    {OPTION(RELAY, "dns_servers", DNS_SERVERS, dns.servers), AT(RELAY, dns.server_count), "", 0, 16, NULL},
    {OPTION(RELAY, "tls", WORD, tls.level), 0, "may", 0, 0, server_tls_words},
    {OPTION(RELAY, "tls_cert_file", PATH_OR_NONE, tls.cert_file), 0, "", 0, 0, NULL},
    {OPTION(RELAY, "tls_key_file", PATH_OR_NONE, tls.key_file), 0, "", 0, 0, NULL},
    {OPTION(RELAY, "tls_client", WORD, tls.client), 0, "none", 0, 0, tls_client_words},
    {OPTION(RELAY, "tls_client_ca_file", PATH_OR_NONE, tls.client_ca_file), 0, "", 0, 0, NULL},
    {OPTION(RELAY, "tls_client_fingerprint", FINGERPRINTS, tls.client_fingerprints), 0, "", 0, 1000, NULL},
    {OPTION(DESTINATION, "relay_to", TARGETS, relay_to), AT(DESTINATION, relay_to_count), NULL, 1, 32, NULL},
    {OPTION(DESTINATION, "protocol", WORD, protocol), 0, "smtp", 0, 0, protocol_words},
    {OPTION(DESTINATION, "inet_protocols", WORD, inet_protocols), 0, "all", 0, 0, inet_words},
    {OPTION(DESTINATION, "concurrency", NUMBER, concurrency), 0, "20", 1, 1000, NULL},
    {OPTION(DESTINATION, "initial_concurrency", NUMBER, initial_concurrency), 0, "5", 1, 1000, NULL},
    {OPTION(DESTINATION, "rate_limit", RATE, rate_limit), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "max_messages_per_connection", NUMBER, max_messages_per_connection), 0, "100", 0, 1000000, NULL},
    {OPTION(DESTINATION, "recipient_limit", NUMBER, recipient_limit), 0, "1000", 1, 2000, NULL},
    {OPTION(DESTINATION, "recipient", ADDRESS, recipient), AT(DESTINATION, recipient_address), "original", 0, 0, recipient_words},
    {OPTION(DESTINATION, "sender", ADDRESS, sender), AT(DESTINATION, sender_address), "original", 0, 0, sender_words},
    {OPTION(DESTINATION, "direction", WORDS, direction), 0, "inbound, outbound, internal", 1, 3, direction_words},
    {OPTION(DESTINATION, "format", WORD, format), 0, "raw", 0, 0, format_words},
    {OPTION(DESTINATION, "journal_from", MAILBOX, journal_from), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "unless_header", CONDITIONS, unless_header), 0, "", 0, 32, NULL},
    {OPTION(DESTINATION, "max_size", SIZE, max_size_bytes), 0, "0", 0, 1ULL << 40, NULL},
    {OPTION(DESTINATION, "xforward", SWITCH, xforward), 0, "no", 0, 0, switch_words},
    {OPTION(DESTINATION, "xclient", SWITCH, xclient), 0, "no", 0, 0, switch_words},
    {OPTION(DESTINATION, "retry_min", SECONDS, retry_min_s), 0, "1m", 1, YEAR_S, NULL},
    {OPTION(DESTINATION, "retry_max", SECONDS, retry_max_s), 0, "1h", 1, YEAR_S, NULL},
    {OPTION(DESTINATION, "max_age", SECONDS, max_age_s), 0, "5d", 1, YEAR_S, NULL},
    {OPTION(DESTINATION, "connect_timeout", MILLISECONDS, connect_timeout_ms), 0, "30s", 1, 86400, NULL},
    {OPTION(DESTINATION, "command_timeout", MILLISECONDS, command_timeout_ms), 0, "5m", 1, 86400, NULL},
    {OPTION(DESTINATION, "tls", WORD, tls.level), 0, "auto", 0, 0, tls_words},
    {OPTION(DESTINATION, "tls_wrap", SWITCH, tls.wrap), 0, "no", 0, 0, switch_words},
    {OPTION(DESTINATION, "tls_ca_file", PATH_OR_NONE, tls.ca_file), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "tls_name", HOSTNAMES, tls.names), 0, "", 0, 32, NULL},
    {OPTION(DESTINATION, "tls_fingerprint", FINGERPRINTS, tls.fingerprints), 0, "", 0, 32, NULL},
    {OPTION(DESTINATION, "tls_cert_file", PATH_OR_NONE, tls.cert_file), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "tls_key_file", PATH_OR_NONE, tls.key_file), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "auth_user", USER, auth.user), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "auth_password_file", PATH_OR_NONE, auth.password_file), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "auth_token_file", PATH_OR_NONE, auth.token_file), 0, "", 0, 0, NULL},
    {OPTION(DESTINATION, "auth_mechanisms", WORDS, auth.mechanisms), 0, "SCRAM-SHA-256, PLAIN, LOGIN, OAUTHBEARER, XOAUTH2", 1, 5, mechanism_words},
    {OPTION(DESTINATION, "auth_plaintext", SWITCH, auth.plaintext), 0, "no", 0, 0, switch_words},
    {OPTION(LISTENER, "listen", SOCKETS, listen), AT(LISTENER, listen_count), NULL, 1, 16, NULL},
    {OPTION(LISTENER, "primary", NEXTHOPS, primary.relay_to), AT(LISTENER, primary.relay_to_count), NULL, 1, 16, NULL},
    {OPTION(LISTENER, "protocol", WORD, primary.protocol), 0, "smtp", 0, 0, protocol_words},
    {OPTION(LISTENER, "inet_protocols", WORD, primary.inet_protocols), 0, "all", 0, 0, inet_words},
    {OPTION(LISTENER, "copies", NAMES, copies), 0, "", 0, 64, NULL},
    {OPTION(LISTENER, "copy_maps", TABLES, copy_maps), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "require_copies", SWITCH, require_copies), 0, "yes", 0, 0, switch_words},
    {OPTION(LISTENER, "xforward", SWITCH, xforward), 0, "no", 0, 0, switch_words},
    {OPTION(LISTENER, "pool_connections", NUMBER, pool_connections), 0, "20", 0, 1000, NULL},
    {OPTION(LISTENER, "pool_idle_time", MILLISECONDS, pool_idle_time_ms), 0, "10s", 1, 3600, NULL},
    {OPTION(LISTENER, "max_messages_per_connection", NUMBER, primary.max_messages_per_connection), 0, "100", 0, 1000000, NULL},
    {OPTION(LISTENER, "connect_timeout", MILLISECONDS, primary.connect_timeout_ms), 0, "30s", 1, 86400, NULL},
    {OPTION(LISTENER, "command_timeout", MILLISECONDS, primary.command_timeout_ms), 0, "5m", 1, 86400, NULL},
    {OPTION(LISTENER, "primary_tls", WORD, primary.tls.level), 0, "auto", 0, 0, tls_words},
    {OPTION(LISTENER, "primary_tls_wrap", SWITCH, primary.tls.wrap), 0, "no", 0, 0, switch_words},
    {OPTION(LISTENER, "primary_tls_ca_file", PATH_OR_NONE, primary.tls.ca_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "primary_tls_name", HOSTNAMES, primary.tls.names), 0, "", 0, 32, NULL},
    {OPTION(LISTENER, "primary_tls_fingerprint", FINGERPRINTS, primary.tls.fingerprints), 0, "", 0, 32, NULL},
    {OPTION(LISTENER, "primary_tls_cert_file", PATH_OR_NONE, primary.tls.cert_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "primary_tls_key_file", PATH_OR_NONE, primary.tls.key_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "primary_auth_user", USER, primary.auth.user), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "primary_auth_password_file", PATH_OR_NONE, primary.auth.password_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "primary_auth_token_file", PATH_OR_NONE, primary.auth.token_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "primary_auth_mechanisms", WORDS, primary.auth.mechanisms), 0, "SCRAM-SHA-256, PLAIN, LOGIN, OAUTHBEARER, XOAUTH2", 1, 5, mechanism_words},
    {OPTION(LISTENER, "primary_auth_plaintext", SWITCH, primary.auth.plaintext), 0, "no", 0, 0, switch_words},
    {OPTION(LISTENER, "tls", WORD, tls.level), 0, "may", 0, 0, server_tls_words},
    {OPTION(LISTENER, "tls_cert_file", PATH_OR_NONE, tls.cert_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "tls_key_file", PATH_OR_NONE, tls.key_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "tls_client", WORD, tls.client), 0, "none", 0, 0, tls_client_words},
    {OPTION(LISTENER, "tls_client_ca_file", PATH_OR_NONE, tls.client_ca_file), 0, "", 0, 0, NULL},
    {OPTION(LISTENER, "tls_client_fingerprint", FINGERPRINTS, tls.client_fingerprints), 0, "", 0, 1000, NULL},
    {CONFIG_SECTION_COUNT, NULL, CONFIG_OPT_NUMBER, 0, 0, NULL, 0, 0, NULL},
};
// clang-format on

const char *config_section_name(enum config_section section)
{
    static const char *const names[CONFIG_SECTION_COUNT] = {
        "", "log", "milter", "filter", "relay", "destination", "listener"};

    return names[section];
}

bool config_section_has_title(enum config_section section)
{
    return section == CONFIG_SECTION_FILTER || section == CONFIG_SECTION_DESTINATION ||
           section == CONFIG_SECTION_LISTENER;
}

bool config_section_may_have_title(enum config_section section)
{
    return section == CONFIG_SECTION_MILTER || config_section_has_title(section);
}
