/* SPDX-License-Identifier: ISC */
#include "unit.h"

#include "base/mem.h"

#include <signal.h>
#include <string.h>

START_TEST(strings_that_fit_are_copied)
{
    char out[6] = "xxxxx";

    mem_copy_string(out, sizeof out - 1, "four");
    ck_assert_mem_eq(out, "four\0", 6);
    mem_copy_string(out, sizeof out - 1, "");
    ck_assert_mem_eq(out, "\0our\0", 6);
}
END_TEST

START_TEST(a_string_that_does_not_fit_ends_the_process)
{
    char out[6] = "xxxxx";

    mem_copy_string(out, sizeof out - 1, "fives");
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("mem");

    tcase_add_test(tests, strings_that_fit_are_copied);
    tcase_add_test_raise_signal(tests, a_string_that_does_not_fit_ends_the_process, SIGABRT);
    return unit_run("mem", tests);
}
