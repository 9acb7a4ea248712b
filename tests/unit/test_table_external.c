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

/* Afterwards the slow key fails, so that the second question shows which key is known. */
START_TEST(a_slow_key_does_not_show_that_the_query_works)
{
    static const char count_long[] = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 "
                                     "FROM c WHERE x < 2000000) SELECT max(x) FROM c";
    char *query = mem_printf("SELECT json_type(v) FROM map WHERE k = '%%s' AND "
                             "CASE k WHEN 'slow@b.test' THEN (%s) ELSE 1 END > 0",
                             count_long);
    struct table *t = open_with(query);
    enum table_result result = TABLE_FAILED;
    struct err err;

    execute("INSERT INTO map VALUES ('1@b.test', '{}'), ('slow@b.test', '{}'), ('x@b.test', '{')");
    /* Several times, because the speed of a busy machine changes. */
    for (int i = 0; i < 20 && result != TABLE_LIMIT; i++) {
        int64_t begin_ms = clock_now_ms();
        execute(count_long);
        table_set_timeout(t, 8 * (unsigned)(clock_now_ms() - begin_ms)); /* half of it is soon */
        execute("UPDATE map SET v = '{}' WHERE k = 'slow@b.test'");
        if (find(t, "1@b.test", &err) != TABLE_FOUND || find(t, "slow@b.test", &err) != TABLE_FOUND)
            continue;
        execute("UPDATE map SET v = '{' WHERE k = 'slow@b.test'");
        result = find(t, "x@b.test", &err);
    }
    ck_assert_int_eq(result, TABLE_LIMIT);
    table_close(t);
    free(query);
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
