/* SPDX-License-Identifier: ISC */
#include "base/ascii.h"
#include "unit.h"

#include <ctype.h>
#include <strings.h>

/* The check programs have the locale "C", in which the classes of ctype.h are those of ASCII. */
START_TEST(classes_are_those_of_the_c_locale)
{
    for (int i = 0; i < 256; i++) {
        char c = (char)i;
        ck_assert_msg(ascii_is_digit(c) == (isdigit(i) != 0), "digit 0x%02x", (unsigned)i);
        ck_assert_msg(ascii_is_letter(c) == (isalpha(i) != 0), "letter 0x%02x", (unsigned)i);
        ck_assert_msg(ascii_is_alnum(c) == (isalnum(i) != 0), "alnum 0x%02x", (unsigned)i);
        ck_assert_msg(ascii_is_punctuation(c) == (ispunct(i) != 0), "punct 0x%02x", (unsigned)i);
        ck_assert_msg(ascii_to_lower(c) == (char)tolower(i), "lower 0x%02x", (unsigned)i);
        ck_assert_msg(ascii_to_upper(c) == (char)toupper(i), "upper 0x%02x", (unsigned)i);
        ck_assert_msg((ascii_hex_value(c) >= 0) == (isxdigit(i) != 0), "hex 0x%02x", (unsigned)i);
    }
}
END_TEST

START_TEST(hexadecimal_digits_have_values)
{
    const char *digits = "0123456789abcdef", *upper = "0123456789ABCDEF";

    for (int i = 0; i < 16; i++) {
        ck_assert_int_eq(ascii_hex_value(digits[i]), i);
        ck_assert_int_eq(ascii_hex_value(upper[i]), i);
    }
}
END_TEST

static const struct {
    const char *a, *b;
} pairs[] = {
    {"", ""},
    {"", "a"},
    {"a", "A"},
    {"localhost", "LocalHost"},
    {"localhost", "localhos"},
    {"localhost", "localhost."},
    {"@[`{", "@[`{"},
    {"@", "`"}, /* these differ by 0x20, as letters do */
    {"[", "{"},
    {"\xc3\xa4", "\xc3\x84"}, /* a-umlaut in lower and upper case */
    {"\xe4", "\xc4"},
    {"\xff", "\xff"},
};

START_TEST(case_does_not_count)
{
    const char *a = pairs[_i].a, *b = pairs[_i].b;

    ck_assert(ascii_equal(a, b) == (strcasecmp(a, b) == 0));
    ck_assert(ascii_equal(b, a) == (strcasecmp(b, a) == 0));
    for (size_t len = 0; len < 12; len++)
        ck_assert(ascii_equal_n(a, b, len) == (strncasecmp(a, b, len) == 0));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("ascii");

    tcase_add_test(tests, classes_are_those_of_the_c_locale);
    tcase_add_test(tests, hexadecimal_digits_have_values);
    tcase_add_loop_test(tests, case_does_not_count, 0, UNIT_COUNT(pairs));
    return unit_run("ascii", tests);
}
