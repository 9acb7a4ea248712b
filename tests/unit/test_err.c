/* SPDX-License-Identifier: ISC */
#include "base/err.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

START_TEST(set_replaces_the_text)
{
    struct err err = {""};

    err_set(&err, "%s:%d: %s", "file", 3, "odd");
    ck_assert_str_eq(err.text, "file:3: odd");
    err_set(&err, "new");
    ck_assert_str_eq(err.text, "new");
}
END_TEST

START_TEST(set_errno_appends_the_reason)
{
    struct err err = {""};

    errno = ENOENT;
    err_set_errno(&err, "cannot open %s", "/x");
    ck_assert_str_eq(err.text, "cannot open /x: No such file or directory");
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(wrap_puts_text_in_front)
{
    struct err err = {""};

    err_set(&err, "inner");
    err_wrap(&err, "line %u", 7U);
    err_wrap(&err, "file");
    ck_assert_str_eq(err.text, "file: line 7: inner");
}
END_TEST

START_TEST(long_texts_are_cut)
{
    struct err err;
    char text[2 * sizeof err.text];

    memset(text, 'z', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&err, "%s", text);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    err_wrap(&err, "front");
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    ck_assert_int_eq(strncmp(err.text, "front: zzz", 10), 0);
    err_wrap(&err, "%s", text);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    errno = EIO;
    err_set_errno(&err, "%s", text);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("err");

    tcase_add_test(tests, set_replaces_the_text);
    tcase_add_test(tests, set_errno_appends_the_reason);
    tcase_add_test(tests, wrap_puts_text_in_front);
    tcase_add_test(tests, long_texts_are_cut);
    return unit_run("err", tests);
}
