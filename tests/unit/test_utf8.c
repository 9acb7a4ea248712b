/* SPDX-License-Identifier: ISC */
#include "base/utf8.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *text;
    size_t len;    /* bytes given */
    size_t expect; /* bytes of the first character, 0 for invalid */
    uint32_t code;
} cases[] = {
    {"", 0, 0, 0},
    {"a", 1, 1, 'a'},
    {"\0", 1, 1, 0},
    {"\x7f", 1, 1, 0x7f},
    {"\x80", 1, 0, 0},
    {"\xbf", 1, 0, 0},
    {"\xc0\x80", 2, 0, 0},
    {"\xc1\xbf", 2, 0, 0},
    {"\xc2\x80", 2, 2, 0x80},
    {"\xc3\xa4x", 3, 2, 0xe4},
    {"\xc3", 1, 0, 0},
    {"\xc3(", 2, 0, 0},
    {"\xdf\xbf", 2, 2, 0x7ff},
    {"\xe0\x9f\xbf", 3, 0, 0},
    {"\xe0\xa0\x80", 3, 3, 0x800},
    {"\xe2\x82\xac", 3, 3, 0x20ac},
    {"\xe2\x82", 2, 0, 0},
    {"\xe2\x82(", 3, 0, 0},
    {"\xed\x9f\xbf", 3, 3, 0xd7ff},
    {"\xed\xa0\x80", 3, 0, 0},
    {"\xed\xbf\xbf", 3, 0, 0},
    {"\xee\x80\x80", 3, 3, 0xe000},
    {"\xef\xbf\xbf", 3, 3, 0xffff},
    {"\xf0\x8f\xbf\xbf", 4, 0, 0},
    {"\xf0\x90\x80\x80", 4, 4, 0x10000},
    {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
    {"\xf4\x90\x80\x80", 4, 0, 0},
    {"\xf0\x9f\x98", 3, 0, 0},
    {"\xf5\x80\x80\x80", 4, 0, 0},
    {"\xf8\x88\x80\x80\x80", 5, 0, 0},
    {"\xfe", 1, 0, 0},
    {"\xff", 1, 0, 0},
};

START_TEST(characters_are_decoded_strictly)
{
    uint32_t code = 0;

    ck_assert_uint_eq(utf8_decode(cases[_i].text, cases[_i].len, &code), cases[_i].expect);
    ck_assert_uint_eq(code, cases[_i].code);
}
END_TEST

START_TEST(whole_texts_are_judged)
{
    ck_assert(utf8_is_valid("", 0));
    ck_assert(utf8_is_valid("abc", 3));
    ck_assert(utf8_is_valid("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 15));
    ck_assert(!utf8_is_valid("gr\xfc\xdf", 4));
    ck_assert(!utf8_is_valid("abc\xc3", 4));
    ck_assert(!utf8_is_valid("\x80", 1));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("utf8");

    tcase_add_loop_test(tests, characters_are_decoded_strictly, 0, (int)UNIT_COUNT(cases));
    tcase_add_test(tests, whole_texts_are_judged);
    return unit_run("utf8", tests);
}
