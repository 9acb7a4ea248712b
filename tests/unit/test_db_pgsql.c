/* SPDX-License-Identifier: ISC */
/*
 * PostgreSQL: the pipeline, deadlines, lost connections, locks, notifications, replication. Between
 * the database and the test is a proxy, which counts round trips and can stop.
 */
#include "queue/db_pgsql.h"

#include "base/clock.h"
#include "base/mem.h"
#include "pgsql_unit.h"
#include "unit.h"
#ifdef HAVE_LIBPQ
#include "queue/db_pgsql_private.h"
#endif

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS (3000 * time_factor())

/* Sanitizers and busy machines make the answers slow. */
static int time_factor(void)
{
    const char *text = getenv("SPLIT_TIME_FACTOR");
    int factor = text == NULL ? 1 : atoi(text);

    return factor < 1 ? 1 : factor;
}

/* --- the proxy: one connection after the other --- */

static struct proxy {
    pthread_t thread;
    int listener, stop;
    unsigned port;
    atomic_uint trips;         /* the client has sent something after the server has */
    atomic_bool holds_replies; /* what the server says is not passed on */
    atomic_bool holds_all;
} proxy;

static bool pass(int from, int to)
{
    char data[65536];
    ssize_t n = read(from, data, sizeof data);

    for (ssize_t at = 0, done; at < n; at += done)
        if ((done = write(to, data + at, (size_t)(n - at))) <= 0)
            return false;
    return n > 0;
}

/* Until one side closes it. False: the proxy is to stop. */
static bool pass_all(int client, int server)
{
    bool was_server = true;

    for (;;) {
        bool holds_all = atomic_load(&proxy.holds_all);
        bool holds = holds_all || atomic_load(&proxy.holds_replies);
        struct pollfd fds[] = {{.fd = proxy.stop, .events = POLLIN},
                               {.fd = holds_all ? -1 : client, .events = POLLIN},
                               {.fd = holds ? -1 : server, .events = POLLIN}};
        ck_assert_int_ge(poll(fds, 3, 10), 0);
        if (fds[0].revents != 0)
            return false;
        if (fds[1].revents != 0) {
            atomic_fetch_add(&proxy.trips, was_server);
            was_server = false;
            if (!pass(client, server))
                return true;
        }
        if (fds[2].revents != 0) {
            was_server = true;
            if (!pass(server, client))
                return true;
        }
    }
}

static void *run_proxy(void *arg)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)pgsql_unit_port()),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (bool goes_on = true; goes_on;) {
        struct pollfd fds[] = {{.fd = proxy.stop, .events = POLLIN},
                               {.fd = proxy.listener, .events = POLLIN}};
        ck_assert_int_gt(poll(fds, 2, -1), 0);
        if (fds[0].revents != 0)
            break;
        int client = accept(proxy.listener, NULL, NULL), server = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(server, (struct sockaddr *)&to, sizeof to), 0);
        goes_on = pass_all(client, server);
        close(client);
        close(server);
    }
    return arg;
}

static void start_proxy(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;

    memset(&proxy, 0, sizeof proxy);
    proxy.listener = socket(AF_INET, SOCK_STREAM, 0);
    proxy.stop = eventfd(0, 0);
    ck_assert_int_eq(bind(proxy.listener, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(proxy.listener, 5), 0);
    ck_assert_int_eq(getsockname(proxy.listener, (struct sockaddr *)&at, &len), 0);
    proxy.port = ntohs(at.sin_port);
    ck_assert_int_eq(pthread_create(&proxy.thread, NULL, run_proxy, NULL), 0);
}

static void stop_proxy(void)
{
    ck_assert_int_eq(eventfd_write(proxy.stop, 1), 0);
    pthread_join(proxy.thread, NULL);
    close(proxy.listener);
    close(proxy.stop);
}

/* --- databases --- */

static const char *uri;
static struct db *db; /* DB_WRITE of node "here", through the proxy */
static struct err err;

#define must(call)                                                                                 \
    do {                                                                                           \
        enum db_status status_ = (call);                                                           \
        ck_assert_msg(status_ == DB_OK, "%d: %s", (int)status_, err.text);                         \
    } while (0)

static int backend;
static bool must_replicate;

static struct db *try_open(const char *at, const char *node, enum db_access access)
{
    const struct db_pgsql_options options = {.uri = at,
                                             .node = node,
                                             .program = "test_db",
                                             .access = access,
                                             .timeout_ms = (unsigned)TIMEOUT_MS,
                                             .must_replicate = must_replicate,
                                             .backend = access == DB_WRITE ? &backend : NULL};
    enum db_status status;
    bool is_missing;
    struct db *opened = db_pgsql_open(&options, &status, &is_missing, &err);

    ck_assert_int_eq(opened == NULL, status != DB_OK);
    return opened;
}

static struct db *open_at(const char *at, const char *node, enum db_access access)
{
    struct db *opened = try_open(at, node, access);

    ck_assert_msg(opened != NULL, "%s", err.text);
    return opened;
}

static void set_up(void)
{
    uri = pgsql_unit_create("");
    start_proxy();
    char *through = pgsql_unit_uri_at(proxy.port, "");
    db = open_at(through, "here", DB_WRITE);
    free(through);
}

static void tear_down(void)
{
    if (db != NULL)
        db->ops->close(db);
    stop_proxy();
    pgsql_unit_drop();
}

static enum db_status put(struct db *to, int64_t id, size_t len)
{
    static char data[DB_BODY_PART_BYTES];
    struct db_value values[] = {db_int(id), db_blob(data, len)};

    return to->ops->run(to, "INSERT INTO body (message, part, data) VALUES ($1, 0, $2)", values, 2,
                        NULL, &err);
}

static enum db_status execute(struct db *with, const char *sql)
{
    return with->ops->query_text(with, sql, NULL, 0, NULL, NULL, &err);
}

static bool take_number(void *ctx, const struct db_value *columns)
{
    *(int64_t *)ctx = columns[0].number;
    return true;
}

static int64_t get(struct db *from, const char *sql)
{
    int64_t number = -1;

    must(from->ops->query_text(from, sql, NULL, 0, take_number, &number, &err));
    return number;
}

/* Rows of body, seen by a connection of its own. */
static int64_t count_rows(void)
{
    struct db *reader = open_at(uri, "there", DB_READ);
    int64_t count = get(reader, "SELECT count(*) FROM body");

    reader->ops->close(reader);
    return count;
}

/* --- the pipeline --- */

START_TEST(a_group_commit_is_one_round_trip)
{
    for (int round = 0; round < 3; round++) {
        unsigned before = atomic_load(&proxy.trips);
        must(db->ops->begin(db, round == 1, &err));
        for (int i = 0; i < 20; i++)
            must(put(db, 100 * round + i, 100));
        must(db->ops->commit(db, &err));
        ck_assert_uint_eq(atomic_load(&proxy.trips) - before, 1);
    }
    ck_assert_int_eq(count_rows(), 60);
}
END_TEST

/* More than fits into the buffers of both sides; the server answers meanwhile. */
START_TEST(a_large_transaction_does_not_get_stuck)
{
    must(db->ops->begin(db, true, &err));
    for (int i = 0; i < 200; i++)
        must(put(db, i, 200000));
    for (int i = 1000; i < 6000; i++)
        must(put(db, i, 1));
    must(db->ops->commit(db, &err));
    ck_assert_int_eq(count_rows(), 5200);
}
END_TEST

/* It is prepared in the part of the pipeline that the server skips. */
START_TEST(a_statement_whose_preparation_was_skipped_works_later)
{
    static const char sql[] = "DELETE FROM body WHERE message = 7";

    for (int i = 0; i < 3; i++) {
        must(db->ops->begin(db, true, &err));
        must(put(db, 7, 1));
        if (i == 0)
            must(put(db, 7, 1));
        must(db->ops->run(db, sql, NULL, 0, NULL, &err));
        ck_assert_int_eq(db->ops->commit(db, &err), i == 0 ? DB_CONFLICT : DB_OK);
        db->ops->rollback(db);
    }
    ck_assert_int_eq(count_rows(), 0);
}
END_TEST

START_TEST(a_commit_after_an_error_is_no_commit)
{
    uint64_t changed;

    must(db->ops->begin(db, true, &err));
    must(put(db, 1, 1));
    ck_assert_int_eq(db->ops->run(db, "DELETE FROM absent WHERE 1 = 1", NULL, 0, &changed, &err),
                     DB_FAULT);
    ck_assert_int_eq(db->ops->commit(db, &err), DB_FAULT);
    ck_assert_msg(strstr(err.text, "rolled back") != NULL, "%s", err.text);
    ck_assert_int_eq(count_rows(), 0);
}
END_TEST

/* 0: the warning of a trigger. 1: a warning of another kind, as when the server is shut down. */
START_TEST(a_warning_of_a_commit)
{
    static const char *const triggers[] = {
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE WARNING ''canceling wait''; RETURN NULL; END'",
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN"
        " RAISE WARNING ''not replicated'' USING ERRCODE = ''57P01''; RETURN NULL; END'"};

    must(execute(db, triggers[_i]));
    must(execute(db, "CREATE CONSTRAINT TRIGGER warn AFTER INSERT ON body DEFERRABLE INITIALLY"
                     " DEFERRED FOR EACH ROW EXECUTE FUNCTION warn()"));
    must(db->ops->begin(db, true, &err));
    must(put(db, 1, 1));
    ck_assert_int_eq(db->ops->commit(db, &err), _i == 0 ? DB_OK : DB_FAULT);
    ck_assert_msg(_i == 0 || strstr(err.text, "not replicated") != NULL, "%s", err.text);
    must(db->ops->begin(db, true, &err));
    must(db->ops->run(db, "DELETE FROM body", NULL, 0, NULL, &err));
    must(db->ops->commit(db, &err));
}
END_TEST

START_TEST(a_durable_commit_that_waits_for_no_standby_has_failed)
{
    must_replicate = true;
    struct db *strict = open_at(uri, "strict", DB_WRITE);
    must(strict->ops->begin(strict, false, &err));
    must(put(strict, 1, 1));
    must(strict->ops->commit(strict, &err));
    must(strict->ops->begin(strict, true, &err));
    must(put(strict, 2, 1));
    ck_assert_int_eq(strict->ops->commit(strict, &err), DB_FAULT);
    ck_assert_msg(strstr(err.text, "synchronous_standby_names") != NULL, "%s", err.text);
    strict->ops->close(strict);
}
END_TEST

START_TEST(a_serialization_failure_can_be_tried_again)
{
    struct db *other = open_at(uri, "there", DB_SHARE);

    must(execute(db, "INSERT INTO schema VALUES (0)"));
    for (int tries = 0; tries < 2; tries++) {
        must(db->ops->begin(db, true, &err));
        must(execute(db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"));
        ck_assert_int_eq(get(db, "SELECT count(*) FROM schema WHERE version = 0"), 1);
        if (tries == 0)
            must(execute(other, "UPDATE schema SET version = 0 WHERE version = 0"));
        must(db->ops->run(db, "UPDATE schema SET version = 0 WHERE version = 0", NULL, 0, NULL,
                          &err));
        ck_assert_int_eq(db->ops->commit(db, &err), tries == 0 ? DB_AGAIN : DB_OK);
        db->ops->rollback(db);
    }
    other->ops->close(other);
}
END_TEST

static bool check_texts(void *ctx, const struct db_value *columns)
{
    ck_assert_str_eq(columns[0].data, "\xef\xbf\xbd'\xc3\xbc");
    ck_assert_str_eq(columns[1].data, "a\xef\xbf\xbd"
                                      "b");
    *(bool *)ctx = true;
    return true;
}

START_TEST(a_text_that_the_database_cannot_hold_is_made_valid)
{
    struct db_value values[] = {db_text("\xff'\xc3\xbc"),
                                {.type = DB_TEXT, .data = "a\0b", .len = 3}};
    bool was_called = false;

    must(db->ops->query(db, "SELECT $1, $2", values, 2, check_texts, &was_called, &err));
    ck_assert(was_called);
}
END_TEST

/* The number of results of a COPY has no end. */
START_TEST(a_copy_is_a_fault)
{
    static const char *const statements[] = {"COPY (SELECT 1) TO STDOUT", "COPY body FROM STDIN"};

    ck_assert_int_eq(execute(db, statements[_i]), DB_FAULT);
    ck_assert_msg(strstr(err.text, "COPY") != NULL, "%s", err.text);
    ck_assert_int_eq(db->ops->begin(db, true, &err), DB_FAULT);
}
END_TEST

START_TEST(too_many_columns_are_a_fault)
{
    int64_t number = 0;

    ck_assert_int_eq(db->ops->query_text(db,
                                         "SELECT 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,"
                                         "20,21,22,23,24,25",
                                         NULL, 0, take_number, &number, &err),
                     DB_FAULT);
    ck_assert_msg(strstr(err.text, "25 columns") != NULL, "%s", err.text);
    ck_assert_int_eq(get(db, "SELECT 5"), 5);
}
END_TEST

#ifdef HAVE_LIBPQ
static const struct {
    Oid type;
    int len; /* that it must have */
} lengths[] = {{16, 1}, {21, 2}, {23, 4}, {20, 8}, {700, 4}, {701, 8}};

START_TEST(a_number_of_another_length_is_a_fault)
{
    static char name[] = "what", data[] = "123456789";
    PGresAttDesc column = {.name = name, .format = 1, .typid = lengths[_i].type};
    struct db_value columns[DB_VALUES_MAX];

    for (int len = 0; len <= 9; len++) {
        PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
        ck_assert_int_eq(PQsetResultAttrs(result, 1, &column), 1);
        ck_assert_int_eq(PQsetvalue(result, 0, 0, data, len), 1);
        int rc = db_pgsql_decode(result, 0, columns, &err);
        ck_assert_int_eq(rc, len == lengths[_i].len ? 0 : -1);
        ck_assert_msg(rc == 0 || strstr(err.text, "what") != NULL, "%s", err.text);
        PQclear(result);
    }
}
END_TEST
#endif

START_TEST(a_type_that_is_not_known_is_said)
{
    int64_t number;

    ck_assert_int_eq(db_get_number(db, "SELECT 1.5 AS what", NULL, 0, &number, &err), DB_FAULT);
    ck_assert_msg(strstr(err.text, "what has type 1700") != NULL, "%s", err.text);
    ck_assert_int_eq(get(db, "SELECT 5"), 5);
}
END_TEST

/* --- deadlines and lost connections --- */

START_TEST(a_database_that_is_silent_fails_in_time)
{
    int64_t begin_ms = clock_now_ms();
    uint64_t changed;

    must(db->ops->begin(db, true, &err));
    atomic_store(&proxy.holds_all, true);
    ck_assert_int_eq(
        db->ops->run(db, "DELETE FROM body WHERE message = 1", NULL, 0, &changed, &err), DB_FAULT);
    int64_t took_ms = clock_now_ms() - begin_ms;
    ck_assert_int_ge(took_ms, TIMEOUT_MS - 1);
    ck_assert_int_lt(took_ms, 5 * TIMEOUT_MS);
    ck_assert_msg(strstr(err.text, "no answer") != NULL, "%s", err.text);
    db->ops->rollback(db);
    ck_assert_int_eq(db->ops->begin(db, true, &err), DB_FAULT);
    ck_assert_int_lt(clock_now_ms() - begin_ms - took_ms, TIMEOUT_MS);
}
END_TEST

/* The time is that of the transaction, not of each statement. */
START_TEST(a_slow_transaction_has_one_deadline)
{
    int64_t begin_ms = clock_now_ms();
    enum db_status status = db->ops->begin(db, true, &err);

    for (int i = 0; i < 40 * time_factor() && status == DB_OK; i++)
        status = execute(db, "SELECT pg_sleep(0.2)");
    ck_assert_int_eq(status, DB_FAULT);
    ck_assert_int_lt(clock_now_ms() - begin_ms, 3 * TIMEOUT_MS);
}
END_TEST

static bool goes_on(void *ctx)
{
    return ++*(int *)ctx < 3;
}

START_TEST(a_statement_that_is_watched_ends)
{
    int calls = 0;

    db_pgsql_watch(db, goes_on, &calls);
    ck_assert_int_eq(execute(db, "SELECT pg_sleep(60)"), DB_FAULT);
    ck_assert_msg(strstr(err.text, "interrupted") != NULL, "%s", err.text);
    ck_assert_int_eq(calls, 3);
    ck_assert_int_eq(execute(db, "SELECT 1"), DB_FAULT);
}
END_TEST

START_TEST(a_commit_without_an_answer_may_have_happened)
{
    must(db->ops->begin(db, true, &err));
    must(put(db, 1, 1));
    atomic_store(&proxy.holds_replies, true);
    ck_assert_int_eq(db->ops->commit(db, &err), DB_FAULT);
    ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(a_connection_that_the_server_ends_is_a_fault)
{
    struct db *other = open_at(uri, "there", DB_SHARE);

    must(db->ops->begin(db, true, &err));
    must(put(db, 1, 1));
    ck_assert_int_eq(get(db, "SELECT count(*) FROM body"), 1);
    must(execute(other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'test_db here'"));
    ck_assert_int_eq(db->ops->commit(db, &err), DB_FAULT);
    ck_assert_str_ne(err.text, "");
    db->ops->rollback(db);
    ck_assert_int_eq(db->ops->begin(db, true, &err), DB_FAULT);
    other->ops->close(other);
    ck_assert_int_eq(count_rows(), 0);
}
END_TEST

/* --- opening --- */

/* The server is still busy with the last statement, or waits for a standby. */
START_TEST(an_earlier_connection_of_the_writer_is_ended)
{
    int last = backend;

    ck_assert_int_ne(last, 0);
    ck_assert_int_eq(execute(db, "SELECT pg_sleep(60)"), DB_FAULT);
    db->ops->close(db);
    backend = last + 1;
    db = try_open(uri, "here", DB_WRITE);
    ck_assert_ptr_null(db); /* it is not ours */
    backend = last;
    db = open_at(uri, "here", DB_WRITE);
    ck_assert_int_ne(backend, last);
}
END_TEST

START_TEST(a_node_has_one_writer)
{
    backend = 0;
    ck_assert_ptr_null(try_open(uri, "here", DB_WRITE));
    ck_assert_msg(strstr(err.text, "another splitrelay is node \"here\"") != NULL, "%s", err.text);
    struct db *other = open_at(uri, "there", DB_WRITE), *shares = open_at(uri, "here", DB_SHARE);
    other->ops->close(other);
    shares->ops->close(shares);
    db->ops->close(db);
    db = open_at(uri, "here", DB_WRITE);
}
END_TEST

static void *open_one(void *node)
{
    const struct db_pgsql_options options = {
        .uri = uri, .node = node, .program = "test_db", .access = DB_WRITE};
    enum db_status status;
    bool is_missing;
    struct err problem;
    struct db *opened = db_pgsql_open(&options, &status, &is_missing, &problem);

    ck_assert_msg(opened != NULL, "%s", problem.text);
    opened->ops->close(opened);
    return node;
}

START_TEST(nodes_that_start_at_once_create_the_tables_once)
{
    static char names[][2] = {"a", "b", "c", "d"};
    pthread_t threads[UNIT_COUNT(names)];

    must(execute(db, "DROP SCHEMA public CASCADE"));
    must(execute(db, "CREATE SCHEMA public"));
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, open_one, names[i]), 0);
    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(get(db, "SELECT count(*) FROM schema"), 1);
}
END_TEST

START_TEST(a_password_is_not_in_the_error)
{
    static const char *const bad[] = {"postgresql://me:secret@127.0.0.1:1/x",
                                      "postgresql://me:secret@127.0.0.1:port/x",
                                      "postgresql://me:secret@127.0.0.1:1/x?nonsense=1",
                                      "postgresql://me@127.0.0.1:1/x?p%61ssword=sec=secret"};

    ck_assert_ptr_null(try_open(bad[_i], "here", DB_READ));
    ck_assert_str_ne(err.text, "");
    ck_assert_msg(strstr(err.text, "secret") == NULL, "%s", err.text);
    ck_assert_ptr_null(strchr(err.text, '\n'));
}
END_TEST

START_TEST(another_encoding_is_refused)
{
    db->ops->close(db);
    db = NULL;
    pgsql_unit_drop();
    uri = pgsql_unit_create("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    ck_assert_ptr_null(try_open(uri, "here", DB_WRITE));
    ck_assert_msg(strstr(err.text, "SQL_ASCII") != NULL, "%s", err.text);
}
END_TEST

/* --- notifications --- */

static void keep(void *ctx, const char *payload)
{
    snprintf(ctx, 100, "%s", payload);
}

START_TEST(a_notification_ends_the_wait)
{
    struct db *listener = open_at(uri, "here", DB_READ);
    char payload[100] = "";
    int wake = eventfd(0, 0);

    must(db_pgsql_listen(listener, &err));
    must(db->ops->begin(db, true, &err));
    must(execute(db, "SELECT pg_notify('" DB_PGSQL_CHANNEL "', 'copies archive')"));
    must(db_pgsql_wait(listener, wake, 50, keep, payload, &err));
    ck_assert_str_eq(payload, ""); /* it is told when it is committed */
    must(db->ops->commit(db, &err));
    must(db_pgsql_wait(listener, wake, 10000, keep, payload, &err));
    ck_assert_str_eq(payload, "copies archive");

    ck_assert_int_eq(eventfd_write(wake, 1), 0);
    int64_t begin_ms = clock_now_ms();
    must(db_pgsql_wait(listener, wake, 10000, keep, payload, &err));
    ck_assert_int_lt(clock_now_ms() - begin_ms, 5000);
    ck_assert_int_eq(get(listener, "SELECT 3"), 3);

    must(execute(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                     " WHERE query LIKE '%SELECT 3%' AND pid <> pg_backend_pid()"));
    ck_assert_int_eq(db_pgsql_wait(listener, -1, 10000, keep, payload, &err), DB_FAULT);
    listener->ops->close(listener);
    close(wake);
}
END_TEST

/* --- replication --- */

static const struct {
    const char *set, *problem, *unsafe;
} settings[] = {
    {"SET synchronous_commit = on", "synchronous_standby_names is empty", ""},
    {"SET synchronous_commit = remote_write", "synchronous_commit = remote_write", ""},
    {"SET synchronous_commit = local", "synchronous_commit = local", ""},
    {"SET synchronous_commit = off", "synchronous_commit = off", "synchronous_commit = off"},
};

START_TEST(what_is_missing_for_replication_is_named)
{
    struct db_replication r;

    must(execute(db, settings[_i].set));
    must(db_pgsql_replication(db, &r, &err));
    ck_assert_msg(strncmp(r.problem, settings[_i].problem, strlen(settings[_i].problem)) == 0, "%s",
                  r.problem);
    ck_assert_int_eq(r.unsafe[0] == '\0', settings[_i].unsafe[0] == '\0');
    ck_assert_msg(strstr(r.unsafe, settings[_i].unsafe) != NULL, "%s", r.unsafe);
    ck_assert_uint_ge(r.version, 130000);
    ck_assert_uint_eq(r.synchronous, 0);
    ck_assert_str_ne(r.server, "");
}
END_TEST

int main(void)
{
    if (!pgsql_unit_is_there())
        return 77;
    TCase *tests = tcase_create("db_pgsql");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_group_commit_is_one_round_trip);
    tcase_add_test(tests, a_large_transaction_does_not_get_stuck);
    tcase_add_test(tests, a_statement_whose_preparation_was_skipped_works_later);
    tcase_add_test(tests, a_commit_after_an_error_is_no_commit);
    tcase_add_loop_test(tests, a_warning_of_a_commit, 0, 2);
    tcase_add_test(tests, a_durable_commit_that_waits_for_no_standby_has_failed);
    tcase_add_test(tests, a_serialization_failure_can_be_tried_again);
    tcase_add_test(tests, a_text_that_the_database_cannot_hold_is_made_valid);
    tcase_add_loop_test(tests, a_copy_is_a_fault, 0, 2);
    tcase_add_test(tests, too_many_columns_are_a_fault);
#ifdef HAVE_LIBPQ
    tcase_add_loop_test(tests, a_number_of_another_length_is_a_fault, 0, UNIT_COUNT(lengths));
#endif
    tcase_add_test(tests, a_type_that_is_not_known_is_said);
    tcase_add_test(tests, a_database_that_is_silent_fails_in_time);
    tcase_add_test(tests, a_slow_transaction_has_one_deadline);
    tcase_add_test(tests, a_statement_that_is_watched_ends);
    tcase_add_test(tests, a_commit_without_an_answer_may_have_happened);
    tcase_add_test(tests, a_connection_that_the_server_ends_is_a_fault);
    tcase_add_test(tests, an_earlier_connection_of_the_writer_is_ended);
    tcase_add_test(tests, a_node_has_one_writer);
    tcase_add_test(tests, nodes_that_start_at_once_create_the_tables_once);
    tcase_add_loop_test(tests, a_password_is_not_in_the_error, 0, 4);
    tcase_add_test(tests, another_encoding_is_refused);
    tcase_add_test(tests, a_notification_ends_the_wait);
    tcase_add_loop_test(tests, what_is_missing_for_replication_is_named, 0, UNIT_COUNT(settings));
    return unit_run("db_pgsql", tests);
}
