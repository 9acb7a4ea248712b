/* SPDX-License-Identifier: ISC */
#include "table/lookup.h"
#include "table/table_private.h"
#include "unit.h"

#include <signal.h>
#include <string.h>

static struct address parse(const char *text)
{
    struct address a;
    struct err err;

    ck_assert_msg(address_parse(text, strlen(text), ADDRESS_LENIENT, &a, &err) == 0, "%s: %s", text,
                  err.text);
    return a;
}

static struct lookup_list open_list(const char *const *specs)
{
    struct lookup_list list;
    struct err err = {""};
    size_t count = 0;

    while (count < 3 && specs[count] != NULL)
        count++;
    ck_assert_msg(lookup_open(&list, (char *const *)specs, count, &err) == 0, "%s", err.text);
    return list;
}

/* --- which keys are tried ------------------------------------------------------------------- */

/* A table that finds nothing, and records the keys that are looked up. */
struct spy {
    struct table table;
    char mark;
    struct buf *asked;
};

static enum table_result spy_find(const struct table *t, struct table_scratch *s, const char *key,
                                  struct table_match *m, struct err *err)
{
    const struct spy *spy = (const struct spy *)t;

    (void)s;
    (void)m;
    (void)err;
    buf_addf(spy->asked, "%c:%s ", spy->mark, key);
    return TABLE_NOT_FOUND;
}

static const struct table_type keyed_spy = {.name = "keyed", .find = spy_find};
static const struct table_type whole_spy = {
    .name = "whole", .takes_whole_address = true, .find = spy_find};

static const struct {
    const char *address, *delimiter, *transport, *canonical;
} keys[] = {
    {"user@example.com", "", "user@example.com example.com .com *",
     "user@example.com @example.com"},
    {"User@Example.COM", "+", "user@example.com example.com .com *",
     "user@example.com @example.com"},
    {"u+e@a.b.c", "", "u+e@a.b.c a.b.c .b.c .c *", "u+e@a.b.c @a.b.c"},
    {"u+e@a.b.c", "+", "u+e@a.b.c u@a.b.c a.b.c .b.c .c *", "u+e@a.b.c u@a.b.c @a.b.c"},
    {"U+E@A.b", "+", "u+e@a.b u@a.b a.b .b *", "u+e@a.b u@a.b @a.b"},
    {"u+e@host", "+-", "u+e@host u@host host *", "u+e@host u@host @host"},
    {"u-e+f@host", "+-", "u-e+f@host u@host host *", "u-e+f@host u@host @host"},
    {"u-e+f@host", "+", "u-e+f@host u-e@host host *", "u-e+f@host u-e@host @host"},
    {"u+@host", "+", "u+@host u@host host *", "u+@host u@host @host"},
    {"+u@host", "+", "+u@host host *", "+u@host @host"},
    {"+u+e@host", "+", "+u+e@host host *", "+u+e@host @host"},
    {"owner-list@host", "-", "owner-list@host host *", "owner-list@host @host"},
    {"Owner-list@host", "-+", "owner-list@host host *", "owner-list@host @host"},
    {"owner-list+x@host", "+", "owner-list+x@host owner-list@host host *",
     "owner-list+x@host owner-list@host @host"},
    {"list-request@host", "-", "list-request@host host *", "list-request@host @host"},
    {"-request@host", "-", "-request@host host *", "-request@host @host"},
    {"a-b@host", "-", "a-b@host a@host host *", "a-b@host a@host @host"},
    {"mailer-daemon@host", "-", "mailer-daemon@host host *", "mailer-daemon@host @host"},
    {"MAILER-DAEMON@host", "-", "mailer-daemon@host host *", "mailer-daemon@host @host"},
    {"double-bounce@host", "-", "double-bounce@host host *", "double-bounce@host @host"},
    {"postmaster@host", "m", "postmaster@host host *", "postmaster@host @host"},
    {"\"john\"@host", "", "john@host host *", "john@host @host"},
    {"\"jo\\hn\"@host", "", "john@host host *", "john@host @host"},
    {"\"A b\"@host", "", "\"a b\"@host a b@host host *", "\"a b\"@host @host"},
    {"\"a b+c d\"@host", "+", "\"a b+c d\"@host a b+c d@host \"a b\"@host a b@host host *",
     "\"a b+c d\"@host \"a b\"@host @host"},
    {"\"ab+c d\"@host", "+", "\"ab+c d\"@host ab+c d@host ab@host host *",
     "\"ab+c d\"@host ab@host @host"},
    {"\"a@b\"@host", "", "\"a@b\"@host a@b@host host *", "\"a@b\"@host @host"},
    {"\"a\\\"b\"@host", "", "\"a\\\"b\"@host a\"b@host host *", "\"a\\\"b\"@host @host"},
    {"a..b@host", "", "\"a..b\"@host a..b@host host *", "\"a..b\"@host @host"},
    {"\"\"@host", "", "\"\"@host @host host *", "\"\"@host @host"},
    {"u@[192.0.2.1]", "", "u@[192.0.2.1] [192.0.2.1] .0.2.1] .2.1] .1] *",
     "u@[192.0.2.1] @[192.0.2.1]"},
    {"user", "", "user *", "user"},
    {"User+ext", "+", "user+ext user *", "user+ext user"},
    {"\"a@b\"", "", "\"a@b\" a@b *", "\"a@b\""},
    {"Gr\xc3\x9c\xc3\x9f@B\xc3\x9c.de", "", "gr\xc3\xbcss@b\xc3\xbc.de b\xc3\xbc.de .de *",
     "gr\xc3\xbcss@b\xc3\xbc.de @b\xc3\xbc.de"},
    /* Letters that Postfix, too, folds to ASCII: a long s, a Kelvin sign, a ligature. */
    {"\xc5\xbf"
     "am+x@\xe2\x84\xaaunde.o\xef\xac\x83"
     "ce",
     "+", "sam+x@kunde.office sam@kunde.office kunde.office .office *",
     "sam+x@kunde.office sam@kunde.office @kunde.office"},
    {"\"\xc5\xbf m\"@\xe2\x84\xaa.x", "", "\"s m\"@k.x s m@k.x k.x .x *", "\"s m\"@k.x @k.x"},
};

/* Keys for tables of patterns, where they differ from the first key. */
static const struct {
    const char *first, *whole;
} wholes[] = {
    {"gr\xc3\xbcss@b\xc3\xbc.de ", "gr\xc3\x9c\xc3\x9f@b\xc3\x9c.de "},
};

/* Check that "a b" led to "1:a 2:a W:a 1:b 2:b ": each key is looked up in both keyed tables, and
 * the first key in the table of patterns. Keys are separated by single spaces; a key with a space
 * is in quotes or has the form "a b@". */
static void expect_order(const char *expect, const struct buf *asked)
{
    struct buf first = {0}, seen = {0};
    const char *p = buf_str(asked);

    ck_assert_int_eq(strncmp(p, "1:", 2), 0);
    const char *two = strstr(p, " 2:"), *whole = strstr(p, " W:");
    ck_assert(two != NULL && whole != NULL && two < whole);
    buf_add(&first, p + 2, (size_t)(two - p) - 2);
    ck_assert_ptr_null(strstr(whole + 1, " W:"));
    const char *whole_key = buf_str(&first);
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++)
        if (strncmp(whole_key, wholes[i].first, strlen(wholes[i].first) - 1) == 0)
            whole_key = wholes[i].whole;
    ck_assert_int_eq(strncmp(whole + 3, whole_key, strlen(whole_key)), 0);
    for (const char *q = p; q != NULL; q = strstr(q + 1, "1:")) {
        const char *end = strstr(q, " 2:");
        ck_assert_int_eq(strncmp(q + 2, end + 3, (size_t)(end - q) - 2), 0);
        buf_addf(&seen, "%s%.*s", seen.len == 0 ? "" : " ", (int)(end - q) - 2, q + 2);
    }
    ck_assert_str_eq(buf_str(&seen), expect);
    buf_clear(&first);
    buf_clear(&seen);
}

START_TEST(keys_are_tried_in_postfix_order)
{
    struct buf asked = {0};
    struct spy spies[] = {{{.type = &keyed_spy}, '1', &asked},
                          {{.type = &keyed_spy}, '2', &asked},
                          {{.type = &whole_spy}, 'W', &asked}};
    struct table *tables[] = {&spies[0].table, &spies[1].table, &spies[2].table};
    struct lookup_list list = {tables, 3};
    struct table_scratch *s = table_scratch_new();
    struct address a = parse(keys[_i].address), out;
    struct table_match m;
    struct err err = {""};

    table_match_init(&m);
    ck_assert_int_eq(lookup_transport(&list, s, &a, keys[_i].delimiter, &m, &err), TABLE_NOT_FOUND);
    expect_order(keys[_i].transport, &asked);
    buf_reset(&asked);
    ck_assert_int_eq(lookup_canonical(&list, s, &a, keys[_i].delimiter, &out, &m, &err),
                     TABLE_NOT_FOUND);
    expect_order(keys[_i].canonical, &asked);
    table_match_clear(&m);
    table_scratch_free(s);
    buf_clear(&asked);
}
END_TEST

/* --- transport ------------------------------------------------------------------------------ */

static const struct {
    const char *specs[3];
    const char *address, *value, *key;
} transports[] = {
    {{"inline:{firstmailaddress@domain.com=smtp:secondaryfilter.domain.com:25, "
      "*=smtp:primaryfilter.domain.com:10024}"},
     "FirstMailAddress@domain.com",
     "smtp:secondaryfilter.domain.com:25",
     "firstmailaddress@domain.com"},
    {{"inline:{firstmailaddress@domain.com=smtp:secondaryfilter.domain.com:25, "
      "*=smtp:primaryfilter.domain.com:10024}"},
     "other@domain.com",
     "smtp:primaryfilter.domain.com:10024",
     "*"},
    {{"inline:{d.c=dom, .d.c=sub}"}, "u@d.c", "dom", "d.c"},
    {{"inline:{d.c=dom, .d.c=sub}"}, "u@x.d.c", "sub", ".d.c"},
    {{"inline:{d.c=dom, .d.c=sub}"}, "u@y.x.d.c", "sub", ".d.c"},
    {{"inline:{d.c=dom, .d.c=sub}"}, "u@xd.c", NULL, NULL},
    {{"inline:{.c=any}"}, "u@c", NULL, NULL},
    {{"inline:{.c=any, .b.c=closer}"}, "u@a.b.c", "closer", ".b.c"},
    {{"inline:{u@d=user}"}, "u+x@d", "user", "u@d"},
    {{"inline:{u@d=user, u+x@d=ext}"}, "u+x@d", "ext", "u+x@d"},
    {{"inline:{@d=x}"}, "u@d", NULL, NULL},
    {{"inline:{d=one}", "inline:{u@d=two}"}, "u@d", "two", "u@d"},
    {{"inline:{u@d=one}", "inline:{u@d=two}"}, "u@d", "one", "u@d"},
    {{"inline:{u@d=one}", "static:all"}, "u@d", "one", "u@d"},
    {{"inline:{d=one}", "static:all"}, "u@d", "all", "u@d"},
    {{NULL}, "u@d", NULL, NULL},
};

START_TEST(transport_finds_what_postfix_finds)
{
    struct lookup_list list = open_list(transports[_i].specs);
    struct table_scratch *s = table_scratch_new();
    struct address a = parse(transports[_i].address);
    struct table_match m;
    struct err err = {""};

    table_match_init(&m);
    enum table_result r = lookup_transport(&list, s, &a, "+", &m, &err);
    if (transports[_i].value == NULL) {
        ck_assert_int_eq(r, TABLE_NOT_FOUND);
    } else {
        ck_assert_msg(r == TABLE_FOUND, "%d %s", (int)r, err.text);
        ck_assert_str_eq(buf_str(&m.value), transports[_i].value);
        ck_assert_str_eq(buf_str(&m.key), transports[_i].key);
    }
    table_match_clear(&m);
    table_scratch_free(s);
    lookup_close(&list);
}
END_TEST

/* --- canonical ------------------------------------------------------------------------------ */

static const struct {
    const char *specs[3];
    const char *address, *delimiter;
    const char *out; /* NULL: not found; "!...": fails with this in the error */
} canonicals[] = {
    {{"inline:{firstmailaddress@domain.com=alias123@application.com}"},
     "firstmailaddress@domain.com",
     "",
     "alias123@application.com"},
    {{"inline:{a@x=b@y}"}, "c@x", "", NULL},
    {{"inline:{a@x=b@y}"}, "a@x.x", "", NULL},
    {{"inline:{a@x=B@Y}"}, "A@X", "", "B@Y"},
    {{"inline:{a@x=<b@y>}"}, "a@x", "", "b@y"},
    {{"inline:{a@x=b@y.}"}, "a@x", "", "b@y"},
    {{"inline:{a@x=b@y}"}, "a+e@x", "", NULL},
    {{"inline:{a@x=b@y}"}, "a+E@x", "+", "b+E@y"},
    {{"inline:{a@x=b+f@y}"}, "a+e@x", "+", "b+f+e@y"},
    {{"inline:{a+e@x=b@y}"}, "a+e@x", "+", "b@y"},
    {{"inline:{@x=@y}"}, "User+Ext@x", "+", "User+Ext@y"},
    {{"inline:{@x=@y}"}, "\"A b\"@x", "", "\"A b\"@y"},
    {{"inline:{@x=@y}"}, "\"Ab\"@x", "", "Ab@y"},
    {{"inline:{@x=@y}"}, "a..b@x", "", "\"a..b\"@y"},
    {{"inline:{a@x=@y}"}, "A+e@x", "+", "A+e@y"},
    {{"inline:{a@x=@y}"}, "A@x", "+", "A@y"},
    {{"inline:{@x=b@y}"}, "a+e@x", "+", "b@y"},
    {{"inline:{@x=b@y}"}, "a+e@x", "", "b@y"},
    {{"inline:{x=b@y, .x=b@y, *=b@y}"}, "a@x", "", NULL},
    {{"inline:{a=b@y}"}, "a", "", "b@y"},
    {{"inline:{a=@y}"}, "A", "", "A@y"},
    {{"inline:{{a@x=\"b c\"@y}}"}, "a@x", "", "\"b c\"@y"},
    {{"inline:{{a@x=\"b c\"@y}}"}, "a+e@x", "+", "\"b c+e\"@y"},
    {{"inline:{{a@x=\"b\"@y}}"}, "a+e@x", "+", "b+e@y"},
    {{"inline:{a@x=b@y}"}, "\"a+e f\"@x", "+", "\"b+e f\"@y"},
    {{"inline:{a@x=b..c@y}"}, "a@x", "", "\"b..c\"@y"},
    {{"inline:{{\"a b\"@x=c@y}}"}, "\"A b\"@x", "", "c@y"},
    {{"inline:{a@x=b@[192.0.2.1]}"}, "a@x", "", "b@[192.0.2.1]"},
    {{"inline:{a@x=gr\xc3\xbc\xc3\x9f@y}"}, "a@x", "", "gr\xc3\xbc\xc3\x9f@y"},
    /* the look-up is repeated until it finds nothing, or the same address */
    {{"inline:{a@x=b@x, b@x=c@x, c@x=d@x}"}, "a@x", "", "d@x"},
    {{"inline:{a@x=b@x, b@x=b@x}"}, "a@x", "", "b@x"},
    {{"inline:{a@x=A@x}"}, "a@x", "", "A@x"},
    {{"inline:{a@x=a@x}"}, "A@x", "", "a@x"},
    {{"inline:{a@x=a@x}"}, "a+e@x", "+", "a+e@x"},
    {{"inline:{a@x=@y, @y=@z}"}, "a@x", "", "a@z"},
    {{"inline:{a@x=b@y}", "inline:{b@y=c@z}"}, "a@x", "", "c@z"},
    {{"inline:{1@x=2@x,2@x=3@x,3@x=4@x,4@x=5@x,5@x=6@x,6@x=7@x,7@x=8@x,8@x=9@x,9@x=0@x}"},
     "1@x",
     "",
     "0@x"},
    {{"inline:{1@x=2@x,2@x=3@x,3@x=4@x,4@x=5@x,5@x=6@x,6@x=7@x,7@x=8@x,8@x=9@x,9@x=0@x,0@x=a@x}"},
     "1@x",
     "",
     "!canonical mapping of \"1@x\" does not end: after 10 rounds it is \"a@x\""},
    {{"inline:{a@x=b@x, b@x=a@x}"}, "a@x", "", "!canonical mapping of \"a@x\" does not end"},
    {{"inline:{a@x=a+e@x}"}, "a@x", "+", "!canonical mapping of \"a@x\" does not end"},
    {{"static:b@y"}, "a@x", "", "b@y"},
    {{"static:@y"}, "a@x", "", "a@y"},
    /* the result is no address */
    {{"inline:{a@x=b}"}, "a@x", "", "!the result \"b\" for \"a@x\" is no address"},
    {{"inline:{a@x=@}"}, "a@x", "", "!the result \"@\" for \"a@x\" is no address"},
    {{"inline:{a@x=@b@c}"}, "a@x", "", "!is no address"},
    {{"inline:{a@x=b@c@d}"}, "a@x", "", "!is no address"},
    {{"inline:{{a@x=b@y, c@z}}"}, "a@x", "", "!is no address"},
    {{"inline:{{a@x=b c@z}}"}, "a@x", "", "!is no address"},
    {{"inline:{{a@x=Name <b@z>}}"}, "a@x", "", "!is no address"},
    {{"inline:{{a@x=b@y z}}"}, "a@x", "", "!is no address"},
    {{"inline:{a@x=<>}"}, "a@x", "", "!is no address"},
    {{"inline:{a@x=@y:b@z}"}, "a@x", "", "!is no address"},
    {{"inline:{a@x=}"}, "a@x", "", "!the result is an empty string, for \"a@x\""},
    {{"inline:{a@x=b@y, b@y=}"}, "a@x", "", "!the result is an empty string, for \"b@y\""},
    {{NULL}, "a@x", "", NULL},
};

START_TEST(canonical_maps_as_cleanup_does)
{
    struct lookup_list list = open_list(canonicals[_i].specs);
    struct table_scratch *s = table_scratch_new();
    struct address a = parse(canonicals[_i].address), out;
    const char *expect = canonicals[_i].out;
    struct table_match m;
    struct err err = {""};

    table_match_init(&m);
    enum table_result r = lookup_canonical(&list, s, &a, canonicals[_i].delimiter, &out, &m, &err);
    if (expect == NULL) {
        ck_assert_int_eq(r, TABLE_NOT_FOUND);
    } else if (expect[0] == '!') {
        ck_assert_int_eq(r, TABLE_FAILED);
        ck_assert_msg(strstr(err.text, expect + 1) != NULL, "%s", err.text);
    } else {
        ck_assert_msg(r == TABLE_FOUND, "%d %s", (int)r, err.text);
        ck_assert_str_eq(out.text, expect);
        ck_assert_ptr_eq(m.table, list.tables[0]);
    }
    table_match_clear(&m);
    table_scratch_free(s);
    lookup_close(&list);
}
END_TEST

/* --- the rest ------------------------------------------------------------------------------- */

START_TEST(patterns_get_the_whole_address_once)
{
    static const char text[] =
        "/^(.*)@old\\.example$/ $1@new.example\n/^(old.example|@|\\*)/ bad\n";
    struct err err;
    struct table *tables[] = {table_open_text(&table_pcre, "FILE", text, sizeof text - 1, &err)};
    struct lookup_list list = {tables, 1};
    struct table_scratch *s = table_scratch_new();
    struct address a = parse("U+e@Old.Example"), b = parse("u@example"), out;
    struct table_match m;

    table_match_init(&m);
    ck_assert_ptr_nonnull(tables[0]);
    ck_assert_int_eq(lookup_canonical(&list, s, &a, "+", &out, &m, &err), TABLE_FOUND);
    ck_assert_str_eq(out.text, "u+e@new.example");
    ck_assert_uint_eq(m.line, 1);
    ck_assert_int_eq(lookup_transport(&list, s, &b, "+", &m, &err), TABLE_NOT_FOUND);
    ck_assert_int_eq(lookup_canonical(&list, s, &b, "+", &out, &m, &err), TABLE_NOT_FOUND);
    table_match_clear(&m);
    table_scratch_free(s);
    table_close(tables[0]);
}
END_TEST

/* A result that is too long because of the part that is carried over from the address is
 * TABLE_LIMIT, because the client chose that part. A fault in the table is TABLE_FAILED. */
static const struct {
    const char *spec;
    enum table_result result;
} long_results[] = {
    {"inline:{ @x=@a-longer-domain.test }", TABLE_LIMIT},
    {"inline:{ a@x=a-longer-local-part@b }", TABLE_LIMIT},
    {"inline:{ a@x=@a-longer-domain.test }", TABLE_LIMIT},
    {"inline:{ @x=@bad..domain }", TABLE_FAILED},
    {"inline:{ @x=@a@b }", TABLE_FAILED},
    {"inline:{ a@x=nothing }", TABLE_FAILED},
    {"inline:{ @x=fixed@y }", TABLE_FOUND},
};

START_TEST(canonical_results_that_become_too_long)
{
    const char *const specs[] = {long_results[_i].spec, NULL};
    struct lookup_list list = open_list(specs);
    struct table_scratch *s = table_scratch_new();
    char text[ADDRESS_MAX + 1];
    struct address a, out;
    struct table_match m;
    struct err err = {""};

    memset(text, 'e', sizeof text);
    memcpy(text, "a+", 2);
    strcpy(text + sizeof text - 3, "@x");
    a = parse(text);
    table_match_init(&m);
    ck_assert_int_eq(lookup_canonical(&list, s, &a, "+", &out, &m, &err), long_results[_i].result);
    table_match_clear(&m);
    table_scratch_free(s);
    lookup_close(&list);
}
END_TEST

START_TEST(a_failing_table_ends_the_search)
{
    static const char text[] = "/^(a+)+$/ x\n";
    struct err err = {""};
    struct table *tables[] = {table_open_text(&table_pcre, "FILE", text, sizeof text - 1, &err),
                              table_open("static:y", &err)};
    struct lookup_list list = {tables, 2};
    struct table_scratch *s = table_scratch_new();
    struct address a = parse("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@b");
    struct table_match m;

    table_match_init(&m);
    ck_assert_int_eq(lookup_transport(&list, s, &a, "", &m, &err), TABLE_LIMIT);
    ck_assert_ptr_nonnull(strstr(err.text, "match limit exceeded"));
    table_match_clear(&m);
    table_scratch_free(s);
    table_close(tables[0]);
    table_close(tables[1]);
}
END_TEST

START_TEST(a_list_opens_whole_or_not_at_all)
{
    char *const specs[] = {"static:x", "nonsense"};
    struct lookup_list list;
    struct err err = {""};

    ck_assert_int_eq(lookup_open(&list, specs, 2, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "nonsense"));
    ck_assert_uint_eq(list.count, 0);
    ck_assert_int_eq(lookup_open(&list, NULL, 0, &err), 0);
    lookup_close(&list);
    lookup_close(&list);
}
END_TEST

START_TEST(the_null_path_is_never_looked_up)
{
    char *const specs[] = {"static:x@y"};
    struct lookup_list list;
    struct err err = {""};
    struct address null, out;
    struct table_match m;
    struct table_scratch *s = table_scratch_new();

    table_match_init(&m);
    ck_assert_int_eq(address_parse("<>", 2, ADDRESS_NULL_OK, &null, &err), 0);
    ck_assert_int_eq(lookup_open(&list, specs, 1, &err), 0);
    ck_assert_int_eq(lookup_transport(&list, s, &null, "", &m, &err), TABLE_NOT_FOUND);
    ck_assert_int_eq(lookup_canonical(&list, s, &null, "", &out, &m, &err), TABLE_NOT_FOUND);
    table_match_clear(&m);
    table_scratch_free(s);
    lookup_close(&list);
}
END_TEST

/* A table whose text and outcome contradict each other. */
struct liar {
    struct table table;
    enum table_result result;
    const char *text;
};

static enum table_result lie(const struct table *t, struct table_scratch *s, const char *key,
                             struct table_match *m, struct err *err)
{
    const struct liar *liar = (const struct liar *)t;

    (void)s;
    (void)key;
    (void)m;
    if (liar->text != NULL)
        err_set(err, "%s", liar->text);
    return liar->result;
}

static const struct table_type liars = {.name = "liar", .find = lie};

static const struct {
    enum table_result result;
    const char *text;
} lies[] = {{TABLE_FOUND, "lost connection"},
            {TABLE_NOT_FOUND, "lost connection"},
            {TABLE_FAILED, NULL},
            {TABLE_LIMIT, NULL}};

START_TEST(a_text_that_contradicts_the_outcome_is_a_bug)
{
    struct liar liar = {
        {.type = &liars, .spec = (char *)"liar:", .refs = 1}, lies[_i].result, lies[_i].text};
    struct table *tables[] = {&liar.table};
    struct lookup_list list = {tables, 1};
    struct address a = parse("a@b.test");
    struct table_match m;
    struct err err = {""};

    table_match_init(&m);
    (void)!lookup_transport(&list, table_scratch_new(), &a, "", &m, &err);
}
END_TEST

/* Keys of tables are folded as addresses are, also if the folded key is longer. The part that is
 * carried over to the result stays as the client sent it. */
static const struct {
    const char *spec, *address, *result;
} folded[] = {
    {"inline:{ GR\xc3\x9c\xc3\x9f@x.test=a@y.test }", "gr\xc3\xbcSS@x.test", "a@y.test"},
    {"inline:{ gr\xc3\xbcss@x.test=a@y.test }", "GR\xc3\x9c\xe1\xba\x9e@x.test", "a@y.test"},
    {"inline:{ \xc8\xba\xce\x90@x.test=a@y.test }", "\xe2\xb1\xa5\xce\x90@x.test", "a@y.test"},
    {"inline:{ k@x.test=a@y.test }", "\xe2\x84\xaa+E\xc3\x84@x.test", "a+E\xc3\x84@y.test"},
    {"inline:{ ss@x.test=a@y.test }", "\xc3\x9f+E@x.test", "a+E@y.test"},
    {"inline:{ @kiosk.test=@y.test }",
     "\xc5\xbf"
     "a@\xe2\x84\xaaio\xc5\xbf\xe2\x84\xaa.test",
     "\xc5\xbf"
     "a@y.test"},
};

START_TEST(letters_fold_by_unicode)
{
    const char *const specs[] = {folded[_i].spec, NULL};
    struct lookup_list list = open_list(specs);
    struct address a = parse(folded[_i].address), out;
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct err err;

    table_match_init(&m);
    ck_assert_int_eq(lookup_canonical(&list, s, &a, "+", &out, &m, &err), TABLE_FOUND);
    ck_assert_str_eq(out.text, folded[_i].result);
    table_match_clear(&m);
    table_scratch_free(s);
    lookup_close(&list);
}
END_TEST

/* A text in `err` from before the call has no effect. */
START_TEST(a_stale_text_is_cleared)
{
    const char *const specs[] = {"inline:{ a@b.test=x@y.test }", NULL};
    struct lookup_list list = open_list(specs), none = {0};
    struct address known = parse("a@b.test"), unknown = parse("b@b.test"), out;
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct err err;

    table_match_init(&m);
    err_set(&err, "stale");
    ck_assert_int_eq(lookup_transport(&list, s, &known, "", &m, &err), TABLE_FOUND);
    ck_assert_str_eq(err.text, "");
    err_set(&err, "stale");
    ck_assert_int_eq(lookup_transport(&none, s, &known, "", &m, &err), TABLE_NOT_FOUND);
    ck_assert_str_eq(err.text, "");
    err_set(&err, "stale");
    ck_assert_int_eq(lookup_sender(&list, s, &unknown, "", &m, &err), TABLE_NOT_FOUND);
    ck_assert_str_eq(err.text, "");
    err_set(&err, "stale");
    ck_assert_int_eq(lookup_canonical(&list, s, &known, "", &out, &m, &err), TABLE_FOUND);
    ck_assert_str_eq(err.text, "");
    err_set(&err, "stale");
    ck_assert_int_eq(lookup_canonical(&none, s, &known, "", &out, &m, &err), TABLE_NOT_FOUND);
    ck_assert_str_eq(err.text, "");
    table_match_clear(&m);
    table_scratch_free(s);
    lookup_close(&list);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("lookup");

    tcase_add_loop_test(tests, keys_are_tried_in_postfix_order, 0, (int)UNIT_COUNT(keys));
    tcase_add_loop_test(tests, transport_finds_what_postfix_finds, 0, (int)UNIT_COUNT(transports));
    tcase_add_loop_test(tests, canonical_maps_as_cleanup_does, 0, (int)UNIT_COUNT(canonicals));
    tcase_add_test(tests, patterns_get_the_whole_address_once);
    tcase_add_loop_test(tests, canonical_results_that_become_too_long, 0,
                        (int)UNIT_COUNT(long_results));
    tcase_add_test(tests, a_failing_table_ends_the_search);
    tcase_add_test(tests, a_list_opens_whole_or_not_at_all);
    tcase_add_test(tests, the_null_path_is_never_looked_up);
    tcase_add_test(tests, a_stale_text_is_cleared);
    tcase_add_loop_test(tests, letters_fold_by_unicode, 0, sizeof folded / sizeof folded[0]);
    tcase_add_loop_test_raise_signal(tests, a_text_that_contradicts_the_outcome_is_a_bug, SIGABRT,
                                     0, (int)UNIT_COUNT(lies));
    return unit_run("lookup", tests);
}
