/* SPDX-License-Identifier: ISC */
#include "config/config_option.h"
#include "config/config_lex.h"
#include "mail/address.h"
#include "config/config_option_text.h"
#include "config/config_units.h"
#include "base/mem.h"
#include "base/ascii.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define URI_SHOWN_MAX 80

static int store_number(const struct config_option *o, unsigned *field, const char *text,
                        struct err *err)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);

    if (!ascii_is_digit(text[0]) || *end != '\0' || strlen(text) > 9 || value < o->min ||
        value > o->max) {
        err_set(err, "'%s' is not allowed; allowed: a number from %" PRIu64 " to %" PRIu64, text,
                o->min, o->max);
        return -1;
    }
    *field = (unsigned)value;
    return 0;
}

static int store_mode(const struct config_option *o, unsigned *field, const char *text,
                      struct err *err)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 8);

    if (!ascii_is_digit(text[0]) || *end != '\0' || strlen(text) > 9 || value > o->max) {
        err_set(err, "'%s' is not allowed; allowed: an octal mode from \"0000\" to \"0777\"", text);
        return -1;
    }
    *field = (unsigned)value;
    return 0;
}

/* factor: units of the field in a second, 1 or 1000. */
static int store_time(const struct config_option *o, unsigned *field, unsigned factor,
                      const char *text, struct err *err)
{
    unsigned seconds;
    char min[24], max[24];

    if (config_units_parse_time(text, &seconds) < 0 || seconds < o->min || seconds > o->max) {
        config_units_format_time((unsigned)o->min, min, sizeof min);
        config_units_format_time((unsigned)o->max, max, sizeof max);
        err_set(err,
                "'%s' is not allowed; allowed: a time like \"30s\", \"5m\", \"1h\", \"5d\", "
                "from %s to %s",
                text, min, max);
        return -1;
    }
    *field = seconds * factor;
    return 0;
}

static int store_size(const struct config_option *o, uint64_t *field, const char *text,
                      struct err *err)
{
    uint64_t bytes;
    char min[24], max[24];

    if (config_units_parse_size(text, &bytes) < 0 || bytes < o->min || bytes > o->max) {
        config_units_format_size(o->min, min, sizeof min);
        config_units_format_size(o->max, max, sizeof max);
        err_set(err,
                "'%s' is not allowed; allowed: a size like \"64k\", \"50M\", \"2G\", "
                "from %s to %s",
                text, min, max);
        return -1;
    }
    *field = bytes;
    return 0;
}

static int store_rate(struct config_rate *field, const char *text, struct err *err)
{
    char *end = NULL;
    unsigned long count = strtoul(text, &end, 10);
    unsigned period_s = 0;

    if (text[0] == '\0') {
        *field = (struct config_rate){0};
        return 0;
    }
    if (!ascii_is_digit(text[0]) || end - text > 6 || *end != '/' || count == 0 ||
        config_units_parse_time(end + 1, &period_s) < 0 || period_s == 0 || period_s > 86400) {
        err_set(err,
                "'%s' is not allowed; allowed: messages per time, from 1 to 999999 in 1s to 1d, "
                "like \"10/1s\", \"100/1m\", or \"\" for no limit",
                text);
        return -1;
    }
    *field = (struct config_rate){(unsigned)count, period_s};
    return 0;
}

/* Store the socket, and its text for libmilter, which needs "inet6:" before an IPv6 address, and
 * takes no '@' without a host. */
static int store_socket(struct endpoint *field, char **libmilter_text, const char *text,
                        struct err *err)
{
    struct endpoint e;

    if (endpoint_parse_socket(text, &e, err) < 0)
        return -1;
    *field = e;
    free(*libmilter_text);
    const char *family =
        strncmp(text, "inet6:", 6) == 0 || strchr(e.host, ':') != NULL ? "inet6" : "inet";
    if (e.kind == ENDPOINT_UNIX)
        *libmilter_text = mem_printf("unix:%s", e.path);
    else if (e.host[0] == '\0')
        *libmilter_text = mem_printf("%s:%u", family, e.port);
    else if (strchr(e.host, ':') != NULL)
        *libmilter_text = mem_printf("%s:%u@[%s]", family, e.port, e.host);
    else
        *libmilter_text = mem_printf("%s:%u@%s", family, e.port, e.host);
    return 0;
}

static int check_table(const char *text, struct err *err)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    if (len > 0 && text[len] == ':' && text[len + 1] != '\0' && strncmp(text, "postgres", 8) != 0)
        return 0;
    err_set(err, "'%s' is no table; allowed: \"type:argument\", like \"texthash:/path\"", text);
    return -1;
}

static int append_string(const struct config_option *o, struct string_list *list, const char *text,
                         struct err *err)
{
    if (o->type == CONFIG_OPT_WORDS && config_option_find_word(o->words, text) < 0)
        return config_option_fail_words(text, o->words, "", err);
    if (o->type == CONFIG_OPT_TABLES && check_table(text, err) < 0)
        return -1;
    if (o->type == CONFIG_OPT_NAMES && !address_is_tag_name(text)) {
        err_set(err, "'%s' is not allowed; allowed: the name of a destination", text);
        return -1;
    }
    char *item =
        o->type >= CONFIG_OPT_HOSTNAMES ? config_option_list_text(o, text, err) : mem_strdup(text);
    if (item == NULL)
        return -1;
    list->items = mem_grow(list->items, list->count + 1, sizeof *list->items);
    list->items[list->count++] = item;
    return 0;
}

static int append_endpoint(const struct config_option *o, struct endpoint **list, size_t *count,
                           const char *text, struct err *err)
{
    struct endpoint e;
    int rc = o->type == CONFIG_OPT_SOCKETS    ? endpoint_parse_socket(text, &e, err)
             : o->type == CONFIG_OPT_TARGETS  ? endpoint_parse_destination(text, &e, err)
             : o->type == CONFIG_OPT_NEXTHOPS ? endpoint_parse_nexthop(text, &e, err)
                                              : endpoint_parse_dns_server(text, &e, err);

    if (rc < 0)
        return -1;
#ifndef HAVE_CARES
    if (o->type == CONFIG_OPT_DNS_SERVERS) {
        err_set(
            err,
            "'%s': this program was built without c-ares, and uses the name servers of the system",
            text);
        return -1;
    }
#endif
    *list = mem_grow(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = e;
    return 0;
}

static int append_network(struct endpoint_network **list, size_t *count, const char *text,
                          struct err *err)
{
    struct endpoint_network net;

    if (endpoint_parse_network(text, &net, err) < 0)
        return -1;
    *list = mem_grow(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = net;
    return 0;
}

bool config_option_is_list(const struct config_option *o)
{
    return o->type >= CONFIG_OPT_WORDS;
}

static bool is_list_of_strings(const struct config_option *o)
{
    return o->type >= CONFIG_OPT_WORDS && o->type <= CONFIG_OPT_FINGERPRINTS;
}

size_t config_option_count(const struct config_option *o, const void *base)
{
    const char *p = base;

    if (is_list_of_strings(o))
        return ((const struct string_list *)(const void *)(p + o->offset))->count;
    return *(const size_t *)(const void *)(p + o->companion);
}

static int append(const struct config_option *o, void *base, const char *text, struct err *err)
{
    void *field = (char *)base + o->offset, *count = (char *)base + o->companion;

    if (o->max > 0 && config_option_count(o, base) >= o->max) {
        err_set(err, "too many values; allowed: %" PRIu64, o->max);
        return -1;
    }
    if (is_list_of_strings(o))
        return append_string(o, field, text, err);
    if (o->type == CONFIG_OPT_NETWORKS)
        return append_network(field, count, text, err);
    return append_endpoint(o, field, count, text, err);
}

static int store(const struct config_option *o, void *base, const char *text, struct err *err)
{
    void *field = (char *)base + o->offset, *companion = (char *)base + o->companion;
    int word;

    switch (o->type) {
    case CONFIG_OPT_NUMBER:
        return store_number(o, field, text, err);
    case CONFIG_OPT_MODE:
        return store_mode(o, field, text, err);
    case CONFIG_OPT_SECONDS:
        return store_time(o, field, 1, text, err);
    case CONFIG_OPT_MILLISECONDS:
        return store_time(o, field, 1000, text, err);
    case CONFIG_OPT_SIZE:
        return store_size(o, field, text, err);
    case CONFIG_OPT_RATE:
        return store_rate(field, text, err);
    case CONFIG_OPT_SWITCH:
        if ((word = config_option_find_word(o->words, text)) < 0)
            return config_option_fail_words(text, o->words, "", err);
        *(bool *)field = word == 1;
        return 0;
    case CONFIG_OPT_WORD:
        if ((word = config_option_find_word(o->words, text)) < 0)
            return config_option_fail_words(text, o->words, "", err);
        *(unsigned *)field = (unsigned)word;
        return 0;
    case CONFIG_OPT_WORD_TEXT:
    case CONFIG_OPT_DOMAIN:
    case CONFIG_OPT_HOSTNAME:
    case CONFIG_OPT_DELIMITER:
    case CONFIG_OPT_PATH:
    case CONFIG_OPT_PATH_OR_NONE:
    case CONFIG_OPT_GROUP:
    case CONFIG_OPT_HEADER:
    case CONFIG_OPT_TRANSPORT:
    case CONFIG_OPT_MAILBOX:
    case CONFIG_OPT_USER:
    case CONFIG_OPT_QUEUE:
        return config_option_store_text(o, field, text, err);
    case CONFIG_OPT_ADDRESS:
        return config_option_store_address(o, field, companion, text, err);
    case CONFIG_OPT_SOCKET:
        return store_socket(field, companion, text, err);
    case CONFIG_OPT_WORDS:
    case CONFIG_OPT_TABLES:
    case CONFIG_OPT_NAMES:
    case CONFIG_OPT_HOSTNAMES:
    case CONFIG_OPT_DOMAINS:
    case CONFIG_OPT_TRANSPORTS:
    case CONFIG_OPT_CONDITIONS:
    case CONFIG_OPT_FINGERPRINTS:
    case CONFIG_OPT_SOCKETS:
    case CONFIG_OPT_NEXTHOPS:
    case CONFIG_OPT_TARGETS:
    case CONFIG_OPT_DNS_SERVERS:
    case CONFIG_OPT_NETWORKS:
        return append(o, base, text, err);
    }
    abort();
}

/* Leave the value out of `err`, if it is a URI that may have a password, such as that of the queue.
 */
static void hide_uri(const char *text, struct err *err)
{
    const char mark[] = "; allowed: ", *allowed = strstr(err->text, mark);
    const char *uri = strstr(text, "://");

    if (uri == NULL || strpbrk(uri, "@?") == NULL)
        return;
    char *rest = mem_strdup(allowed == NULL || strstr(text, mark) != NULL ? "" : allowed);
    err_set(err, "'%.*s...' is not allowed%s", config_lex_shown(text, URI_SHOWN_MAX), text, rest);
    free(rest);
}

int config_option_store(const struct config_option *o, void *base, const char *text,
                        struct err *err)
{
    int rc = store(o, base, text, err);

    if (rc < 0 && o->type != CONFIG_OPT_QUEUE)
        hide_uri(text, err);
    return rc;
}
