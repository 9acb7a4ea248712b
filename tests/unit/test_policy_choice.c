/* SPDX-License-Identifier: ISC */
#include "policy/policy_choice.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *value;
    int count; /* -1: an error */
    const char *last;
    unsigned share;
} cases[] = {
    {"none", 0, NULL, 0},
    {"NONE", 0, NULL, 0},
    {"archive", 1, "archive", 10000},
    {"archive,newmail", 2, "newmail", 10000},
    {"archive newmail", 2, "newmail", 10000},
    {" archive , newmail 25% ", 2, "newmail", 2500},
    {"secondary 10%, primary", 2, "primary", 10000},
    {"a 0.5%", 1, "a", 50},
    {"a 0.05%", 1, "a", 5},
    {"a 100%", 1, "a", 10000},
    {"a 0%", 1, "a", 0},
    {"a 100.01%", -1, NULL, 0},
    {"a 0.005%", -1, NULL, 0},
    {"a 1.%", -1, NULL, 0},
    {"a %", -1, NULL, 0},
    {"a -1%", -1, NULL, 0},
    {"10%, a", -1, NULL, 0},
    {"a 10% 20%", -1, NULL, 0},
    {"", -1, NULL, 0},
    {" , ", -1, NULL, 0},
};

START_TEST(parse)
{
    struct policy_choices c;
    struct err err = {""};
    int rc = policy_choices_parse(cases[_i].value, &c, &err);

    if (cases[_i].count < 0) {
        ck_assert_int_eq(rc, -1);
        ck_assert(err.text[0] != '\0');
        return;
    }
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_int_eq((int)c.count, cases[_i].count);
    if (c.count > 0) {
        ck_assert_str_eq(c.items[c.count - 1].name, cases[_i].last);
        ck_assert_uint_eq(c.items[c.count - 1].share, cases[_i].share);
    }
    policy_choices_clear(&c);
}
END_TEST

START_TEST(parse_is_capped)
{
    struct policy_choices c;
    struct err err;
    char value[POLICY_CHOICES_MAX * 2 + 3];

    for (int i = 0; i < POLICY_CHOICES_MAX + 1; i++)
        memcpy(value + 2 * i, "a,", 3);
    ck_assert_int_eq(policy_choices_parse(value, &c, &err), -1);
    value[2 * POLICY_CHOICES_MAX] = '\0';
    ck_assert_int_eq(policy_choices_parse(value, &c, &err), 0);
    policy_choices_clear(&c);
}
END_TEST

/* FNV-1a of "a" is af63dc4c8601ec8c. The documentation fixes the share, so it must never change. */
START_TEST(share_is_as_documented)
{
    ck_assert_uint_eq(policy_share_of(""), (0xcbf29ce4u ^ 0x84222325u) % 10000);
    ck_assert_uint_eq(policy_share_of("a"), (0xaf63dc4cu ^ 0x8601ec8cu) % 10000);
}
END_TEST

START_TEST(shares_are_even_and_only_grow)
{
    struct policy_choices ten, twenty;
    struct err err;
    unsigned in_ten = 0, in_twenty = 0;

    ck_assert_int_eq(policy_choices_parse("a 10%, b", &ten, &err), 0);
    ck_assert_int_eq(policy_choices_parse("a 20%", &twenty, &err), 0);
    for (int i = 0; i < 20000; i++) {
        char text[40];
        snprintf(text, sizeof text, "user%d@example.com", i);
        unsigned share = policy_share_of(text);
        int t = policy_choose_one(&ten, share), w = policy_choose_one(&twenty, share);
        ck_assert(t == 0 || t == 1);
        ck_assert(w == 0 || w == -1);
        ck_assert(t != 0 || w == 0);
        in_ten += t == 0;
        in_twenty += w == 0;
    }
    ck_assert_uint_ge(in_ten, 1800);
    ck_assert_uint_le(in_ten, 2200);
    ck_assert_uint_ge(in_twenty, 3700);
    ck_assert_uint_le(in_twenty, 4300);
    policy_choices_clear(&ten);
    policy_choices_clear(&twenty);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("policy_choice");

    tcase_add_loop_test(tests, parse, 0, UNIT_COUNT(cases));
    tcase_add_test(tests, parse_is_capped);
    tcase_add_test(tests, share_is_as_documented);
    tcase_add_test(tests, shares_are_even_and_only_grow);
    return unit_run("policy_choice", tests);
}
