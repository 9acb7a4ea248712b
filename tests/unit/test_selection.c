/* SPDX-License-Identifier: ISC */
/* selection: the condition is made of our own words alone, whatever the values are. What it finds
 * is tested with queue_reader. */
#include "queue/selection.h"
#include "unit.h"

#include <string.h>

#define HOSTILE "x' OR 1=1; -- %_!\"$9"

/* A selection with every condition. */
static const struct queue_selection full = {
    .id = "330B9403",
    .destination = HOSTILE,
    .places = QUEUE_IN_QUEUE | QUEUE_IN_DEAD,
    .from = HOSTILE,
    .to = HOSTILE,
    .reason = HOSTILE,
    .mta_id = HOSTILE,
    .message_id = HOSTILE,
    .arrived_before = 20,
    .arrived_after = 10,
    .larger_bytes = 5,
    .limit = 3,
    .due_after = 7,
    .other_than = HOSTILE,
};

/* Each $N from `first` on stands there once, in this order. */
static void check_parameters(const struct selection_sql *s, unsigned first)
{
    const char *at = buf_str(&s->condition);

    ck_assert_ptr_null(strstr(at, "OR 1=1"));
    for (unsigned i = 0; i < s->count; i++) {
        at = strchr(at, '$');
        ck_assert_ptr_nonnull(at);
        ck_assert_uint_eq(strtoul(at + 1, NULL, 10), first + i);
        at++;
    }
    ck_assert_ptr_null(strchr(at, '$'));
}

START_TEST(copies)
{
    struct selection_sql s;
    struct err err;

    ck_assert_int_eq(selection_sql_copies(&s, &full, 3, &err), 0);
    ck_assert_uint_eq(s.count, 12);
    check_parameters(&s, 3);
    ck_assert_ptr_nonnull(strstr(buf_str(&s.condition), "c.state IN ('queued', 'dead')"));
    selection_sql_clear(&s);
}
END_TEST

START_TEST(history)
{
    struct selection_sql s;
    struct err err;

    ck_assert_int_eq(selection_sql_history(&s, &full, 1, &err), 0);
    ck_assert_uint_eq(s.count, 10);
    check_parameters(&s, 1);
    selection_sql_clear(&s);
}
END_TEST

START_TEST(nothing_is_everything)
{
    struct selection_sql s;
    struct err err;

    ck_assert_int_eq(selection_sql_copies(&s, &(struct queue_selection){0}, 3, &err), 0);
    ck_assert_str_eq(buf_str(&s.condition), "1 = 1");
    ck_assert_uint_eq(s.count, 0);
    selection_sql_clear(&s);
    ck_assert_int_eq(selection_sql_history(&s, &(struct queue_selection){0}, 3, &err), 0);
    ck_assert_str_eq(buf_str(&s.condition), "1 = 1");
    selection_sql_clear(&s);
}
END_TEST

static const struct {
    const char *pattern, *value;
} values[] = {
    {"a@B.c", "a@b.c"}, {"@b.c", "%@b.c"}, {"a*b", "a%b"},           {"100%_!", "100!%!_!!"},
    {"*", "%"},         {"<>", ""},        {"\xc3\x84", "\xc3\x84"}, {"'", "'"},
};

START_TEST(values_of_patterns)
{
    const struct queue_selection selection = {.from = values[_i].pattern};
    struct selection_sql s;
    struct err err;

    ck_assert_int_eq(selection_sql_copies(&s, &selection, 1, &err), 0);
    ck_assert_uint_eq(s.count, 1);
    ck_assert_str_eq(s.values[0].data, values[_i].value);
    selection_sql_clear(&s);
}
END_TEST

static const char *const no_ids[] = {"", "x", "0", "1'--", "10000000000000000", "FFFFFFFFFFFFFFFF"};

START_TEST(ids_that_are_none)
{
    const struct queue_selection selection = {.id = no_ids[_i]};
    struct selection_sql s;
    struct err err = {""};

    ck_assert_int_eq(selection_sql_copies(&s, &selection, 1, &err), -1);
    ck_assert_str_ne(err.text, "");
    selection_sql_clear(&s);
    ck_assert_int_eq(selection_sql_history(&s, &selection, 1, &err), -1);
    selection_sql_clear(&s);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("selection");

    tcase_add_test(tests, copies);
    tcase_add_test(tests, history);
    tcase_add_test(tests, nothing_is_everything);
    tcase_add_loop_test(tests, values_of_patterns, 0, UNIT_COUNT(values));
    tcase_add_loop_test(tests, ids_that_are_none, 0, UNIT_COUNT(no_ids));
    return unit_run("selection", tests);
}
