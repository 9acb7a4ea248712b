/* SPDX-License-Identifier: ISC */
/* The settings of a mysql: table: its parameters, and its hosts. */
#include "table/module_mysql_private.h"

#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

const struct cf_parameter mysql_settings_parameters[] = {
    {.name = "hosts", .kind = CF_LIST},
    {.name = "user", .kind = CF_TEXT, .default_value = ""},
    {.name = "password", .kind = CF_SECRET, .default_value = ""},
    {.name = "dbname", .kind = CF_TEXT, .is_required = true},
    {.name = "charset", .kind = CF_TEXT, .default_value = "utf8mb4", .is_required = true},
    {.name = "idle_interval", .kind = CF_NUMBER, .default_value = "60", .min = 1},
    {.name = "retry_interval", .kind = CF_NUMBER, .default_value = "60", .min = 1},
    CF_SQL_PARAMETERS,
    {.name = "require_result_set", .kind = CF_BOOL, .default_value = "yes"},
    {.name = "option_file", .kind = CF_TEXT},
    {.name = "option_group", .kind = CF_TEXT, .default_value = "client"},
    {.name = "tls_cert_file", .kind = CF_TEXT},
    {.name = "tls_key_file", .kind = CF_TEXT},
    {.name = "tls_CAfile", .kind = CF_TEXT},
    {.name = "tls_CApath", .kind = CF_TEXT},
    {.name = "tls_ciphers", .kind = CF_TEXT},
    {.name = "tls_verify_cert", .kind = CF_BOOL},
    {.name = NULL},
};

/* The number of a port, or of a service of services(5); 0 if there is none. */
static unsigned port_of(const char *text)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    unsigned port = 0;

    if (*text == '\0' || getaddrinfo(NULL, text, &hints, &list) != 0)
        return 0;
    if (strspn(text, "0123456789") != strlen(text) || strtoul(text, NULL, 10) <= 65535)
        port = ntohs(((const struct sockaddr_in *)(const void *)list->ai_addr)->sin_port);
    freeaddrinfo(list);
    return port;
}

/* Read [ "inet:" ] host [ ":" port ], where host may be an IPv6 address in brackets. Returns a
 * reason, or NULL. */
static const char *parse_inet(const char *text, struct mysql_server *out)
{
    const char *end, *colon;

    if (*text == '[') {
        end = strchr(text++, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return "no address in brackets";
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strchr(text, ':');
        end = colon != NULL ? colon : text + strlen(text);
    }
    if (colon != NULL && strchr(colon + 1, ':') != NULL)
        return "an IPv6 address needs brackets: [2001:db8::1]:3306";
    if (end == text)
        return "the host is missing";
    out->host = mem_strndup(text, (size_t)(end - text));
    if (colon != NULL && (out->port = port_of(colon + 1)) == 0)
        return "no such port";
    return NULL;
}

/* A word of `hosts`: "unix:" path, or as for parse_inet(). */
static const char *parse_server(const char *word, struct mysql_server *out, bool *is_local_out)
{
    *is_local_out = true;
    if (strncmp(word, "unix:", 5) == 0) {
        if (word[5] == '\0')
            return "the path is missing";
        if (strlen(word + 5) >= sizeof((struct sockaddr_un *)0)->sun_path)
            return "the path of the socket is too long";
        /* With this host the library takes the socket, whatever the option file says. */
        out->host = mem_strdup("localhost");
        out->socket = mem_strdup(word + 5);
        return NULL;
    }
    const char *reason = parse_inet(strncmp(word, "inet:", 5) == 0 ? word + 5 : word, out);
    if (reason == NULL && strcasecmp(out->host, "localhost") == 0) {
        free(out->host);
        out->host = NULL;
        return NULL;
    }
    *is_local_out = false;
    return reason;
}

void mysql_settings_close(void *settings)
{
    struct mysql_settings *s = settings;

    for (size_t i = 0; i < s->count; i++) {
        free(s->servers[i].host);
        free(s->servers[i].socket);
    }
    free(s->servers);
    free(s->hosts);
    free(s);
}

/* Is the word a URI, or a part of one that was divided at a comma? */
static bool is_uri(const char *word)
{
    return strncmp(word, "unix:", 5) != 0 &&
           (strstr(word, "://") != NULL || strchr(word, '@') != NULL);
}

static int read_hosts(struct mysql_settings *s, struct err *err)
{
    static const char *const no_words[] = {"localhost"};
    const char *const *words;
    size_t count = cf_list(s->cf, "hosts", &words);

    if (count == 0) {
        words = no_words;
        count = 1;
    }
    s->hosts = mem_zalloc(count * sizeof *s->hosts);
    s->servers = mem_zalloc(count * sizeof *s->servers);
    for (size_t i = 0; i < count; i++) {
        s->count++;
        s->hosts[i].name = words[i];
        if (is_uri(words[i])) {
            /* The word is not shown, because it may have a password. */
            cf_fault(s->cf, "hosts", err, "a URI or a user is not supported: write host:port");
            return -1;
        }
        const char *reason = parse_server(words[i], &s->servers[i], &s->hosts[i].is_local);
        if (reason != NULL) {
            cf_fault(s->cf, "hosts", err, "%s: %s", words[i], reason);
            return -1;
        }
    }
    return 0;
}

/* The library ignores an option file that it cannot read. */
static int check_option_file(const struct mysql_settings *s, struct err *err)
{
    const char *file = cf_text(s->cf, "option_file");

    if (file != NULL && *file != '\0' && access(file, R_OK) != 0) {
        cf_fault(s->cf, "option_file", err, "%s: %s", file, strerror(errno));
        return -1;
    }
    return 0;
}

void *mysql_settings_open(const struct cf *cf, const struct query *query, struct err *err)
{
    struct mysql_settings *s = mem_zalloc(sizeof *s);

    s->cf = cf;
    s->query = query;
    s->has_unquoted = query_unquoted(query, "query") != NULL;
    s->has_double_quotes = strchr(cf_text(cf, "query"), '"') != NULL;
    if (read_hosts(s, err) == 0 && check_option_file(s, err) == 0)
        return s;
    mysql_settings_close(s);
    return NULL;
}

size_t mysql_settings_hosts(const void *settings, const struct table_host **hosts_out)
{
    const struct mysql_settings *s = settings;

    *hosts_out = s->hosts;
    return s->count;
}
