/* SPDX-License-Identifier: ISC */
/*
 * module_ldap_private: what the files of the module ldap share (ldap_table(5), with OpenLDAP's
 * library). Only module_ldap*.c include this.
 *
 *   module_ldap.c           the module's table, and a look-up from key to result
 *   module_ldap_settings.c  the parameters of a file
 *   module_ldap_link.c      connections: socket, TLS, messages
 *   module_ldap_tls.c       files and options of TLS
 *   module_ldap_bind.c      authentication on a new connection
 *   module_ldap_search.c    one search, and the referrals that it leads to
 *   module_ldap_values.c    the values of the entries, and the entries that these refer to
 *
 * The library is used without its own connecting, reconnecting, waiting and chasing of referrals,
 * because none of these ends at a deadline.
 */
#ifndef SPLIT_MODULE_LDAP_PRIVATE_H
#define SPLIT_MODULE_LDAP_PRIVATE_H

#include "net/endpoint.h"
#include "table/table_module.h"

#include <ldap.h>

#define MODULE_LDAP_MESSAGE_MAX 4000000  /* bytes of one message of a server */
#define MODULE_LDAP_BYTES_MAX 32000000   /* bytes of all entries and URLs of a look-up */
#define MODULE_LDAP_ENTRIES_MAX 20000    /* and other messages before a result, of a look-up */
#define MODULE_LDAP_SEARCHES_MAX 5000    /* of a look-up */
#define MODULE_LDAP_DEPTH_MAX 50         /* recursion_limit is not larger: a matter of the stack */
#define MODULE_LDAP_REFERRALS_MAX 100    /* of a look-up */
#define MODULE_LDAP_HOPS_MAX 5           /* referrals that lead to referrals; as in the library */
#define MODULE_LDAP_REFERRED_LINKS_MAX 8 /* servers of referrals, of a look-up, away or not */
#define MODULE_LDAP_URLS_MAX 20          /* of one referral */
#define MODULE_LDAP_URL_MAX 8192         /* bytes of a URL from a server */
#define MODULE_LDAP_FILTER_DEPTH_MAX 50  /* of a filter: the library's parser is recursive */

/* A server, of server_host or of a referral. */
struct module_ldap_server {
    char *url; /* "ldap://host:port", "ldaps://host:port", "ldapi://%2Fpath" */
    struct endpoint at;
    bool is_tls; /* ldaps */
};

enum module_ldap_bind { MODULE_LDAP_BIND_NONE, MODULE_LDAP_BIND_SIMPLE, MODULE_LDAP_BIND_SASL };

/* The settings of one table. Texts that only one function needs are read from cf there. */
struct module_ldap_settings {
    const struct cf *cf;
    const struct query *query;
    struct module_ldap_server *servers;
    struct table_host *hosts; /* the same, for the pool */
    size_t server_count;
    /* The attributes that a search asks for, and NULL: terminal ones, leaf ones, others that hold
     * results, special ones. */
    char **attributes;
    size_t terminal_count;
    size_t leaf_end;     /* the index behind the leaf attributes */
    size_t ordinary_end; /* the index of the first special attribute */
    int scope, version, dereference;
    enum module_ldap_bind bind;
    int64_t timeout_ms;
    unsigned recursion_limit, size_limit; /* size_limit 0: none */
    bool base_is_dynamic, start_tls, chase_referrals;
    struct module_ldap_tls *tls; /* owned; not const, but locked */
};

/* Read the parameters. NULL with `err`. */
struct module_ldap_settings *module_ldap_settings_open(const struct cf *cf,
                                                       const struct query *query, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* NULL is legal. */
void module_ldap_settings_close(struct module_ldap_settings *s);

/* Read the URL of a server: its scheme, host and port, whatever follows. -1 with `err`. The caller
 * frees out->url. */
int module_ldap_server_of(const LDAPURLDesc *url, struct module_ldap_server *out, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Do both mean the same socket, with the same use of TLS? */
bool module_ldap_server_equal(const struct module_ldap_server *a,
                              const struct module_ldap_server *b) __attribute__((nonnull));

/* --- connections: module_ldap_link.c, module_ldap_bind.c ------------------------------------- */

struct module_ldap_link {
    LDAP *ld;
    int fd;                /* -1: ld has closed it */
    int64_t wait_until_ms; /* reading and writing wait until then; 0: they do not wait */
    bool wants_write;      /* the socket did not take all that ld has to send */
    bool is_dead; /* nothing may be sent any more: ld would connect again, without TLS and bind */
    struct module_ldap_server at; /* at.url is owned */
};

/* Connect, with StartTLS if the table has start_tls. is_anonymous: do not bind (for the server of a
 * referral, which is not trusted with a password). NULL with `err`, which does not name the server.
 */
struct module_ldap_link *
module_ldap_link_open(const struct module_ldap_settings *s, const struct module_ldap_server *at,
                      bool is_anonymous, int64_t deadline_ms, struct err *err)
    __attribute__((nonnull, warn_unused_result));
/* Close the connection, without waiting. NULL is legal. */
void module_ldap_link_close(struct module_ldap_link *link);

/* What the links of a table share about TLS. Any thread. _free(NULL) is legal. */
struct module_ldap_tls *module_ldap_tls_new(void)
    __attribute__((returns_nonnull, warn_unused_result));
void module_ldap_tls_free(struct module_ldap_tls *tls);
/* Check tls_cipher_suite of a parameter file. Each connection that uses one that is unknown would
 * fail, and lose 8 kB in GnuTLS. -1 with `err`. */
int module_ldap_tls_check(const struct cf *cf, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Set the options of TLS for a link, before the handshake. -1 with `err`: a file cannot be used. */
int module_ldap_tls_prepare(struct module_ldap_link *link, const struct module_ldap_settings *s,
                            struct err *err) __attribute__((nonnull, warn_unused_result));

/* Authenticate as the table says. -1 with `err`. */
int module_ldap_bind(struct module_ldap_link *link, const struct module_ldap_settings *s,
                     int64_t deadline_ms, struct err *err)
    __attribute__((nonnull, warn_unused_result));

enum module_ldap_event {
    MODULE_LDAP_MESSAGE,
    MODULE_LDAP_LOST,     /* the connection broke */
    MODULE_LDAP_TIMEOUT,  /* the deadline has passed */
    MODULE_LDAP_TOO_LONG, /* a message of more than MODULE_LDAP_MESSAGE_MAX bytes */
};

/* Wait for the next message that answers the request msgid. The caller frees *message_out with
 * ldap_msgfree(). Unless MODULE_LDAP_MESSAGE, the link is dead, and `err` has the reason. A message
 * that is there is taken, even after the deadline. A notification that no request has asked for
 * (RFC 4511 4.4) is MODULE_LDAP_LOST. */
enum module_ldap_event module_ldap_next(struct module_ldap_link *link, int msgid,
                                        int64_t deadline_ms, LDAPMessage **message_out,
                                        struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* Wait for the result of a request that has no entries, and free it. Returns its code:
 * LDAP_SUCCESS, or another one with `err`. */
int module_ldap_result(struct module_ldap_link *link, int msgid, int64_t deadline_ms,
                       struct err *err) __attribute__((nonnull, warn_unused_result));

/* Set `err` to "WHAT: the meaning of the code", with the explanation that the library has for the
 * last fault of this link. */
void module_ldap_fault(const struct module_ldap_link *link, int code, const char *what,
                       struct err *err) __attribute__((nonnull));

/* --- look-ups: module_ldap_search.c, module_ldap_values.c ------------------------------------ */

/* A look-up, while it runs. */
struct module_ldap_lookup {
    const struct module_ldap_settings *settings;
    struct module_ldap_link *link;
    struct query_result *result;
    int64_t deadline_ms;
    unsigned depth;                         /* of entries that refer to entries; 1: none */
    unsigned searches, answered, referrals; /* answered: searches that have ended */
    size_t entries, bytes;                  /* received: entries also counts references */
    struct module_ldap_link *referred[MODULE_LDAP_REFERRED_LINKS_MAX]; /* owned */
    size_t referred_count;
    unsigned referred_tries; /* connections that were tried for `referred` */
};

struct module_ldap_search {
    const char *base, *filter;
    int scope;
    char **attributes; /* NULL-terminated, not empty */
};

/* Entries, each a message of its own. */
struct module_ldap_entries {
    LDAPMessage **items; /* an item is NULL after it was freed */
    size_t count, capacity;
};
void module_ldap_entries_clear(struct module_ldap_entries *entries) __attribute__((nonnull));

/* Are the parentheses of a filter nested deeper than MODULE_LDAP_FILTER_DEPTH_MAX? NULL is legal.
 */
bool module_ldap_filter_is_deep(const char *filter);

/* What the code of a search that failed means: ANSWER_LIMIT for too many entries, which a client
 * can reach by a key that many entries match, otherwise ANSWER_FAILED. */
enum table_answer module_ldap_fault_of(int code);

/*
 * Search, and follow referrals if the table does. ANSWER_OK: *code_out is the code of the result of
 * this link's server; if that is LDAP_SUCCESS, `entries` has all entries, at the servers of
 * referrals, too; otherwise `err` has the meaning of the code. Any other answer: as for
 * table_module.ask; the reason is in `err`. The link is dead after a code that may be due to the
 * state of the connection.
 *
 * A referral that cannot be followed, or whose server answers with any error, is ANSWER_FAILED (the
 * library, and Postfix with it, would take what is there for the complete answer). This includes
 * noSuchObject: the server of a referral is asked without authentication, and servers answer so if
 * the base must not be disclosed (slapd.access(5)).
 */
enum table_answer module_ldap_search(struct module_ldap_lookup *l,
                                     const struct module_ldap_search *search,
                                     struct module_ldap_entries *entries, int *code_out,
                                     struct err *err) __attribute__((nonnull, warn_unused_result));

/* Add the values of the entries to the result, and those of the entries that they refer to, in
 * Postfix's order. Frees the entries. ANSWER_LIMIT: there are too many. ANSWER_FAILED: another
 * limit is exceeded, or a value is not valid. */
enum table_answer module_ldap_values(struct module_ldap_lookup *l,
                                     struct module_ldap_entries *entries, struct err *err)
    __attribute__((nonnull, warn_unused_result));

#endif
