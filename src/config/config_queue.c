/* SPDX-License-Identifier: ISC */
#include "config/config_queue.h"
#include "base/ascii.h"

#include <string.h>

static const char scheme[] = "postgresql://";

bool config_queue_is_postgresql(const char *queue)
{
    return strncmp(queue, scheme, strlen(scheme)) == 0;
}

/* Where the parts of a URI begin. */
struct uri {
    const char *password, *hosts; /* password: NULL, or what is between ':' and '@' */
    const char *options;          /* behind '?', or the end */
};

static struct uri split(const char *queue)
{
    const char *begin = queue + strlen(scheme);
    size_t authority = strcspn(begin, "/?");
    const char *at = memchr(begin, '@', authority);
    const char *colon = at == NULL ? NULL : memchr(begin, ':', (size_t)(at - begin));
    const char *mark = strchr(begin, '?');

    return (struct uri){.password = colon == NULL ? NULL : colon + 1,
                        .hosts = at == NULL ? begin : at + 1,
                        .options = mark == NULL ? begin + strlen(begin) : mark + 1};
}

/* Return true if each '%' is followed by two hexadecimal digits that are not 00. */
static bool is_encoded(const char *text)
{
    for (const char *p = text; (p = strchr(p, '%')) != NULL; p++) {
        int high = ascii_hex_value(p[1]);
        if (high < 0 || ascii_hex_value(p[2]) < 0 || (high == 0 && p[2] == '0'))
            return false;
    }
    return true;
}

/* Return true if in each "[address]" the address is not empty and the closing bracket is there,
 * with a port, a comma or the end behind it. */
static bool has_whole_addresses(const char *hosts)
{
    const char *end = hosts + strcspn(hosts, "/?");

    for (const char *p = hosts; p < end; p++) {
        if (*p != '[')
            continue;
        p += strcspn(p, "]");
        if (p >= end || p[-1] == '[' || (p + 1 < end && strchr(":,", p[1]) == NULL))
            return false;
    }
    return true;
}

/* The length of an option up to the next '&' or the end. */
static size_t option_len(const char *option)
{
    return strcspn(option, "&");
}

/* Is '%' in its name? libpq decodes names, too. */
static bool has_encoded_name(const char *option)
{
    return option[strcspn(option, "%=&")] == '%';
}

static bool has_plain_names(const char *options)
{
    for (const char *p = options; *p != '\0'; p += *p == '&') {
        if (has_encoded_name(p))
            return false;
        p += option_len(p);
    }
    return true;
}

/* Refuse a URI that is ambiguous. libpq quotes what it does not understand, and could take a part
 * of a password that has a mark such as '@' in it for a port. */
int config_queue_check(const char *queue, struct err *err)
{
    if (strcmp(queue, "sqlite") == 0)
        return 0;
    if (!config_queue_is_postgresql(queue)) {
        err_set(err, "not allowed; allowed: \"sqlite\", \"postgresql://USER@HOST/DATABASE\"");
        return -1;
    }
    struct uri uri = split(queue);
    if (strchr(uri.hosts, '@') != NULL || !is_encoded(queue) || !has_whole_addresses(uri.hosts)) {
        err_set(err, "the URI is not valid: in a name or password write @ as %%40, / as %%2F, ? as "
                     "%%3F, %% as %%25");
        return -1;
    }
    if (has_plain_names(uri.options))
        return 0;
    err_set(err, "the URI is not valid: the name of an option is written without %%");
    return -1;
}

/* Return the value of the option, if it has this name, or NULL. */
static const char *value_of(const char *option, const char *name)
{
    size_t len = strlen(name);

    return strncmp(option, name, len) == 0 && option[len] == '=' ? option + len + 1 : NULL;
}

/* Return the value of the option, if it is a secret, or NULL. */
static const char *secret_value(const char *option)
{
    static const char *const names[] = {"password", "sslpassword", "scram_client_key",
                                        "scram_server_key", "oauth_client_secret"};
    const char *value = has_encoded_name(option) ? option : NULL;

    for (size_t i = 0; i < sizeof names / sizeof *names && value == NULL; i++)
        value = value_of(option, names[i]);
    return value;
}

void config_queue_show(const char *queue, struct buf *out)
{
    if (!config_queue_is_postgresql(queue)) {
        buf_adds(out, queue);
        return;
    }
    struct uri uri = split(queue);
    if (uri.password != NULL) {
        buf_add(out, queue, (size_t)(uri.password - 1 - queue));
        buf_addc(out, '@');
    } else {
        buf_add(out, queue, (size_t)(uri.hosts - queue));
    }
    buf_add(out, uri.hosts, (size_t)(uri.options - uri.hosts));
    for (const char *p = uri.options; *p != '\0'; p += *p == '&') {
        const char *secret = secret_value(p);
        size_t len = option_len(p);
        buf_add(out, p, secret == NULL ? len : (size_t)(secret - p));
        p += len;
        if (*p == '&')
            buf_addc(out, '&');
    }
}

bool config_queue_has_password(const char *queue)
{
    if (!config_queue_is_postgresql(queue))
        return false;
    struct uri uri = split(queue);
    bool has = uri.password != NULL && uri.password[0] != '@';
    for (const char *p = uri.options; *p != '\0'; p += *p == '&') {
        has |= secret_value(p) != NULL;
        p += option_len(p);
    }
    return has;
}

void config_queue_option(const char *queue, const char *name, struct buf *out)
{
    if (!config_queue_is_postgresql(queue))
        return;
    for (const char *p = split(queue).options; *p != '\0'; p += *p == '&') {
        const char *end = p + option_len(p), *value = value_of(p, name);
        for (; value != NULL && value < end; value++) {
            bool is_encoded = *value == '%'; /* config_queue_check() has seen the digits */
            buf_addc(out, is_encoded
                              ? (char)(16 * ascii_hex_value(value[1]) + ascii_hex_value(value[2]))
                              : *value);
            value += is_encoded ? 2 : 0;
        }
        p = end;
    }
}
