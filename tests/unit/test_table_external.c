/* SPDX-License-Identifier: ISC */
/* What a failure of a table that asks a database means: the database's, or the key's. */
#include "base/clock.h"
#include "base/mem.h"
#include "table/table.h"
#include "unit.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char directory[] = "/tmp/test_table_external.XXXXXX";
static char parameters[64], database[64];

static void execute(const char *sql)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(database, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(parameters, sizeof parameters, "%s/cf", directory);
    snprintf(database, sizeof database, "%s/db", directory);
    execute("CREATE TABLE map (k TEXT, v TEXT); INSERT INTO map VALUES ('a@b.test', 'primary')");
}

static void teardown(void)
{
    unlink(parameters);
    unlink(database);
    rmdir(directory);
}

static struct table *open_with(const char *query)
{
    FILE *file = fopen(parameters, "w");
    char *spec = mem_printf("sqlite:%s", parameters);
    struct err err = {""};

    fprintf(file, "dbpath = %s\nquery = %s\n", database, query);
    fclose(file);
    struct table *t = table_open(spec, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    free(spec);
    return t;
}

static enum table_result find(const struct table *t, const char *key, struct err *err)
{
    struct table_scratch *s = table_scratch_new();
    struct table_match m;

    table_match_init(&m);
    enum table_result result = table_find(t, s, key, &m, err);
    table_match_clear(&m);
    table_scratch_free(s);
    return result;
}

/* SQLite takes "..." for a text if there is no column of this name. */
START_TEST(a_key_that_makes_the_query_fail_is_at_fault)
{
    struct table *t = open_with("SELECT v FROM map WHERE k = \"%s\"");
    struct err err;

    ck_assert_int_eq(find(t, "a\"x@b.test", &err), TABLE_LIMIT); /* no key was answered before */
    ck_assert_ptr_nonnull(strstr(err.text, "syntax error"));
    ck_assert_int_eq(find(t, "a@b.test", &err), TABLE_FOUND);
    ck_assert_int_eq(find(t, "a\"x@b.test", &err), TABLE_LIMIT);
    execute("DROP TABLE map");
    ck_assert_int_eq(find(t, "a@b.test", &err), TABLE_FAILED); /* it was answered before */
    ck_assert_int_eq(find(t, "a\"x@b.test", &err), TABLE_FAILED);
    table_close(t);
}
END_TEST

/* The query fails for the key of a check, too. */
START_TEST(a_key_that_was_answered_shows_that_the_query_works)
{
    struct table *t = open_with(
        "SELECT v FROM map WHERE k = '%s' AND json_extract('{\"a\": %u}', '$.a') IS NOT NULL");
    struct err err;

    ck_assert_int_eq(find(t, "x@b.test", &err), TABLE_FAILED);
    ck_assert_int_eq(find(t, "1@b.test", &err), TABLE_NOT_FOUND);
    ck_assert_int_eq(find(t, "x@b.test", &err), TABLE_LIMIT);
    table_close(t);
}
END_TEST

#define COUNT_LONG                                                                                 \
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000000)"            \
    " SELECT max(x) FROM c"

START_TEST(a_slow_key_does_not_show_that_the_query_works)
{
    struct table *t = open_with("SELECT CASE '%s' WHEN 'slow@b.test' THEN (" COUNT_LONG
                                ") WHEN 'x@b.test' THEN abs(-9223372036854775807 - 1)"
                                " ELSE json_extract('{\"a\": %u}', '$.a') END");
    struct err err;
    int64_t begin_ms = clock_now_ms();

    execute(COUNT_LONG);
    unsigned slow_ms = (unsigned)(clock_now_ms() - begin_ms);
    table_set_timeout(t, slow_ms * 4); /* a quarter of it is not soon */
    ck_assert_int_eq(find(t, "1@b.test", &err), TABLE_FOUND);
    ck_assert_int_eq(find(t, "slow@b.test", &err), TABLE_FOUND);
    table_set_timeout(t, slow_ms / 2); /* too little for the slow one */
    ck_assert_int_eq(find(t, "x@b.test", &err), TABLE_LIMIT);
    table_close(t);
}
END_TEST

/* Each look-up computes for a few milliseconds. */
START_TEST(a_decision_with_too_many_keys_is_at_fault)
{
    struct table *t = open_with("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c "
                                "WHERE x < 20000) SELECT v FROM map, c WHERE k = '%s' AND x = 0");
    struct table_scratch *s = table_scratch_new();
    enum table_result result = TABLE_NOT_FOUND;
    struct table_match m;
    struct err err = {""};
    unsigned count = 0;

    table_match_init(&m);
    table_set_timeout(t, 2000);
    table_scratch_begin(s);
    while (result == TABLE_NOT_FOUND && count++ < 100000)
        result = table_find(t, s, "a@b.test", &m, &err);
    ck_assert_int_eq(result, TABLE_LIMIT);
    ck_assert_uint_gt(count, 2);
    table_match_clear(&m);
    table_scratch_free(s);
    table_close(t);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("table_external");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 30);
#ifdef HAVE_MODULE_SQLITE
    tcase_add_test(tests, a_key_that_makes_the_query_fail_is_at_fault);
    tcase_add_test(tests, a_key_that_was_answered_shows_that_the_query_works);
    tcase_add_test(tests, a_slow_key_does_not_show_that_the_query_works);
    tcase_add_test(tests, a_decision_with_too_many_keys_is_at_fault);
#endif
    return unit_run("table_external", tests);
}
