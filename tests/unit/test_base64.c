/* SPDX-License-Identifier: ISC */
#include "base/base64.h"
#include "unit.h"

#include <string.h>

/* RFC 4648 section 10, and all bits. */
static const struct {
    const char *bytes;
    size_t len;
    const char *text;
} pairs[] = {
    {"", 0, ""},
    {"f", 1, "Zg=="},
    {"fo", 2, "Zm8="},
    {"foo", 3, "Zm9v"},
    {"foob", 4, "Zm9vYg=="},
    {"fooba", 5, "Zm9vYmE="},
    {"foobar", 6, "Zm9vYmFy"},
    {"\xff\xfe\0\x01", 4, "//4AAQ=="},
    {"\xfb\xef\xbe", 3, "++++"},
};

START_TEST(both_ways)
{
    struct buf out = {0};

    buf_adds(&out, "x"); /* what is there stays */
    base64_encode(pairs[_i].bytes, pairs[_i].len, &out);
    ck_assert_uint_eq(out.len, 1 + strlen(pairs[_i].text));
    ck_assert_str_eq(buf_str(&out) + 1, pairs[_i].text);
    buf_truncate(&out, 1);
    ck_assert_int_eq(base64_decode(pairs[_i].text, strlen(pairs[_i].text), &out), 0);
    ck_assert_uint_eq(out.len, 1 + pairs[_i].len);
    ck_assert_mem_eq(out.data + 1, pairs[_i].bytes, pairs[_i].len);
    buf_clear(&out);
}
END_TEST

static const char *const malformed[] = {"Z",    "Zg",       "Zg=",       "====",       "Z===",
                                        "Zm=v", "Zg==Zg==", "Zm9\n",     "Zm9vYg==\n", "Zm9-",
                                        "Zm_v", "Zm9v Zm9", "\xc3\xa9zz"};

START_TEST(is_refused)
{
    struct buf out = {0};

    ck_assert_int_eq(base64_decode(malformed[_i], strlen(malformed[_i]), &out), -1);
    ck_assert_uint_eq(out.len, 0);
    ck_assert_int_eq(base64_decode("Zg\0=", 4, &out), -1);
    buf_clear(&out);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("base64");

    tcase_add_loop_test(t, both_ways, 0, (int)UNIT_COUNT(pairs));
    tcase_add_loop_test(t, is_refused, 0, (int)UNIT_COUNT(malformed));
    return unit_run("base64", t);
}
