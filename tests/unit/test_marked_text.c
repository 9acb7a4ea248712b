/* SPDX-License-Identifier: ISC */
#include "ctl/setup/diff.h"
#include "ctl/setup/marked_text.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *base;
    enum marked_format format;
    const char *keys[3];
    const char *expected; /* the text before the marked part */
} rows[] = {
    {"", MARKED_MAIN_CF, {NULL}, ""},
    {"a = 1\nb = 2\n", MARKED_MAIN_CF, {"b"}, "a = 1\n#split# b = 2\n"},
    /* no line end */
    {"a = 1\nb = 2", MARKED_MAIN_CF, {"a"}, "#split# a = 1\nb = 2\n"},
    /* an entry continues behind comments and empty lines; a comment is no entry */
    {"a = 1,\n  2\n# c\n\n\t3\nab = 4\n#a = 5\n",
     MARKED_MAIN_CF,
     {"a"},
     "#split# a = 1,\n#split#   2\n# c\n\n#split# \t3\nab = 4\n#a = 5\n"},
    /* blank lines and comments behind an entry are not part of it */
    {"a=1\n  \n  # x\n 2\n", MARKED_MAIN_CF, {"a"}, "#split# a=1\n  \n  # x\n#split#  2\n"},
    /* set twice */
    {"a = 1\nb = 2\na = 3\n", MARKED_MAIN_CF, {"a", "c"}, "#split# a = 1\nb = 2\n#split# a = 3\n"},
    {"smtp inet n - y - - smtpd\n  -o x=y\nsmtp unix - - y - - smtp\nsmtps inet n\n",
     MARKED_MASTER_CF,
     {"smtp/inet"},
     "#split# smtp inet n - y - - smtpd\n#split#   -o x=y\nsmtp unix - - y - - smtp\nsmtps inet "
     "n\n"},
    {"127.0.0.1:25\tinet n\n",
     MARKED_MASTER_CF,
     {"127.0.0.1:25/inet"},
     "#split# 127.0.0.1:25\tinet n\n"},
    {"127.0.0.1:25\tinet n\n",
     MARKED_MASTER_CF,
     {"127.0.0.1:2/inet", "inet"},
     "127.0.0.1:25\tinet n\n"},
};

static size_t count(const char *const *keys)
{
    size_t n = 0;

    while (n < 3 && keys[n] != NULL)
        n++;
    return n;
}

START_TEST(what_goes_in_comes_out)
{
    struct buf with = {0}, without = {0};
    enum marked_state state;
    struct err err;

    marked_add(rows[_i].base, rows[_i].format, rows[_i].keys, count(rows[_i].keys), "x = 1\n  2\n",
               "me", &with);
    size_t len = strlen(rows[_i].expected);
    ck_assert_int_eq(strncmp(buf_str(&with), rows[_i].expected, len), 0);
    ck_assert_int_eq(strncmp(buf_str(&with) + len, "# BEGIN splitmilter ", 20), 0);
    ck_assert_int_eq(marked_strip(buf_str(&with), &without, &state, &err), 0);
    ck_assert_str_eq(buf_str(&without), rows[_i].base);
    ck_assert_int_eq(state, MARKED_OURS);
    buf_clear(&with);
    buf_clear(&without);
}
END_TEST

START_TEST(edits_outside_stay_and_edits_inside_are_seen)
{
    struct buf text = {0}, out = {0};
    enum marked_state state;
    struct err err;

    marked_add("a = 1", MARKED_MAIN_CF, NULL, 0, "x = 1\nmulti_instance_directories = /a\n", "me",
               &text);
    buf_adds(&text, "later = 2\n");
    ck_assert_int_eq(marked_strip(buf_str(&text), &out, &state, &err), 0);
    ck_assert_str_eq(buf_str(&out), "a = 1\nlater = 2\n");
    ck_assert_int_eq(state, MARKED_OURS);

    buf_reset(&out);
    *strstr(text.data, "/a") = 'b'; /* by postmulti(1) */
    ck_assert_int_eq(marked_strip(buf_str(&text), &out, &state, &err), 0);
    ck_assert_int_eq(state, MARKED_OURS);

    buf_reset(&out);
    *strstr(text.data, "x = 1") = 'y';
    ck_assert_int_eq(marked_strip(buf_str(&text), &out, &state, &err), 0);
    ck_assert_str_eq(buf_str(&out), "a = 1\nlater = 2\n");
    ck_assert_int_eq(state, MARKED_EDITED);
    buf_clear(&text);
    buf_clear(&out);
}
END_TEST

START_TEST(damage_is_an_error)
{
    static const char *const damaged[] = {"# BEGIN splitmilter 0 -: x\na = 1\n",
                                          "# BEGIN splitmilter 0 -: x\n# END splitmilter",
                                          ("# BEGIN splitmilter 0 -: x\n# END splitmilter\n# BEGIN "
                                           "splitmilter 0 -: x\n# END splitmilter\n")};
    enum marked_state state;

    for (size_t i = 0; i < UNIT_COUNT(damaged); i++) {
        struct buf out = {0};
        struct err err = {0};
        ck_assert_int_eq(marked_strip(damaged[i], &out, &state, &err), -1);
        ck_assert_str_ne(err.text, "");
        buf_clear(&out);
    }
}
END_TEST

START_TEST(a_text_that_is_not_ours_stays)
{
    static const char text[] = "a = 1\r\n #split# b\n# END splitmilter\n\n\n";
    struct buf out = {0};
    enum marked_state state;
    struct err err;

    ck_assert_int_eq(marked_strip(text, &out, &state, &err), 0);
    ck_assert_str_eq(buf_str(&out), text);
    ck_assert_int_eq(state, MARKED_NONE);
    buf_clear(&out);
}
END_TEST

START_TEST(differences_are_shown_line_by_line)
{
    static const struct {
        const char *before, *after, *expected;
    } diffs[] = {
        {"", "", ""},
        {"a\nb\n", "a\nb\n", ""},
        {"", "a\n", "  + a\n"},
        {"a\nb\nc\n", "a\nx\nc\nd", "  - b\n  + x\n  + d\n"},
        {"a\tb\n", "a\x1b[0m\n", "  - a b\n  + a?[0m\n"},
    };

    for (size_t i = 0; i < UNIT_COUNT(diffs); i++) {
        struct buf out = {0};
        diff_lines(diffs[i].before, diffs[i].after, &out);
        ck_assert_str_eq(buf_str(&out), diffs[i].expected);
        buf_clear(&out);
    }
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("marked_text");

    tcase_add_loop_test(tests, what_goes_in_comes_out, 0, (int)UNIT_COUNT(rows));
    tcase_add_test(tests, edits_outside_stay_and_edits_inside_are_seen);
    tcase_add_test(tests, damage_is_an_error);
    tcase_add_test(tests, a_text_that_is_not_ours_stays);
    tcase_add_test(tests, differences_are_shown_line_by_line);
    return unit_run("marked_text", tests);
}
