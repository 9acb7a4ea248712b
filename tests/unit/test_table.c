/* SPDX-License-Identifier: ISC */
#include "table/table_private.h"
#include "base/log.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The warnings of one test: stderr is this pipe. */
static int log_pipe[2];

static void capture_log(void)
{
    struct err err;

    ck_assert_int_eq(pipe(log_pipe), 0);
    ck_assert_int_eq(fcntl(log_pipe[0], F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(dup2(log_pipe[1], STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(log_open("t", "stderr", "mail", "info", &err), 0);
}

static const char *logged(void)
{
    static char text[65536];
    ssize_t n = read(log_pipe[0], text, sizeof text - 1);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static struct table *open_ok(const char *spec)
{
    struct err err = {""};
    struct table *t = table_open(spec, &err);

    ck_assert_msg(t != NULL, "%s", err.text);
    ck_assert_str_eq(table_spec(t), spec);
    return t;
}

static struct table *parse_ok(const struct table_type *type, const char *text)
{
    struct err err = {""};
    struct table *t = table_open_text(type, "FILE", text, strlen(text), &err);

    ck_assert_msg(t != NULL, "%s", err.text);
    return t;
}

/* Look the key up, and compare the value (expect: NULL for "not found"). Returns the line. */
static unsigned expect_value(const struct table *t, const char *key, const char *expect)
{
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct err err = {""};

    table_match_init(&m);
    enum table_result r = table_find(t, s, key, &m, &err);
    if (expect == NULL) {
        ck_assert_msg(r == TABLE_NOT_FOUND, "%s: found %s %s", key, buf_str(&m.value), err.text);
    } else {
        ck_assert_msg(r == TABLE_FOUND, "%s: not found %s", key, err.text);
        ck_assert_str_eq(buf_str(&m.value), expect);
        ck_assert_ptr_eq(m.table, t);
    }
    unsigned line = m.line;
    table_match_clear(&m);
    table_scratch_free(s);
    return line;
}

/* --- specifications ------------------------------------------------------------------------- */

#ifdef HAVE_CDB
#define KNOWN_CDB "cdb, "
#else
#define KNOWN_CDB ""
#endif
#ifdef HAVE_LMDB
#define KNOWN_LMDB "lmdb, "
#define OR_LMDB ", or lmdb:/x"
#else
#define KNOWN_LMDB ""
#define OR_LMDB ""
#endif
#define KNOWN                                                                                      \
    KNOWN_CDB "inline, ldap, " KNOWN_LMDB                                                          \
              "mysql, pcre, pgsql, regexp, socketmap, sqlite, static, texthash"

static const struct {
    const char *spec, *expect;
} bad_specs[] = {
    {"", "\"\" is no table: expected type:argument, e.g. texthash:/path"},
    {"/etc/map", "\"/etc/map\" is no table: expected type:argument, e.g. texthash:/path"},
    {"static:", "\"static:\" is no table: expected type:argument, e.g. texthash:/path"},
    {":x", "\":x\" is no table: expected type:argument, e.g. texthash:/path"},
    {"nis:x", "nis:x: unknown table type \"nis\", known are: " KNOWN},
    {"TEXTHASH:/x", "TEXTHASH:/x: unknown table type \"TEXTHASH\", known are: " KNOWN},
    {"hash:/x",
     "hash:/x: Berkeley DB tables are not read: use texthash:/x (the source text)" OR_LMDB},
    {"btree:/x",
     "btree:/x: Berkeley DB tables are not read: use texthash:/x (the source text)" OR_LMDB},
    {"proxy:hash:/x",
     "hash:/x: Berkeley DB tables are not read: use texthash:/x (the source text)" OR_LMDB},
    {"proxy:", "\"proxy:\" is no table: expected type:argument, e.g. texthash:/path"},
    {"proxy:static", "\"proxy:static\" is no table: expected type:argument, e.g. texthash:/path"},
    {"mysql:name", "mysql:name: expected the path of a file: parameters in Postfix's main.cf are "
                   "not read"},
    {"texthash:/nonexistent/map", "cannot open /nonexistent/map: No such file or directory"},
    {"pcre:/nonexistent/map", "cannot open /nonexistent/map: No such file or directory"},
    {"texthash:/tmp", "/tmp is not a regular file"},
    {"texthash:/dev/zero", "/dev/zero is not a regular file"},
    {"static:{x", "static:{x: missing '}', or text after it"},
    {"static:{x} y", "static:{x} y: missing '}', or text after it"},
    {"static:\xff", "static:\xff: the value is not UTF-8"},
    {"inline:x=y", "inline:x=y: braces are missing or not balanced; expected inline:{ key=value, { "
                   "key = text } }"},
    {"inline:{x=y", "inline:{x=y: braces are missing or not balanced; expected inline:{ key=value, "
                    "{ key = text } }"},
    {"inline:{x=y}z", "inline:{x=y}z: braces are missing or not balanced; expected inline:{ "
                      "key=value, { key = text } }"},
    {"inline:{}", "inline:{}: the table is empty; expected inline:{ key=value, { key = text } }"},
    {"inline:{ , }",
     "inline:{ , }: the table is empty; expected inline:{ key=value, { key = text } }"},
    {"inline:{x}",
     "inline:{x}: missing '=' after the key; expected inline:{ key=value, { key = text } }"},
    {"inline:{x=y z}",
     "inline:{x=y z}: missing '=' after the key; expected inline:{ key=value, { key = text } }"},
    {"inline:{\"x=y}",
     "inline:{\"x=y}: unbalanced '\"'; expected inline:{ key=value, { key = text } }"},
    {"inline:{{}}", "inline:{{}}: no key found; expected format: key = value; expected inline:{ "
                    "key=value, { key = text } }"},
    {"inline:{{a=b}c}", "inline:{{a=b}c}: missing '}', or text after it; expected inline:{ "
                        "key=value, { key = text } }"},
    {"inline:{x=\xff}",
     "inline:{x=\xff}: the text is not UTF-8; expected inline:{ key=value, { key = text } }"},
};

START_TEST(bad_specifications_are_explained)
{
    struct err err = {""};

    ck_assert_ptr_null(table_open(bad_specs[_i].spec, &err));
    ck_assert_str_eq(err.text, bad_specs[_i].expect);
}
END_TEST

/* --- inline and static ---------------------------------------------------------------------- */

static const struct {
    const char *spec, *key, *value;
} small[] = {
    {"inline:{a=1}", "a", "1"},
    {"inline:{a=1}", "b", NULL},
    {"inline:{a=1}", "", NULL},
    {"inline:{ a=1, b=2,c=3 , d=4 }", "b", "2"},
    {"inline:{ a=1, b=2,c=3 , d=4 }", "c", "3"},
    {"inline:{ a=1, b=2,c=3 , d=4 }", "d", "4"},
    {"inline:{a=1\n\tb=2\r\n}", "b", "2"},
    {"inline:{ { key = a text, with comma } b=2 }", "key", "a text, with comma"},
    {"inline:{ { key = a text, with comma } b=2 }", "b", "2"},
    {"inline:{{a=b=c}}", "a", "b=c"},
    {"inline:{a=b=c}", "a", "b=c"},
    {"inline:{a={b c} d=e}", "a", "{b c}"},
    {"inline:{a={b c} d=e}", "d", "e"},
    {"inline:{{a = {b}}}", "a", "{b}"},
    {"inline:{MixedCase@Example.COM=Value}", "mixedcase@example.com", "Value"},
    {"inline:{a=1, a=2}", "a", "2"},
    {"inline:{a=1, A=2}", "a", "2"},
    {"inline:{a=}", "a", ""},
    {"inline:{{a =   }}", "a", ""},
    {"inline:{=x}", "", "x"},
    {"inline:{{\"a b\"@c = d}}", "\"a b\"@c", "d"},
    {"inline:{{\"a=b\"@c = d}}", "\"a=b\"@c", "d"},
    {"inline:{{a\\=b = d}}", "a\\=b", "d"},
    {"inline:{{a\\\"b = d}}", "a\\\"b", "d"},
    {"inline:{\xc3\xa4=\xc3\xb6}", "\xc3\xa4", "\xc3\xb6"},
    {"static:x", "anything", "x"},
    {"static:x", "", "x"},
    {"static:x y, z", "k", "x y, z"},
    {"static:{ x y }", "k", "x y"},
    {"static:{}", "k", ""},
    {"static:{ {x} }", "k", "{x}"},
    {"static:smtp:[host]:25", "k", "smtp:[host]:25"},
    {"proxy:static:smtp:[host]:25", "k", "smtp:[host]:25"},
};

START_TEST(inline_and_static_answer_as_postfix_does)
{
    struct table *t = open_ok(small[_i].spec);

    ck_assert_uint_eq(expect_value(t, small[_i].key, small[_i].value), 0);
    ck_assert(!table_takes_whole_address(t) && !table_asks_server(t));
    ck_assert_ptr_null(table_path(t));
    table_close(t);
}
END_TEST

/* --- texthash ------------------------------------------------------------------------------- */

static const struct {
    const char *text, *key, *value;
    unsigned line;
    const char *warning; /* part of the only warning; NULL for none */
} texts[] = {
    {"", "a", NULL, 0, NULL},
    {"\n\n# only this\n \t\n", "a", NULL, 0, NULL},
    {"a b\n", "a", "b", 1, NULL},
    {"a b", "a", "b", 1, NULL},
    {"a\tb", "a", "b", 1, NULL},
    {"# comment\n\na b\n", "a", "b", 3, NULL},
    {"a b\r\nc d\r\n", "a", "b", 1, NULL},
    {"a b\r\nc d\r\n", "c", "d", 2, NULL},
    {"a   b c  d \t\n", "a", "b c  d", 1, NULL},
    {"a b # no comment\n", "a", "b # no comment", 1, NULL},
    {"A@B.C Value\n", "a@b.c", "Value", 1, NULL},
    {"a b,\n  c\n\td\ne f\n", "a", "b,  c\td", 1, NULL},
    {"a b,\n  c\n\td\ne f\n", "e", "f", 4, NULL},
    {"a\n b\n", "a", "b", 1, NULL},
    {"a b\n# between\n c\n", "a", "b c", 1, NULL},
    {"a b\n\n  \n c\n", "a", "b c", 1, NULL},
    {"a b\n  # not a continuation\n c\n", "a", "b c", 1, NULL},
    {"a b\n#\nc d\n", "c", "d", 3, NULL},
    {"a b\n c", "a", "b c", 1, NULL},
    {"\"a b\"@c d\n", "\"a b\"@c", "d", 1, NULL},
    {"\"A \\\" b\"@c d\n", "\"a \\\" b\"@c", "d", 1, NULL},
    {"a\\ b c\n", "a\\ b", "c", 1, NULL},
    {"a\\\n", "a\\", NULL, 0, "FILE:1: expected format: key whitespace value"},
    {"a\n", "a", NULL, 0, "FILE:1: expected format: key whitespace value: ignoring this line"},
    {"a   \n", "a", NULL, 0, "FILE:1: expected format: key whitespace value"},
    {"\"a b\n", "\"a", NULL, 0, "FILE:1: unbalanced '\"': ignoring this line"},
    {"a: b\n", "a:", "b", 1, "FILE:1: record is in \"key: value\" format"},
    {"a b\nx y\na c\n", "a", "b", 1, "FILE:3: duplicate entry: \"a\", line 1 counts"},
    {"a b\nA c\n", "a", "b", 1, "FILE:2: duplicate entry: \"a\", line 1 counts"},
    {" a b\nc d\n", "c", "d", 2, "FILE:1: logical line must not start with whitespace: \" a b\""},
    {" a b\n e f\nc d\n", "c", "d", 3,
     "FILE:1: logical line must not start with whitespace: \" a b e f\""},
    {"a \xff\nc d\n", "c", "d", 2, "FILE:1: non-UTF-8 input: ignoring this line"},
    {"a \xff\n", "a", NULL, 0, "FILE:1: non-UTF-8 input: ignoring this line"},
    {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac\n", "gr\xc3\xbcss", "\xe2\x82\xac", 1, NULL},
    {"firstmailaddress@domain.com smtp:secondaryfilter.domain.com:25\n"
     "* smtp:primaryfilter.domain.com:10024\n",
     "firstmailaddress@domain.com", "smtp:secondaryfilter.domain.com:25", 1, NULL},
    {"firstmailaddress@domain.com smtp:secondaryfilter.domain.com:25\n"
     "* smtp:primaryfilter.domain.com:10024\n",
     "*", "smtp:primaryfilter.domain.com:10024", 2, NULL},
};

START_TEST(texthash_reads_postmap_source)
{
    capture_log();
    struct table *t = parse_ok(&table_texthash, texts[_i].text);
    const char *log = logged();
    if (texts[_i].warning == NULL)
        ck_assert_str_eq(log, "");
    else
        ck_assert_msg(strstr(log, texts[_i].warning) != NULL, "%s", log);
    ck_assert_ptr_eq(strchr(log, '\n'), strrchr(log, '\n'));
    ck_assert_uint_eq(expect_value(t, texts[_i].key, texts[_i].value), texts[_i].line);
    ck_assert_str_eq(table_path(t), "FILE");
    table_close(t);
}
END_TEST

START_TEST(a_nul_takes_its_line_only)
{
    static const char text[] = "a b\nc\0c d\ne f\0\ng h";
    struct err err;

    capture_log();
    struct table *t = table_open_text(&table_texthash, "FILE", text, sizeof text - 1, &err);
    ck_assert_ptr_nonnull(t);
    const char *log = logged();
    ck_assert_ptr_nonnull(strstr(log, "FILE:2: NUL in the line"));
    ck_assert_ptr_nonnull(strstr(log, "FILE:3: NUL in the line"));
    expect_value(t, "a", "b");
    expect_value(t, "c", NULL);
    expect_value(t, "e", NULL);
    expect_value(t, "g", "h");
    table_close(t);
}
END_TEST

START_TEST(a_line_that_is_too_long_is_refused)
{
    struct buf text = {0};
    struct err err = {""};

    buf_adds(&text, "a b\nkey ");
    memset(buf_reserve(&text, TABLE_LINE_MAX), 'x', TABLE_LINE_MAX - 4);
    text.len += TABLE_LINE_MAX - 4;
    struct table *t = table_open_text(&table_texthash, "FILE", text.data, text.len, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    table_close(t);
    buf_adds(&text, "\n y\n");
    ck_assert_ptr_null(table_open_text(&table_texthash, "FILE", text.data, text.len, &err));
    ck_assert_str_eq(err.text, "FILE:2: line is too long: 65538 bytes with its continuations, "
                               "allowed are 65536");
    ck_assert_ptr_null(table_open_text(&table_pcre, "FILE", text.data, text.len, &err));
    buf_clear(&text);
}
END_TEST

START_TEST(warnings_are_limited)
{
    struct buf text = {0};

    for (int i = 0; i < 1000; i++)
        buf_adds(&text, "x\n");
    capture_log();
    table_close(parse_ok(&table_texthash, buf_str(&text)));
    const char *log = logged();
    size_t lines = 0;
    for (const char *p = log; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    ck_assert_uint_eq(lines, TABLE_WARNINGS_MAX + 1);
    ck_assert_ptr_nonnull(strstr(log, "warning: FILE: 950 further warnings\n"));
    buf_clear(&text);
}
END_TEST

START_TEST(a_file_is_read_from_disk)
{
    char dir[] = "/tmp/split-table-XXXXXX", path[64], spec[80];

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/map", dir);
    snprintf(spec, sizeof spec, "texthash:%s", path);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < 5000; i++)
        fprintf(f, "User%d@Example%d.com\tvalue %d\n", i, i % 7, i);
    ck_assert_int_eq(fclose(f), 0);
    struct table *t = open_ok(spec);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(dir), 0);
    ck_assert_str_eq(table_path(t), path);
    for (int i = 0; i < 5000; i++) {
        char key[64], value[32];
        snprintf(key, sizeof key, "user%d@example%d.com", i, i % 7);
        snprintf(value, sizeof value, "value %d", i);
        ck_assert_uint_eq(expect_value(t, key, value), (unsigned)i + 1);
        snprintf(key, sizeof key, "user%d@example%d.com", i, i % 7 + 1);
        expect_value(t, key, NULL);
    }
    table_close(t);
}
END_TEST

/* --- pcre ----------------------------------------------------------------------------------- */

static const struct {
    const char *text, *key, *value;
    unsigned line;
    const char *warning; /* part of what is logged; NULL for nothing */
} rules[] = {
    {"", "a", NULL, 0, NULL},
    {"/^a/ x\n", "abc", "x", 1, NULL},
    {"/^a/ x\n", "bac", NULL, 0, NULL},
    {"/^a/\tx y  z \n", "a", "x y  z", 1, NULL},
    {"# c\n\n/^a/ x\n/^ab/ y\n", "ab", "x", 3, NULL},
    {"/^ab/ y\n/^a/ x\n", "ac", "x", 2, NULL},
    {"/^A/ x\n", "abc", "x", 1, NULL},
    {"/^A/i x\n", "abc", NULL, 0, NULL},
    {"/^A/ii x\n", "abc", "x", 1, NULL},
    {"/^a.c$/ x\n", "a\nc", "x", 1, NULL},
    {"/^a.c$/s x\n", "a\nc", NULL, 0, NULL},
    {"/^c/ x\n", "a\nc", NULL, 0, NULL},
    {"/^c/m x\n", "a\nc", "x", 1, NULL},
    {"/a b # c/x x\n", "ab", "x", 1, NULL},
    {"/b/A x\n", "ab", NULL, 0, NULL},
    {"/b/A x\n", "ba", "x", 1, NULL},
    {"/a$/ x\n", "a\n", "x", 1, NULL},
    {"/a$/E x\n", "a\n", NULL, 0, NULL},
    {"/(a+)/U $1\n", "aaa", "a", 1, NULL},
    {"/(a+)/ $1\n", "aaa", "aaa", 1, NULL},
    {"/a/X x\n", "a", "x", 1, "FILE:1: ignoring obsolete regexp option \"X\""},
    {"/a/q x\n", "a", NULL, 0, "FILE:1: unknown regexp option \"q\": skipping this rule"},
    {"!/^a/ x\n", "b", "x", 1, NULL},
    {"!/^a/ x\n", "a", NULL, 0, NULL},
    {"!!/^a/ x\n", "a", "x", 1, NULL},
    {"! /^a/ x\n", "b", "x", 1, NULL},
    {"!/^(a)/ $1\n", "b", NULL, 0, "$number found in negative match replacement text"},
    {"|^a/b| x\n", "a/b", "x", 1, NULL},
    {"/^a\\/b/ x\n", "a/b", "x", 1, NULL},
    {"{^a{ x\n", "a", "x", 1, NULL},
    {"/a\n", "a", NULL, 0, "FILE:1: no closing regexp delimiter \"/\""},
    {"/a\\/\n", "a", NULL, 0, "no closing regexp delimiter"},
    {"/a\\\n", "a", NULL, 0, "no closing regexp delimiter"},
    {"\\a\\ b\n", "a", NULL, 0, "no closing regexp delimiter"},
    {"!\n", "a", NULL, 0, "FILE:1: no regexp: skipping this rule"},
    {"/a/\n", "a", "", 1, "FILE:1: no replacement text: using empty string"},
    {"/a(/ x\n", "a", NULL, 0, "FILE:1: error in regexp: missing closing parenthesis at offset 2"},
    {"junk\n/a/ x\n", "a", "x", 2, "FILE:1: ignoring unrecognized request"},
    {"/^(.*)@(.*)$/ $2:$1\n", "u@d", "d:u", 1, NULL},
    {"/^(.*)@(.*)$/ ${2}x$(1)y\n", "u@d", "dxuy", 1, NULL},
    {"/^(.*)@/ $1-$1_\n", "u@d", NULL, 0, "$ is followed by no group number"},
    {"/^(.*)@/ $$1 $$$1 $$\n", "u@d", "$1 $u $", 1, NULL},
    {"/^(.*)@/ $$1\n", "u@d", "$1", 1, NULL},
    {"/^(a)?(b)?@/ <$1><$2>\n", "b@", "<><b>", 1, NULL},
    {"/^(a)?(b)?(c)?@/ <$1><$2><$3>\n", "a@", "<a><><>", 1, NULL},
    {"/^(a)/ $2\n", "a", NULL, 0, "$number is larger than the number of groups"},
    {"/^(a)/ $0\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)/ $01\n", "a", "a", 1, NULL},
    {"/^(a)/ $99999999999999999999\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)/ $x\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)/ $1a\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)/ ${1}a\n", "a", "aa", 1, NULL},
    {"/^(a)/ $\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)/ ${}\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)/ ${1\n", "a", NULL, 0, "truncated $ reference"},
    {"/^(a)/ ${1)}\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)/ $((1))\n", "a", NULL, 0, "$ is followed by no group number"},
    {"/^(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)/ $11$10\n", "abcdefghijk", "kj", 1, NULL},
    {"if /^a/\n/b$/ x\nendif\n/./ y\n", "ab", "x", 2, NULL},
    {"if /^a/\n/b$/ x\nendif\n/./ y\n", "cb", "y", 4, NULL},
    {"if /^a/\n/b$/ x\nendif\n/./ y\n", "ac", "y", 4, NULL},
    {"IF /^a/\n/b$/ x\nEndIf\n/./ y\n", "ab", "x", 2, NULL},
    {"if/^a/\n/b$/ x\nendif\n", "ab", "x", 2, NULL},
    {"if !/^a/\n/b$/ x\nendif\n", "cb", "x", 2, NULL},
    {"if !/^a/\n/b$/ x\nendif\n", "ab", NULL, 0, NULL},
    {"if /a/\nif /b/\n/c/ 1\nendif\n/c/ 2\nendif\n/c/ 3\n", "abc", "1", 3, NULL},
    {"if /a/\nif /b/\n/c/ 1\nendif\n/c/ 2\nendif\n/c/ 3\n", "ac", "2", 5, NULL},
    {"if /a/\nif /b/\n/c/ 1\nendif\n/c/ 2\nendif\n/c/ 3\n", "bc", "3", 7, NULL},
    {"if /a/\n/b/ x\n", "b", NULL, 0, "FILE:1: IF has no matching ENDIF"},
    {"if /a/\n/b/ x\n", "ab", "x", 2, "FILE:1: IF has no matching ENDIF"},
    {"endif\n/a/ x\n", "a", "x", 2, "FILE:1: ignoring ENDIF without matching IF"},
    {"if /a/ x\n/a/ y\nendif z\n", "a", "y", 2, "ignoring extra text after IF statement: \"x\""},
    {"if /a/\n/a/ y\nendif z\n", "a", "y", 2, "FILE:3: ignoring extra text after ENDIF"},
    {"if\n/a/ y\n", "a", "y", 2, "FILE:1: no regexp: skipping this rule"},
    {"ifx /a/\n/a/ y\n", "a", "y", 2, "FILE:1: ignoring unrecognized request"},
    {"/^a\n  b/x x\n", "ab", "x", 1, NULL},
    {"/^a/ x,\n y\n", "a", "x, y", 1, NULL},
    {"/^aB?c/ x\n", "Ac", "x", 1, NULL},
    {"/^aB*/ x\n", "a", "x", 1, NULL},
    {"/^ab{0}c/ x\n", "ac", "x", 1, NULL},
    {"/^abc|x/ x\n", "x", "x", 1, NULL},
    {"/^abc/ x\n", "ab", NULL, 0, NULL},
    {"/^aBc/i x\n", "abc", NULL, 0, NULL},
    {"!/^abc/ x\n", "xbc", "x", 1, NULL},
    {"/^abcdefghijklmnopqrstuvwxyz0?1/ x\n", "abcdefghijklmnopqrstuvwxyz1", "x", 1, NULL},
    {"/^abcdefghijklmnopqrstuv?w/ x\n", "abcdefghijklmnopqrstuw", "x", 1, NULL},
    {"/^abcdefghijklmnopqrstuvw?x/ x\n", "abcdefghijklmnopqrstuvx", "x", 1, NULL},
    {"/^\xc3\xa4/ x\n", "\xc3\xa4", "x", 1, NULL},
    {"/(*UTF)^.$/ x\n", "\xc3\xa4", "x", 1, NULL},
};

START_TEST(pcre_reads_pcre_table)
{
    capture_log();
    struct table *t = parse_ok(&table_pcre, rules[_i].text);
    const char *log = logged();
    if (rules[_i].warning == NULL)
        ck_assert_str_eq(log, "");
    else
        ck_assert_msg(strstr(log, rules[_i].warning) != NULL, "%s", log);
    ck_assert_uint_eq(expect_value(t, rules[_i].key, rules[_i].value), rules[_i].line);
    ck_assert(table_takes_whole_address(t) && !table_asks_server(t));
    table_close(t);
}
END_TEST

static const struct {
    const char *text, *expect;
} exceeding[] = {
    {"/^(a+)+$/ x\n", "FILE:1: match limit exceeded, with \"aaaaaaaaaaaaaaa"},
    {"/^(a|aa|a?a)*\\W{3}/ x\n", "FILE:1: match limit exceeded, with \"aaaaaaaaaaaaaaa"},
    {"/(*UTF)x/ x\n", "FILE:1: UTF-8 error: "},
    {"/(.)$/ $1\n", "FILE:1: the result for \"aaaaaaaaaaaaaaaaa"},
};

START_TEST(pcre_gives_up_instead_of_stalling)
{
    struct table *t = parse_ok(&table_pcre, exceeding[_i].text);
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct err err = {""};
    char key[500];

    memset(key, 'a', sizeof key);
    memcpy(key + sizeof key - 3, "!\xff", 3);
    table_match_init(&m);
    ck_assert_int_eq(table_find(t, s, key, &m, &err), TABLE_LIMIT);
    ck_assert_msg(strncmp(err.text, exceeding[_i].expect, strlen(exceeding[_i].expect)) == 0, "%s",
                  err.text);
    ck_assert(!table_has_failed(table_find(t, s, "b", &m, &err)));
    table_match_clear(&m);
    table_scratch_free(s);
    table_close(t);
}
END_TEST

START_TEST(one_scratch_serves_many_tables)
{
    struct table *few = parse_ok(&table_pcre, "/^(.)(.)/ $2$1\n");
    struct table *many = parse_ok(&table_pcre, "/^(.)(.)(.)(.)(.)(.)/ $6$5$4$3$2$1\n");
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct err err = {""};

    table_match_init(&m);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(table_find(few, s, "abcdef", &m, &err), TABLE_FOUND);
        ck_assert_str_eq(buf_str(&m.value), "ba");
        ck_assert_str_eq(buf_str(&m.key), "/^(.)(.)/");
        ck_assert_int_eq(table_find(many, s, "abcdef", &m, &err), TABLE_FOUND);
        ck_assert_str_eq(buf_str(&m.value), "fedcba");
        ck_assert_ptr_eq(m.table, many);
    }
    table_match_clear(&m);
    table_scratch_free(s);
    table_close(few);
    table_close(many);
}
END_TEST

/* --- all values ----------------------------------------------------------------------------- */

static int collect(const char *key, const char *value, unsigned line, void *ctx)
{
    buf_addf(ctx, "%s=%s:%u;", key, value, line);
    return strcmp(value, "stop") == 0 ? 7 : 0;
}

static const struct {
    const struct table_type *type; /* NULL: text is a specification */
    const char *text, *expect;
    int rc;
} walks[] = {
    {NULL, "inline:{b=1, A=2, c=3, b=4}", "b=4:0;a=2:0;c=3:0;", 0},
    {NULL, "static:x y", "*=x y:0;", 0},
    {NULL, "static:stop", "*=stop:0;", 7},
    {&table_texthash, "b 1\n\nA 2\nc 3\n", "b=1:1;a=2:3;c=3:4;", 0},
    {&table_texthash, "b 1\nd stop\nc 3\n", "b=1:1;d=stop:2;", 7},
    {&table_texthash, "", "", 0},
    {&table_pcre, "/a/i x\nif /b/\n/(c)/ $1\n!/d/ $$\nendif\n", "/a/i=x:1;!/d/=$:4;", 0},
    {&table_pcre, "/a/ stop\n/b/ x\n", "/a/=stop:1;", 7},
};

START_TEST(all_values_can_be_seen)
{
    struct buf seen = {0};
    struct table *t =
        walks[_i].type == NULL ? open_ok(walks[_i].text) : parse_ok(walks[_i].type, walks[_i].text);

    ck_assert_int_eq(table_each_value(t, collect, &seen), walks[_i].rc);
    ck_assert_str_eq(buf_str(&seen), walks[_i].expect);
    buf_clear(&seen);
    table_close(t);
}
END_TEST

START_TEST(nothing_is_fine_to_release)
{
    struct table_match m;

    table_close(NULL);
    table_scratch_free(NULL);
    table_match_init(&m);
    table_match_clear(&m);
    table_match_clear(&m);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("table");

    tcase_add_loop_test(tests, bad_specifications_are_explained, 0, (int)UNIT_COUNT(bad_specs));
    tcase_add_loop_test(tests, inline_and_static_answer_as_postfix_does, 0, (int)UNIT_COUNT(small));
    tcase_add_loop_test(tests, texthash_reads_postmap_source, 0, (int)UNIT_COUNT(texts));
    tcase_add_test(tests, a_nul_takes_its_line_only);
    tcase_add_test(tests, a_line_that_is_too_long_is_refused);
    tcase_add_test(tests, warnings_are_limited);
    tcase_add_test(tests, a_file_is_read_from_disk);
    tcase_add_loop_test(tests, pcre_reads_pcre_table, 0, (int)UNIT_COUNT(rules));
    tcase_add_loop_test(tests, pcre_gives_up_instead_of_stalling, 0, (int)UNIT_COUNT(exceeding));
    tcase_add_test(tests, one_scratch_serves_many_tables);
    tcase_add_loop_test(tests, all_values_can_be_seen, 0, (int)UNIT_COUNT(walks));
    tcase_add_test(tests, nothing_is_fine_to_release);
    return unit_run("table", tests);
}
