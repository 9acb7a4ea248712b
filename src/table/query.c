/* SPDX-License-Identifier: ISC */
#include "table/query.h"

#include "base/casefold.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKED_MAX 4096 /* bytes of query_result.asked */

struct template
{
    const char *name, *text; /* borrowed from the struct cf */
    bool is_dynamic;
};

/* A word of the parameter `domain`. */
struct domain_rule {
    char *domain; /* folded */
    bool is_negated;
};

struct query {
    struct template templates[QUERY_TEMPLATES_MAX];
    size_t count;
    struct template result;
    bool needs_key_domain, needs_key_local, needs_value_domain, needs_value_local;
    size_t labels; /* that the domain of a key needs */
    struct domain_rule *domains;
    size_t domain_count;
    size_t limit; /* expansion_limit; 0: none */
};

/* An address, divided at its last '@'. */
struct divided {
    const char *text;
    size_t local_len;   /* strlen(text) if there is no '@' */
    const char *domain; /* NULL if there is no '@' */
};

static struct divided divide(const char *text)
{
    const char *at = strrchr(text, '@');

    return at == NULL ? (struct divided){text, strlen(text), NULL}
                      : (struct divided){text, (size_t)(at - text), at + 1};
}

/* Find the label `number` (from the right, from 1) of a domain. As in Postfix, dots next to each
 * other count as one, and those at the ends do not count. Returns its length, 0 if there is no such
 * label. */
static size_t find_label(const char *domain, size_t number, const char **label_out)
{
    const char *end = domain + strlen(domain);

    for (;;) {
        while (end > domain && end[-1] == '.')
            end--;
        const char *begin = end;
        while (begin > domain && begin[-1] != '.')
            begin--;
        if (begin == end || --number == 0) {
            *label_out = begin;
            return (size_t)(end - begin);
        }
        end = begin;
    }
}

/* Note what an expansion needs. False: there is no expansion of this letter. */
static bool take_expansion(struct query *q, char letter, bool is_result)
{
    bool is_digit = letter >= '1' && letter <= '9';

    if (strchr("sSuUdD", letter) == NULL && !is_digit)
        return false;
    if (is_digit && q->labels < (size_t)(letter - '0'))
        q->labels = (size_t)(letter - '0');
    if (letter == 'D' || is_digit || (letter == 'd' && !is_result))
        q->needs_key_domain = true;
    else if (letter == 'd')
        q->needs_value_domain = true;
    if (letter == 'U' || (letter == 'u' && !is_result))
        q->needs_key_local = true;
    else if (letter == 'u')
        q->needs_value_local = true;
    return true;
}

static int take_template(struct query *q, const struct cf *cf, const char *name, bool is_result,
                         struct template *out, struct err *err)
{
    const char *text = cf_text(cf, name);

    *out = (struct template){name, text == NULL ? "" : text, false};
    if (!utf8_is_valid(out->text, strlen(out->text))) {
        cf_fault(cf, name, err, "the text is no valid UTF-8");
        return -1;
    }
    for (const char *p = strchr(out->text, '%'); p != NULL; p = strchr(p + 1, '%')) {
        p++;
        if (*p == '%')
            continue;
        if (*p == '\0' || !take_expansion(q, *p, is_result)) {
            cf_fault(cf, name, err,
                     "a \"%%\" is followed by %s: allowed are %%s, %%u, %%d, %%S, %%U, %%D, %%1 to "
                     "%%9, and %%%% for a percent sign",
                     *p == '\0' ? "nothing" : "another character");
            return -1;
        }
        out->is_dynamic = true;
    }
    return 0;
}

static char *fold(const char *text, size_t len)
{
    struct buf folded = {0};

    casefold_add(&folded, text, len);
    return buf_take(&folded);
}

static int take_domains(struct query *q, const struct cf *cf, struct err *err)
{
    const char *const *words;
    size_t count = cf_list(cf, "domain", &words);

    q->domains = mem_zalloc(count * sizeof *q->domains);
    for (size_t i = 0; i < count; i++) {
        const char *word = words[i];
        bool is_negated = false;
        for (; *word == '!'; word++)
            is_negated = !is_negated;
        if (*word == '\0' || !utf8_is_valid(word, strlen(word))) {
            cf_fault(cf, "domain", err, "\"!\" without a domain, or no valid UTF-8");
            return -1;
        }
        if (*word == '/' || (*word != '[' && strchr(word, ':') != NULL)) {
            cf_fault(cf, "domain", err,
                     "\"%.100s\" is not supported: files and tables are not read here, write their "
                     "domains",
                     word);
            return -1;
        }
        q->domains[q->domain_count++] = (struct domain_rule){fold(word, strlen(word)), is_negated};
    }
    return 0;
}

struct query *query_open(const struct cf *cf, const char *const *templates, struct err *err)
{
    struct query *q = mem_zalloc(sizeof *q);
    int rc = take_template(q, cf, "result_format", true, &q->result, err);

    for (; *templates != NULL && rc == 0; templates++) {
        assert(q->count < QUERY_TEMPLATES_MAX);
        rc = take_template(q, cf, *templates, false, &q->templates[q->count++], err);
    }
    if (rc == 0)
        rc = take_domains(q, cf, err);
    q->limit = (size_t)cf_number(cf, "expansion_limit");
    if (rc == 0)
        return q;
    query_free(q);
    return NULL;
}

void query_free(struct query *q)
{
    if (q == NULL)
        return;
    for (size_t i = 0; i < q->domain_count; i++)
        free(q->domains[i].domain);
    free(q->domains);
    free(q);
}

static const struct template *find_template(const struct query *q, const char *name)
{
    for (size_t i = 0; i < q->count; i++)
        if (strcmp(q->templates[i].name, name) == 0)
            return &q->templates[i];
    abort(); /* not among the names that query_open() got: a bug */
}

bool query_is_dynamic(const struct query *q, const char *name)
{
    return find_template(q, name)->is_dynamic;
}

/* Does the quote at `at` begin a constant like E'...'? There PostgreSQL takes a backslash for an
 * escape, and PQescapeStringConn() does not double it. */
static bool is_escape_constant(const char *text, const char *at)
{
    return *at == '\'' && at > text && (at[-1] == 'E' || at[-1] == 'e') &&
           (at - 1 == text || (!isalnum((unsigned char)at[-2]) && at[-2] != '_'));
}

const char *query_unquoted(const struct query *q, const char *name)
{
    const char *text = find_template(q, name)->text;
    char quote = '\0';
    bool is_escape = false;

    for (const char *p = text; *p != '\0'; p++) {
        if (quote == '\0' && strchr("'\"`", *p) != NULL) {
            quote = *p;
            is_escape = is_escape_constant(text, p);
        } else if (*p == quote) {
            quote = '\0';
        }
        if (*p == '%' && *++p != '%' && (quote != '\'' || is_escape))
            return p - 1;
    }
    return NULL;
}

/* Is the key in one of the domains of `domain`? As in Postfix, the first word that matches
 * decides. */
static bool is_in_domains(const struct query *q, const struct divided *key)
{
    bool is_in = false;

    if (q->domain_count == 0)
        return true;
    if (key->domain == NULL || key->local_len == 0)
        return false;
    char *domain = fold(key->domain, strlen(key->domain));
    for (size_t i = 0; i < q->domain_count; i++) {
        if (strcmp(domain, q->domains[i].domain) == 0) {
            is_in = !q->domains[i].is_negated;
            break;
        }
    }
    free(domain);
    return is_in;
}

/* Has the address the parts that are needed? */
static bool has_parts(const struct divided *a, bool needs_domain, bool needs_local)
{
    if (needs_domain && (a->domain == NULL || a->domain[0] == '\0'))
        return false;
    return !needs_local || a->domain == NULL || a->local_len > 0;
}

bool query_applies(const struct query *q, const char *key)
{
    struct divided d = divide(key);
    const char *label;

    return key[0] != '\0' && utf8_is_valid(key, strlen(key)) && is_in_domains(q, &d) &&
           has_parts(&d, q->needs_key_domain, q->needs_key_local) &&
           (q->labels == 0 || find_label(d.domain, q->labels, &label) > 0);
}

bool query_add_sample(const struct query *q, struct buf *key)
{
    size_t len = key->len;

    if (q->domain_count == 0) {
        buf_adds(key, "check@");
        for (size_t i = 2; i < q->labels; i++)
            buf_adds(key, "x.");
        buf_adds(key, "split.invalid");
        return true;
    }
    for (size_t i = 0; i < q->domain_count; i++) {
        buf_addf(key, "check@%s", q->domains[i].domain);
        if (query_applies(q, buf_str(key) + len))
            return true;
        buf_truncate(key, len);
    }
    return false;
}

/* The text that an expansion stands for. value: of %s, %u and %d. */
static size_t part_of(char letter, const struct divided *value, const struct divided *key,
                      const char **text_out)
{
    const struct divided *of = letter >= 'a' ? value : key;

    if (letter >= '1' && letter <= '9') {
        assert(key->domain != NULL);
        return find_label(key->domain, (size_t)(letter - '0'), text_out);
    }
    if (letter == 'd' || letter == 'D') {
        assert(of->domain != NULL);
        *text_out = of->domain;
        return strlen(of->domain);
    }
    *text_out = of->text;
    return letter == 'u' || letter == 'U' ? of->local_len : strlen(of->text);
}

/* Append a template to `out`, with its expansions. All parts that it needs are there. */
static int expand(const char *template, const struct divided *value, const struct divided *key,
                  query_quote *quote, void *ctx, struct buf *out, struct err *err)
{
    const char *p = template, *percent, *part;

    while ((percent = strchr(p, '%')) != NULL) {
        buf_add(out, p, (size_t)(percent - p));
        p = percent + 2;
        if (percent[1] == '%') {
            buf_addc(out, '%');
            continue;
        }
        size_t len = part_of(percent[1], value, key, &part);
        if (quote == NULL)
            buf_add(out, part, len);
        else if (quote(ctx, part, len, out, err) < 0)
            return -1;
    }
    buf_adds(out, p);
    return 0;
}

int query_expand(const struct query *q, const char *name, const char *key, query_quote *quote,
                 void *ctx, struct buf *out, struct err *err)
{
    struct divided d = divide(key);

    assert(query_applies(q, key));
    return expand(find_template(q, name)->text, &d, &d, quote, ctx, out, err);
}

void query_result_reset(struct query_result *r)
{
    buf_reset(&r->value);
    buf_reset(&r->asked);
    r->count = 0;
    r->is_lost = r->is_late = false;
}

void query_result_clear(struct query_result *r)
{
    buf_clear(&r->value);
    buf_clear(&r->asked);
    r->count = 0;
}

/* Append a value that is valid, unless it is skipped. */
static void format_value(struct query_result *r, const char *value)
{
    const struct query *q = r->query;
    struct divided v = divide(value), key = divide(r->key);
    struct err ignored;

    if (!has_parts(&v, q->needs_value_domain, q->needs_value_local))
        return;
    if (r->value.len > 0)
        buf_addc(&r->value, ',');
    (void)!expand(q->result.text, &v, &key, NULL, NULL, &r->value, &ignored);
    r->count++;
}

enum table_answer query_result_add(struct query_result *r, const char *value, size_t len,
                                   struct err *err)
{
    if (value == NULL || len == 0)
        return ANSWER_OK;
    if (len > QUERY_RESULT_MAX) {
        err_set(err, "the result is longer than %d bytes", QUERY_RESULT_MAX);
        return ANSWER_LIMIT;
    }
    if (memchr(value, '\0', len) != NULL || !utf8_is_valid(value, len)) {
        err_set(err, "a value of the result has a NUL, or is no valid UTF-8");
        return ANSWER_FAILED;
    }
    char *text = mem_strndup(value, len);
    format_value(r, text);
    free(text);
    if (r->query->limit > 0 && r->count > r->query->limit) {
        err_set(err, "the result has more than %zu values (expansion_limit)", r->query->limit);
        return ANSWER_LIMIT;
    }
    if (r->value.len > QUERY_RESULT_MAX) {
        err_set(err, "the result is longer than %d bytes", QUERY_RESULT_MAX);
        return ANSWER_LIMIT;
    }
    return ANSWER_OK;
}

void query_result_asked(struct query_result *r, const char *fmt, ...)
{
    va_list ap;

    buf_reset(&r->asked);
    va_start(ap, fmt);
    buf_vaddf(&r->asked, fmt, ap);
    va_end(ap);
    if (r->asked.len > ASKED_MAX)
        buf_truncate(&r->asked, ASKED_MAX);
}
