/* SPDX-License-Identifier: ISC */
/*
 *     line     = verb [ SP rest ] *SP
 *     MAIL     = "MAIL FROM:" [SP] path *( 1*SP word )
 *     RCPT     = "RCPT TO:" [SP] path *( 1*SP word )
 *     XFORWARD = "XFORWARD" 1*( 1*SP word )
 *     path     = "<" *( any but '"' and ">" / quoted-string ) ">"        address.c knows its inside
 *     word     = keyword [ "=" *( any but SP ) ]
 *     keyword  = ( ALPHA / DIGIT ) *( ALPHA / DIGIT / "-" )
 *
 * Every other verb takes the rest as it is. No control characters anywhere; in MAIL they become
 * "?", since MTAs accept a sender that has some, and its messages must not be refused for that.
 */
#include "smtp_command.h"

#include <string.h>
#include <strings.h>

enum shape { SHAPE_ARGUMENT, SHAPE_BARE, SHAPE_PATH, SHAPE_WORDS };

static const struct verb {
    const char *name;
    enum smtp_verb verb;
    enum shape shape;
    const char *keyword; /* before the path */
} verbs[] = {
    {"RCPT", SMTP_RCPT, SHAPE_PATH, "TO:"},        {"MAIL", SMTP_MAIL, SHAPE_PATH, "FROM:"},
    {"DATA", SMTP_DATA, SHAPE_BARE, NULL},         {"XFORWARD", SMTP_XFORWARD, SHAPE_WORDS, NULL},
    {"EHLO", SMTP_EHLO, SHAPE_ARGUMENT, NULL},     {"LHLO", SMTP_LHLO, SHAPE_ARGUMENT, NULL},
    {"HELO", SMTP_HELO, SHAPE_ARGUMENT, NULL},     {"QUIT", SMTP_QUIT, SHAPE_BARE, NULL},
    {"RSET", SMTP_RSET, SHAPE_BARE, NULL},         {"NOOP", SMTP_NOOP, SHAPE_ARGUMENT, NULL},
    {"VRFY", SMTP_VRFY, SHAPE_ARGUMENT, NULL},     {"HELP", SMTP_HELP, SHAPE_ARGUMENT, NULL},
    {"STARTTLS", SMTP_STARTTLS, SHAPE_BARE, NULL},
};

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static char *skip_spaces(char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

static bool is_keyword(const char *word)
{
    size_t len = strcspn(word, "=");

    if (len == 0 || !is_alnum(word[0]))
        return false;
    for (size_t i = 1; i < len; i++) {
        if (!is_alnum(word[i]) && word[i] != '-')
            return false;
    }
    return true;
}

static int parse_words(char *p, struct smtp_command *out, struct err *err)
{
    for (p = skip_spaces(p); *p != '\0'; p = skip_spaces(p)) {
        if (out->word_count == SMTP_COMMAND_WORDS_MAX) {
            err_set(err, "too many parameters");
            return -1;
        }
        char *word = p;
        p += strcspn(p, " ");
        if (*p != '\0')
            *p++ = '\0';
        if (!is_keyword(word)) {
            err_set(err, "malformed parameter");
            return -1;
        }
        out->words[out->word_count++] = word;
    }
    out->words[out->word_count] = NULL;
    return 0;
}

/* The '>' that ends the path which begins at p, or NULL. */
static char *path_end(char *p)
{
    bool is_quoted = false;

    for (; *p != '\0'; p++) {
        if (is_quoted && *p == '\\' && p[1] != '\0')
            p++;
        else if (*p == '"')
            is_quoted = !is_quoted;
        else if (*p == '>' && !is_quoted)
            return p;
    }
    return NULL;
}

static int parse_path(const struct verb *v, char *p, struct smtp_command *out, struct err *err)
{
    size_t n = strlen(v->keyword);
    char *end = NULL;

    if (strncasecmp(p, v->keyword, n) == 0) {
        p += n;
        if (*p == ' ')
            p++;
        if (*p == '<')
            end = path_end(p);
    }
    if (end == NULL || (end[1] != ' ' && end[1] != '\0')) {
        err_set(err, "syntax: %s %s<address>", v->name, v->keyword);
        return -1;
    }
    out->path = p;
    if (end[1] == '\0')
        return 0;
    end[1] = '\0';
    return parse_words(end + 2, out, err);
}

static int parse_rest(const struct verb *v, char *rest, struct smtp_command *out, struct err *err)
{
    switch (v->shape) {
    case SHAPE_ARGUMENT:
        out->argument = rest;
        return 0;
    case SHAPE_BARE:
        if (*rest == '\0')
            return 0;
        err_set(err, "%s takes no argument", v->name);
        return -1;
    case SHAPE_PATH:
        return parse_path(v, rest, out, err);
    case SHAPE_WORDS:
        if (parse_words(rest, out, err) != 0)
            return -1;
        if (out->word_count > 0)
            return 0;
        err_set(err, "syntax: %s attribute=value...", v->name);
        return -1;
    }
    return -1;
}

/* False if there are none. */
static bool replace_controls(char *text, size_t len)
{
    bool found = false;

    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == '\x7f') {
            text[i] = '?';
            found = true;
        }
    }
    return found;
}

int smtp_command_parse(const char *line, size_t len, struct smtp_command *out, struct err *err)
{
    out->verb = SMTP_UNKNOWN;
    out->text[0] = '\0';
    out->argument = out->path = out->text;
    out->words[0] = NULL;
    out->word_count = 0;
    if (len >= sizeof out->text) {
        err_set(err, "line too long");
        return -1;
    }
    while (len > 0 && line[len - 1] == ' ')
        len--;
    /* The empty strings above stay empty: they get a place of their own behind the line. */
    memcpy(out->text, line, len);
    out->text[len] = '\0';
    if (replace_controls(out->text, len) && strncasecmp(out->text, "MAIL ", 5) != 0) {
        out->text[0] = '\0';
        err_set(err, "control character in a command");
        return -1;
    }
    out->argument = out->path = out->text + len;

    char *rest = out->text + strcspn(out->text, " ");
    if (*rest != '\0') {
        *rest = '\0';
        rest = skip_spaces(rest + 1);
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcasecmp(out->text, verbs[i].name) == 0) {
            out->verb = verbs[i].verb;
            return parse_rest(&verbs[i], rest, out, err);
        }
    }
    out->argument = rest;
    return 0;
}

bool smtp_command_word(const char *word, const char *keyword, const char **value_out)
{
    size_t n = strlen(keyword);

    if (strncasecmp(word, keyword, n) != 0 || (word[n] != '=' && word[n] != '\0'))
        return false;
    *value_out = word[n] == '=' ? word + n + 1 : word + n;
    return true;
}
