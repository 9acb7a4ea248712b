/* SPDX-License-Identifier: ISC */
/* Loading the modules of table types. */
#include "base/mem.h"
#include "table/module.h"
#include "table/table.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

/* Links this program with all that modules use, as the programs are. */
static struct table *(*const volatile links)(const char *spec, struct err *err)
    __attribute__((used)) = table_open;

static const char *const built[] = {
#ifdef HAVE_MODULE_LDAP
    "ldap",
#endif
#ifdef HAVE_MODULE_MYSQL
    "mysql",
#endif
#ifdef HAVE_MODULE_PGSQL
    "pgsql",
#endif
#ifdef HAVE_MODULE_SQLITE
    "sqlite",
#endif
    NULL,
};

/* The modules are in this directory, below the one of the build. */
static void use_directory(const char *name)
{
    const char *build = getenv("SPLIT_BUILD_DIR");
    char *path = mem_printf("%s/%s", build == NULL ? "." : build, name);

    ck_assert_int_eq(setenv("SPLIT_MODULE_DIR", path, 1), 0);
    free(path);
}

START_TEST(each_module_that_was_built_can_be_loaded)
{
    struct err err;

    use_directory("src/table");
    for (size_t i = 0; built[i] != NULL; i++) {
        const struct table_module *m = module_load(built[i], &err);
        ck_assert_msg(m != NULL, "%s", err.text);
        ck_assert_str_eq(m->type, built[i]);
        ck_assert_ptr_eq(module_load(built[i], &err), m);
        ck_assert(m->parameters != NULL && m->templates != NULL && m->open != NULL &&
                  m->close != NULL && m->hosts != NULL && m->connect != NULL &&
                  m->disconnect != NULL && m->ask != NULL);
    }
}
END_TEST

START_TEST(what_is_missing_is_named)
{
    static const char *const types[] = {"ldap", "mysql", "pgsql", "sqlite"};
    struct err err;

    ck_assert_int_eq(setenv("SPLIT_MODULE_DIR", "/nonexistent", 1), 0);
    for (size_t i = 0; i < UNIT_COUNT(types); i++) {
        char *package = mem_printf("%s: tables need the package splitmilter-%s (/nonexistent/%s.so "
                                   "is not there)",
                                   types[i], types[i], types[i]);
        char *option = mem_printf("%s: tables are not in this build of splitmilter (configure "
                                  "--with-",
                                  types[i]);
        ck_assert_ptr_null(module_load(types[i], &err));
        ck_assert_msg(strcmp(err.text, package) == 0 || strstr(err.text, option) == err.text, "%s",
                      err.text);
        free(option);
        free(package);
    }
    ck_assert_ptr_null(module_load("nis", &err));
    ck_assert_str_eq(err.text, "nis: there is no module for this table type");
}
END_TEST

START_TEST(a_module_of_another_version_is_refused)
{
    struct err err;

    use_directory("tests/unit/other_version");
    ck_assert_ptr_null(module_load("ldap", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "of splitmilter 0.0.1, not " PACKAGE_VERSION));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("module");

    tcase_add_test(tests, each_module_that_was_built_can_be_loaded);
    tcase_add_test(tests, what_is_missing_is_named);
    tcase_add_test(tests, a_module_of_another_version_is_refused);
    return unit_run("module", tests);
}
