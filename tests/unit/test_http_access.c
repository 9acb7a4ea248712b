/* SPDX-License-Identifier: ISC */
/* Files of passwords, and what clients send. */
#include "metrics/http_access.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct http_access *open_text(const char *text, size_t len, struct err *err)
{
    char path[] = "/tmp/test-metrics-access-XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
    err_clear(err);
    struct http_access *a = http_access_open(path, err);
    unlink(path);
    return a;
}

static const struct {
    const char *file, *authorization;
    bool is_allowed;
} cases[] = {
    {"a:b", "Basic YTpi", true},
    {"a:b\n", "Basic YTpi", true},
    {"a:b\r\n", "Basic YTpi", true},
    {"a:b", "basic YTpi", true},
    {"a:b", "BASIC   YTpi", true},
    {"a:bc", "Basic YTpiYw==", true},
    {"a:bcd", "Basic YTpiY2Q=", true},
    {"a:b:c", "Basic YTpiOmM=", true},
    {"# x\n\na:b\nc:d", "Basic Yzpk", true},
    {"a:\xc3\xbc", "Basic YTrDvA==", true},
    {"# a:b\nc:d", "Basic YTpi", false},
    {"a:b", "Basic YTpj", false},
    {"a:b", "Basic YTpiYg==", false},
    {"a:b", "Basic YTp", false},
    {"a:b", "Basic YTpiYTpi", false},
    {"a:b", "Basic ", false},
    {"a:b", "Basic", false},
    {"a:b", "", false},
    {"a:b", "BasicYTpi", false},
    {"a:b", "Bearer YTpi", false},
    {"a:b", "YTpi", false},
    {"a:b", NULL, false},
};

START_TEST(a_password_is_right_or_not)
{
    struct err err;
    struct http_access *a = open_text(cases[_i].file, strlen(cases[_i].file), &err);

    ck_assert_msg(a != NULL, "%s", err.text);
    ck_assert_int_eq(http_access_allows(a, cases[_i].authorization), cases[_i].is_allowed);
    http_access_free(a);
}
END_TEST

#define TEXT(text) (text), sizeof(text) - 1

static const struct {
    const char *file;
    size_t len;
    const char *err;
} wrong[] = {
    {TEXT(""), ": no line NAME:PASSWORD"},
    {TEXT("\n#a:b\n"), ": no line NAME:PASSWORD"},
    {TEXT("a:b\nab\n"), ":2: not NAME:PASSWORD in UTF-8"},
    {TEXT(":b"), ":1: not NAME:PASSWORD in UTF-8"},
    {TEXT("a:"), ":1: not NAME:PASSWORD in UTF-8"},
    {TEXT("a:\xfc"), ":1: not NAME:PASSWORD in UTF-8"},
    {TEXT("a:b\0c"), ":1: not NAME:PASSWORD in UTF-8"},
    {TEXT("a:b\tc"), ":1: not NAME:PASSWORD in UTF-8"},
};

START_TEST(a_wrong_file_is_refused)
{
    struct err err;

    ck_assert_ptr_null(open_text(wrong[_i].file, wrong[_i].len, &err));
    ck_assert_msg(strstr(err.text, wrong[_i].err) != NULL, "%s", err.text);
}
END_TEST

START_TEST(limits)
{
    struct err err;
    char *text = calloc(1, 70000);

    for (int i = 0; i < 1001; i++)
        memcpy(text + i * 4, "a:b\n", 4);
    struct http_access *a = open_text(text, 4000, &err);
    ck_assert_ptr_nonnull(a);
    http_access_free(a);
    ck_assert_ptr_null(open_text(text, 4004, &err));
    ck_assert_ptr_nonnull(strstr(err.text, ":1001: too many lines"));
    memset(text, '\n', 70000);
    ck_assert_ptr_null(open_text(text, 70000, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "larger than 65536 bytes"));
    free(text);
    ck_assert_ptr_null(http_access_open("/nowhere/at/all", &err));
    ck_assert_ptr_null(http_access_open("/tmp", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "/tmp: is no regular file"));
    http_access_free(NULL);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("all");

    tcase_add_loop_test(tests, a_password_is_right_or_not, 0, UNIT_COUNT(cases));
    tcase_add_loop_test(tests, a_wrong_file_is_refused, 0, UNIT_COUNT(wrong));
    tcase_add_test(tests, limits);
    return unit_run("http_access", tests);
}
