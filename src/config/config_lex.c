/* SPDX-License-Identifier: ISC */
/*
 *     file     = *( space / comment / string / variable / word / mark )
 *     comment  = ( "#" / "//" ) to the end of the line  /  "/" "*" ... "*" "/"
 *     string   = DQUOTE *( any / escape / variable ) DQUOTE
 *              / "'" *( any / "\'" / "\\" / "\" newline ) "'"
 *     escape   = "\" ( "n" / "t" / "r" / "a" / "b" / "e" / "f" / "v" / "x" 1*2HEXDIG / newline
 *              / any but a digit )
 *     variable = "${" name [ ":-" text ] "}"        ; in one line, without quotes
 *     mark     = "{" / "}" / "(" / ")" / "=" / "+=" / ","
 *     word     = 1*( any but space, quotes and {}()=+,*# )
 *
 * "//" and slash-star begin a comment only where a word could begin: http://host is a word.
 */
#include "config/config_lex.h"
#include "base/mem.h"
#include "base/ascii.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_END " \t\r\n\"'{}()=+,*#"
#define SHOWN_MAX 60 /* bytes of a word in a message */

static bool is_at(const struct config_lexer *l, const char *text)
{
    size_t len = strlen(text);

    return (size_t)(l->end - l->at) >= len && memcmp(l->at, text, len) == 0;
}

int config_lex_fail(const struct config_lexer *l, unsigned line, struct err *err)
{
    if (l->long_string_end == line) {
        err_wrap(err,
                 "the string that begins here ends in line %u: is its closing quote missing? "
                 "There",
                 line);
        line = l->long_string_line;
    }
    err_wrap(err, "%s:%u", l->file, line);
    return -1;
}

static int fail(const struct config_lexer *l, unsigned line, struct err *err, const char *text)
{
    err_set(err, "%s", text);
    return config_lex_fail(l, line, err);
}

int config_lex_open(struct config_lexer *l, const char *file, const char *text, size_t len,
                    struct err *err)
{
    const char *nul = memchr(text, '\0', len);

    *l = (struct config_lexer){.file = file, .at = text, .end = text + len, .line = 1};
    if (is_at(l, "\xff\xfe") || is_at(l, "\xfe\xff"))
        return fail(l, 1, err, "the file is UTF-16; save it as UTF-8");
    if (nul == NULL)
        return 0;
    for (const char *p = text; p < nul; p++)
        l->line += *p == '\n';
    return fail(l, l->line, err, "the file holds a NUL byte");
}

void config_lex_close(struct config_lexer *l)
{
    buf_clear(&l->word);
}

static int skip_block_comment(struct config_lexer *l, struct err *err)
{
    unsigned begin = l->line;

    for (l->at += 2; !is_at(l, "*/"); l->at++) {
        if (l->at == l->end)
            return fail(l, begin, err, "unterminated comment: no \"*/\" follows");
        l->line += *l->at == '\n';
    }
    l->at += 2;
    return 0;
}

static int skip_space(struct config_lexer *l, struct err *err)
{
    while (l->at < l->end) {
        if (strchr(" \t\r\n", *l->at) != NULL) {
            l->line += *l->at++ == '\n';
        } else if (*l->at == '#' || is_at(l, "//")) {
            while (l->at < l->end && *l->at != '\n')
                l->at++;
        } else if (is_at(l, "/*")) {
            if (skip_block_comment(l, err) < 0)
                return -1;
        } else {
            return 0;
        }
    }
    return 0;
}

/* Append the value of the variable that begins with the "${" at l->at. As in sh(1), ${NAME:-text}
 * is `text` if the variable is not set or empty. */
static int take_variable(struct config_lexer *l, struct err *err)
{
    const char *begin = l->at + 2, *p = begin;

    while (p < l->end && strchr("}\n\"'", *p) == NULL)
        p++;
    if (p == l->end || *p != '}')
        return fail(l, l->line, err, "\"${\" without \"}\": write ${NAME} or ${NAME:-default}");
    char *name = mem_strndup(begin, (size_t)(p - begin));
    char *otherwise = strstr(name, ":-");
    if (otherwise != NULL)
        *otherwise = '\0';
    const char *value = getenv(name);
    if (otherwise != NULL && (value == NULL || *value == '\0'))
        value = otherwise + 2;
    if (value == NULL)
        err_set(err,
                "${%s}: the environment has no variable of that name; ${%s:-text} stands for "
                "`text' then",
                name, name);
    else
        buf_adds(&l->word, value);
    free(name);
    l->at = p + 1;
    return value == NULL ? config_lex_fail(l, l->line, err) : 0;
}

/* Append the character whose hexadecimal digits are at l->at, after "\x" in double quotes. */
static int take_hex(struct config_lexer *l, struct err *err)
{
    char digits[3] = "";

    for (size_t i = 0; i < 2 && l->at < l->end && ascii_hex_value(*l->at) >= 0; i++)
        digits[i] = *l->at++;
    long c = strtol(digits, NULL, 16);
    if (c == 0)
        return fail(l, l->line, err, "\"\\x\" needs one or two hexadecimal digits, and not 00");
    buf_addc(&l->word, (char)c);
    return 0;
}

/* Append the character for the escape sequence that goes on at l->at, after a backslash in double
 * quotes. */
static int take_escape(struct config_lexer *l, struct err *err)
{
    static const char letters[] = "ntrabefv", meanings[] = "\n\t\r\a\b\033\f\v";
    char c = *l->at++;
    const char *letter = strchr(letters, c);

    if (c == 'x')
        return take_hex(l, err);
    if (ascii_is_digit(c))
        return fail(l, l->line, err,
                    "escape sequences with digits are not allowed in strings; write \\\\ for a "
                    "backslash, or quote the string with '...'");
    buf_addc(&l->word, letter == NULL ? c : meanings[letter - letters]);
    return 0;
}

static int take_string(struct config_lexer *l, struct err *err)
{
    unsigned begin = l->line;
    char quote = *l->at++;

    while (l->at < l->end && *l->at != quote) {
        if (quote == '"' && is_at(l, "${")) {
            if (take_variable(l, err) < 0)
                return -1;
            continue;
        }
        char c = *l->at++;
        l->line += c == '\n';
        if (c == '\\' && is_at(l, "\n")) { /* the string goes on in the next line */
            l->line++;
            l->at++;
            continue;
        }
        if (c == '\\' && l->at < l->end && quote == '"') {
            if (take_escape(l, err) < 0)
                return -1;
            continue;
        }
        if (c == '\\' && l->at < l->end && strchr("'\\", *l->at) != NULL)
            c = *l->at++;
        buf_addc(&l->word, c);
    }
    if (l->at == l->end)
        return fail(l, begin, err, "unterminated string: no closing quote follows");
    l->at++;
    l->long_string_line = begin;
    l->long_string_end = l->line != begin ? l->line : 0;
    return 0;
}

/* If a byte order mark, or a character that is easily taken for a quote or a space, is at l->at:
 * returns what it is, and what to do about it. Otherwise NULL. */
static const char *look_alike(const struct config_lexer *l)
{
    if (is_at(l, "\xe2\x80\x98") || is_at(l, "\xe2\x80\x99") || is_at(l, "\xe2\x80\x9c") ||
        is_at(l, "\xe2\x80\x9d") || is_at(l, "\xe2\x80\x9e"))
        return "typographic quotes; write \" or '";
    if (is_at(l, "\xc2\xa0"))
        return "a no-break space; write an ordinary one";
    if (is_at(l, "\xef\xbb\xbf"))
        return "a byte order mark (BOM); save the file as UTF-8 without it";
    return NULL;
}

static int take_word(struct config_lexer *l, struct err *err)
{
    for (; l->at < l->end && strchr(WORD_END, *l->at) == NULL; l->at++) {
        const char *wrong = look_alike(l);
        if (wrong != NULL)
            return fail(l, l->line, err, wrong);
        buf_addc(&l->word, *l->at);
    }
    char last = l->word.len == 0 ? '\0' : l->word.data[l->word.len - 1];
    if (last == ';')
        return fail(l, l->line, err, "';' has no meaning here: remove it, or quote the value");
    if (last == '$' && is_at(l, "{"))
        return fail(l, l->line, err, "a variable inside of a value: put the value into \"...\"");
    if (l->word.len > 0)
        return 0;
    return fail(l, l->line, err,
                *l->at == '*' ? "'*' must stand in quotes"
                              : "'+' must stand in quotes, or be \"+=\"");
}

static int take_text(struct config_lexer *l, struct err *err)
{
    l->token = CONFIG_TOKEN_WORD;
    l->is_quoted = *l->at == '"' || *l->at == '\'';
    if (l->is_quoted)
        return take_string(l, err);
    return is_at(l, "${") ? take_variable(l, err) : take_word(l, err);
}

int config_lex_next(struct config_lexer *l, struct err *err)
{
    static const char marks[] = "=,{}()";
    static const enum config_token tokens[] = {CONFIG_TOKEN_EQUAL,      CONFIG_TOKEN_COMMA,
                                               CONFIG_TOKEN_OPEN,       CONFIG_TOKEN_CLOSE,
                                               CONFIG_TOKEN_OPEN_ROUND, CONFIG_TOKEN_CLOSE_ROUND};

    buf_reset(&l->word);
    if (skip_space(l, err) < 0)
        return -1;
    l->token_line = l->line;
    l->token = CONFIG_TOKEN_END;
    if (l->at == l->end)
        return 0;
    const char *mark = strchr(marks, *l->at);
    if (mark == NULL && !is_at(l, "+="))
        return take_text(l, err);
    l->token = mark == NULL ? CONFIG_TOKEN_APPEND : tokens[mark - marks];
    l->at += mark == NULL ? 2 : 1;
    return 0;
}

int config_lex_shown(const char *word, int max)
{
    const char *mark = strstr(word, "://");
    size_t len = mark == NULL ? strlen(word) : (size_t)(mark + 3 - word);

    return len < (size_t)max ? (int)len : max;
}

void config_lex_describe(const struct config_lexer *l, char *out, size_t size)
{
    static const char *const names[] = {[CONFIG_TOKEN_END] = "the end of the file",
                                        [CONFIG_TOKEN_EQUAL] = "'='",
                                        [CONFIG_TOKEN_APPEND] = "'+='",
                                        [CONFIG_TOKEN_COMMA] = "','",
                                        [CONFIG_TOKEN_OPEN] = "'{'",
                                        [CONFIG_TOKEN_CLOSE] = "'}'",
                                        [CONFIG_TOKEN_OPEN_ROUND] = "'('",
                                        [CONFIG_TOKEN_CLOSE_ROUND] = "')'"};

    if (l->token == CONFIG_TOKEN_WORD)
        snprintf(out, size, "'%.*s'", config_lex_shown(buf_str(&l->word), SHOWN_MAX),
                 buf_str(&l->word));
    else
        snprintf(out, size, "%s", names[l->token]);
}
