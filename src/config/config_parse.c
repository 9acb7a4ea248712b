/* SPDX-License-Identifier: ISC */
/*
 *     file    = *( include / section / setting )
 *     include = "include" "(" word ")"
 *     section = name [ title ] "{" *setting "}"
 *     setting = name ( "=" / "+=" ) value
 *     value   = word / "{" [ word *( "," word ) [ "," ] ] "}"        ; braces: only lists
 *
 * docs/ARCHITECTURE.md says why no library is used.
 */
#include "config/config_parse.h"
#include "base/buf.h"
#include "config/config_fault.h"
#include "config/config_include.h"
#include "config/config_lex.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 10
#define FILES_MAX 1000
#define TOKEN_MAX 80 /* bytes in a message */

/* One file that is being read. */
struct parser {
    struct config_tree *out;
    struct config_lexer lex;
    struct config_last last;
    unsigned depth; /* of this file in the chain of includes; the main file has 1 */
    struct err *err;
};

static int parse_into(struct config_tree *out, unsigned depth, const char *name, const char *text,
                      size_t len, struct err *err);

static int next(struct parser *p)
{
    return config_lex_next(&p->lex, p->err);
}

static int fail_at(const struct parser *p, unsigned line)
{
    return config_lex_fail(&p->lex, line, p->err);
}

/* Fail at the present token: `err` gets ", before 'TOKEN'" at its end, and the place at its
 * beginning. Returns -1. */
static int fail_token(const struct parser *p)
{
    struct err what = *p->err;
    char token[TOKEN_MAX];

    config_lex_describe(&p->lex, token, sizeof token);
    err_set(p->err, "%s, before %s", what.text, token);
    return fail_at(p, p->lex.token_line);
}

static struct text_place place(const struct parser *p)
{
    return (struct text_place){p->lex.file, p->lex.token_line};
}

static void add_value(struct parser *p, struct config_setting *s)
{
    config_setting_add(s, buf_str(&p->lex.word), place(p));
    p->last.line = p->lex.line;
}

/* Parse the values of a list, whose "{" is the present token. open_line: the line of that "{". */
static int parse_list(struct parser *p, struct config_setting *s, unsigned open_line)
{
    const char *key = s->option->name;

    for (;;) {
        if (next(p) < 0)
            return -1;
        if (p->lex.token == CONFIG_TOKEN_CLOSE)
            return 0;
        if (p->lex.token == CONFIG_TOKEN_END)
            break;
        if (p->lex.token != CONFIG_TOKEN_WORD) {
            err_set(p->err, "%s: a value is missing", key);
            return fail_token(p);
        }
        add_value(p, s);
        if (next(p) < 0)
            return -1;
        if (p->lex.token == CONFIG_TOKEN_CLOSE)
            return 0;
        if (p->lex.token == CONFIG_TOKEN_END)
            break;
        if (p->lex.token == CONFIG_TOKEN_EQUAL || p->lex.token == CONFIG_TOKEN_APPEND) {
            err_set(p->err, "%s: '{' is never closed: a '}' is missing", key);
            return fail_at(p, open_line);
        }
        if (p->lex.token != CONFIG_TOKEN_COMMA) {
            err_set(p->err, "%s: a comma is missing", key);
            return fail_token(p);
        }
    }
    err_set(p->err, "%s: '{' is never closed: a '}' is missing", key);
    return fail_at(p, open_line);
}

/* Parse a setting. The present token is the name of the option. */
static int parse_setting(struct parser *p, struct config_part *part,
                         const struct config_option *option)
{
    struct text_place where = place(p);
    bool is_list = config_option_is_list(option);

    if (next(p) < 0)
        return -1;
    bool is_append = p->lex.token == CONFIG_TOKEN_APPEND;
    if (!is_append && p->lex.token != CONFIG_TOKEN_EQUAL) {
        err_set(p->err, "%s: '=' is missing", option->name);
        return fail_at(p, where.line);
    }
    if (is_append && !is_list) {
        err_set(p->err, "%s: one value, not a list: '+=' must be '='", option->name);
        return fail_at(p, p->lex.token_line);
    }
    if (next(p) < 0)
        return -1;
    if (p->lex.token == CONFIG_TOKEN_OPEN && !is_list) {
        err_set(p->err, "%s: one value, not a list: no { } around it", option->name);
        return fail_at(p, p->lex.token_line);
    }
    struct config_setting *s = config_part_set(part, option, where, is_append);
    if (p->lex.token == CONFIG_TOKEN_OPEN) {
        p->last.line = 0;
        if (parse_list(p, s, p->lex.token_line) < 0)
            return -1;
    } else if (p->lex.token == CONFIG_TOKEN_WORD) {
        add_value(p, s);
    } else {
        err_set(p->err, "%s: a value is missing", option->name);
        return fail_token(p);
    }
    p->last.key = option->name;
    return 0;
}

/* Parse the settings of a section, whose "{" is the present token. open_line: the line of that "{",
 * for messages. */
static int parse_section_body(struct parser *p, struct config_part *part, unsigned open_line)
{
    const char *name = config_section_name(part->section);

    for (p->last.key = NULL;;) {
        if (next(p) < 0)
            return -1;
        if (p->lex.token == CONFIG_TOKEN_CLOSE)
            return 0;
        if (p->lex.token == CONFIG_TOKEN_END) {
            err_set(p->err, "section %s: '{' is never closed: a '}' is missing", name);
            return fail_at(p, open_line);
        }
        if (p->lex.token != CONFIG_TOKEN_WORD)
            return config_fault_mark(&p->lex, p->last, p->err);
        const char *key = buf_str(&p->lex.word);
        const struct config_option *option = config_fault_option(part->section, key);
        if (option == NULL && config_fault_section(key) < CONFIG_SECTION_COUNT &&
            !p->lex.is_quoted) {
            err_set(p->err,
                    "section %s: '{' is never closed: a '}' is missing before section %s in line "
                    "%u",
                    name, key, p->lex.token_line);
            return fail_at(p, open_line);
        }
        if (option == NULL)
            return config_fault_word(&p->lex, part->section, p->last, p->err);
        if (parse_setting(p, part, option) < 0)
            return -1;
    }
}

/* Add the section whose title is the present token, and go to the next token. NULL with `err`. */
static struct config_part *parse_title(struct parser *p, enum config_section section,
                                       struct text_place where)
{
    const char *name = config_section_name(section), *title = buf_str(&p->lex.word);

    if (p->lex.token != CONFIG_TOKEN_WORD) {
        err_set(p->err, "%s: a name is missing, like in: %s NAME { ... }", name, name);
        fail_at(p, where.line);
        return NULL;
    }
    const struct config_part *first = config_tree_find(p->out, section, title);
    if (first != NULL) {
        err_set(p->err, "%s '%s' is declared twice, first at %s:%u; names must differ", name, title,
                first->place.file, first->place.line);
        fail_at(p, p->lex.token_line);
        return NULL;
    }
    struct config_part *part = config_tree_add(p->out, section, title, where);
    return next(p) < 0 ? NULL : part;
}

/* Parse a section. The present token is the name of the section. */
static int parse_section(struct parser *p, enum config_section section)
{
    const char *name = config_section_name(section);
    struct text_place where = place(p);

    if (next(p) < 0)
        return -1;
    if (p->lex.token == CONFIG_TOKEN_EQUAL || p->lex.token == CONFIG_TOKEN_APPEND) {
        err_set(p->err, "%s is a section: no '=' before its '{'", name);
        return fail_at(p, p->lex.token_line);
    }
    bool has_title = config_section_has_title(section) ||
                     (config_section_may_have_title(section) && p->lex.token == CONFIG_TOKEN_WORD);
    struct config_part *part =
        has_title ? parse_title(p, section, where) : config_tree_find(p->out, section, NULL);
    if (part == NULL)
        return -1;
    if (part->place.line == 0)
        part->place = where;
    if (p->lex.token != CONFIG_TOKEN_OPEN) {
        err_set(p->err, "section %s: '{' is missing", name);
        return fail_token(p);
    }
    int rc = parse_section_body(p, part, p->lex.token_line);
    p->last.key = NULL;
    return rc;
}

static int fail_include(const struct parser *p, unsigned line, const char *text)
{
    err_set(p->err, "%s", text);
    return fail_at(p, line);
}

static int include_files(struct parser *p, const struct config_paths *paths, unsigned line)
{
    size_t len;

    for (size_t i = 0; i < paths->count; i++) {
        if (p->depth >= DEPTH_MAX || p->out->file_count >= FILES_MAX) {
            err_set(p->err, "include(\"%s\"): files are included too deeply", paths->items[i]);
            return fail_at(p, line);
        }
        char *text = config_include_read(paths->items[i], &len, p->err);
        if (text == NULL)
            return fail_at(p, line);
        int rc = parse_into(p->out, p->depth, paths->items[i], text, len, p->err);
        free(text);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* Parse an include(). The present token is "include". */
static int parse_include(struct parser *p)
{
    static const char usage[] = "include takes one file; allowed: include(\"/path\"), or "
                                "include(\"/directory/*.conf\")";
    unsigned line = p->lex.token_line;
    struct config_paths paths = {0};

    if (next(p) < 0)
        return -1;
    if (p->lex.token != CONFIG_TOKEN_OPEN_ROUND)
        return fail_include(p, line, usage);
    if (next(p) < 0)
        return -1;
    if (p->lex.token != CONFIG_TOKEN_WORD || p->lex.word.len == 0)
        return fail_include(p, line, usage);
    char *pattern = mem_strdup(buf_str(&p->lex.word));
    int rc = next(p);
    if (rc == 0 && p->lex.token == CONFIG_TOKEN_END)
        rc = fail_include(p, line, "'(' is never closed: a ')' is missing");
    else if (rc == 0 && p->lex.token != CONFIG_TOKEN_CLOSE_ROUND)
        rc = fail_include(p, line, usage);
    else if (rc == 0 && config_include_expand(p->lex.file, pattern, &paths, p->err) < 0)
        rc = fail_at(p, line);
    if (rc == 0)
        rc = include_files(p, &paths, line);
    config_paths_clear(&paths);
    free(pattern);
    return rc;
}

static int parse_items(struct parser *p)
{
    for (;;) {
        if (next(p) < 0)
            return -1;
        if (p->lex.token == CONFIG_TOKEN_END)
            return 0;
        if (p->lex.token != CONFIG_TOKEN_WORD)
            return config_fault_mark(&p->lex, p->last, p->err);
        const char *key = buf_str(&p->lex.word);
        const struct config_option *option = config_fault_option(CONFIG_SECTION_TOP, key);
        enum config_section section = config_fault_section(key);
        int rc;
        if (strcmp(key, "include") == 0)
            rc = parse_include(p);
        else if (section < CONFIG_SECTION_COUNT)
            rc = parse_section(p, section);
        else if (option != NULL)
            rc = parse_setting(p, config_tree_find(p->out, CONFIG_SECTION_TOP, NULL), option);
        else
            rc = config_fault_word(&p->lex, CONFIG_SECTION_TOP, p->last, p->err);
        if (rc < 0)
            return -1;
    }
}

/* Parse one file, the main one or an included one. depth: the number of files above this one in the
 * chain of includes. */
static int parse_into(struct config_tree *out, unsigned depth, const char *name, const char *text,
                      size_t len, struct err *err)
{
    struct parser p = {.out = out, .depth = depth + 1, .err = err};
    int rc = config_lex_open(&p.lex, config_tree_file(out, name), text, len, err);

    if (rc == 0)
        rc = parse_items(&p);
    config_lex_close(&p.lex);
    return rc;
}

int config_parse_file(struct config_tree *out, const char *path, struct err *err)
{
    size_t len = 0;

    config_tree_init(out);
    char *text = config_include_read(path, &len, err);
    if (text == NULL)
        return -1;
    int rc = parse_into(out, 0, path, text, len, err);
    free(text);
    return rc;
}

int config_parse_text(struct config_tree *out, const char *name, const char *text, size_t len,
                      struct err *err)
{
    config_tree_init(out);
    return parse_into(out, DEPTH_MAX, name, text, len, err);
}
