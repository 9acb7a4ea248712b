/* SPDX-License-Identifier: ISC */
/* The parameter file of a pgsql: table (pgsql_table(5)). */
#include "base/ascii.h"
#include "base/mem.h"
#include "table/module_pgsql_private.h"

#include <ctype.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_MAX (24 * 3600L)

const struct cf_parameter module_pgsql_parameters[] = {
    {.name = "hosts", .kind = CF_LIST, .default_value = "localhost"},
    {.name = "user", .kind = CF_TEXT, .default_value = ""},
    {.name = "password", .kind = CF_SECRET, .default_value = ""},
    {.name = "dbname", .kind = CF_TEXT, .default_value = ""},
    {.name = "encoding", .kind = CF_TEXT, .default_value = "UTF8", .is_required = true},
    {.name = "retry_interval",
     .kind = CF_NUMBER,
     .default_value = "60",
     .min = 1,
     .max = INTERVAL_MAX},
    {.name = "idle_interval",
     .kind = CF_NUMBER,
     .default_value = "60",
     .min = 1,
     .max = INTERVAL_MAX},
    CF_SQL_PARAMETERS,
    {.name = NULL},
};

static bool is_uri(const char *text)
{
    return strncmp(text, "postgresql://", 13) == 0 || strncmp(text, "postgres://", 11) == 0;
}

static const char *option(const PQconninfoOption *options, const char *name)
{
    for (; options->keyword != NULL; options++)
        if (strcmp(options->keyword, name) == 0)
            return options->val == NULL ? "" : options->val;
    return "";
}

/* The URI without its password and its options. NULL: it is not valid. */
static char *show_uri(const char *uri)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(uri, &message);
    struct buf out = {0};

    PQfreemem(message); /* may quote the password */
    if (options == NULL)
        return NULL;
    const char *host = option(options, "host"), *user = option(options, "user");
    const char *port = option(options, "port");
    buf_addf(&out, "postgresql://%s%s%s", user, *user == '\0' ? "" : "@",
             *host == '\0' ? option(options, "hostaddr") : host);
    buf_addf(&out, "%s%s/%s", *port == '\0' ? "" : ":", port, option(options, "dbname"));
    PQconninfoFree(options);
    return buf_take(&out);
}

/* Divide HOST:PORT or [HOST]:PORT at the last colon. The name of a directory, for a socket, has no
 * port. */
static void divide(const char *text, struct pgsql_host *out)
{
    const char *end = text[0] == '[' ? strchr(text, ']') : NULL;
    const char *colon = end != NULL ? strchr(end, ':') : strrchr(text, ':');

    if (text[0] == '\0' || text[0] == '/')
        colon = NULL;
    out->port = mem_strdup(colon == NULL ? "" : colon + 1);
    if (end != NULL)
        out->host = mem_strndup(text + 1, (size_t)(end - text - 1));
    else
        out->host = mem_strndup(text, colon == NULL ? strlen(text) : (size_t)(colon - text));
}

/* Parse one word of `hosts`. -1 with `err`. */
static int parse_host(const struct cf *cf, const char *word, struct pgsql_host *out,
                      struct err *err)
{
    bool has_prefix = strncmp(word, "unix:", 5) == 0 || strncmp(word, "inet:", 5) == 0;

    if (!is_uri(word) && strstr(word, "://") != NULL) {
        cf_fault(cf, "hosts", err, "a connection URI begins with \"postgresql://\"");
        return -1;
    }
    if (is_uri(word)) {
        out->uri = mem_strdup(word);
        out->shown = show_uri(word);
        if (out->shown == NULL)
            cf_fault(cf, "hosts", err, "a connection URI is not valid");
        return out->shown == NULL ? -1 : 0;
    }
    if (strchr(word, '@') != NULL && *word != '/' && strncmp(word, "unix:", 5) != 0) {
        /* The word is not shown, because it may be a part of a URI with a password. */
        cf_fault(cf, "hosts", err, "a user is only supported in a URI: postgresql://user@host");
        return -1;
    }
    divide(has_prefix ? word + 5 : word, out);
    out->shown = mem_strdup(word);
    return 0;
}

void module_pgsql_close(void *settings)
{
    struct pgsql_settings *s = settings;

    for (size_t i = 0; i < s->count; i++) {
        if (s->hosts[i].uri != NULL)
            explicit_bzero(s->hosts[i].uri, strlen(s->hosts[i].uri));
        free(s->hosts[i].uri);
        free(s->hosts[i].host);
        free(s->hosts[i].port);
        free(s->hosts[i].shown);
    }
    free(s->hosts);
    free(s->shown);
    free(s);
}

/* Check dbname, which may be a list of options (libpq: "dbname=mail sslmode=require"). */
static int check_dbname(const struct cf *cf, const struct pgsql_settings *s, struct err *err)
{
    char *shown;

    for (size_t i = 0; i < s->count && *s->dbname == '\0'; i++)
        if (s->hosts[i].uri == NULL) {
            cf_fault(cf, "dbname", err, "has to name the database on %s", s->hosts[i].shown);
            return -1;
        }
    if (strchr(s->dbname, '=') == NULL && !is_uri(s->dbname))
        return 0;
    shown = show_uri(s->dbname);
    free(shown);
    if (shown != NULL)
        return 0;
    cf_fault(cf, "dbname", err, "is not a valid list of connection options");
    return -1;
}

/* Does the text begin with this word? */
static bool begins_with(const char *text, const char *word)
{
    size_t len = strlen(word);

    return ascii_equal_n(text, word, len) && !isalnum((unsigned char)text[len]) && text[len] != '_';
}

void *module_pgsql_open(const struct cf *cf, const struct query *query, struct err *err)
{
    struct pgsql_settings *s = mem_zalloc(sizeof *s);
    static const char *const local[] = {"localhost"};
    const char *const *words;
    size_t count = cf_list(cf, "hosts", &words);
    int rc = 0;

    if (count == 0) {
        words = local;
        count = 1;
    }
    s->query = query;
    s->has_unquoted = query_unquoted(query, "query") != NULL;
    s->is_select =
        begins_with(cf_text(cf, "query"), "SELECT") || begins_with(cf_text(cf, "query"), "WITH");
    s->user = cf_text(cf, "user");
    s->password = cf_text(cf, "password");
    s->dbname = cf_text(cf, "dbname");
    s->encoding = cf_text(cf, "encoding");
    s->hosts = mem_zalloc(count * sizeof *s->hosts);
    s->shown = mem_zalloc(count * sizeof *s->shown);
    for (; s->count < count && rc == 0; s->count++) {
        struct pgsql_host *h = &s->hosts[s->count];
        rc = parse_host(cf, words[s->count], h, err);
        s->shown[s->count] = (struct table_host){.name = h->shown,
                                                 .is_local = h->host != NULL &&
                                                             (*h->host == '/' || *h->host == '\0'),
                                                 .is_last = h->uri != NULL};
    }
    if (rc == 0)
        rc = check_dbname(cf, s, err);
    if (rc == 0)
        return s;
    module_pgsql_close(s);
    return NULL;
}

size_t module_pgsql_hosts(const void *settings, const struct table_host **hosts_out)
{
    const struct pgsql_settings *s = settings;

    *hosts_out = s->shown;
    return s->count;
}
