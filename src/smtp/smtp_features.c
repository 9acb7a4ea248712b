/* SPDX-License-Identifier: ISC */
/*
 * reply      = name [SP text] *( LF ehlo-line )
 * ehlo-line  = keyword *( SP param )                   RFC 5321 4.1.1.1
 *            / "AUTH=" mechanism *( SP mechanism )     before RFC 4954; some servers send both
 */
#include "smtp/smtp_features.h"

#include "base/ascii.h"

#include <string.h>

static const struct {
    const char *name;
    enum smtp_mechanism bit;
} mechanisms[] = {
    {"PLAIN", SMTP_MECHANISM_PLAIN},
    {"LOGIN", SMTP_MECHANISM_LOGIN},
    {"SCRAM-SHA-256", SMTP_MECHANISM_SCRAM_SHA_256},
    {"OAUTHBEARER", SMTP_MECHANISM_OAUTHBEARER},
    {"XOAUTH2", SMTP_MECHANISM_XOAUTH2},
};

static const char *const attribute_names[SMTP_ATTRIBUTE_COUNT] = {"NAME",  "ADDR", "PORT",
                                                                  "PROTO", "HELO", "IDENT"};

static bool word_is(const char *word, size_t len, const char *name)
{
    return strlen(name) == len && ascii_equal_n(word, name, len);
}

unsigned smtp_features_mechanism(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++)
        if (word_is(name, len, mechanisms[i].name))
            return mechanisms[i].bit;
    return SMTP_MECHANISM_NONE;
}

const char *smtp_features_attribute_name(enum smtp_attribute a)
{
    return attribute_names[a];
}

static unsigned attribute_bit(const char *word, size_t len)
{
    for (unsigned i = 0; i < SMTP_ATTRIBUTE_COUNT; i++)
        if (word_is(word, len, attribute_names[i]))
            return 1U << i;
    return 0;
}

/* The set of bits of the words in a parameter list; unknown words have no bit. */
static unsigned parse_words(const char *text, size_t len, const char *separators,
                            unsigned (*bit_of)(const char *, size_t))
{
    unsigned set = 0;

    for (size_t at = 0; at < len;) {
        size_t word = 0;
        while (at + word < len && strchr(separators, text[at + word]) == NULL)
            word++;
        set |= bit_of(text + at, word);
        at += word + 1;
    }
    return set;
}

/* Parse the number of "SIZE" [SP number] (RFC 1870 section 4). A parameter that is not a number
 * announces no limit. */
static uint64_t parse_size(const char *text, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || n > (UINT64_MAX - 9) / 10)
            return 0;
        n = n * 10 + (uint64_t)(text[i] - '0');
    }
    return n;
}

/* Read one line of the reply. keyword: the length of its first word; len: that of the line. */
static void parse_line(struct smtp_features *f, const char *line, size_t keyword, size_t len,
                       bool is_verified)
{
    const char *params = line + keyword;

    if (word_is(line, keyword, "PIPELINING")) {
        f->pipelining = true;
    } else if (word_is(line, keyword, "8BITMIME")) {
        f->eight_bit = true;
    } else if (word_is(line, keyword, "SMTPUTF8")) {
        f->smtputf8 = true;
    } else if (word_is(line, keyword, "DSN")) {
        f->dsn = true;
    } else if (word_is(line, keyword, "XFORWARD")) {
        f->xforward = true;
        f->xforward_attributes = parse_words(params, len - keyword, " ", attribute_bit);
    } else if (word_is(line, keyword, "XCLIENT")) {
        f->xclient_attributes = parse_words(params, len - keyword, " ", attribute_bit);
    } else if (word_is(line, keyword, "AUTH") || ascii_equal_n(line, "AUTH=", 5)) {
        f->auth |= parse_words(line + 4, len - 4, " =", smtp_features_mechanism);
    } else if (word_is(line, keyword, "STARTTLS")) {
        f->starttls = true;
    } else if (word_is(line, keyword, "REQUIRETLS")) {
        f->requiretls = is_verified;
    } else if (word_is(line, keyword, "SIZE")) {
        f->size = true;
        if (keyword < len)
            f->size_limit_bytes = parse_size(params + 1, len - keyword - 1);
    }
}

void smtp_features_parse(const char *text, const char *hostname, bool is_verified,
                         struct smtp_features *out)
{
    const char *line = strchr(text, '\n'); /* the first line is the server's name */

    memset(out, 0, sizeof *out);
    out->has_our_name = word_is(text, strcspn(text, " \n"), hostname);
    while (line != NULL) {
        line++;
        size_t len = strcspn(line, "\n");
        parse_line(out, line, strcspn(line, " \n"), len, is_verified);
        line = line[len] == '\n' ? line + len : NULL;
    }
}
