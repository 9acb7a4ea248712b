/* SPDX-License-Identifier: ISC */
/* Queries and results, as Postfix's db_common.c makes them. */
#include "base/mem.h"
#include "table/query.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static const struct cf_parameter parameters[] = {
    {.name = "base", .kind = CF_TEXT},
    CF_SQL_PARAMETERS,
    {.name = NULL},
};

static const char *const templates[] = {"base", "query", NULL};

struct opened {
    struct cf *cf;
    struct query *query;
};

static struct opened open_text(const char *text, struct err *err)
{
    struct opened o = {cf_open_text("FILE", text, strlen(text), parameters, NULL, err), NULL};

    if (o.cf != NULL)
        o.query = query_open(o.cf, templates, err);
    return o;
}

static void close_both(struct opened *o)
{
    query_free(o->query);
    cf_close(o->cf);
}

/* Double single quotes. */
static int quote(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    (void)ctx;
    (void)err;
    for (size_t i = 0; i < len; i++)
        buf_addf(out, text[i] == '\'' ? "''" : "%c", text[i]);
    return 0;
}

/* asked: the query for the key; NULL: nothing is asked. */
static const struct {
    const char *query, *key, *asked;
} queries[] = {
    {"%s", "user@example.com", "user@example.com"},
    {"%S|%u|%U|%d|%D", "a+b@x.test", "a+b@x.test|a+b|a+b|x.test|x.test"},
    {"k='%s' 100%%", "o'neil@x", "k='o''neil@x' 100%"},
    {"%u", "o'neil", "o''neil"},
    {"%u", "o'neil@x", "o''neil"},
    {"%u", "@x.test", NULL},
    {"%u", "x.test", "x.test"},
    {"%s", "@x.test", "@x.test"},
    {"%d", "x.test", NULL},
    {"%d", "user@", NULL},
    {"%u", "user@", "user"},
    {"%d", "@x.test", "x.test"},
    {"%u|%d", "\"a@b\"@c", "\"a@b\"|c"},
    {"%1.%2", "u@mail.example.com", "com.example"},
    {"%3", "u@example.com", NULL},
    {"%3", "u@mail.example.com", "mail"},
    {"%9", "u@a.b.c.d.e.f.g.h.i", "a"},
    {"%9", "u@b.c.d.e.f.g.h.i", NULL},
    {"%1", "u@..", NULL},
    {"%1-%2", "u@.a..b.", "b-a"},
    {"%1", "com", NULL},
    {"constant", "x", "constant"},
    {"%s", "", NULL},
    {"%s", "\xff@x", NULL},
    {"%s", "\xc3\xbc@x", "\xc3\xbc@x"},
    {"%s%s", "%s'%d", "%s''%d%s''%d"},
};

START_TEST(a_query_is_expanded_and_quoted)
{
    char *text = mem_printf("query = %s\n", queries[_i].query);
    const char *key = queries[_i].key;
    struct buf out = {0};
    struct err err;
    struct opened o = open_text(text, &err);

    ck_assert_msg(o.query != NULL, "%s", err.text);
    ck_assert_int_eq(query_applies(o.query, key), queries[_i].asked != NULL);
    if (queries[_i].asked != NULL) {
        ck_assert_int_eq(query_expand(o.query, "query", key, quote, NULL, &out, &err), 0);
        ck_assert_str_eq(buf_str(&out), queries[_i].asked);
    }
    buf_clear(&out);
    close_both(&o);
    free(text);
}
END_TEST

/* values: separated by '|', "-" is SQL's NULL. result: NULL: the key is not asked for. "!...": the
 * reason of the failure; "#...": of an answer ANSWER_LIMIT. */
static const struct {
    const char *settings, *key, *values, *result;
} results[] = {
    {"", "u@k", "", ""},
    {"", "u@k", "-", ""},
    {"", "u@k", "a", "a"},
    {"", "u@k", "a|b|-||c", "a,b,c"},
    {"", "u@k", "a,b|c d", "a,b,c d"},
    {"result_format = smtp:[%s]\n", "u@k", "a|b", "smtp:[a],smtp:[b]"},
    {"result_format = %u at %d\n", "u@k", "a@b|c|@d|e@", "a at b"},
    {"result_format = %u\n", "u@k", "a@b|c|@d|e@", "a,c,e"},
    {"result_format = %s%%%S/%U/%D/%1\n", "u@k.test", "a", "a%u@k.test/u/k.test/test"},
    {"result_format = %U@%s\n", "u@k", "a", "u@a"},
    {"result_format = %U@%s\n", "@k", "a", NULL},
    {"result_format = %D\n", "k", "a", NULL},
    {"result_format = %2\n", "u@k", "a", NULL},
    {"expansion_limit = 2\n", "u@k", "a||b|-", "a,b"},
    {"expansion_limit = 2\n", "u@k", "a|b|c", "#more than 2 values (expansion_limit)"},
    {"expansion_limit = 1\nresult_format=%d\n", "u@k", "a|b@c|@d", "#more than 1 values"},
    {"expansion_limit = 1\nresult_format=%d\n", "u@k", "a|b@c|d", "c"},
    {"", "u@k", "a|\xff", "!no valid UTF-8"},
    {"", "u@k", "\xc3\xbc|'", "\xc3\xbc,'"},
};

static void add_values(struct query_result *r, const char *values, struct buf *out)
{
    enum table_answer answer = ANSWER_OK;
    char *copy = mem_strdup(values), *rest = copy, *value;
    struct err err;

    while ((value = strsep(&rest, "|")) != NULL && answer == ANSWER_OK) {
        bool is_null = strcmp(value, "-") == 0;
        answer = query_result_add(r, is_null ? NULL : value, is_null ? 0 : strlen(value), &err);
    }
    if (answer == ANSWER_OK) {
        buf_adds(out, buf_str(&r->value));
    } else {
        ck_assert(answer == ANSWER_FAILED || answer == ANSWER_LIMIT);
        buf_addf(out, "%c%s", answer == ANSWER_LIMIT ? '#' : '!', err.text);
    }
    free(copy);
}

START_TEST(values_make_a_result)
{
    char *text = mem_printf("query = x\n%s", results[_i].settings);
    const char *expected = results[_i].result;
    struct buf out = {0};
    struct err err;
    struct opened o = open_text(text, &err);

    ck_assert_msg(o.query != NULL, "%s", err.text);
    ck_assert_int_eq(query_applies(o.query, results[_i].key), expected != NULL);
    struct query_result r = {.query = o.query, .key = results[_i].key};
    if (expected != NULL) {
        add_values(&r, results[_i].values, &out);
        if (expected[0] == '!' || expected[0] == '#')
            ck_assert_msg(out.data[0] == expected[0] && strstr(buf_str(&out), expected + 1) != NULL,
                          "%s", buf_str(&out));
        else
            ck_assert_str_eq(buf_str(&out), expected);
    }
    query_result_reset(&r);
    ck_assert(r.count == 0 && r.value.len == 0);
    query_result_clear(&r);
    buf_clear(&out);
    close_both(&o);
    free(text);
}
END_TEST

START_TEST(a_value_with_a_nul_or_too_long_fails)
{
    struct err err;
    struct opened o = open_text("query = x\n", &err);
    struct query_result r = {.query = o.query, .key = "k"};
    char *half = mem_zalloc(QUERY_RESULT_MAX + 2);

    memset(half, 'x', QUERY_RESULT_MAX + 1);
    ck_assert_int_eq(query_result_add(&r, "a\0b", 3, &err), ANSWER_FAILED);
    ck_assert_int_eq(query_result_add(&r, half, QUERY_RESULT_MAX + 1, &err), ANSWER_LIMIT);
    ck_assert_int_eq(query_result_add(&r, half, QUERY_RESULT_MAX / 2, &err), ANSWER_OK);
    ck_assert_int_eq(query_result_add(&r, half, QUERY_RESULT_MAX / 2, &err), ANSWER_LIMIT);
    query_result_asked(&r, "%d %s", 1, "x");
    ck_assert_str_eq(buf_str(&r.asked), "1 x");
    query_result_asked(&r, "%s", half);
    ck_assert_uint_lt(r.asked.len, 5000);
    query_result_clear(&r);
    free(half);
    close_both(&o);
}
END_TEST

static const struct {
    const char *domain, *key;
    bool applies;
} domains[] = {
    {"example.com", "u@example.com", true},
    {"example.com", "u@EXAMPLE.com", true},
    {"Example.COM", "u@example.com", true},
    {"example.com", "u@sub.example.com", false},
    {"example.com", "example.com", false},
    {"example.com", "@example.com", false},
    {"example.com", "u@", false},
    {"a, b\tc", "u@b", true},
    {"a b", "u@c", false},
    {"!a b", "u@a", false},
    {"!a a", "u@a", false},
    {"a !a", "u@a", true},
    {"!!a", "u@a", true},
    {"!a", "u@b", false},
    {"", "example.com", true},
    {"\xc3\x9c.test", "u@\xc3\xbc.test", true},
};

START_TEST(the_domain_filter_is_that_of_postfix)
{
    char *text = mem_printf("query = %%s\ndomain = %s\n", domains[_i].domain);
    struct err err;
    struct opened o = open_text(text, &err);

    ck_assert_msg(o.query != NULL, "%s", err.text);
    ck_assert_int_eq(query_applies(o.query, domains[_i].key), domains[_i].applies);
    close_both(&o);
    free(text);
}
END_TEST

static const struct {
    const char *text, *reason;
} bad[] = {
    {"query = %x\n", "FILE:1: query: a \"%\" is followed by another character: allowed are %s"},
    {"query = 5%\n", "FILE:1: query: a \"%\" is followed by nothing"},
    {"query = %0\n", "FILE:1: query: "},
    {"query = x\nresult_format = %m\n", "FILE:2: result_format: a \"%\""},
    {"query = x\nresult_format =\n", "FILE:2: result_format is empty"},
    {"query = \xff\n", "FILE:1: query: the text is no valid UTF-8"},
    {"query = x\ndomain = a, /etc/domains\n", "FILE:2: domain: \"/etc/domains\" is not supported"},
    {"query = x\ndomain = hash:/etc/d\n", "FILE:2: domain: \"hash:/etc/d\" is not supported"},
    {"query = x\ndomain = !\n", "FILE:2: domain: \"!\" without a domain"},
    {"table = t\nselect_field = f\n",
     "FILE:1: table is not supported: write the statement as query = SELECT"},
    {"query = x\nselect_function = f\n",
     "FILE:2: select_function is not supported: write the call as query = SELECT"},
    {"dbname = x\n", "FILE:1: unknown parameter \"dbname\""},
    {"# x\n", "FILE: query is missing"},
};

START_TEST(a_fault_of_a_template_is_named_with_its_line)
{
    struct err err;
    struct opened o = open_text(bad[_i].text, &err);

    ck_assert_ptr_null(o.query);
    ck_assert_msg(strstr(err.text, bad[_i].reason) == err.text, "%s", err.text);
    close_both(&o);
}
END_TEST

static const struct {
    const char *query, *unquoted; /* the first two bytes; NULL: all is inside '...' */
} quoted[] = {
    {"SELECT a FROM b WHERE c = '%s'", NULL},
    {"SELECT a FROM b WHERE c = %s", "%s"},
    {"SELECT a FROM b WHERE c = '%s' AND d = %u", "%u"},
    {"SELECT '%%' || 100%% FROM b WHERE c = '%s'", NULL},
    {"SELECT \"%d\" FROM b", "%d"},
    {"SELECT \"'\", '%d' FROM b", NULL},
    {"SELECT 'it''s %s'", NULL},
    {"SELECT `'` + %1 + '`'", "%1"},
    {"SELECT a FROM b WHERE c = E'%s'", "%s"},
    {"SELECT a FROM b WHERE c LIKE'%s' AND d = '%u'", NULL},
    {"e'%d'", "%d"},
    {"SELECT E'x', '%s'", NULL},
};

START_TEST(expansions_outside_of_quotes_are_found)
{
    char *text = mem_printf("query = %s\n", quoted[_i].query);
    struct err err;
    struct opened o = open_text(text, &err);
    const char *at = query_unquoted(o.query, "query"), *expected = quoted[_i].unquoted;

    ck_assert_int_eq(at == NULL, expected == NULL);
    if (expected != NULL)
        ck_assert(strncmp(at, expected, 2) == 0);
    close_both(&o);
    free(text);
}
END_TEST

/* A file, and the key for which a check asks; NULL: nothing is asked for any key. */
static const struct {
    const char *text, *sample;
} samples[] = {
    {"query = %s\n", "check@split.invalid"},
    {"query = %1\n", "check@split.invalid"},
    {"query = %3 %5\n", "check@x.x.x.split.invalid"},
    {"query = %s\ndomain = a.test\n", "check@a.test"},
    {"query = %3\ndomain = a.test, !b.c.test, b.c.test, c.d.test\n", "check@c.d.test"},
    {"query = %3\ndomain = a.test\n", NULL},
    {"query = %s\ndomain = !a.test\n", NULL},
};

START_TEST(a_check_has_a_key_for_which_something_is_asked)
{
    struct err err;
    struct opened o = open_text(samples[_i].text, &err);
    struct buf key = {0};

    ck_assert_int_eq(query_add_sample(o.query, &key), samples[_i].sample != NULL);
    ck_assert_str_eq(buf_str(&key), samples[_i].sample == NULL ? "" : samples[_i].sample);
    ck_assert(key.len == 0 || query_applies(o.query, buf_str(&key)));
    buf_clear(&key);
    close_both(&o);
}
END_TEST

static int refuse(void *ctx, const char *text, size_t len, struct buf *out, struct err *err)
{
    (void)text;
    (void)len;
    (void)out;
    err_set(err, "refused: %s", (const char *)ctx);
    return -1;
}

START_TEST(templates_are_told_apart)
{
    char why[] = "why";
    struct buf out = {0};
    struct err err;
    struct opened o = open_text("base = ou=%%\nquery = %s\n", &err);

    ck_assert(!query_is_dynamic(o.query, "base") && query_is_dynamic(o.query, "query"));
    ck_assert_int_eq(query_expand(o.query, "base", "k", NULL, NULL, &out, &err), 0);
    ck_assert_str_eq(buf_str(&out), "ou=%");
    ck_assert_int_eq(query_expand(o.query, "query", "k", NULL, NULL, &out, &err), 0);
    ck_assert_str_eq(buf_str(&out), "ou=%k");
    ck_assert_int_eq(query_expand(o.query, "query", "k", refuse, why, &out, &err), -1);
    ck_assert_str_eq(err.text, "refused: why");
    close_both(&o);
    /* what one template needs of the key holds for all */
    o = open_text("base = dc=%2\nquery = %s\n", &err);
    ck_assert(!query_applies(o.query, "u@a") && query_applies(o.query, "u@a.b"));
    close_both(&o);
    o = open_text("query = %s\n", &err);
    buf_reset(&out);
    ck_assert_int_eq(query_expand(o.query, "base", "k", NULL, NULL, &out, &err), 0);
    ck_assert_str_eq(buf_str(&out), "");
    close_both(&o);
    buf_clear(&out);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("query");

    tcase_add_loop_test(tests, a_query_is_expanded_and_quoted, 0, UNIT_COUNT(queries));
    tcase_add_loop_test(tests, values_make_a_result, 0, UNIT_COUNT(results));
    tcase_add_test(tests, a_value_with_a_nul_or_too_long_fails);
    tcase_add_loop_test(tests, the_domain_filter_is_that_of_postfix, 0, UNIT_COUNT(domains));
    tcase_add_loop_test(tests, a_fault_of_a_template_is_named_with_its_line, 0, UNIT_COUNT(bad));
    tcase_add_loop_test(tests, expansions_outside_of_quotes_are_found, 0, UNIT_COUNT(quoted));
    tcase_add_loop_test(tests, a_check_has_a_key_for_which_something_is_asked, 0,
                        UNIT_COUNT(samples));
    tcase_add_test(tests, templates_are_told_apart);
    return unit_run("query", tests);
}
