/* SPDX-License-Identifier: ISC */
/*
 * config: the configuration as plain data, immutable once loaded. config_file.c makes it from the
 * configuration file. Strings are owned by the configuration and never NULL; each list has a count.
 * Any thread may read.
 */
#ifndef SPLIT_CONFIG_H
#define SPLIT_CONFIG_H

#include "base/string_list.h"
#include "net/endpoint.h"
#include "net/resolver.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_filter_method { CONFIG_METHOD_TAG, CONFIG_METHOD_HEADER };
enum config_mixed_filters { CONFIG_MIXED_TAG, CONFIG_MIXED_DEFER };
enum config_on_failure { CONFIG_FAIL_TEMPFAIL, CONFIG_FAIL_ACCEPT };
enum config_protocol { CONFIG_SMTP, CONFIG_LMTP };
enum config_format { CONFIG_FORMAT_RAW, CONFIG_FORMAT_ENVELOPE, CONFIG_FORMAT_JOURNAL };
/* Which addresses of a host are used. */
enum config_inet_protocols { CONFIG_INET_ALL, CONFIG_INET_IPV4, CONFIG_INET_IPV6 };
enum config_address {
    CONFIG_ADDRESS_ORIGINAL,
    CONFIG_ADDRESS_CANONICAL,
    CONFIG_ADDRESS_NULL,
    CONFIG_ADDRESS_FIXED,
    CONFIG_ADDRESS_TEMPLATE /* see mail/template.h */
};

/* The direction of a message for one recipient (policy.h). */
enum config_direction { CONFIG_INBOUND, CONFIG_OUTBOUND, CONFIG_INTERNAL, CONFIG_DIRECTION_COUNT };

/* AUTO: NONE for loopback addresses and unix sockets, MAY for all other hosts. For connections from
 * clients only NONE, MAY and ENCRYPT occur. */
enum config_tls_level {
    CONFIG_TLS_NONE,
    CONFIG_TLS_MAY,
    CONFIG_TLS_ENCRYPT,
    CONFIG_TLS_VERIFY,
    CONFIG_TLS_AUTO
};
enum config_tls_client { CONFIG_TLS_CLIENT_NONE, CONFIG_TLS_CLIENT_ASK, CONFIG_TLS_CLIENT_REQUIRE };

/* TLS to a server. */
struct config_tls {
    enum config_tls_level level;
    bool wrap;                            /* from the first byte on, without STARTTLS */
    char *ca_file, *cert_file, *key_file; /* "": none */
    struct string_list names;             /* host names, or ".domain" */
    struct string_list fingerprints;      /* "AB:CD:..." */
};

struct config_auth {
    char *user; /* "": no authentication */
    char *password_file, *token_file;
    struct string_list mechanisms; /* the best one first */
    bool plaintext;                /* authenticate even without TLS */
};

/* TLS from clients. */
struct config_server_tls {
    enum config_tls_level level;
    enum config_tls_client client; /* whether clients are asked for certificates */
    char *cert_file, *key_file, *client_ca_file;
    struct string_list client_fingerprints;
};

struct config_log {
    char *target, *facility, *level;
    char *style; /* "splitmilter", "postfix" (splitrelay's lines about mail), "json" */
};

struct config_milter {
    char *name;  /* of `milter NAME', address_is_tag_name(); "": the section without a name */
    char *label; /* for messages: "milter", "milter NAME" */
    struct text_place place;
    struct endpoint socket;
    char *socket_text; /* as it is written: "unix:/path", "inet:port@host" */
    unsigned socket_mode;
    char *socket_group;                    /* "": the group is not changed */
    struct endpoint_network *trusted_mtas; /* MTAs that may connect besides this machine */
    size_t trusted_mta_count;
    char *pid_file; /* locked while splitmilter runs; default: the unix socket's path + ".pid", ""
                       with inet */
    struct string_list canonical_maps, filter_maps, copy_maps; /* table specifications */
    struct string_list sender_filter_maps, sender_copy_maps;
    struct string_list orcpt_maps;          /* canonical_maps of the splitmilter before this one */
    struct string_list unfiltered_nexthops; /* results of filter_maps that mean no filter */
    struct endpoint_network *bypass_clients;
    size_t bypass_client_count;
    struct endpoint_network *local_networks; /* clients inside, whose mail is outbound */
    size_t local_network_count;
    struct string_list local_domains; /* domains, or ".domain"; folded */
    struct string_list canonical_classes;
    enum config_filter_method filter_method;
    enum config_mixed_filters mixed_filters;
    char *filter_header;
    enum config_on_failure on_failure;
    unsigned lookup_timeout_ms; /* for a look-up in a table that asks servers, also of listeners */
    struct endpoint *metrics;   /* sockets of splitmilter's metrics page; may be none */
    size_t metrics_count;
};

struct config_filter {
    char *name;                  /* address_is_tag_name() */
    char *nexthop;               /* "transport:nexthop" */
    struct string_list fallback; /* tried in order while the nexthop takes no mail; written alike */
    struct text_place place;
};

struct config_relay {
    struct endpoint *listen;
    size_t listen_count;
    char *hostname; /* never "" after loading: the system's name by default */
    char *spool_directory;
    char *queue;            /* the database that holds the copies: see config_queue.h */
    bool queue_replicated;  /* refuse a PostgreSQL that does not replicate synchronously */
    char *node;             /* name of this splitrelay among those at one PostgreSQL; never "" there
                               after loading: the system's name by default */
    const char *queue_file; /* the file that has the option queue; borrowed from `files` */
    unsigned history_s;     /* how long the outcomes of copies are kept; 0: no history */
    struct endpoint_network *trusted_networks;
    size_t trusted_network_count;
    uint64_t message_size_limit_bytes;
    unsigned max_connections;
    unsigned connection_reserve;      /* part of max_connections, for trusted_networks only */
    unsigned client_connection_limit; /* connections from one address; 0: no limit */
    unsigned first_command_timeout_ms;
    unsigned hard_error_limit; /* refused commands after which a session ends; 0: no limit */
    unsigned min_data_rate;    /* bytes of content per second; 0: no limit */
    uint64_t min_free_space_bytes;
    struct endpoint *metrics; /* sockets of splitrelay's metrics page; may be none */
    size_t metrics_count;
    bool page;                /* serve the page for people there, too */
    char *page_password_file; /* "": no passwords */
    struct resolver_servers dns;
    struct config_server_tls tls;
    struct text_place place;
};

/* A rate such as "10/1s": `count` in `period_s`. count 0: no limit. */
struct config_rate {
    unsigned count, period_s;
};

struct config_destination {
    char *name;                /* address_is_tag_name() */
    struct endpoint *relay_to; /* tried in order, at least one; the path of a Maildir is one of
                                  mail/template.h */
    size_t relay_to_count;
    enum config_protocol protocol;
    enum config_inet_protocols inet_protocols;
    const struct resolver_servers *dns; /* the relay's servers; NULL: those of the system */
    unsigned concurrency;               /* connections at once, >= 1 */
    enum config_address recipient;      /* any but NULL */
    char *recipient_address;            /* with FIXED and TEMPLATE */
    enum config_address sender;         /* any but CANONICAL */
    char *sender_address;               /* with FIXED and TEMPLATE */
    struct string_list direction;       /* of mail that is copied here: names of directions */
    enum config_format format;
    struct string_list unless_header; /* a message with a field that meets one of these conditions
                                         (mail/header_condition.h) is not copied */
    uint64_t max_size_bytes;          /* a larger message is not copied; 0: no limit */
    bool xforward,
        xclient;        /* pass the client's attributes to the server, if that offers the command */
    char *journal_from; /* From of journal reports; "": postmaster at the relay's
                           hostname */
    unsigned initial_concurrency;         /* 0: as concurrency */
    struct config_rate rate_limit;        /* of messages */
    unsigned recipient_limit;             /* in a transaction; 0: any number */
    unsigned max_messages_per_connection; /* 0: any number */
    unsigned retry_min_s, retry_max_s, max_age_s;
    unsigned connect_timeout_ms, command_timeout_ms;
    struct config_tls tls;
    struct config_auth auth;
    struct text_place place;
};

/* A socket where splitrelay duplicates mail: each message goes to the primary, whose reply the
 * client gets, and copies of it go to destinations. */
struct config_listener {
    char *name; /* address_is_tag_name(); primary.name is the same pointer */
    struct endpoint *listen;
    size_t listen_count;
    struct config_destination primary; /* relay_to, protocol, timeouts, TLS, authentication and
                                          max_messages_per_connection; nothing else is used */
    struct string_list copies;    /* destinations for recipients that copy_maps has no result for */
    struct string_list copy_maps; /* table specifications */
    bool require_copies;          /* refuse (4xx) a message whose copies cannot be made */
    bool xforward; /* pass the client's attributes to the primary, if that offers XFORWARD */
    unsigned pool_connections; /* idle connections to the primary that are kept; 0: none */
    unsigned pool_idle_time_ms;
    struct config_server_tls tls;
    struct text_place place;
};

struct config {
    char *path;
    char **files; /* the configuration file and the files that it includes */
    size_t file_count;
    char *tag_domain; /* lower case */
    char *recipient_delimiter;
    struct config_log log;
    struct config_milter milter; /* the section without a name; in splitmilter -n NAME, that one */
    struct config_milter *other_milters;
    size_t other_milter_count;
    struct config_filter *filters;
    size_t filter_count;
    struct config_relay relay;
    struct config_destination *destinations;
    size_t destination_count;
    struct config_listener *listeners;
    size_t listener_count;
};

/* Put "FILE:LINE: " before `err`. Returns -1. */
int config_place_fail(struct text_place place, struct err *err) __attribute__((nonnull));

/* The place where the configuration first names a table with this specification; the first line of
 * the configuration if it does not name the table. */
struct text_place config_table_place(const struct config *c, const char *spec)
    __attribute__((nonnull));

/* Free the configuration. NULL is legal. */
void config_free(struct config *c);

/* Make `milter' the section with this name, before the configuration is shared; the section that
 * was there becomes one of other_milters. -1 with `err`: there is no such section. */
int config_use_milter(struct config *c, const char *name, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/*
 * For programs that look at all splitmilters: the configuration as the splitmilter with this index
 * has it in `milter'; 0 is c->milter itself, the last index is other_milter_count. The copy borrows
 * everything from *c, and is not freed.
 */
struct config config_of_milter(const struct config *c, size_t index) __attribute__((nonnull));

/* The number of tables that decide about mail, in all options of the section. */
size_t config_milter_table_count(const struct config_milter *m) __attribute__((nonnull));

/* The filter or destination with this name; NULL if there is none. Names are compared without case.
 */
const struct config_filter *config_find_filter(const struct config *c, const char *name)
    __attribute__((nonnull));
const struct config_destination *config_find_destination(const struct config *c, const char *name)
    __attribute__((nonnull));

/* As config_find_filter(), for listeners. */
const struct config_listener *config_find_listener(const struct config *c, const char *name)
    __attribute__((nonnull));

/* The name of a direction ("inbound"). */
const char *config_direction_name(enum config_direction direction) __attribute__((returns_nonnull));

/* Return true if mail of this direction is copied to the destination. */
bool config_destination_takes(const struct config_destination *d, enum config_direction direction)
    __attribute__((nonnull));

/* Return true if mail of any direction is copied to the destination. */
bool config_destination_takes_all(const struct config_destination *d) __attribute__((nonnull));

/* Check that a listener may copy to this destination: not if the destination has a direction. A
 * listener does not know whether the original client has authenticated. -1 with `err`. */
int config_listener_copy_check(const struct config_destination *d, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Return true if canonical_maps is to be applied to this class ("envelope_recipient",
 * "header_recipient"). */
bool config_has_canonical_class(const struct config *c, const char *name) __attribute__((nonnull));

/*
 * The filter with this nexthop, written as in a transport map ("smtp:host:25"). An exact match wins
 * (case of transport and host is ignored); else brackets around the host and a missing port (25)
 * make no difference. NULL if there is none.
 */
const struct config_filter *config_find_nexthop(const struct config *c, const char *nexthop)
    __attribute__((nonnull));

/* The part of a value "transport:nexthop" behind its first colon, such as "[host]:port" or
 * "unix:/path". Borrowed; "" if there is no colon. */
const char *config_hop(const char *nexthop) __attribute__((nonnull, returns_nonnull));

/* Return true if both values "transport:nexthop" name the same next hop, by the rules of
 * config_find_nexthop(). */
bool config_is_same_nexthop(const char *a, const char *b) __attribute__((nonnull));

/* Return true if the nexthop is one of unfiltered_nexthops, compared by the rules of
 * config_find_nexthop(). */
bool config_is_unfiltered_nexthop(const struct config *c, const char *nexthop)
    __attribute__((nonnull));

#endif
