/* SPDX-License-Identifier: ISC */
#include "table/module_ldap_private.h"
#include "base/ascii.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A key with a domain of nine labels, for a test of the templates. */
#define SAMPLE_DOMAIN "a.b.c.d.e.f.g.h.i"

int module_ldap_server_of(const LDAPURLDesc *url, struct module_ldap_server *out, struct err *err)
{
    const char *host = url->lud_host != NULL ? url->lud_host : "";

    *out = (struct module_ldap_server){0};
    out->is_tls = ascii_equal(url->lud_scheme, "ldaps");
    if (ascii_equal(url->lud_scheme, "ldapi")) {
        out->at.kind = ENDPOINT_UNIX;
        if (host[0] != '/' || strlen(host) > 107) {
            err_set(err, "write the path of the socket as in ldapi://%%2Frun%%2Fslapd%%2Fldapi");
            return -1;
        }
        mem_copy_string(out->at.path, sizeof out->at.path, host);
        struct buf text = {0};
        buf_adds(&text, "ldapi://");
        for (const char *p = host; *p != '\0'; p++)
            if (strchr("/%?", *p) != NULL)
                buf_addf(&text, "%%%02X", (unsigned char)*p);
            else
                buf_addc(&text, *p);
        out->url = buf_take(&text);
        return 0;
    }
    if (!ascii_equal(url->lud_scheme, "ldap") && !out->is_tls) {
        err_set(err, "%.20s:// is not supported", url->lud_scheme);
        return -1;
    }
    if (host[0] == '\0')
        host = "localhost";
    if (strlen(host) >= sizeof out->at.host || url->lud_port < 1 || url->lud_port > 65535 ||
        strpbrk(host, " \t\r\n/?%") != NULL) {
        err_set(err, "\"%.100s\", port %d, is no server", host, url->lud_port);
        return -1;
    }
    mem_copy_string(out->at.host, sizeof out->at.host, host);
    out->at.kind = ENDPOINT_INET;
    out->at.port = (uint16_t)url->lud_port;
    out->url = mem_printf(strchr(host, ':') != NULL ? "%s://[%s]:%d" : "%s://%s:%d",
                          out->is_tls ? "ldaps" : "ldap", host, url->lud_port);
    return 0;
}

bool module_ldap_server_equal(const struct module_ldap_server *a,
                              const struct module_ldap_server *b)
{
    if (a->at.kind != b->at.kind || a->is_tls != b->is_tls)
        return false;
    if (a->at.kind == ENDPOINT_UNIX)
        return strcmp(a->at.path, b->at.path) == 0;
    return a->at.port == b->at.port && ascii_equal(a->at.host, b->at.host);
}

/* Read one word of server_host: a URL, a host, or host:port. */
static int read_server(const struct cf *cf, const char *word, struct module_ldap_server *out,
                       struct err *err)
{
    LDAPURLDesc *url = NULL;
    struct err why;
    char *text;
    int rc = -1;

    if (strstr(word, "://") != NULL)
        text = mem_strdup(word);
    else if (strchr(word, ':') != NULL)
        text = mem_printf("ldap://%s", word);
    else
        text = mem_printf("ldap://%s:%ld", word, cf_number(cf, "server_port"));
    if (ldap_url_parse(text, &url) != LDAP_URL_SUCCESS)
        cf_fault(cf, "server_host", err,
                 "\"%.200s\": write a host, host:port, or a URL as ldap://host:port, "
                 "ldaps://host:port, ldapi://%%2Fpath",
                 word);
    else if ((url->lud_dn != NULL && url->lud_dn[0] != '\0') || url->lud_attrs != NULL ||
             url->lud_filter != NULL || url->lud_exts != NULL)
        cf_fault(cf, "server_host", err, "\"%.200s\": only scheme, host and port of a URL are used",
                 word);
    else if ((rc = module_ldap_server_of(url, out, &why)) < 0)
        cf_fault(cf, "server_host", err, "\"%.200s\": %s", word, why.text);
    ldap_free_urldesc(url);
    free(text);
    return rc;
}

static int read_servers(struct module_ldap_settings *s, struct err *err)
{
    const char *const *words;
    size_t count = cf_list(s->cf, "server_host", &words);

    if (count == 0) {
        cf_fault(s->cf, "server_host", err, "there is no server in it");
        return -1;
    }
    s->servers = mem_zalloc(count * sizeof *s->servers);
    s->hosts = mem_zalloc(count * sizeof *s->hosts);
    for (size_t i = 0; i < count; i++) {
        struct module_ldap_server *server = &s->servers[i];
        if (read_server(s->cf, words[i], server, err) < 0)
            return -1;
        s->server_count = i + 1;
        s->hosts[i].name = server->url;
        if (server->is_tls && s->start_tls) {
            cf_fault(s->cf, "start_tls", err, "the connection to %s begins with TLS already",
                     server->url);
            return -1;
        }
        if (server->is_tls || server->at.kind == ENDPOINT_UNIX)
            s->version = LDAP_VERSION3;
    }
    return 0;
}

static size_t add_attributes(struct module_ldap_settings *s, const char *name, size_t count)
{
    const char *const *words;
    size_t n = cf_list(s->cf, name, &words);

    s->attributes = mem_grow(s->attributes, count + n + 1, sizeof *s->attributes);
    for (size_t i = 0; i < n; i++)
        s->attributes[count + i] = mem_strdup(words[i]);
    s->attributes[count + n] = NULL;
    return count + n;
}

static int read_attributes(struct module_ldap_settings *s, struct err *err)
{
    s->terminal_count = add_attributes(s, "terminal_result_attribute", 0);
    s->leaf_end = add_attributes(s, "leaf_result_attribute", s->terminal_count);
    s->ordinary_end = add_attributes(s, "result_attribute", s->leaf_end);
    add_attributes(s, "special_result_attribute", s->ordinary_end);
    if (s->ordinary_end > 0)
        return 0;
    cf_fault(s->cf, "result_attribute", err, "the table has no attribute with results");
    return -1;
}

struct choice {
    const char *word; /* NULL ends the list */
    int value;
};

/* Set *value_out to the value of the parameter's word in this list. -1 with `err`. */
static int read_choice(const struct cf *cf, const char *name, const struct choice *choices,
                       const char *allowed, int *value_out, struct err *err)
{
    const char *word = cf_text(cf, name);

    for (const struct choice *c = choices; c->word != NULL; c++)
        if (word != NULL && ascii_equal(word, c->word)) {
            *value_out = c->value;
            return 0;
        }
    cf_fault(cf, name, err, "\"%.100s\": write %s", word != NULL ? word : "", allowed);
    return -1;
}

static int read_bind(struct module_ldap_settings *s, struct err *err)
{
    static const struct choice choices[] = {
        {"no", MODULE_LDAP_BIND_NONE},    {"none", MODULE_LDAP_BIND_NONE},
        {"yes", MODULE_LDAP_BIND_SIMPLE}, {"simple", MODULE_LDAP_BIND_SIMPLE},
        {"sasl", MODULE_LDAP_BIND_SASL},  {NULL, 0},
    };
    int bind;

    if (read_choice(s->cf, "bind", choices, "no, none, yes, simple or sasl", &bind, err) < 0)
        return -1;
    s->bind = (enum module_ldap_bind)bind;
    if (s->bind != MODULE_LDAP_BIND_SASL)
        return 0;
    s->version = LDAP_VERSION3;
#ifdef HAVE_SASL_SASL_H
    return 0;
#else
    cf_fault(s->cf, "bind", err, "the module ldap was built without SASL (sasl/sasl.h)");
    return -1;
#endif
}

static int read_values(struct module_ldap_settings *s, struct err *err)
{
    static const struct choice scopes[] = {
        {"sub", LDAP_SCOPE_SUBTREE},
        {"one", LDAP_SCOPE_ONELEVEL},
        {"base", LDAP_SCOPE_BASE},
        {NULL, 0},
    };
    const struct cf *cf = s->cf;
    long recursion_limit = cf_number(cf, "recursion_limit");
    long size_limit = cf_number(cf, cf_is_set(cf, "size_limit") ? "size_limit" : "expansion_limit");

    s->version = (int)cf_number(cf, "version");
    s->dereference = (int)cf_number(cf, "dereference");
    s->timeout_ms = cf_number(cf, "timeout") * 1000;
    s->chase_referrals = cf_bool(cf, "chase_referrals");
    s->recursion_limit =
        recursion_limit < MODULE_LDAP_DEPTH_MAX ? (unsigned)recursion_limit : MODULE_LDAP_DEPTH_MAX;
    s->size_limit = (unsigned)size_limit;
    s->base_is_dynamic = query_is_dynamic(s->query, "search_base");
    s->start_tls = cf_bool(cf, "start_tls");
    if (s->start_tls)
        s->version = LDAP_VERSION3;
    if (cf_number(cf, "debuglevel") != 0) {
        cf_fault(cf, "debuglevel", err, "is not supported: the library would print passwords");
        return -1;
    }
    return read_choice(cf, "scope", scopes, "sub, one or base", &s->scope, err);
}

/* Append a key for which the table is asked, for a test. False: no such key was found. */
static bool find_sample(const struct module_ldap_settings *s, struct buf *key)
{
    const char *const *domains;
    size_t count = cf_list(s->cf, "domain", &domains);

    buf_adds(key, "user@" SAMPLE_DOMAIN);
    for (size_t i = 0; i < count && !query_applies(s->query, buf_str(key)); i++) {
        buf_reset(key);
        buf_addf(key, "user@%s", domains[i]);
    }
    return query_applies(s->query, buf_str(key));
}

/* Does the library take this filter? It says so before it notices that the server cannot be
 * reached: no process can listen at the socket "/". */
static bool filter_is_valid(const char *filter)
{
    LDAP *ld;
    int msgid;

    if (ldap_initialize(&ld, "ldapi://%2F") != LDAP_SUCCESS)
        return true;
    int rc = ldap_search_ext(ld, "", LDAP_SCOPE_BASE, filter, NULL, 0, NULL, NULL, NULL,
                             LDAP_NO_LIMIT, &msgid);
    ldap_unbind_ext(ld, NULL, NULL);
    return rc != LDAP_FILTER_ERROR;
}

static int check_filter(const struct module_ldap_settings *s, struct err *err)
{
    struct buf key = {0}, filter = {0};
    int rc = 0;

    if (module_ldap_filter_is_deep(cf_text(s->cf, "query_filter"))) {
        cf_fault(s->cf, "query_filter", err, "the filter is nested deeper than %d",
                 MODULE_LDAP_FILTER_DEPTH_MAX);
        return -1;
    }
    if (find_sample(s, &key) &&
        query_expand(s->query, "query_filter", buf_str(&key), NULL, NULL, &filter, err) == 0 &&
        !filter_is_valid(buf_str(&filter))) {
        cf_fault(s->cf, "query_filter", err, "no filter (RFC 4515): %.200s", buf_str(&filter));
        rc = -1;
    }
    buf_clear(&key);
    buf_clear(&filter);
    return rc;
}

static int check_base(const struct module_ldap_settings *s, struct err *err)
{
    const char *base = cf_text(s->cf, "search_base");
    LDAPDN dn = NULL;

    if (s->base_is_dynamic || base == NULL || strchr(base, '%') != NULL)
        return 0;
    int rc = ldap_str2dn(base, &dn, LDAP_DN_FORMAT_LDAPV3);
    ldap_dnfree(dn);
    if (rc == LDAP_SUCCESS)
        return 0;
    cf_fault(s->cf, "search_base", err, "no distinguished name (RFC 4514): %.200s", base);
    return -1;
}

struct module_ldap_settings *module_ldap_settings_open(const struct cf *cf,
                                                       const struct query *query, struct err *err)
{
    struct module_ldap_settings *s = mem_zalloc(sizeof *s);

    s->cf = cf;
    s->query = query;
    s->tls = module_ldap_tls_new();
    if (read_values(s, err) == 0 && read_bind(s, err) == 0 && read_servers(s, err) == 0 &&
        read_attributes(s, err) == 0 && check_base(s, err) == 0 && check_filter(s, err) == 0 &&
        module_ldap_tls_check(cf, err) == 0)
        return s;
    module_ldap_settings_close(s);
    return NULL;
}

void module_ldap_settings_close(struct module_ldap_settings *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->server_count; i++)
        free(s->servers[i].url);
    for (char **a = s->attributes; a != NULL && *a != NULL; a++)
        free(*a);
    module_ldap_tls_free(s->tls);
    free(s->attributes);
    free(s->servers);
    free(s->hosts);
    free(s);
}
