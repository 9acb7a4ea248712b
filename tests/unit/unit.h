/* SPDX-License-Identifier: ISC */
/* unit: the main() of the check programs. */
#ifndef SPLIT_TESTS_UNIT_H
#define SPLIT_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

#define UNIT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Run one test case as a suite of that name; returns main()'s exit code. */
static inline int unit_run(const char *name, TCase *tests)
{
    Suite *suite = suite_create(name);

    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
