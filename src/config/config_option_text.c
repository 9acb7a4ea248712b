/* SPDX-License-Identifier: ISC */
#include "config/config_option_text.h"
#include "config/config_queue.h"
#include "mail/address.h"
#include "mail/template.h"
#include "mail/header_condition.h"
#include "base/buf.h"
#include "base/casefold.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/ascii.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_NAME_MAX 64
#define TAG_DOMAIN_MAX 128 /* leaves room for user, domain and name in ADDRESS_TAGGED_MAX */
#define GROUP_NAME_MAX 32
#define USER_NAME_MAX 255
#define SHA256_BYTES 32

int config_option_fail_words(const char *text, const char *const *words, const char *more,
                             struct err *err)
{
    struct buf list = {0};

    for (size_t i = 0; words[i] != NULL; i++)
        buf_addf(&list, "%s\"%s\"", i == 0 ? "" : ", ", words[i]);
    err_set(err, "'%s' is not allowed; allowed: %s%s", text, buf_str(&list), more);
    buf_clear(&list);
    return -1;
}

int config_option_find_word(const char *const *words, const char *text)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0)
            return i;
    return -1;
}

void config_option_set_text(char **field, const char *text)
{
    char *copy = mem_strdup(text);

    free(*field);
    *field = copy;
}

static bool is_host_name(const char *text, size_t max)
{
    size_t label = 0;

    if (text[0] == '\0' || strlen(text) > max)
        return false;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '.') {
            if (label == 0 || p[-1] == '-')
                return false;
            label = 0;
        } else {
            if (!ascii_is_alnum(*p) && *p != '_' && (*p != '-' || label == 0))
                return false;
            if (++label > 63)
                return false;
        }
    }
    return label > 0 && text[strlen(text) - 1] != '-';
}

static int store_domain(char **field, const char *text, struct err *err)
{
    if (!is_host_name(text, TAG_DOMAIN_MAX)) {
        err_set(err,
                "'%s' is not allowed; allowed: a domain name of letters, digits, '-' and '.' "
                "with at most %d characters",
                text, TAG_DOMAIN_MAX);
        return -1;
    }
    config_option_set_text(field, text);
    for (char *p = *field; *p != '\0'; p++)
        *p = ascii_to_lower(*p);
    return 0;
}

static int store_hostname(char **field, const char *text, struct err *err)
{
    if (text[0] != '\0' && !is_host_name(text, ADDRESS_DOMAIN_MAX)) {
        err_set(err, "'%s' is not allowed; allowed: a host name, or \"\" for the system's", text);
        return -1;
    }
    config_option_set_text(field, text);
    return 0;
}

static int store_delimiter(char **field, const char *text, struct err *err)
{
    for (const char *p = text; *p != '\0'; p++)
        if (!ascii_is_punctuation(*p) || strchr("@<>()\",:;\\[]", *p) != NULL) {
            err_set(err,
                    "'%s' is not allowed; allowed: punctuation that may stand in a local part, "
                    "like \"+\" or \"+-\", or \"\"",
                    text);
            return -1;
        }
    config_option_set_text(field, text);
    return 0;
}

static int store_path(char **field, bool may_be_empty, const char *text, struct err *err)
{
    if (text[0] != '/' && !(may_be_empty && text[0] == '\0')) {
        err_set(err, "'%s' is not allowed; allowed: a path that begins with '/'%s", text,
                may_be_empty ? ", or \"\" for none" : "");
        return -1;
    }
    config_option_set_text(field, text);
    return 0;
}

static int store_group(char **field, const char *text, struct err *err)
{
    if (strlen(text) > GROUP_NAME_MAX || strpbrk(text, " \t\n:,/") != NULL) {
        err_set(err, "'%s' is not allowed; allowed: the name of a group, or \"\"", text);
        return -1;
    }
    config_option_set_text(field, text);
    return 0;
}

/* Store the name of a header field (RFC 5322 2.2). */
static int store_header(char **field, const char *text, struct err *err)
{
    size_t len = 0;

    while (text[len] > 32 && text[len] < 127 && text[len] != ':')
        len++;
    if (len == 0 || len > HEADER_NAME_MAX || text[len] != '\0') {
        err_set(err,
                "'%s' is not allowed; allowed: the name of a header without ':', at most %d "
                "printable characters",
                text, HEADER_NAME_MAX);
        return -1;
    }
    config_option_set_text(field, text);
    return 0;
}

static int store_transport(char **field, const char *text, struct err *err)
{
    size_t len = 0;

    while (ascii_is_alnum(text[len]) || (text[len] != '\0' && strchr("-_", text[len])))
        len++;
    const char *nexthop = text[len] == ':' ? text + len + 1 : "";
    bool is_printable = true;
    for (const char *p = nexthop; *p != '\0'; p++)
        is_printable = is_printable && *p > 32 && *p < 127;
    if (len == 0 || nexthop[0] == '\0' || !is_printable) {
        err_set(err,
                "'%s' is not allowed; allowed: \"transport:nexthop\" as in transport(5), like "
                "\"smtp:[filter.example.com]:10024\"",
                text);
        return -1;
    }
    config_option_set_text(field, text);
    return 0;
}

/* RFC 4616 allows UTF-8 without NUL. Control characters are not allowed here, because the name is
 * logged. */
static int store_user(char **field, const char *text, struct err *err)
{
    bool is_printable = utf8_is_valid(text, strlen(text)) && strlen(text) <= USER_NAME_MAX;

    for (const char *p = text; *p != '\0'; p++)
        is_printable = is_printable && (unsigned char)*p >= ' ' && *p != 0x7f;
    if (!is_printable) {
        err_set(err, "'%s' is not allowed; allowed: a name of at most %d printable characters",
                text, USER_NAME_MAX);
        return -1;
    }
    config_option_set_text(field, text);
    return 0;
}

/* Return a fingerprint as "AB:CD:...", for the caller to free; NULL with `err`. The text is as
 * openssl x509 -fingerprint prints it; colons may be left out. */
static char *fingerprint_text(const char *text, struct err *err)
{
    struct buf out = {0};
    const char *p = text;

    while (ascii_hex_value(p[0]) >= 0 && ascii_hex_value(p[1]) >= 0) {
        buf_addf(&out, "%s%c%c", out.len > 0 ? ":" : "", ascii_to_upper(p[0]),
                 ascii_to_upper(p[1]));
        p += p[2] == ':' ? 3 : 2;
    }
    if (*p == '\0' && p > text && p[-1] != ':' && out.len == 3 * SHA256_BYTES - 1)
        return buf_take(&out);
    buf_clear(&out);
    err_set(err,
            "'%s' is not allowed; allowed: a SHA-256 fingerprint, %d pairs of hexadecimal digits, "
            "as \"openssl x509 -noout -fingerprint -sha256\" prints it",
            text, SHA256_BYTES);
    return NULL;
}

/* Return a copy of a value of transport(5), such as "relay:[store.example.com]", "dovecot:" or
 * ":[host]"; NULL with `err`. The colon is required. */
static char *transport_text(const char *text, struct err *err)
{
    bool is_printable = true;

    for (const char *p = text; *p != '\0'; p++)
        is_printable = is_printable && *p > 32 && *p < 127;
    if (is_printable && strchr(text, ':') != NULL)
        return mem_strdup(text);
    err_set(err,
            "'%s' is not allowed; allowed: \"transport:nexthop\" or \"transport:\" as in "
            "transport(5)",
            text);
    return NULL;
}

/* Return a domain, or ".domain", without regard to case (casefold_add()), for the caller to free;
 * NULL with `err`. */
static char *domain_text(const char *text, struct err *err)
{
    struct address address;
    struct buf folded = {0};
    struct err why;
    bool is_below = text[0] == '.';
    char *sample = mem_printf("x@%s", text + is_below);
    bool is_valid = strchr(text, '@') == NULL &&
                    address_parse(sample, strlen(sample), 0, &address, &why) == 0 &&
                    address.text[address.domain_at] != '\0' && !address.is_literal;

    free(sample);
    if (is_valid) {
        buf_adds(&folded, is_below ? "." : "");
        casefold_add(&folded, address.text + address.domain_at,
                     strlen(address.text + address.domain_at));
        return buf_take(&folded);
    }
    err_set(err, "'%s' is not allowed; allowed: a domain, or \".domain\" for all below it", text);
    return NULL;
}

char *config_option_list_text(const struct config_option *o, const char *text, struct err *err)
{
    if (o->type == CONFIG_OPT_TRANSPORTS)
        return transport_text(text, err);
    if (o->type == CONFIG_OPT_CONDITIONS)
        return header_condition_parse(text, err);
    if (o->type == CONFIG_OPT_FINGERPRINTS)
        return fingerprint_text(text, err);
    if (o->type == CONFIG_OPT_DOMAINS)
        return domain_text(text, err);
    if (is_host_name(text[0] == '.' ? text + 1 : text, ADDRESS_DOMAIN_MAX))
        return mem_strdup(text);
    err_set(err, "'%s' is not allowed; allowed: a host name, or \".domain\" for all below it",
            text);
    return NULL;
}

/* Store an address with percent signs: a template, or a fixed address with "%%" in it. */
static int store_template(enum config_address *field, char **fixed, const char *text,
                          struct err *err)
{
    struct buf address = {0};

    if (template_check_address(text, err) < 0 ||
        template_address(text, "user@sample.invalid", &address, err) < 0) {
        err_wrap(err, "'%s'", text);
        return -1;
    }
    bool varies = template_varies(text);
    *field = varies ? CONFIG_ADDRESS_TEMPLATE : CONFIG_ADDRESS_FIXED;
    config_option_set_text(fixed, varies ? text : buf_str(&address));
    buf_clear(&address);
    return 0;
}

int config_option_store_address(const struct config_option *o, enum config_address *field,
                                char **fixed, const char *text, struct err *err)
{
    static const struct {
        const char *word;
        enum config_address value;
    } meanings[] = {{"original", CONFIG_ADDRESS_ORIGINAL},
                    {"canonical", CONFIG_ADDRESS_CANONICAL},
                    {"null", CONFIG_ADDRESS_NULL}};
    struct address address;
    struct err why;

    if (config_option_find_word(o->words, text) >= 0) {
        for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
            if (strcmp(meanings[i].word, text) == 0)
                *field = meanings[i].value;
        config_option_set_text(fixed, "");
        return 0;
    }
    if (strchr(text, '%') != NULL)
        return store_template(field, fixed, text, err);
    if (address_parse(text, strlen(text), 0, &address, &why) < 0 ||
        address.text[address.domain_at] == '\0')
        return config_option_fail_words(text, o->words,
                                        ", or an address like \"archive@example.com\" or "
                                        "\"%u-%d@archive.example.com\"",
                                        err);
    *field = CONFIG_ADDRESS_FIXED;
    config_option_set_text(fixed, address.text);
    return 0;
}

static int store_mailbox(char **field, const char *text, struct err *err)
{
    struct address address;
    struct err why;

    if (text[0] != '\0' && (address_parse(text, strlen(text), 0, &address, &why) < 0 ||
                            address.text[address.domain_at] == '\0' || address.is_utf8)) {
        err_set(err,
                "'%s' is not allowed; allowed: an address like \"archive@example.com\", or \"\"",
                text);
        return -1;
    }
    config_option_set_text(field, text[0] == '\0' ? "" : address.text);
    return 0;
}

int config_option_store_text(const struct config_option *o, char **field, const char *text,
                             struct err *err)
{
    switch ((int)o->type) {
    case CONFIG_OPT_WORD_TEXT:
        if (config_option_find_word(o->words, text) < 0)
            return config_option_fail_words(text, o->words, "", err);
        config_option_set_text(field, text);
        return 0;
    case CONFIG_OPT_DOMAIN:
        return store_domain(field, text, err);
    case CONFIG_OPT_HOSTNAME:
        return store_hostname(field, text, err);
    case CONFIG_OPT_DELIMITER:
        return store_delimiter(field, text, err);
    case CONFIG_OPT_GROUP:
        return store_group(field, text, err);
    case CONFIG_OPT_HEADER:
        return store_header(field, text, err);
    case CONFIG_OPT_TRANSPORT:
        return store_transport(field, text, err);
    case CONFIG_OPT_MAILBOX:
        return store_mailbox(field, text, err);
    case CONFIG_OPT_USER:
        return store_user(field, text, err);
    case CONFIG_OPT_QUEUE:
        if (config_queue_check(text, err) < 0)
            return -1;
        config_option_set_text(field, text);
        return 0;
    default:
        return store_path(field, o->type == CONFIG_OPT_PATH_OR_NONE, text, err);
    }
}
