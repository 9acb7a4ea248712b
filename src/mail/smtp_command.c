/* SPDX-License-Identifier: ISC */
/*
 *     line     = *SP verb [ 1*SP rest ] *SP
 *     MAIL     = "MAIL" 1*SP "FROM:" *SP path *( 1*SP word )
 *     RCPT     = "RCPT" 1*SP "TO:" *SP path *( 1*SP word )
 *     XFORWARD = "XFORWARD" 1*( 1*SP word )
 *     path     = [ phrase ] "<" ... ">" / *( any but SP / quoted-string )     smtp_path.c
 *     word     = keyword [ "=" *( any but SP ) ]
 *     keyword  = ( ALPHA / DIGIT ) *( ALPHA / DIGIT / "-" )
 *
 * SP is a blank or a tab; Postfix and Exim accept both. Every other verb takes the rest as it is.
 * Control characters are refused, except in MAIL, where they become "?": MTAs accept a sender
 * address with control characters, so a copy of a message from such a sender must not be refused.
 */
#include "mail/smtp_command.h"
#include "mail/smtp_path.h"
#include "base/ascii.h"

#include <string.h>

enum shape { SHAPE_ARGUMENT, SHAPE_BARE, SHAPE_PATH, SHAPE_WORDS };

static const struct verb {
    const char *name;
    enum smtp_verb verb;
    enum shape shape;
    const char *keyword; /* stands before the path */
} verbs[] = {
    {"RCPT", SMTP_RCPT, SHAPE_PATH, "TO:"},        {"MAIL", SMTP_MAIL, SHAPE_PATH, "FROM:"},
    {"DATA", SMTP_DATA, SHAPE_BARE, NULL},         {"XFORWARD", SMTP_XFORWARD, SHAPE_WORDS, NULL},
    {"EHLO", SMTP_EHLO, SHAPE_ARGUMENT, NULL},     {"LHLO", SMTP_LHLO, SHAPE_ARGUMENT, NULL},
    {"HELO", SMTP_HELO, SHAPE_ARGUMENT, NULL},     {"QUIT", SMTP_QUIT, SHAPE_ARGUMENT, NULL},
    {"RSET", SMTP_RSET, SHAPE_BARE, NULL},         {"NOOP", SMTP_NOOP, SHAPE_ARGUMENT, NULL},
    {"VRFY", SMTP_VRFY, SHAPE_ARGUMENT, NULL},     {"HELP", SMTP_HELP, SHAPE_ARGUMENT, NULL},
    {"STARTTLS", SMTP_STARTTLS, SHAPE_BARE, NULL},
};

static char *skip_spaces(char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

static bool is_keyword(const char *word)
{
    size_t len = strcspn(word, "=");

    if (len == 0 || !ascii_is_alnum(word[0]))
        return false;
    for (size_t i = 1; i < len; i++) {
        if (!ascii_is_alnum(word[i]) && word[i] != '-')
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

/* Set `address`, or `fault`, from the text between the brackets of the path. */
static void read_address(struct smtp_command *out, const char *inside, size_t len)
{
    struct buf address = {0};

    out->fault = smtp_path_read(inside, len, &address);
    if (out->fault != NULL) {
        out->address = NULL;
    } else if (address.len == len && memcmp(buf_str(&address), inside, len) == 0) {
        out->address = out->path;
    } else if (address.len + 2 < sizeof out->reformed) {
        out->reformed[0] = '<';
        memcpy(out->reformed + 1, buf_str(&address), address.len);
        memcpy(out->reformed + 1 + address.len, ">", 2);
        out->address = out->reformed;
    } else {
        out->fault = "it is too long";
        out->address = NULL;
    }
    buf_clear(&address);
}

/* Put brackets around a path that has none. The two bytes before p belong to the keyword, which is
 * no longer needed. */
static void add_brackets(char *p, size_t len, struct smtp_command *out)
{
    memmove(p - 1, p, len);
    p[-2] = '<';
    p[len - 1] = '>';
    p[len] = '\0';
    out->path = p - 2;
    read_address(out, p - 1, len);
    if (out->address != NULL && out->address[1] == '>') {
        out->address = NULL;
        out->fault = "it is empty";
    }
}

static int parse_path(const struct verb *v, char *p, struct smtp_command *out, struct err *err)
{
    size_t n = strlen(v->keyword), len = 0;

    if (ascii_equal_n(p, v->keyword, n)) {
        p = skip_spaces(p + n);
        len = smtp_path_len(p);
    }
    if (len == 0) {
        err_set(err, "syntax: %s %s<address>", v->name, v->keyword);
        return -1;
    }
    char *rest = p[len] == '\0' ? p + len : p + len + 1;
    if (p[0] == '<') {
        p[len] = '\0';
        out->path = p;
        read_address(out, p + 1, len - 2);
    } else {
        add_brackets(p, len, out);
    }
    return parse_words(rest, out, err);
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

/* Replace tabs by blanks, and other control characters by "?". Returns true if a "?" was put in. A
 * tab within quotes or behind a backslash also becomes "?": it is a part of the address (RFC 5321
 * 4.1.2), and a blank in its place would make another address. */
static bool replace_controls(char *text, size_t len)
{
    bool found = false, is_quoted = false, is_escaped = false;

    for (size_t i = 0; i < len; i++) {
        bool is_control = (unsigned char)text[i] < ' ' || text[i] == '\x7f';
        is_quoted ^= text[i] == '"' && !is_escaped;
        bool is_part = is_quoted || is_escaped;
        is_escaped = text[i] == '\\' && !is_escaped;
        if (text[i] == '\t' && !is_part) {
            text[i] = ' ';
        } else if (is_control) {
            text[i] = '?';
            found = true;
        }
    }
    return found;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Copy the line without the blanks around it. -1 with `err`: the line has control characters, and
 * is not MAIL. */
static int take_line(const char *line, size_t len, struct smtp_command *out, bool *has_control_out,
                     struct err *err)
{
    while (len > 0 && is_space(line[len - 1]))
        len--;
    for (; len > 0 && is_space(line[0]); len--)
        line++;
    memcpy(out->text, line, len);
    out->text[len] = '\0';
    *has_control_out = replace_controls(out->text, len);
    /* Strings that the command does not have are empty: they point to the NUL behind the line. */
    out->argument = out->path = out->address = out->text + len;
    if (!*has_control_out || ascii_equal_n(out->text, "MAIL ", 5))
        return 0;
    out->text[0] = '\0';
    out->argument = out->path = out->address = out->text;
    err_set(err, "control character in a command");
    return -1;
}

int smtp_command_parse(const char *line, size_t len, struct smtp_command *out, struct err *err)
{
    bool has_control;

    out->verb = SMTP_UNKNOWN;
    out->text[0] = '\0';
    out->argument = out->path = out->address = out->text;
    out->fault = NULL;
    out->words[0] = NULL;
    out->word_count = 0;
    if (len >= sizeof out->text) {
        err_set(err, "line too long");
        return -1;
    }
    if (take_line(line, len, out, &has_control, err) != 0)
        return -1;
    char *rest = out->text + strcspn(out->text, " ");
    if (*rest != '\0') {
        *rest = '\0';
        rest = skip_spaces(rest + 1);
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (!ascii_equal(out->text, verbs[i].name))
            continue;
        out->verb = verbs[i].verb;
        int status = parse_rest(&verbs[i], rest, out, err);
        if (has_control) {
            out->address = NULL;
            out->fault = "it has a control character";
        }
        return status;
    }
    out->argument = rest;
    return 0;
}

bool smtp_command_word(const char *word, const char *keyword, const char **value_out)
{
    size_t n = strlen(keyword);

    if (!ascii_equal_n(word, keyword, n) || (word[n] != '=' && word[n] != '\0'))
        return false;
    *value_out = word[n] == '=' ? word + n + 1 : word + n;
    return true;
}
