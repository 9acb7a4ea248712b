/* SPDX-License-Identifier: ISC */
#include "mail/header_condition.h"
#include "base/mem.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* text, and what becomes of it */
static const struct {
    const char *text, *condition;
} good[] = {
    {"X-Spam-Flag: YES", "X-Spam-Flag: YES"},
    {"X-Spam-Flag:YES", "X-Spam-Flag: YES"},
    {"X-Spam-Flag: \t YES \t", "X-Spam-Flag: YES"},
    {"a: b \t c:d", "a: b c:d"},
    {"a:*", "a: *"},
    {"!#$%&'*+-.^_`{|}~\"(),/;<=>?@[\\]: x", "!#$%&'*+-.^_`{|}~\"(),/;<=>?@[\\]: x"},
    {"a: =?utf-8?q?=C3=A4?=", "a: =?utf-8?q?=C3=A4?="},
    {"a: \xc3\xa4", "a: \xc3\xa4"},
};

START_TEST(reads)
{
    struct err err;
    char *condition = header_condition_parse(good[_i].text, &err);

    ck_assert_ptr_nonnull(condition);
    ck_assert_str_eq(condition, good[_i].condition);
    char *again = header_condition_parse(condition, &err);
    ck_assert_ptr_nonnull(again);
    ck_assert_str_eq(again, condition);
    free(again);
    free(condition);
}
END_TEST

static const struct {
    const char *text, *wrong;
} bad[] = {
    {"", "has no ':'"},
    {"X-Spam-Flag", "has no ':'"},
    {": YES", "has no name"},
    {"X Spam: YES", "has a character before the ':'"},
    {"X-Spam : YES", "has a character before the ':'"},
    {"X-Sp\xc3\xa4m: YES", "has a character before the ':'"},
    {"X\x01: YES", "has a character before the ':'"},
    {"X-Spam-Flag:", "has no value"},
    {"X-Spam-Flag: \t ", "has no value"},
    {"a: b\r\nc", "not printable"},
    {"a: b\x7f", "not printable"},
    {"a: \xe4", "not UTF-8"},
};

START_TEST(refuses)
{
    struct err err;

    ck_assert_ptr_null(header_condition_parse(bad[_i].text, &err));
    ck_assert_msg(strstr(err.text, bad[_i].wrong) != NULL, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "allowed: \"NAME: VALUE\""));
}
END_TEST

START_TEST(has_a_limit)
{
    char text[HEADER_CONDITION_MAX + 2];
    struct err err;

    memset(text, 'x', sizeof text);
    text[1] = ':';
    text[HEADER_CONDITION_MAX - 1] = '\0'; /* one byte more: the space behind the colon */
    char *condition = header_condition_parse(text, &err);
    ck_assert_ptr_nonnull(condition);
    ck_assert_uint_eq(strlen(condition), HEADER_CONDITION_MAX);
    free(condition);
    text[HEADER_CONDITION_MAX - 1] = 'x';
    text[HEADER_CONDITION_MAX + 1] = '\0';
    ck_assert_ptr_null(header_condition_parse(text, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "is too long"));
}
END_TEST

START_TEST(names)
{
    ck_assert(header_condition_has_name("X-Spam: YES", "x-sPAM", 6));
    ck_assert(header_condition_has_name("X-Spam: YES", "X-Spam-Flag", 6));
    ck_assert(!header_condition_has_name("X-Spam: YES", "X-Spa", 5));
    ck_assert(!header_condition_has_name("X-Spam: YES", "X-Spam-Flag", 11));
    ck_assert(!header_condition_has_name("X-Spam: YES", "X-Spam: YES and more", 20));
    ck_assert(!header_condition_has_name("X-Spam: YES", "", 0));
}
END_TEST

/* VALUE of the condition, the value of the field, and whether it is met. */
static const struct {
    const char *pattern, *value;
    bool is_met;
} cases[] = {
    {"YES", "YES", true},
    {"YES", "yes", true},
    {"yes", " \tYES\t ", true},
    {"YES", "YES,", false},
    {"YES", "YE", false},
    {"YES", "", false},
    {"YES", "xYES", false},
    {"YES*", "Yes, score=9", true},
    {"YES*", "yes", true},
    {"YES*", "No, yes", false},
    {"*YES", "it is a yes", true},
    {"*YES", "yes yes ye", false},
    {"*yes*", "no,yes,no", true},
    {"*", "", true},
    {"*", "anything", true},
    {"**", "", true},
    {"a*b*c", "a1b2b3c", true},
    {"a*b*c", "a1c2b", false},
    {"*a*a*b", "aaaaaaaaaaaaaaaaaab", true},
    {"*a*a*b", "aaaaaaaaaaaaaaaaaac", false},
    {"a*a", "a", false},
    {"Yes, score=*", "Yes,  \t score=9", true},
    {"Yes, *", "Yes,\tscore", true},
    {"a b", "ab", false},
    {"*", "a*b", true},
    {"a*b", "a*b", true},
    {"a?b", "axb", false},
    {"[a]", "a", false},
    {"\xc3\xa4", "\xc3\xa4", true},
    {"\xc3\xa4", "\xc3\x84", false}, /* without case: ASCII alone */
    {"=?utf-8?Q?=C3=A4?=", "=?UTF-8?q?=c3=a4?=", true},
    {"*=?utf-8?q?=C3=A4?=*", "\xc3\xa4", false},
};

START_TEST(compares)
{
    char *text = mem_printf("X: %s", cases[_i].pattern);
    struct err err;
    char *condition = header_condition_parse(text, &err);

    ck_assert_ptr_nonnull(condition);
    for (size_t cut = 0; cut <= strlen(cases[_i].value); cut++) { /* of two lines */
        struct header_value v = {0};
        header_value_add(&v, cases[_i].value, cut, false);
        header_value_add(&v, cases[_i].value + cut, strlen(cases[_i].value + cut), false);
        ck_assert_msg(header_condition_is_met(condition, &v) == cases[_i].is_met, "'%s' '%s'",
                      condition, cases[_i].value);
        buf_clear(&v.text);
    }
    free(condition);
    free(text);
}
END_TEST

START_TEST(nul_is_a_character)
{
    struct header_value v = {0};

    header_value_add(&v, "a\0b", 3, false);
    ck_assert(!header_condition_is_met("X: a", &v));
    ck_assert(header_condition_is_met("X: a*", &v));
    ck_assert(header_condition_is_met("X: a*b", &v));
    buf_clear(&v.text);
}
END_TEST

/* Of a value that is too long, or of which a line was cut, the beginning is compared. */
START_TEST(a_cut_value)
{
    struct header_value v = {0};

    header_value_add(&v, "YES", 3, true);
    header_value_add(&v, " NO", 3, false);
    ck_assert(!header_condition_is_met("X: YES", &v));
    ck_assert(header_condition_is_met("X: YES*", &v));
    ck_assert(!header_condition_is_met("X: YES NO", &v));
    ck_assert(!header_condition_is_met("X: *NO*", &v));
    header_value_reset(&v);
    header_value_add(&v, "YES", 3, false);
    ck_assert(header_condition_is_met("X: YES", &v));

    header_value_reset(&v);
    for (int i = 0; i < HEADER_VALUE_MAX; i++) {
        ck_assert(header_condition_is_met("X: *y", &v) == (i > 0));
        header_value_add(&v, "y   ", 1, false);
    }
    ck_assert(header_condition_is_met("X: *y", &v));
    header_value_add(&v, "", 0, false);
    ck_assert(header_condition_is_met("X: *y", &v));
    for (int i = 0; i < 100; i++)
        header_value_add(&v, "y", 1, false);
    ck_assert_uint_eq(v.text.len, HEADER_VALUE_MAX);
    ck_assert(!header_condition_is_met("X: *y", &v));
    ck_assert(header_condition_is_met("X: y*", &v));
    buf_clear(&v.text);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("header_condition");

    tcase_add_loop_test(tc, reads, 0, UNIT_COUNT(good));
    tcase_add_loop_test(tc, refuses, 0, UNIT_COUNT(bad));
    tcase_add_test(tc, has_a_limit);
    tcase_add_test(tc, names);
    tcase_add_loop_test(tc, compares, 0, UNIT_COUNT(cases));
    tcase_add_test(tc, nul_is_a_character);
    tcase_add_test(tc, a_cut_value);
    return unit_run("header_condition", tc);
}
