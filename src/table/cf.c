/* SPDX-License-Identifier: ISC */
#include "table/cf.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/table_private.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define NAME_SHOWN_MAX 64 /* bytes of a name that is not known */

/* A parameter as the file has it. */
struct setting {
    const char *value; /* borrowed from the text, or the default value; NULL: there is neither */
    unsigned line;     /* 0: not in the file */
    long number;       /* CF_NUMBER */
    bool is_yes;       /* CF_BOOL */
    char *words_text;  /* CF_LIST: a copy of the value, in which words end with NUL */
    const char **words;
    size_t word_count;
};

struct cf {
    char *path;
    char *text; /* the file, taken apart in place */
    size_t size;
    struct table_stamp stamp;
    const struct table_faults *faults; /* while the file is read */
    const struct cf_parameter *parameters;
    struct setting *settings; /* as many as parameters */
    size_t count;
};

static void report(const struct cf *cf, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void report(const struct cf *cf, unsigned line, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (cf->faults != NULL)
        cf->faults->each(cf->faults->ctx, cf->path, line, text);
    else
        log_warning("%s:%u: %s", cf->path, line, text);
}

/* Index of a parameter in the list; cf->count if it is not there. */
static size_t index_of(const struct cf *cf, const char *name)
{
    size_t i = 0;

    while (i < cf->count && strcmp(cf->parameters[i].name, name) != 0)
        i++;
    return i;
}

/* For messages: the names that a file may have. */
static void add_names(const struct cf *cf, struct buf *out)
{
    for (size_t i = 0; i < cf->count; i++)
        if (cf->parameters[i].kind != CF_IGNORED && cf->parameters[i].kind != CF_REFUSED)
            buf_addf(out, "%s%s", out->len == 0 ? "" : ", ", cf->parameters[i].name);
}

/* Other text before "=" may be a part of a password that was split by mistake: it is not shown. */
static bool looks_like_name(const char *name)
{
    size_t len = 0;

    while (isalnum((unsigned char)name[len]) || name[len] == '_')
        len++;
    return len > 0 && name[len] == '\0' && len <= NAME_SHOWN_MAX;
}

static int unknown_name(const struct cf *cf, const char *name, unsigned line, struct err *err)
{
    struct buf known = {0};

    add_names(cf, &known);
    if (looks_like_name(name))
        err_set(err, "%s:%u: unknown parameter \"%s\", known are: %s", cf->path, line, name,
                buf_str(&known));
    else
        err_set(err, "%s:%u: no parameter before \"=\", known are: %s", cf->path, line,
                buf_str(&known));
    buf_clear(&known);
    return -1;
}

/* Divide a logical line at the "=". Its end has no white space. */
static int split(const struct cf *cf, const struct table_line *line, char **value_out,
                 struct err *err)
{
    char *end = line->text;

    while (*end != '\0' && *end != '=' && !table_is_space(*end))
        end++;
    char *equals = end;
    while (table_is_space(*equals))
        equals++;
    if (*equals != '=' || end == line->text) {
        err_set(err, "%s:%u: expected NAME = VALUE", cf->path, line->number);
        return -1;
    }
    char *value = equals + 1;
    while (table_is_space(*value))
        value++;
    *end = '\0';
    *value_out = value;
    return 0;
}

static int take_line(struct cf *cf, const struct table_line *line, struct err *err)
{
    char *value;

    if (split(cf, line, &value, err) < 0)
        return -1;
    size_t i = index_of(cf, line->text);
    if (i == cf->count)
        return unknown_name(cf, line->text, line->number, err);
    const struct cf_parameter *p = &cf->parameters[i];
    struct setting *s = &cf->settings[i];
    if (s->line > 0 && strcmp(s->value, value) != 0)
        report(cf, line->number, "%s is set in line %u already: the last one counts", p->name,
               s->line);
    s->value = value;
    s->line = line->number;
    if (p->kind == CF_IGNORED && cf->faults != NULL)
        report(cf, line->number, "%s is ignored: %s", p->name, p->reason);
    if (p->kind != CF_REFUSED || (p->default_value != NULL && strcmp(value, p->default_value) == 0))
        return 0;
    err_set(err, "%s:%u: %s is not supported: %s", cf->path, line->number, p->name, p->reason);
    return -1;
}

/* The number of the line that begins at, or contains, `at`. */
static unsigned line_of(const struct cf *cf, const char *at)
{
    unsigned number = 1;

    for (const char *p = cf->text; p < at; p++)
        number += *p == '\n';
    return number;
}

/* Refuse what Postfix skips or takes for a part of a name: NUL, a byte order mark, and a
 * continuation before the first parameter. table_lines.c would only warn of them, and show the
 * text, which may be a password. */
static int check_text(const struct cf *cf, struct err *err)
{
    const char *nul = memchr(cf->text, '\0', cf->size), *p = cf->text;

    if (nul != NULL) {
        err_set(err, "%s:%u: NUL in the line", cf->path, line_of(cf, nul));
        return -1;
    }
    if (strncmp(p, "\xef\xbb\xbf", 3) == 0) {
        err_set(err, "%s:1: the file begins with a byte order mark (BOM)", cf->path);
        return -1;
    }
    while (*p != '\0') {
        size_t blank = 0, len = strcspn(p, "\n");
        while (blank < len && table_is_space(p[blank]))
            blank++;
        if (blank < len && p[blank] != '#') {
            if (blank == 0)
                return 0;
            err_set(err, "%s:%u: white space before the first parameter", cf->path, line_of(cf, p));
            return -1;
        }
        p += len + (p[len] == '\n');
    }
    return 0;
}

static int take_lines(struct cf *cf, struct err *err)
{
    struct table_lines lines;
    struct table_line line;
    int rc;

    if (check_text(cf, err) < 0)
        return -1;
    lines = table_lines_of(cf->path, cf->text, cf->size, cf->faults);
    while ((rc = table_lines_next(&lines, &line, err)) > 0)
        if (take_line(cf, &line, err) < 0)
            return -1;
    return rc;
}

static int bad_value(const struct cf *cf, size_t i, struct err *err, const char *allowed)
{
    cf_fault(cf, cf->parameters[i].name, err, "\"%.100s\" is not valid: allowed is %s",
             cf->settings[i].value, allowed);
    return -1;
}

static int take_bool(struct cf *cf, size_t i, struct err *err)
{
    struct setting *s = &cf->settings[i];

    s->is_yes = strcasecmp(s->value, "yes") == 0;
    return s->is_yes || strcasecmp(s->value, "no") == 0 ? 0 : bad_value(cf, i, err, "yes or no");
}

static int take_number(struct cf *cf, size_t i, struct err *err)
{
    const struct cf_parameter *p = &cf->parameters[i];
    struct setting *s = &cf->settings[i];
    long max = p->max == 0 ? INT_MAX : p->max;
    char *end, allowed[80];

    errno = 0;
    s->number = strtol(s->value, &end, 10);
    if (isdigit((unsigned char)s->value[0]) && *end == '\0' && errno == 0 && s->number >= p->min &&
        s->number <= max)
        return 0;
    snprintf(allowed, sizeof allowed, "a number from %ld to %ld", p->min, max);
    return bad_value(cf, i, err, allowed);
}

static void take_list(struct setting *s)
{
    static const char separators[] = ", \t\r\n\v\f";
    char *next;

    s->words_text = mem_strdup(s->value);
    for (char *w = strtok_r(s->words_text, separators, &next); w != NULL;
         w = strtok_r(NULL, separators, &next)) {
        s->words = mem_grow(s->words, s->word_count + 1, sizeof *s->words);
        s->words[s->word_count++] = w;
    }
}

/* Check the value of a parameter, and convert it. */
static int take_value(struct cf *cf, size_t i, struct err *err)
{
    const struct cf_parameter *p = &cf->parameters[i];
    struct setting *s = &cf->settings[i];

    if (s->value == NULL)
        s->value = p->default_value;
    if (p->is_required && (s->value == NULL || s->value[0] == '\0')) {
        if (s->line > 0)
            err_set(err, "%s:%u: %s is empty", cf->path, s->line, p->name);
        else
            err_set(err, "%s: %s is missing", cf->path, p->name);
        return -1;
    }
    if (s->value == NULL)
        return 0;
    switch (p->kind) {
    case CF_TEXT:
    case CF_SECRET:
    case CF_IGNORED:
    case CF_REFUSED:
        break;
    case CF_BOOL:
        return take_bool(cf, i, err);
    case CF_NUMBER:
        return take_number(cf, i, err);
    case CF_LIST:
        take_list(s);
        break;
    }
    return 0;
}

/* Has the file a password, also in a URI of a host, or in a connection string of libpq? */
static bool has_secret(const struct cf *cf)
{
    for (size_t i = 0; i < cf->count; i++) {
        const char *name = cf->parameters[i].name, *value = cf->settings[i].value;
        bool is_secret = cf->parameters[i].kind == CF_SECRET && value != NULL && *value != '\0';
        bool is_host = strcmp(name, "hosts") == 0 || strcmp(name, "dbname") == 0;
        if (cf->settings[i].line > 0 &&
            (is_secret || (is_host && (fnmatch("*://*:*@*", value, 0) == 0 ||
                                       fnmatch("*password*=*", value, 0) == 0))))
            return true;
    }
    return false;
}

/* Report a password that everybody can read: only in a check, not at each start. */
static void review_mode(const struct cf *cf)
{
    struct stat st;

    if (cf->faults != NULL && has_secret(cf) && stat(cf->path, &st) == 0 &&
        (st.st_mode & S_IROTH) != 0)
        report(cf, 0, "the file has a password, and everybody can read it (mode %03o)",
               (unsigned)(st.st_mode & 0777));
}

/* text: `size` bytes and a NUL, owned from now on. */
static struct cf *parse(const char *path, char *text, size_t size, struct table_stamp stamp,
                        const struct cf_parameter *parameters, const struct table_faults *faults,
                        struct err *err)
{
    struct cf *cf = mem_zalloc(sizeof *cf);

    cf->path = mem_strdup(path);
    cf->text = text;
    cf->size = size;
    cf->stamp = stamp;
    cf->faults = faults;
    cf->parameters = parameters;
    while (parameters[cf->count].name != NULL)
        cf->count++;
    cf->settings = mem_zalloc(cf->count * sizeof *cf->settings);
    int rc = take_lines(cf, err);
    for (size_t i = 0; i < cf->count && rc == 0; i++)
        rc = take_value(cf, i, err);
    if (rc < 0) {
        cf_close(cf);
        return NULL;
    }
    review_mode(cf);
    cf->faults = NULL;
    return cf;
}

struct cf *cf_open(const char *path, const struct cf_parameter *parameters,
                   const struct table_faults *faults, struct err *err)
{
    struct table_stamp stamp;
    size_t size;
    char *text = table_read_file(path, CF_FILE_MAX, &size, &stamp, err);

    return text == NULL ? NULL : parse(path, text, size, stamp, parameters, faults, err);
}

struct cf *cf_open_text(const char *path, const char *text, size_t size,
                        const struct cf_parameter *parameters, const struct table_faults *faults,
                        struct err *err)
{
    struct table_stamp stamp = {0};
    char *copy = mem_zalloc(size + 1);

    memcpy(copy, text, size);
    return parse(path, copy, size, stamp, parameters, faults, err);
}

void cf_close(struct cf *cf)
{
    if (cf == NULL)
        return;
    for (size_t i = 0; i < cf->count; i++) {
        free(cf->settings[i].words_text);
        free(cf->settings[i].words);
    }
    free(cf->settings);
    explicit_bzero(cf->text, cf->size);
    free(cf->text);
    free(cf->path);
    free(cf);
}

const char *cf_path(const struct cf *cf)
{
    return cf->path;
}

struct table_stamp cf_stamp(const struct cf *cf)
{
    return cf->stamp;
}

bool cf_takes(const struct cf *cf, const char *name)
{
    return index_of(cf, name) < cf->count;
}

/* The setting of a parameter, which is in the list and has this kind. */
static const struct setting *setting_of(const struct cf *cf, const char *name, enum cf_kind kind)
{
    size_t i = index_of(cf, name);

    assert(i < cf->count);
    assert(cf->parameters[i].kind == kind ||
           (kind == CF_TEXT && cf->parameters[i].kind == CF_SECRET));
    return &cf->settings[i];
}

unsigned cf_line(const struct cf *cf, const char *name)
{
    size_t i = index_of(cf, name);

    assert(i < cf->count);
    return cf->settings[i].line;
}

bool cf_is_set(const struct cf *cf, const char *name)
{
    return cf_line(cf, name) > 0;
}

const char *cf_text(const struct cf *cf, const char *name)
{
    return setting_of(cf, name, CF_TEXT)->value;
}

bool cf_bool(const struct cf *cf, const char *name)
{
    return setting_of(cf, name, CF_BOOL)->is_yes;
}

long cf_number(const struct cf *cf, const char *name)
{
    return setting_of(cf, name, CF_NUMBER)->number;
}

size_t cf_list(const struct cf *cf, const char *name, const char *const **words_out)
{
    const struct setting *s = setting_of(cf, name, CF_LIST);

    *words_out = s->words;
    return s->word_count;
}

void cf_fault(const struct cf *cf, const char *name, struct err *err, const char *fmt, ...)
{
    unsigned line = cf_line(cf, name);
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (line > 0)
        err_set(err, "%s:%u: %s: %s", cf->path, line, name, text);
    else
        err_set(err, "%s: %s: %s", cf->path, name, text);
}
