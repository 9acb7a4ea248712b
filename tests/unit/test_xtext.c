/* SPDX-License-Identifier: ISC */
#include "mail/xtext.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *plain;
    size_t len;
    const char *xtext;
} pairs[] = {
    {"", 0, ""},
    {"abc", 3, "abc"},
    {"user+ext@example.com", 20, "user+2Bext@example.com"},
    {"a=b", 3, "a+3Db"},
    {"a b", 3, "a+20b"},
    {"!~", 2, "!~"},
    {"\x7f\x1f\n\r", 4, "+7F+1F+0A+0D"},
    {"\0x", 2, "+00x"},
    {"\xff\x80", 2, "+FF+80"},
    {"gr\xc3\xbc\xc3\x9f", 6, "gr+C3+BC+C3+9F"},
    {"+++", 3, "+2B+2B+2B"},
    {"\"quoted \\\" local\"@d", 19, "\"quoted+20\\\"+20local\"@d"},
};

START_TEST(values_survive_the_round_trip)
{
    struct buf out = {0};

    buf_adds(&out, "before ");
    xtext_encode(pairs[_i].plain, pairs[_i].len, &out);
    ck_assert_str_eq(buf_str(&out) + 7, pairs[_i].xtext);
    buf_truncate(&out, 7);
    ck_assert_int_eq(xtext_decode(pairs[_i].xtext, strlen(pairs[_i].xtext), &out), 0);
    ck_assert_uint_eq(out.len - 7, pairs[_i].len);
    ck_assert_int_eq(memcmp(out.data + 7, pairs[_i].plain, pairs[_i].len), 0);
    ck_assert_int_eq(xtext_is_valid(pairs[_i].xtext, strlen(pairs[_i].xtext)), pairs[_i].len > 0);
    buf_clear(&out);
}
END_TEST

static const char *const invalid[] = {
    "+",   "a+", "a+2", "+2G",  "+G2",  "+ 2",      "++2B", "a=b", "=",
    "a b", " ",  "\t",  "\x7f", "\x80", "\xc3\xa4", "a\n",  "a\r", "abc+2",
};

START_TEST(faults_are_refused_and_nothing_is_left)
{
    struct buf out = {0};
    size_t len = strlen(invalid[_i]);

    buf_adds(&out, "kept");
    ck_assert_int_eq(xtext_decode(invalid[_i], len, &out), -1);
    ck_assert_str_eq(buf_str(&out), "kept");
    ck_assert(!xtext_is_valid(invalid[_i], len));
    buf_clear(&out);
}
END_TEST

START_TEST(lower_case_digits_and_nul_are_handled)
{
    struct buf out = {0};

    ck_assert_int_eq(xtext_decode("a+2bb+3d", 8, &out), 0);
    ck_assert_str_eq(buf_str(&out), "a+b=");
    ck_assert_int_eq(xtext_decode("a\0b", 3, &out), -1);
    ck_assert(!xtext_is_valid("a\0b", 3));
    ck_assert(!xtext_is_valid("", 0));
    ck_assert(xtext_is_valid("+2B+", 3));
    buf_clear(&out);
}
END_TEST

static const struct {
    const char *address, *orcpt;
} orcpts[] = {
    {"user@example.com", "rfc822;user@example.com"},
    {"user+ext@example.com", "rfc822;user+2Bext@example.com"},
    {"\"a b\"@example.com", "rfc822;\"a+20b\"@example.com"},
    {"a\\b@x", "rfc822;a\\b@x"},
    {"gr\xc3\xbc\xc3\x9f@example.com", "rfc822;gr+C3+BC+C3+9F@example.com"},
    {"", "rfc822;"},
};

START_TEST(orcpt_has_the_octets)
{
    struct buf out = {0};

    xtext_encode_orcpt(orcpts[_i].address, &out);
    ck_assert_str_eq(buf_str(&out), orcpts[_i].orcpt);
    buf_clear(&out);
}
END_TEST

static const struct {
    const char *orcpt, *address; /* NULL: none */
} given_orcpts[] = {
    {"rfc822;user+2Bext@example.com", "user+ext@example.com"},
    {"RFC822;gr+C3+BC+C3+9F@x", "gr\xc3\xbc\xc3\x9f@x"},
    {"utf-8;gr\\x{FC}\\x{DF}@x", "gr\xc3\xbc\xc3\x9f@x"},
    {"UTF-8;gr\\x{fc}\\x{00DF}@x", "gr\xc3\xbc\xc3\x9f@x"},
    {"utf-8;gr\xc3\xbc\xc3\x9f@x", "gr\xc3\xbc\xc3\x9f@x"},
    {"utf-8;gr+C3+BC@x", "gr\xc3\xbc@x"},
    {"utf-8;\\x{20AC}\\x{2B}x\\x{3D}\\x{5C}\\x{20}y@\\x{1F600}",
     "\xe2\x82\xac+x=\\ y@\xf0\x9f\x98\x80"},
    {"utf-8;\\x{7FF}\\x{800}\\x{FFFF}\\x{10000}\\x{10FFFF}",
     "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    {"utf-8;user@example.com", "user@example.com"},
    {"utf-8;\\x{110000}@x", NULL},
    {"utf-8;\\x{D800}@x", NULL},
    {"utf-8;\\x{00}@x", NULL},
    {"utf-8;\\x{}@x", NULL},
    {"utf-8;\\x{F}@x", NULL},
    {"utf-8;\\x{FC", NULL},
    {"utf-8;\\x{00000FC}@x", NULL},
    {"utf-8;a\\b@x", NULL},
    {"utf-8;a=b@x", NULL},
    {"utf-8;a b@x", NULL},
    {"utf-8;a+2", NULL},
    {"utf-8;\xff@x", NULL},
    {"utf-8;+FF@x", NULL},
    {"rfc822;a+00b", NULL},
    {"utf-8;a+00b", NULL},
    {"rfc822;a=b", NULL},
    {"rfc822;", NULL},
    {"utf-8;", NULL},
    {"x400;a@b", NULL},
    {"", NULL},
};

START_TEST(both_types_of_orcpt_are_understood)
{
    struct buf out = {0};
    const char *address = given_orcpts[_i].address;

    buf_adds(&out, "kept");
    int rc = xtext_decode_orcpt(given_orcpts[_i].orcpt, &out);
    ck_assert_msg(rc == (address == NULL ? -1 : 0), "%s: %d", given_orcpts[_i].orcpt, rc);
    ck_assert_str_eq(buf_str(&out) + 4, address == NULL ? "" : address);
    buf_clear(&out);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("xtext");

    tcase_add_loop_test(tests, values_survive_the_round_trip, 0, (int)UNIT_COUNT(pairs));
    tcase_add_loop_test(tests, faults_are_refused_and_nothing_is_left, 0, (int)UNIT_COUNT(invalid));
    tcase_add_test(tests, lower_case_digits_and_nul_are_handled);
    tcase_add_loop_test(tests, orcpt_has_the_octets, 0, (int)UNIT_COUNT(orcpts));
    tcase_add_loop_test(tests, both_types_of_orcpt_are_understood, 0,
                        (int)UNIT_COUNT(given_orcpts));
    return unit_run("xtext", tests);
}
