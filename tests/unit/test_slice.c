/* SPDX-License-Identifier: ISC */
#include "base/slice.h"
#include "unit.h"

#include <string.h>

static struct slice of(const char *text)
{
    return (struct slice){text, text == NULL ? 0 : strlen(text)};
}

static const struct {
    const char *a, *b; /* NULL: absent */
    bool is_equal, is_same;
} pairs[] = {
    {"a", "a", true, true},    {"a", "A", false, true},        {"a", "b", false, false},
    {"a", "ab", false, false}, {"", "", true, true},           {NULL, NULL, true, false},
    {NULL, "", true, false},   {"", NULL, true, false},        {NULL, "a", false, false},
    {"[", "{", false, false},  {"\xc4", "\xe4", false, false},
};

START_TEST(slices_are_compared)
{
    struct slice a = of(pairs[_i].a), b = of(pairs[_i].b);

    ck_assert_int_eq(slice_is_equal(a, b), pairs[_i].is_equal);
    ck_assert_int_eq(slice_is_same(a, b), pairs[_i].is_same);
    ck_assert_int_eq(slice_hash(a) == slice_hash(b), pairs[_i].is_equal);
    if (pairs[_i].is_same)
        ck_assert(slice_hash_same(a) == slice_hash_same(b));
    if (pairs[_i].b != NULL)
        ck_assert_int_eq(slice_is(a, pairs[_i].b), pairs[_i].is_equal && pairs[_i].a != NULL);
}
END_TEST

static const struct {
    const char *text, *what;
    int first, last; /* -1: it is not there */
    bool begins;
} searches[] = {
    {"abcabc", "abc", 0, 3, true}, {"aaa", "aa", 0, 1, true}, {"xab", "ab", 1, 1, false},
    {"ab", "abc", -1, -1, false},  {"", "a", -1, -1, false},  {NULL, "a", -1, -1, false},
    {"abx", "b", 1, 1, false},
};

START_TEST(texts_are_found)
{
    struct slice s = of(searches[_i].text);
    const char *first = slice_find(s, searches[_i].what);
    const char *last = slice_find_last(s, searches[_i].what);

    ck_assert_int_eq(first == NULL ? -1 : (int)(first - s.at), searches[_i].first);
    ck_assert_int_eq(last == NULL ? -1 : (int)(last - s.at), searches[_i].last);
    ck_assert_int_eq(slice_begins(s, searches[_i].what), searches[_i].begins);
}
END_TEST

/* A slice ends before the text does. */
START_TEST(what_is_behind_a_slice_does_not_count)
{
    struct slice s = {"abcabc", 4};

    ck_assert(slice_is(s, "abca"));
    ck_assert_ptr_eq(slice_find_last(s, "abc"), s.at);
    ck_assert_ptr_null(slice_find(s, "bcab"));
    ck_assert(slice_is(slice_from(s, s.at + 3), "a"));
    slice_skip(&s, 1);
    ck_assert(slice_is(s, "bca"));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("slice");

    tcase_add_loop_test(tests, slices_are_compared, 0, UNIT_COUNT(pairs));
    tcase_add_loop_test(tests, texts_are_found, 0, UNIT_COUNT(searches));
    tcase_add_test(tests, what_is_behind_a_slice_does_not_count);
    return unit_run("slice", tests);
}
