/* SPDX-License-Identifier: ISC */
#include "table/module_ldap_private.h"

#include <assert.h>
#include <string.h>

#define NO_CACHE "OpenLDAP's library has no cache; remove the line"

static const struct cf_parameter parameters[] = {
    {.name = "server_host", .kind = CF_LIST, .default_value = "localhost"},
    {.name = "server_port", .kind = CF_NUMBER, .default_value = "389", .min = 1, .max = 65535},
    {.name = "timeout", .kind = CF_NUMBER, .default_value = "10", .min = 1, .max = 3600},
    {.name = "search_base", .kind = CF_TEXT, .default_value = ""},
    {.name = "query_filter", .kind = CF_TEXT, .default_value = "(mailacceptinggeneralid=%s)"},
    CF_RESULT_PARAMETERS,
    {.name = "result_filter",
     .kind = CF_REFUSED,
     .reason = "its name is result_format since Postfix 2.2"},
    {.name = "result_attribute", .kind = CF_LIST, .default_value = "maildrop"},
    {.name = "special_result_attribute", .kind = CF_LIST},
    {.name = "terminal_result_attribute", .kind = CF_LIST},
    {.name = "leaf_result_attribute", .kind = CF_LIST},
    {.name = "scope", .kind = CF_TEXT, .default_value = "sub"},
    {.name = "bind", .kind = CF_TEXT, .default_value = "yes"},
    {.name = "bind_dn", .kind = CF_TEXT, .default_value = ""},
    {.name = "bind_pw", .kind = CF_SECRET, .default_value = ""},
    {.name = "recursion_limit", .kind = CF_NUMBER, .default_value = "1000", .min = 1},
    {.name = "size_limit", .kind = CF_NUMBER, .default_value = "0"},
    {.name = "dereference", .kind = CF_NUMBER, .default_value = "0", .max = 3},
    {.name = "chase_referrals", .kind = CF_BOOL, .default_value = "no"},
    {.name = "version", .kind = CF_NUMBER, .default_value = "3", .min = 2, .max = 3},
    {.name = "debuglevel", .kind = CF_NUMBER, .default_value = "0"},
    {.name = "sasl_mechs", .kind = CF_TEXT, .default_value = ""},
    {.name = "sasl_realm", .kind = CF_TEXT, .default_value = ""},
    {.name = "sasl_authz_id", .kind = CF_TEXT, .default_value = ""},
    {.name = "sasl_minssf", .kind = CF_NUMBER, .default_value = "0", .max = 4096},
    {.name = "start_tls", .kind = CF_BOOL, .default_value = "no"},
    {.name = "tls_require_cert", .kind = CF_BOOL, .default_value = "no"},
    {.name = "tls_ca_cert_file", .kind = CF_TEXT},
    {.name = "tls_ca_cert_dir", .kind = CF_TEXT},
    {.name = "tls_cert", .kind = CF_TEXT},
    {.name = "tls_key", .kind = CF_TEXT},
    {.name = "tls_cipher_suite", .kind = CF_TEXT},
    {.name = "tls_random_file",
     .kind = CF_IGNORED,
     .reason = "the library takes random numbers from the kernel"},
    {.name = "cache", .kind = CF_IGNORED, .reason = NO_CACHE},
    {.name = "cache_expiry", .kind = CF_IGNORED, .reason = NO_CACHE},
    {.name = "cache_size", .kind = CF_IGNORED, .reason = NO_CACHE},
    {.name = NULL},
};

static const char *const templates[] = {"search_base", "query_filter", NULL};

static void *open_settings(const struct cf *cf, const struct query *query, struct err *err)
{
    return module_ldap_settings_open(cf, query, err);
}

static void close_settings(void *settings)
{
    module_ldap_settings_close(settings);
}

static size_t hosts(const void *settings, const struct table_host **hosts_out)
{
    const struct module_ldap_settings *s = settings;

    *hosts_out = s->hosts;
    return s->server_count;
}

static void *connect_host(const void *settings, size_t host, int64_t deadline_ms, struct err *err)
{
    const struct module_ldap_settings *s = settings;

    return module_ldap_link_open(s, &s->servers[host], false, deadline_ms, err);
}

static void disconnect(void *connection)
{
    module_ldap_link_close(connection);
}

/* Postfix's quoting of a key in a DN (RFC 4514). It quotes more than needed, which does no harm:
 * every byte may be written as \XX. */
static int quote_dn(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    (void)ctx;
    (void)err;
    for (const char *p = text; p < text + len; p++) {
        bool is_special = (unsigned char)*p < ' ' || *p == '\x7f' || strchr(" \"#+,;<=>\\", *p);
        if (is_special)
            buf_addf(out, "\\%02X", (unsigned char)*p);
        else
            buf_addc(out, *p);
    }
    return 0;
}

/* Quoting in a filter (RFC 4515). */
static int quote_filter(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    (void)ctx;
    (void)err;
    for (const char *p = text; p < text + len; p++) {
        bool is_special = (unsigned char)*p < ' ' || *p == '\x7f' || strchr("*()\\", *p);
        if (is_special)
            buf_addf(out, "\\%02X", (unsigned char)*p);
        else
            buf_addc(out, *p);
    }
    return 0;
}

/* What the code of the search for the key means. */
static enum table_answer look_up(struct module_ldap_lookup *l, const char *base, const char *filter,
                                 struct err *err)
{
    const struct module_ldap_settings *s = l->settings;
    struct module_ldap_search search = {
        .base = base, .filter = filter, .scope = s->scope, .attributes = s->attributes};
    struct module_ldap_entries entries = {0};
    int code = LDAP_SUCCESS;
    enum table_answer answer = module_ldap_search(l, &search, &entries, &code, err);

    if (answer == ANSWER_OK && code == LDAP_SUCCESS) {
        answer = module_ldap_values(l, &entries, err);
    } else if (answer == ANSWER_OK && !(code == LDAP_NO_SUCH_OBJECT && s->base_is_dynamic)) {
        err_wrap(err, "base \"%.200s\"", base);
        /* A key that makes no DN of the base is not to be a way around a filter. */
        answer = code == LDAP_INVALID_DN_SYNTAX && s->base_is_dynamic ? ANSWER_LIMIT
                                                                      : module_ldap_fault_of(code);
    }
    module_ldap_entries_clear(&entries);
    return answer;
}

static enum table_answer ask(void *connection, const void *settings, const char *key,
                             struct query_result *result, int64_t deadline_ms, struct err *err)
{
    struct module_ldap_lookup l = {
        .settings = settings, .link = connection, .result = result, .deadline_ms = deadline_ms};
    enum table_answer answer = ANSWER_FAILED;
    struct buf base = {0}, filter = {0};

    assert(!l.link->is_dead);
    if (query_expand(l.settings->query, "search_base", key, quote_dn, NULL, &base, err) == 0 &&
        query_expand(l.settings->query, "query_filter", key, quote_filter, NULL, &filter, err) ==
            0) {
        query_result_asked(result, "base \"%s\", filter %s", buf_str(&base), buf_str(&filter));
        answer = look_up(&l, buf_str(&base), buf_str(&filter), err);
    }
    result->is_lost = l.link->is_dead;
    for (size_t i = 0; i < l.referred_count; i++)
        module_ldap_link_close(l.referred[i]);
    buf_clear(&base);
    buf_clear(&filter);
    return answer;
}

const struct table_module splitmilter_table = {
    .version = PACKAGE_VERSION,
    .type = "ldap",
    .parameters = parameters,
    .templates = templates,
    .retry_s = 5,
    .has_host_order = true,
    .open = open_settings,
    .close = close_settings,
    .hosts = hosts,
    .connect = connect_host,
    .disconnect = disconnect,
    .ask = ask,
};
