/* SPDX-License-Identifier: ISC */
#include "queue/spool_window.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static struct spool_window w;
static const struct spool_due due = {1700000040, 0};

static void set_up(void)
{
    spool_window_init(&w, 16);
}

static void tear_down(void)
{
    spool_window_clear(&w);
}

static void add(const char *prefix, int number, enum spool_source source)
{
    char id[QUEUE_ID_SIZE];

    snprintf(id, sizeof id, "%s%d", prefix, number);
    spool_window_add(&w, id, &due, source, 0);
}

START_TEST(each_source_has_half_of_the_room)
{
    for (int i = 0; i < 8; i++) {
        ck_assert_uint_eq(spool_window_room(&w, SPOOL_FRESH), 8 - (size_t)i);
        add("a", i, SPOOL_FRESH);
    }
    ck_assert_uint_eq(spool_window_room(&w, SPOOL_FRESH), 0);
    ck_assert_uint_eq(spool_window_room(&w, SPOOL_FOUND), 8);
    ck_assert_uint_eq(spool_window_ready(&w), 8);
    struct spool_node *node = spool_window_reserve(&w, "reserved", &due);
    ck_assert_ptr_eq(spool_window_find(&w, "reserved"), node);
    ck_assert_uint_eq(spool_window_ready(&w), 8);
    spool_window_return(&w, node); /* over the limit */
    ck_assert_uint_eq(spool_window_ready(&w), 9);
    ck_assert_uint_eq(spool_window_room(&w, SPOOL_FRESH), 0);
    ck_assert_ptr_eq(spool_window_take(&w), node);
}
END_TEST

START_TEST(neither_source_starves)
{
    static const char *const expect[] = {"f0", "f1", "f2", "n0", "f3", "n1", "n2"};

    for (int i = 0; i < 4; i++)
        add("f", i, SPOOL_FOUND);
    for (int i = 0; i < 3; i++)
        add("n", i, SPOOL_FRESH);
    for (size_t i = 0; i < UNIT_COUNT(expect); i++) {
        const struct spool_node *node = spool_window_take(&w);
        ck_assert_ptr_nonnull(node);
        ck_assert_str_eq(node->id, expect[i]);
        ck_assert_int_eq(node->state, SPOOL_TAKEN);
        ck_assert_ptr_eq(spool_window_find(&w, expect[i]), node);
    }
    ck_assert_ptr_null(spool_window_take(&w));
}
END_TEST

START_TEST(a_returned_one_comes_first)
{
    for (int i = 0; i < 3; i++)
        add("f", i, SPOOL_FOUND);
    struct spool_node *node = spool_window_take(&w);
    spool_window_return(&w, node);
    ck_assert_ptr_eq(spool_window_take(&w), node);
    spool_window_forget(&w, node);
    ck_assert_ptr_null(spool_window_find(&w, "f0"));
    ck_assert_str_eq(spool_window_take(&w)->id, "f1");
    spool_window_forget(&w, spool_window_find(&w, "f2")); /* from the middle of a list */
    ck_assert_ptr_null(spool_window_take(&w));
}
END_TEST

START_TEST(what_is_aside_waits)
{
    for (int i = 0; i < 3; i++) {
        add("f", i, SPOOL_FOUND);
        spool_window_put_aside(&w, spool_window_take(&w), 100 + i);
    }
    ck_assert_ptr_null(spool_window_take(&w));
    ck_assert_int_eq(spool_window_aside_until(&w, 500), 100);
    ck_assert_int_eq(spool_window_aside_until(&w, 50), 50);
    ck_assert_ptr_null(spool_window_take_aside(&w, 99, 200));
    struct spool_node *node = spool_window_take_aside(&w, 100, 200);
    ck_assert_str_eq(node->id, "f0");
    ck_assert_int_eq(node->state, SPOOL_TAKEN);
    ck_assert_ptr_null(spool_window_take_aside(&w, 100, 200));
    ck_assert_ptr_null(spool_window_take_aside(&w, 1, 102));
    spool_window_return(&w, node);
    ck_assert_ptr_eq(spool_window_take(&w), node);

    ck_assert_uint_eq(spool_window_hurry(&w, "f0"), 0);
    ck_assert_uint_eq(spool_window_hurry(&w, "f2"), 1);
    ck_assert_str_eq(spool_window_take_aside(&w, 1, 200)->id, "f2");
    ck_assert_uint_eq(spool_window_hurry(&w, NULL), 1);
    ck_assert_str_eq(spool_window_take_aside(&w, 1, 200)->id, "f1");
}
END_TEST

START_TEST(what_is_aside_for_too_long_waits_no_more)
{
    add("f", 0, SPOOL_FOUND);
    spool_window_put_aside(&w, spool_window_take(&w), 90000);
    ck_assert_ptr_null(spool_window_take_aside(&w, 3600, 90000));
    ck_assert_str_eq(spool_window_take_aside(&w, 3599, 89999)->id,
                     "f0"); /* the clock was set back */
}
END_TEST

START_TEST(many_are_found_again)
{
    char id[QUEUE_ID_SIZE];

    for (int i = 0; i < 10000; i++) {
        snprintf(id, sizeof id, "x%d", i);
        spool_window_add(&w, id, &due, SPOOL_FOUND, 0);
    }
    for (int i = 0; i < 10000; i++) {
        snprintf(id, sizeof id, "x%d", i);
        ck_assert_str_eq(spool_window_find(&w, id)->id, id);
    }
    ck_assert_ptr_null(spool_window_find(&w, "x10000"));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("spool_window");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, each_source_has_half_of_the_room);
    tcase_add_test(tests, neither_source_starves);
    tcase_add_test(tests, a_returned_one_comes_first);
    tcase_add_test(tests, what_is_aside_waits);
    tcase_add_test(tests, what_is_aside_for_too_long_waits_no_more);
    tcase_add_test(tests, many_are_found_again);
    return unit_run("spool_window", tests);
}
