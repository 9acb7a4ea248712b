/* SPDX-License-Identifier: ISC */
#include "mail/address.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *path;
    unsigned flags;
    const char *text; /* NULL: an error */
    const char *domain;
} parse_cases[] = {
    {"<user@example.com>", 0, "user@example.com", "example.com"},
    {"user@example.com", 0, "user@example.com", "example.com"},
    {"<user+ext@Example.COM>", 0, "user+ext@Example.COM", "Example.COM"},
    {"<\"john doe\"@a.test>", 0, "\"john doe\"@a.test", "a.test"},
    {"<\"a@b\"@a.test>", 0, "\"a@b\"@a.test", "a.test"},
    {"<\"a\\\"b\"@a.test>", 0, "\"a\\\"b\"@a.test", "a.test"},
    {"<@x.test,@y.test:user@a.test>", 0, "user@a.test", "a.test"},
    {"<user@[192.0.2.1]>", 0, "user@[192.0.2.1]", "[192.0.2.1]"},
    {"<user@[IPv6:2001:db8::1]>", 0, "user@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"},
    {"<user@a.test.>", 0, "user@a.test", "a.test"},
    {"<jos\xc3\xa9@b\xc3\xbc"
     "cher.test>",
     0,
     "jos\xc3\xa9@b\xc3\xbc"
     "cher.test",
     "b\xc3\xbc"
     "cher.test"},
    {"<>", ADDRESS_NULL_OK, "", ""},
    {"<>", 0, NULL, NULL},
    {"", 0, NULL, NULL},
    {"<user@example.com", 0, NULL, NULL},
    {"<@a.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<@x.test:>", ADDRESS_NULL_OK, NULL, NULL},
    {"<postmaster>", 0, NULL, NULL},
    {"<postmaster>", ADDRESS_LENIENT, "postmaster", ""},
    {"<user@>", ADDRESS_LENIENT, NULL, NULL},
    {"<user@a..test>", ADDRESS_LENIENT, NULL, NULL},
    {"<user@.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<user@a.test..>", ADDRESS_LENIENT, NULL, NULL},
    {"<user@-a.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<user@a-.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<user@a_b.test>", 0, "user@a_b.test", "a_b.test"},
    {"<user@a b.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<us er@a.test>", 0, NULL, NULL},
    {"<us er@a.test>", ADDRESS_LENIENT, "us er@a.test", "a.test"},
    {"<.user@a.test>", 0, NULL, NULL},
    {"<us..er@a.test>", 0, NULL, NULL},
    {"<us..er@a.test>", ADDRESS_LENIENT, "us..er@a.test", "a.test"},
    {"<a@b@a.test>", ADDRESS_LENIENT, "a@b@a.test", "a.test"},
    {"<a@b@a.test>", 0, NULL, NULL},
    {"<\"open@a.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<user\\>", ADDRESS_LENIENT, NULL, NULL},
    {"<<user@a.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<us>er@a.test>", ADDRESS_LENIENT, NULL, NULL},
    {"<\"<us>\"@a.test>", 0, "\"<us>\"@a.test", "a.test"},
    {"<us\x01"
     "er@a.test>",
     ADDRESS_LENIENT, NULL, NULL},
    {"<us\x7f"
     "er@a.test>",
     ADDRESS_LENIENT, NULL, NULL},
    {"<us\xff"
     "er@a.test>",
     ADDRESS_LENIENT, NULL, NULL},
    {"<us\xc2\x85"
     "er@a.test>",
     ADDRESS_LENIENT, NULL, NULL},
};

START_TEST(parse)
{
    struct address a;
    struct err err = {""};
    const char *path = parse_cases[_i].path;
    int rc = address_parse(path, strlen(path), parse_cases[_i].flags, &a, &err);

    if (parse_cases[_i].text == NULL) {
        ck_assert_msg(rc == -1, "%s was accepted as %s", path, a.text);
        ck_assert(err.text[0] != '\0');
        return;
    }
    ck_assert_msg(rc == 0, "%s: %s", path, err.text);
    ck_assert_str_eq(a.text, parse_cases[_i].text);
    ck_assert_str_eq(a.text + a.domain_at, parse_cases[_i].domain);
    ck_assert_int_eq(a.is_literal, parse_cases[_i].domain[0] == '[');
    ck_assert_int_eq(a.is_utf8, strpbrk(a.text, "\xc3") != NULL);
}
END_TEST

START_TEST(parse_refuses_nul_and_long)
{
    struct address a;
    struct err err;
    char path[ADDRESS_MAX + 40];

    ck_assert_int_eq(address_parse("<u\0r@a.test>", 12, ADDRESS_LENIENT, &a, &err), -1);
    memset(path, 'a', sizeof path);
    memcpy(path + ADDRESS_MAX - 7, "@a.test", 7);
    ck_assert_int_eq(address_parse(path, ADDRESS_MAX, 0, &a, &err), 0);
    memcpy(path + ADDRESS_MAX - 7, "aaaaaaa", 7);
    memcpy(path + ADDRESS_MAX - 6, "@a.test", 7);
    ck_assert_int_eq(address_parse(path, ADDRESS_MAX + 1, 0, &a, &err), -1);
}
END_TEST

static void parse_ok(const char *text, struct address *out)
{
    struct err err;

    ck_assert_int_eq(address_parse(text, strlen(text), ADDRESS_LENIENT, out, &err), 0);
}

static const struct {
    const char *text, *folded;
} fold_cases[] = {
    {"User+Ext@Example.COM", "user+ext@example.com"},
    {"\"john\"@A.test", "john@a.test"},
    {"\"j\\ohn\"@a.test", "john@a.test"},
    {"\"John Doe\"@a.test", "\"john doe\"@a.test"},
    {"\"a\\\"B\\\\\"@a.test", "\"a\\\"b\\\\\"@a.test"},
    {"\"\"@a.test", "\"\"@a.test"},
    {"Postmaster", "postmaster"},
    {"Jos\xc3\x89@a.test", "jos\xc3\x89@a.test"},
};

START_TEST(fold)
{
    struct address a;
    struct buf out = {0};

    parse_ok(fold_cases[_i].text, &a);
    address_fold(&a, &out);
    ck_assert_str_eq(buf_str(&out), fold_cases[_i].folded);
    buf_clear(&out);
}
END_TEST

START_TEST(tag_and_untag)
{
    static const char *const texts[] = {
        "user@example.com", "\"john q. doe\"@a.test",     "\"a@b\"@a.test",
        "u+x%y!z@A.Test",   "jos\xc3\xa9@b\xc3\xbc.test", "o'neil=x#y@a.test",
    };
    struct address a, tagged, plain;
    struct buf out = {0}, name = {0};
    struct err err;

    parse_ok(texts[_i], &a);
    ck_assert_int_eq(address_tag(&a, "second-1", "filter", "split.invalid", &out, &err), 0);
    ck_assert_ptr_nonnull(strstr(buf_str(&out), ".second-1.filter.split.invalid"));
    parse_ok(buf_str(&out), &tagged);
    ck_assert(!address_untag(&tagged, "copy", "split.invalid", &plain, &name));
    ck_assert_uint_eq(name.len, 0);
    ck_assert(address_untag(&tagged, "filter", "SPLIT.Invalid", &plain, &name));
    ck_assert_str_eq(buf_str(&name), "second-1");
    ck_assert_str_eq(plain.text, texts[_i]);
    ck_assert(address_leads_into(buf_str(&out), out.len, "split.invalid"));
    buf_clear(&out);
    buf_clear(&name);
}
END_TEST

START_TEST(cannot_tag)
{
    static const char *const texts[] = {"postmaster", "user@[192.0.2.1]"};
    struct address a;
    struct buf out = {0};
    struct err err;
    char text[300];

    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        parse_ok(texts[i], &a);
        ck_assert_int_eq(address_tag(&a, "x", "copy", "split.invalid", &out, &err), -1);
        ck_assert_uint_eq(out.len, 0);
    }
    /* ".x.copy.split.invalid" has 21 characters */
    for (int local = 200; local < 240; local++) {
        memset(text, 'a', sizeof text);
        strcpy(text + local, "@b.test");
        parse_ok(text, &a);
        int rc = address_tag(&a, "x", "copy", "split.invalid", &out, &err);
        ck_assert_int_eq(rc, local + 7 + 21 <= ADDRESS_TAGGED_MAX ? 0 : -1);
        buf_reset(&out);
    }
    buf_clear(&out);
}
END_TEST

START_TEST(untag_refuses)
{
    static const char *const texts[] = {
        "user@example.com",
        "user@archive.copy.split.invalid",
        "user@copy.split.invalid",
        "user@a.test..copy.split.invalid",
        "user@a.test.ar_chive.copy.split.invalid",
        "user@a.test.-x.copy.split.invalid",
        "user@a.test.archive.copy.xsplit.invalid",
        "user@a.test.archive.copy.split.invalid.example.com",
    };
    struct address a, plain = {.text = "unchanged"};
    struct buf name = {0};
    struct err err;

    if (address_parse(texts[_i], strlen(texts[_i]), ADDRESS_LENIENT, &a, &err) == 0)
        ck_assert(!address_untag(&a, "copy", "split.invalid", &plain, &name));
    ck_assert_uint_eq(name.len, 0);
}
END_TEST

static const struct {
    const char *path;
    bool leads;
} leads_cases[] = {
    {"<user@example.com>", false},
    {"<user@split.invalid>", true},
    {"<user@x.archive.copy.split.invalid>", true},
    {"<user@X.Archive.Copy.SPLIT.Invalid>", true},
    {"<user@x.copy.split.invalid.>", true},
    {"<user%x.copy.split.invalid>", true},
    {"<user%x.copy.split.invalid@example.com>", true},
    {"<x.copy.split.invalid!user>", true},
    {"<\"user@x.copy.split.invalid\"@example.com>", true},
    {"<\"user@x.copy.spl\\it.invalid\"@example.com>", true},
    {"<user@x.copy.split(comment).invalid>", true},
    {"<user@x.copy.split . invalid>", true},
    {"<@x.copy.split.invalid:user@example.com>", true},
    {"<(user@x.copy.split.invalid>", true},
    {"<user@split.invalid.example.com>", false},
    {"<user@xsplit.invalid>", false},
    {"<user@split.invalidx>", false},
    {"<split.invalid-list@example.com>", false},
    {"<news.split.invalid@example.com>", true},
    /* U+017F and U+212A fold to "s" and "k", as Postfix folds before it searches a table. */
    {"<user@x.copy.\xc5\xbfplit.invalid>", true},
    {"<x.copy.\xc5\xbfplit.invalid!user@[192.0.2.1]>", true},
    {"<user@\xe2\x84\xaa.split.invalid>", true},
    {"<user@\xc3\xa9plit.invalid>", false},
    {"<user@\xc5.split\xbf.invalid>", false},
};

START_TEST(leads_into)
{
    const char *path = leads_cases[_i].path;

    ck_assert_msg(address_leads_into(path, strlen(path), "split.invalid") == leads_cases[_i].leads,
                  "%s", path);
}
END_TEST

START_TEST(leads_into_ligatures)
{
    static const char path[] = "<user@x.copy.o\xef\xac\x83"
                               "ce.te\xef\xac\x85.gro\xc3\x9f>";

    ck_assert(address_leads_into(path, strlen(path), "office.test.gross"));
}
END_TEST

static const struct {
    const char *a, *b;
    bool is_same;
} same_cases[] = {
    {"user@x.test", "user@x.test", true},
    {"user@x.test", "user@X.Test", true},
    {"user@x.test", "User@x.test", false},
    {"user@x.test", "user@y.test", false},
    {"user@x.test", "user@x.test.example", false},
    {"user@x.test.example", "user@x.test", false},
    {"user", "user", true},
    {"user", "USER", false},
    {"\"a@b\"@x.test", "\"a@b\"@X.test", true},
    {"\"a@b\"@x.test", "\"a@B\"@x.test", false},
    {"\"a@b\"", "\"a@B\"", false},
    {"", "", true},
    {"", "user@x.test", false},
};

START_TEST(same)
{
    const char *a = same_cases[_i].a, *b = same_cases[_i].b;

    ck_assert_msg(address_is_same(a, b) == same_cases[_i].is_same, "%s %s", a, b);
}
END_TEST

START_TEST(tag_names)
{
    ck_assert(address_is_tag_name("a"));
    ck_assert(address_is_tag_name("new-mail2"));
    ck_assert(!address_is_tag_name(""));
    ck_assert(!address_is_tag_name("-a"));
    ck_assert(!address_is_tag_name("a-"));
    ck_assert(!address_is_tag_name("A"));
    ck_assert(!address_is_tag_name("a.b"));
    ck_assert(!address_is_tag_name("../x"));
    ck_assert(
        address_is_tag_name("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    ck_assert(
        !address_is_tag_name("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("address");

    tcase_add_loop_test(tests, parse, 0, UNIT_COUNT(parse_cases));
    tcase_add_test(tests, parse_refuses_nul_and_long);
    tcase_add_loop_test(tests, fold, 0, UNIT_COUNT(fold_cases));
    tcase_add_loop_test(tests, tag_and_untag, 0, 6);
    tcase_add_test(tests, cannot_tag);
    tcase_add_loop_test(tests, untag_refuses, 0, 8);
    tcase_add_loop_test(tests, leads_into, 0, UNIT_COUNT(leads_cases));
    tcase_add_test(tests, leads_into_ligatures);
    tcase_add_loop_test(tests, same, 0, UNIT_COUNT(same_cases));
    tcase_add_test(tests, tag_names);
    return unit_run("address", tests);
}
