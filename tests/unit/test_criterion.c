/* SPDX-License-Identifier: ISC */
/* The conditions that select copies. */
#include "relay/criterion.h"
#include "unit.h"

#include <string.h>

#define NOW 1000000
#define X10(s) s s s s s s s s s s

static const struct {
    const char *name, *value, *err; /* err NULL: the value is right */
} cases[] = {
    {"from", "a@b.c", NULL},
    {"from", "@b.c", NULL},
    {"from", "<>", NULL},
    {"from", "*.c", NULL},
    {"from", "postmaster", NULL},
    {"from", "", "not an address, @domain, <>, or a text with *"},
    {"from", "b.c", "a domain is written as @example.com"},
    {"to", "b.c", "a domain is written as @example.com"},
    {"to", "a@b.c", NULL},
    {"to", X10("*e") X10("*e"), NULL},
    {"to", X10("*e") X10("*e") "*", "too many *"},
    {"to", X10("**********") "@b.c", NULL},
    {"to", X10(X10("aaaaaaaaaa")), NULL},
    {"from", X10(X10("aaaaaaaaaa")) "a", "too long"},
    {"reason", X10(X10("**********")), NULL},
    {"reason", X10(X10("aaaaaaaaaa")) "a", "too long"},
    {"reason", "a", NULL},
    {"reason", "", "empty"},
    {"mta-id", "", "empty"},
    {"message-id", "<a@b>", NULL},
    {"older", "5m", NULL},
    {"older", "soon", "not an age"},
    {"newer", "-1", "not an age"},
    {"larger", "10M", NULL},
    {"larger", "0", "not a size"},
    {"larger", "", "not a size"},
    {"limit", "1", NULL},
    {"limit", "0", "not a number"},
    {"limit", "1x", "not a number"},
    {"limit", "9999999999999999", "not a number"},
    {"in", "queue,dead", NULL},
    {"in", "queue,", "not queue, hold or dead"},
};

START_TEST(values_are_checked)
{
    struct queue_selection s = {0};
    struct err err = {""};
    enum criterion word = criterion_find(cases[_i].name);

    ck_assert_int_ne(word, CRITERION_COUNT);
    ck_assert_str_eq(criterion_name(word), cases[_i].name);
    int rc = criterion_take(&s, word, cases[_i].value, NOW, &err);
    ck_assert_int_eq(rc, cases[_i].err == NULL ? 0 : -1);
    if (cases[_i].err != NULL)
        ck_assert_msg(strstr(err.text, cases[_i].err) != NULL, "%s", err.text);
}
END_TEST

START_TEST(values_are_taken)
{
    static const char *const words[][2] = {
        {"from", "f"},    {"to", "t"},      {"reason", "r"},  {"mta-id", "m"}, {"message-id", "i"},
        {"older", "10s"}, {"newer", "20s"}, {"larger", "2k"}, {"limit", "7"},  {"in", "hold"}};
    struct queue_selection s = {0};
    struct err err;

    for (size_t i = 0; i < UNIT_COUNT(words); i++)
        ck_assert_int_eq(criterion_take(&s, criterion_find(words[i][0]), words[i][1], NOW, &err),
                         0);
    ck_assert_str_eq(s.from, "f");
    ck_assert_str_eq(s.to, "t");
    ck_assert_str_eq(s.reason, "r");
    ck_assert_str_eq(s.mta_id, "m");
    ck_assert_str_eq(s.message_id, "i");
    ck_assert_int_eq(s.arrived_before, NOW - 10);
    ck_assert_int_eq(s.arrived_after, NOW - 20);
    ck_assert_uint_eq(s.larger_bytes, 2048);
    ck_assert_uint_eq(s.limit, 7);
    ck_assert_uint_eq(s.places, QUEUE_IN_HOLD);
    ck_assert_int_eq(criterion_find("nonsense"), CRITERION_COUNT);
    ck_assert_int_eq(criterion_find(""), CRITERION_COUNT);
    ck_assert_int_eq(criterion_take(&s, CRITERION_COUNT, "x", NOW, &err), -1);
    ck_assert_int_eq(criterion_take(&s, CRITERION_OLDER, "2000000s", NOW, &err), 0);
    ck_assert_int_eq(s.arrived_before, 1);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("all");

    tcase_add_loop_test(tests, values_are_checked, 0, UNIT_COUNT(cases));
    tcase_add_test(tests, values_are_taken);
    return unit_run("criterion", tests);
}
