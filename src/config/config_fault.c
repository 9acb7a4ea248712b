/* SPDX-License-Identifier: ISC */
#include "config/config_fault.h"
#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 80 /* bytes of a word in a message */

const struct config_option *config_fault_option(enum config_section section, const char *name)
{
    for (const struct config_option *o = config_options; o->name != NULL; o++)
        if (o->section == section && strcmp(o->name, name) == 0)
            return o;
    return NULL;
}

enum config_section config_fault_section(const char *name)
{
    enum config_section s = CONFIG_SECTION_LOG;

    while (s < CONFIG_SECTION_COUNT && strcmp(config_section_name(s), name) != 0)
        s++;
    return s;
}

/* Append the sections where a key of this name is allowed. */
static void add_owners(struct buf *out, const char *key)
{
    const char *before = "; it belongs in section ";

    if (config_fault_option(CONFIG_SECTION_TOP, key) != NULL || strcmp(key, "include") == 0 ||
        config_fault_section(key) < CONFIG_SECTION_COUNT)
        buf_adds(out, "; it belongs outside of all sections");
    for (enum config_section s = CONFIG_SECTION_LOG; s < CONFIG_SECTION_COUNT; s++)
        if (config_fault_option(s, key) != NULL) {
            buf_addf(out, "%s%s", before, config_section_name(s));
            before = " or ";
        }
}

static int fail_unknown(const struct config_lexer *l, enum config_section section, const char *key,
                        struct err *err)
{
    struct buf keys = {0}, owners = {0};
    const char *name = config_section_name(section);

    add_owners(&owners, key);
    for (const struct config_option *o = config_options; o->name != NULL; o++)
        if (o->section == section)
            buf_addf(&keys, "%s%s", keys.len == 0 ? "" : ", ", o->name);
    if (section == CONFIG_SECTION_TOP)
        for (enum config_section s = CONFIG_SECTION_LOG; s < CONFIG_SECTION_COUNT; s++)
            buf_addf(&keys, ", %s", config_section_name(s));
    err_set(err, "unknown key '%.*s'%s%s%s; known keys: %s%s", config_lex_shown(key, SHOWN_MAX),
            key, *name == '\0' ? "" : " in section ", name, buf_str(&owners), buf_str(&keys),
            section == CONFIG_SECTION_TOP ? ", include" : "");
    buf_clear(&owners);
    buf_clear(&keys);
    return config_lex_fail(l, l->token_line, err);
}

/* Return true if '=' follows the present word, so that the word is meant as a key. */
static bool is_before_equals(const struct config_lexer *l)
{
    const char *at = l->at;

    while (at < l->end && (*at == ' ' || *at == '\t'))
        at++;
    return at < l->end && *at == '=';
}

int config_fault_word(const struct config_lexer *l, enum config_section section,
                      struct config_last last, struct err *err)
{
    const char *key = buf_str(&l->word);
    size_t len = strcspn(key, ":");
    char *name = mem_strndup(key, len);
    bool is_colon = key[len] == ':' && config_fault_option(section, name) != NULL;

    if (is_colon)
        err_set(err, "%s: write '=' instead of ':'", name);
    free(name);
    if (is_colon)
        return config_lex_fail(l, l->token_line, err);
    if (last.key == NULL || last.line != l->token_line || is_before_equals(l) ||
        config_fault_section(key) < CONFIG_SECTION_COUNT)
        return fail_unknown(l, section, key, err);
    err_set(err, "%s: '%.*s' follows its value; a value with blanks needs quotes", last.key,
            config_lex_shown(key, SHOWN_MAX), key);
    return config_lex_fail(l, l->token_line, err);
}

int config_fault_mark(const struct config_lexer *l, struct config_last last, struct err *err)
{
    const char *key = last.key == NULL ? "" : last.key, *colon = *key == '\0' ? "" : ": ";

    switch (l->token) {
    case CONFIG_TOKEN_EQUAL:
    case CONFIG_TOKEN_APPEND:
        err_set(err, "%s%sunexpected '=': a value is missing before it, or quotes are missing", key,
                colon);
        break;
    case CONFIG_TOKEN_COMMA:
        err_set(err, "%s%sunexpected ',': several values stand in braces, like { a, b }", key,
                colon);
        break;
    case CONFIG_TOKEN_CLOSE:
        err_set(err, "unexpected '}': no open '{' before it");
        break;
    case CONFIG_TOKEN_CLOSE_ROUND:
        err_set(err, "unexpected ')': no open '(' before it");
        break;
    case CONFIG_TOKEN_OPEN:
        err_set(err, "%s%sunexpected '{': a name must stand before it", key, colon);
        break;
    case CONFIG_TOKEN_OPEN_ROUND:
    case CONFIG_TOKEN_WORD:
    case CONFIG_TOKEN_END:
        err_set(err, "%s%sunexpected '('", key, colon);
        break;
    }
    return config_lex_fail(l, l->token_line, err);
}
