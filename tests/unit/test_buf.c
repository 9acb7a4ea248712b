/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "unit.h"

#include <string.h>

START_TEST(an_empty_buffer_reads_as_empty_string)
{
    struct buf b;

    buf_init(&b);
    ck_assert_str_eq(buf_str(&b), "");
    ck_assert_uint_eq(b.len, 0);
    buf_reset(&b);
    buf_truncate(&b, 0);
    buf_consume(&b, 0);
    buf_add(&b, NULL, 0);
    ck_assert_str_eq(buf_str(&b), "");
    buf_clear(&b);
    buf_clear(&b);
}
END_TEST

START_TEST(additions_follow_each_other)
{
    struct buf b = {0};

    buf_adds(&b, "one");
    buf_addc(&b, ' ');
    buf_add(&b, "two\0three", 9);
    buf_addf(&b, " %d %s", 4, "five");
    ck_assert_uint_eq(b.len, 3 + 1 + 9 + 7);
    ck_assert_int_eq(memcmp(b.data, "one two\0three 4 five", b.len + 1), 0);
    buf_clear(&b);
    ck_assert_ptr_null(b.data);
}
END_TEST

START_TEST(it_grows_to_any_size_and_stays_terminated)
{
    struct buf b = {0};

    for (size_t i = 0; i < 100000; i++) {
        buf_addc(&b, (char)('a' + i % 26));
        ck_assert_int_eq(b.data[b.len], '\0');
    }
    ck_assert_uint_eq(strlen(buf_str(&b)), 100000);
    ck_assert_int_eq(b.data[99999], 'a' + 99999 % 26);
    buf_clear(&b);
}
END_TEST

START_TEST(long_formats_fit)
{
    struct buf b = {0};
    char text[5000];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    buf_addf(&b, "<%s>", text);
    ck_assert_uint_eq(b.len, sizeof text + 1);
    ck_assert_int_eq(b.data[b.len - 1], '>');
    buf_clear(&b);
}
END_TEST

START_TEST(consume_and_truncate_cut_the_ends)
{
    struct buf b = {0};

    buf_adds(&b, "0123456789");
    buf_consume(&b, 3);
    ck_assert_str_eq(buf_str(&b), "3456789");
    buf_truncate(&b, 2);
    ck_assert_str_eq(buf_str(&b), "34");
    buf_consume(&b, 2);
    ck_assert_str_eq(buf_str(&b), "");
    buf_adds(&b, "again");
    buf_reset(&b);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_uint_gt(b.cap, 0);
    buf_clear(&b);
}
END_TEST

START_TEST(reserve_leaves_room_for_the_terminator)
{
    struct buf b = {0};

    char *room = buf_reserve(&b, 64);
    memset(room, 'y', 64);
    b.len += 64;
    buf_truncate(&b, 64);
    ck_assert_uint_ge(b.cap, 65);
    ck_assert_uint_eq(strlen(b.data), 64);
    buf_clear(&b);
}
END_TEST

START_TEST(replace_finds_all)
{
    struct buf b = {0};

    buf_replace(&b, "a", "b");
    ck_assert_str_eq(buf_str(&b), "");
    buf_adds(&b, "/tmp/x/1 /tmp/x /tmp/y/tmp/x");
    buf_replace(&b, "/tmp/x", "/etc/tmp/x");
    ck_assert_str_eq(buf_str(&b), "/etc/tmp/x/1 /etc/tmp/x /tmp/y/etc/tmp/x");
    buf_replace(&b, "/tmp", "");
    ck_assert_str_eq(buf_str(&b), "/etc/x/1 /etc/x /y/etc/x");
    buf_clear(&b);
}
END_TEST

START_TEST(take_hands_over_the_memory)
{
    struct buf b = {0};

    char *empty = buf_take(&b);
    ck_assert_str_eq(empty, "");
    free(empty);
    buf_adds(&b, "mine");
    char *text = buf_take(&b);
    ck_assert_str_eq(text, "mine");
    ck_assert_ptr_null(b.data);
    ck_assert_uint_eq(b.len, 0);
    free(text);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("buf");

    tcase_add_test(tests, an_empty_buffer_reads_as_empty_string);
    tcase_add_test(tests, additions_follow_each_other);
    tcase_add_test(tests, it_grows_to_any_size_and_stays_terminated);
    tcase_add_test(tests, long_formats_fit);
    tcase_add_test(tests, consume_and_truncate_cut_the_ends);
    tcase_add_test(tests, reserve_leaves_room_for_the_terminator);
    tcase_add_test(tests, replace_finds_all);
    tcase_add_test(tests, take_hands_over_the_memory);
    return unit_run("buf", tests);
}
