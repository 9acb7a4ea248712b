/* SPDX-License-Identifier: ISC */
/* What both engines promise: statements, values, transactions, and views. */
#include "queue/db.h"
#include "queue/db_pgsql.h"

#include "base/mem.h"
#include "pgsql_unit.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

/* --- engines --- */

static char directory[64];

static void make_directory(void)
{
    mem_copy_string(directory, sizeof directory, "/tmp/test_db.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
    char *command = mem_printf("rm -rf %s", directory);

    ck_assert_int_eq(system(command), 0);
    free(command);
}

static struct db *open_sqlite(enum db_access access, enum db_status *status, bool *is_missing,
                              struct err *err)
{
    return db_sqlite_open(directory, access, status, is_missing, err);
}

static const char *uri;

static void make_database(void)
{
    uri = pgsql_unit_create("");
}

static struct db *open_pgsql(enum db_access access, enum db_status *status, bool *is_missing,
                             struct err *err)
{
    const struct db_pgsql_options options = {
        .uri = uri, .node = "here", .program = "test_db", .access = access};

    return db_pgsql_open(&options, status, is_missing, err);
}

static bool is_always_there(void)
{
    return true;
}

static const struct engine {
    const char *name;
    bool (*is_there)(void);
    void (*make)(void);
    void (*remove)(void);
    struct db *(*open)(enum db_access access, enum db_status *status, bool *is_missing,
                       struct err *err);
} engines[] = {
    {"sqlite", is_always_there, make_directory, remove_directory, open_sqlite},
    {"postgresql", pgsql_unit_is_there, make_database, pgsql_unit_drop, open_pgsql},
};
static const struct engine *engine;

/* --- a database --- */

static struct db *db;
static struct err err;

static struct db *open_db(enum db_access access)
{
    enum db_status status;
    bool is_missing;
    struct db *opened = engine->open(access, &status, &is_missing, &err);

    ck_assert_msg(opened != NULL, "%s", err.text);
    ck_assert_int_eq(status, DB_OK);
    /* cppcheck-suppress returnDanglingLifetime */
    return opened;
}

static void set_up(void)
{
    engine->make();
    db = open_db(DB_WRITE);
}

static void tear_down(void)
{
    if (db != NULL)
        db->ops->close(db);
    engine->remove();
}

#define must(call)                                                                                 \
    do {                                                                                           \
        enum db_status status_ = (call);                                                           \
        ck_assert_msg(status_ == DB_OK, "%d: %s", (int)status_, err.text);                         \
    } while (0)

/* The result is asked for, so the error shows at once. */
static enum db_status put(struct db *to, int64_t id)
{
    struct db_value values[] = {db_int(id), db_blob("data", 4)};
    uint64_t changed = 0;
    enum db_status status = to->ops->run(
        to, "INSERT INTO body (message, part, data) VALUES ($1, 0, $2)", values, 2, &changed, &err);

    if (status == DB_OK)
        ck_assert_uint_eq(changed, 1);
    return status;
}

static bool has_row(struct db *from, int64_t id)
{
    struct db_value value = db_int(id);
    int64_t found = 0;

    must(db_get_number(from, "SELECT 1 FROM body WHERE message = $1", &value, 1, &found, &err));
    return found == 1;
}

/* --- statements --- */

static bool check_values(void *ctx, const struct db_value *columns)
{
    ck_assert_int_eq(columns[0].type, DB_INT);
    ck_assert_int_eq(columns[0].number, INT64_MAX);
    ck_assert_int_eq(columns[1].number, -2);
    ck_assert_int_eq(columns[2].type, DB_REAL);
    ck_assert_double_eq(columns[2].real, 1.5);
    ck_assert_int_eq(columns[3].type, DB_TEXT);
    ck_assert_str_eq(columns[3].data, "");
    ck_assert_int_eq(columns[4].type, DB_TEXT);
    ck_assert_str_eq(columns[4].data, "\xc3\xbc'x");
    ck_assert_uint_eq(columns[4].len, 4);
    ck_assert_int_eq(columns[5].type, DB_BLOB);
    ck_assert_uint_eq(columns[5].len, 0);
    ck_assert_int_eq(columns[6].type, DB_BLOB);
    ck_assert_uint_eq(columns[6].len, 3);
    ck_assert_int_eq(memcmp(columns[6].data, "a\0b", 3), 0);
    ck_assert_int_eq(columns[7].type, DB_NULL);
    ck_assert_int_eq(columns[8].type, DB_INT); /* int4 with PostgreSQL */
    ck_assert_int_eq(columns[8].number, -7);
    ck_assert_int_eq(columns[9].number, 1);
    ++*(int *)ctx;
    return true;
}

START_TEST(values_come_back_as_they_were)
{
    static const char sql[] = "SELECT $1, $2, $3, $4, $5, $6, $7, $8, -7, 1 = 1";
    struct db_value values[] = {
        db_int(INT64_MAX),     db_int(-2),       db_real(1.5),       db_text(""),
        db_text("\xc3\xbc'x"), db_blob(NULL, 0), db_blob("a\0b", 3), db_null()};
    int rows = 0;

    for (int i = 0; i < 3; i++)
        must(db->ops->query(db, sql, values, 8, check_values, &rows, &err));
    must(db->ops->query_text(db, sql, values, 8, check_values, &rows, &err));
    ck_assert_int_eq(rows, 4);
}
END_TEST

static bool count_two(void *ctx, const struct db_value *columns)
{
    (void)columns;
    return ++*(int *)ctx < 2;
}

START_TEST(a_statement_can_be_ended_early_and_used_again)
{
    static const char sql[] = "SELECT message FROM body ORDER BY message";
    uint64_t changed = 0;

    must(db->ops->begin(db, true, &err));
    for (int i = 1; i <= 5; i++)
        must(put(db, i));
    must(db->ops->commit(db, &err));
    for (int i = 0; i < 3; i++) {
        int rows = 0;
        must(db->ops->query(db, sql, NULL, 0, count_two, &rows, &err));
        ck_assert_int_eq(rows, 2);
    }
    must(db->ops->run(db, "DELETE FROM body WHERE message > 2", NULL, 0, &changed, &err));
    ck_assert_uint_eq(changed, 3);
    ck_assert_int_eq(db->ops->run(db, "DELETE FROM absent", NULL, 0, NULL, &err), DB_FAULT);
    ck_assert_msg(strstr(err.text, "absent") != NULL, "%s", err.text);
    must(db->ops->query(db, "SELECT message FROM body", NULL, 0, NULL, NULL, &err));
}
END_TEST

/* --- transactions --- */

START_TEST(after_a_conflict_a_new_transaction_works)
{
    must(db->ops->begin(db, true, &err));
    must(put(db, 1));
    ck_assert_int_eq(put(db, 1), DB_CONFLICT);
    db->ops->rollback(db);
    ck_assert(!has_row(db, 1));
    must(db->ops->begin(db, true, &err));
    must(put(db, 2));
    must(db->ops->commit(db, &err));
    db->ops->rollback(db); /* there is none */
    ck_assert(has_row(db, 2));
}
END_TEST

/* Whatever is sent without asking for its result: the commit fails at the latest. */
START_TEST(an_error_that_shows_late_undoes_the_transaction)
{
    struct db_value values[] = {db_int(1), db_blob("a", 1)};
    enum db_status status = DB_OK;

    for (int round = 0; round < 2; round++) {
        must(db->ops->begin(db, true, &err));
        for (int i = 0; i < 3 && status == DB_OK; i++)
            status = db->ops->run(db, "INSERT INTO body (message, part, data) VALUES ($1, 0, $2)",
                                  values, 2, NULL, &err);
        if (status == DB_OK)
            status = db->ops->commit(db, &err);
        ck_assert_int_eq(status, DB_CONFLICT);
        db->ops->rollback(db);
        ck_assert(!has_row(db, 1));
        status = DB_OK;
    }
}
END_TEST

START_TEST(a_reader_has_one_view_of_what_is_committed)
{
    struct db *reader = open_db(DB_READ);

    must(db->ops->begin(db, true, &err));
    must(put(db, 1));
    ck_assert(!has_row(reader, 1));
    must(db->ops->commit(db, &err));
    ck_assert(has_row(reader, 1));
    must(reader->ops->begin(reader, false, &err));
    ck_assert(!has_row(reader, 2));
    must(db->ops->begin(db, false, &err));
    must(put(db, 2));
    must(db->ops->commit(db, &err));
    ck_assert(!has_row(reader, 2));
    reader->ops->rollback(reader);
    ck_assert(has_row(reader, 2));
    ck_assert_int_ne(put(reader, 3), DB_OK);
    reader->ops->close(reader);
}
END_TEST

/* --- opening --- */

START_TEST(a_reader_says_when_there_are_no_tables)
{
    enum db_status status;
    bool is_missing = false;

    db->ops->close(db);
    engine->remove();
    engine->make();
    db = engine->open(DB_READ, &status, &is_missing, &err);
    ck_assert(is_missing);
    ck_assert_int_eq(status, db == NULL ? DB_FAULT : DB_OK); /* PostgreSQL can be asked more */
}
END_TEST

START_TEST(tables_of_another_version_are_refused)
{
    enum db_status status;
    bool is_missing;

    must(db->ops->run(db, "UPDATE schema SET version = 99", NULL, 0, NULL, &err));
    db->ops->close(db);
    db = NULL;
    for (int access = DB_READ; access <= DB_WRITE; access++) {
        ck_assert_ptr_null(engine->open((enum db_access)access, &status, &is_missing, &err));
        ck_assert_int_eq(status, DB_FAULT);
        ck_assert(!is_missing);
        ck_assert_msg(strstr(err.text, "version 99") != NULL, "%s", err.text);
    }
}
END_TEST

START_TEST(the_size_of_the_database_is_known)
{
    struct db_figures figures;
    bool has_more = true;

    must(db->ops->figures(db, &figures, &err));
    ck_assert_uint_gt(figures.size_bytes, 10000);
    must(db->ops->maintain(db, false, &has_more, &err));
    ck_assert(!has_more);
}
END_TEST

static TCase *make(void)
{
    TCase *tests = tcase_create("db");

    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, values_come_back_as_they_were);
    tcase_add_test(tests, a_statement_can_be_ended_early_and_used_again);
    tcase_add_test(tests, after_a_conflict_a_new_transaction_works);
    tcase_add_test(tests, an_error_that_shows_late_undoes_the_transaction);
    tcase_add_test(tests, a_reader_has_one_view_of_what_is_committed);
    tcase_add_test(tests, a_reader_says_when_there_are_no_tables);
    tcase_add_test(tests, tables_of_another_version_are_refused);
    tcase_add_test(tests, the_size_of_the_database_is_known);
    return tests;
}

int main(void)
{
    int result = EXIT_SUCCESS;

    for (size_t i = 0; i < UNIT_COUNT(engines); i++) {
        engine = &engines[i];
        if (engine->is_there() && unit_run(engine->name, make()) != EXIT_SUCCESS)
            result = EXIT_FAILURE;
    }
    return result;
}
