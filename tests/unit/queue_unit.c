/* SPDX-License-Identifier: ISC */
#include "queue_unit.h"

#include "base/log.h"
#include "pgsql_unit.h"
#include "queue/db.h"
#include "queue/db_pgsql.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct queue *q;
char queue_unit_dir[64];
atomic_long fake_now;
int64_t queue_unit_history_s;

const char *queue_unit_queue;

static bool is_on_postgresql;

bool queue_unit_is_shared(void)
{
    return is_on_postgresql;
}

/* A second connection, which writes beside that of the queue. */
static struct db *open_db(enum db_access access, struct err *err)
{
    struct db_pgsql_options options = {.uri = queue_unit_queue,
                                       .node = "shell",
                                       .program = "unit",
                                       .access = access == DB_READ ? DB_READ : DB_SHARE};
    enum db_status status;
    bool is_missing;
    struct db *db = queue_unit_is_shared()
                        ? db_pgsql_open(&options, &status, &is_missing, err)
                        : db_sqlite_open(queue_unit_dir, access, &status, &is_missing, err);

    ck_assert_msg(db != NULL, "%s", err->text);
    return db;
}

/* --- the queue --- */

static time_t fake_clock(void *ctx)
{
    return (time_t)atomic_load((atomic_long *)ctx);
}

struct queue *queue_unit_open_node(const char *node, const char *directory, struct err *err)
{
    struct queue_options options = {.spool_directory = directory,
                                    .queue = queue_unit_queue,
                                    .node = node,
                                    .history_s = queue_unit_history_s,
                                    .delay_max_s = QUEUE_UNIT_DELAY_MAX_S,
                                    .clock = fake_clock,
                                    .clock_ctx = &fake_now};

    return queue_open(&options, err);
}

struct queue *queue_unit_try_open(struct err *err)
{
    return queue_unit_open_node("one", queue_unit_dir, err);
}

void queue_unit_open(void)
{
    struct err err = {""};

    q = queue_unit_try_open(&err);
    ck_assert_msg(q != NULL, "%s", err.text);
}

void queue_unit_reopen(void)
{
    q->ops->close(q);
    queue_unit_open();
}

/* The writer takes requests in their order. An outcome may submit another one, which carries out an
 * order. */
void queue_unit_flush(void)
{
    struct err err = {""};

    for (int i = 0; i < 2; i++)
        ck_assert_msg(q->ops->resume(q, "none-of-this-name", &err) == 0, "%s", err.text);
}

static void set_up(void)
{
    strcpy(queue_unit_dir, "/tmp/split-queue-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(queue_unit_dir));
    queue_unit_queue = is_on_postgresql ? pgsql_unit_create("") : "sqlite";
    fake_now = 1700000045;
    queue_unit_history_s = 86400;
    queue_unit_open();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void tear_down(void)
{
    q->ops->close(q);
    if (queue_unit_is_shared())
        pgsql_unit_drop();
    nftw(queue_unit_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TCase *queue_unit_case(const char *name)
{
    TCase *tests = tcase_create(name);

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    return tests;
}

/* On SQLite (0), PostgreSQL (1). */
static int run(const char *name, TCase *(*make)(void), int first, int last)
{
    struct err err;
    int failed = 0;

    if (log_open(name, "stderr", "mail", "error", &err) < 0) /* changes log a line for each copy */
        return EXIT_FAILURE;
    for (int i = first; i <= last; i++) {
        is_on_postgresql = i == 1;
        printf("%s: ", is_on_postgresql ? "postgresql" : "sqlite");
        fflush(stdout);
        Suite *suite = suite_create(name);
        suite_add_tcase(suite, make());
        SRunner *runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed += srunner_ntests_failed(runner);
        srunner_free(runner);
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int queue_unit_run(const char *name, TCase *(*make)(void))
{
    return run(name, make, 0, pgsql_unit_is_there() ? 1 : 0);
}

int queue_unit_run_on_sqlite(const char *name, TCase *(*make)(void))
{
    return run(name, make, 0, 0);
}

int queue_unit_run_on_postgresql(const char *name, TCase *(*make)(void))
{
    return pgsql_unit_is_there() ? run(name, make, 1, 1) : UNIT_SKIPPED;
}

/* --- the database --- */

static bool take_column(void *ctx, const struct db_value *columns)
{
    if (columns[0].type == DB_TEXT)
        snprintf(ctx, 1000, "%s", columns[0].data);
    else if (columns[0].type == DB_INT)
        snprintf(ctx, 1000, "%lld", (long long)columns[0].number);
    return false;
}

static bool take_nothing(void *ctx, const struct db_value *columns)
{
    (void)ctx;
    (void)columns;
    return true;
}

const char *queue_unit_text(const char *sql)
{
    static char text[1000];
    struct err err = {""};
    struct db *db = open_db(DB_READ, &err);

    text[0] = '\0';
    enum db_status status = db->ops->query_text(db, sql, NULL, 0, take_column, text, &err);
    ck_assert_msg(status == DB_OK, "%s", err.text);
    db->ops->close(db);
    return text;
}

int64_t queue_unit_number(const char *sql)
{
    return strtoll(queue_unit_text(sql), NULL, 10);
}

void queue_unit_execute(const char *sql)
{
    struct err err = {""};
    struct db *db = open_db(DB_WRITE, &err);

    enum db_status status = db->ops->query_text(db, sql, NULL, 0, take_nothing, NULL, &err);
    ck_assert_msg(status == DB_OK, "%s", err.text);
    db->ops->close(db);
}

struct db *queue_unit_begin(void)
{
    struct err err = {""};
    struct db *db = open_db(DB_WRITE, &err);

    ck_assert_msg(db->ops->begin(db, true, &err) == DB_OK, "%s", err.text);
    return db;
}

struct db *queue_unit_connect(void)
{
    struct err err = {""};

    return open_db(DB_WRITE, &err);
}

struct db *queue_unit_block(void)
{
    struct err err = {""};
    struct db *db = queue_unit_begin();

    if (queue_unit_is_shared())
        ck_assert_msg(
            db->ops->query_text(db, "LOCK TABLE message, history, suspended IN EXCLUSIVE MODE",
                                NULL, 0, take_nothing, NULL, &err) == DB_OK,
            "%s", err.text);
    return db;
}

void queue_unit_unblock(struct db *db)
{
    db->ops->rollback(db);
    db->ops->close(db);
}

void queue_unit_count(int64_t queued, int64_t held, int64_t dead)
{
    queue_unit_flush();
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE state = 'queued'"), queued);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE state = 'held'"), held);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE state = 'dead'"), dead);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message m WHERE NOT EXISTS"
                                       " (SELECT 1 FROM copy c WHERE c.message = m.id)"),
                     0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM body b WHERE NOT EXISTS"
                                       " (SELECT 1 FROM message m WHERE m.id = b.message)"),
                     0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM recipient r WHERE NOT EXISTS"
                                       " (SELECT 1 FROM copy c WHERE c.id = r.copy)"),
                     0);
}

/* --- messages --- */

struct queue_message queue_unit_message(void)
{
    return (struct queue_message){.sender = (char *)"s@x.test",
                                  .client_name = (char *)"c.test",
                                  .client_addr = (char *)"192.0.2.1",
                                  .helo = (char *)"helo.test",
                                  .protocol = (char *)"ESMTP",
                                  .mta_queue_id = (char *)"4ABC",
                                  .message_id = (char *)"<1@x.test>",
                                  .is_8bit = true,
                                  .arrival = {1700000000, 123456000}};
}

struct queue_recipient queue_unit_recipient(const char *address)
{
    return (struct queue_recipient){
        .address = (char *)address, .orcpt = (char *)"rfc822;o+2Bx@y.test", .state = QUEUE_PENDING};
}

void queue_unit_put_to(const char *const *destinations, size_t count, const char *content,
                       size_t len, char (*ids)[QUEUE_ID_SIZE])
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r[4];
    struct queue_new_copy copies[4] = {0};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_uint_le(count, 4);
    for (size_t i = 0; i < count; i++) {
        r[i] = queue_unit_recipient("a@b.test");
        copies[i] = (struct queue_new_copy){
            .destination = destinations[i], .recipients = &r[i], .recipient_count = 1};
    }
    ck_assert_int_eq(q->ops->put_begin(q, &m, copies, count, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, content, len, &err), QUEUE_PUT_OK);
    ck_assert_msg(q->ops->put_commit(p, NULL, NULL, &err) == QUEUE_PUT_OK, "%s", err.text);
    for (size_t i = 0; i < count && ids != NULL; i++)
        strcpy(ids[i], copies[i].id);
}

void queue_unit_put(const char *destination, const char *content)
{
    queue_unit_put_to(&destination, 1, content, strlen(content), NULL);
}

struct queue_copy *queue_unit_take(const char *destination)
{
    queue_unit_flush();
    return q->ops->next(q, destination, 0);
}

struct queue_copy *queue_unit_must_take(const char *destination)
{
    struct queue_copy *c = queue_unit_take(destination);

    ck_assert_ptr_nonnull(c);
    return c;
}

void queue_unit_set_all(struct queue_copy *c, enum queue_recipient_state state, const char *reason)
{
    for (size_t i = 0; i < c->recipient_count; i++) {
        c->recipients[i].state = state;
        strcpy(c->recipients[i].reason, reason);
    }
}

void queue_unit_finish(struct queue_copy *c)
{
    queue_unit_set_all(c, QUEUE_SENT, "250 ok");
    q->ops->done(q, c, &(struct queue_delivery){"mx.test[192.0.2.9]:25", "250 ok"});
}

unsigned queue_unit_finish_all(const char *destination)
{
    struct queue_copy *c;
    unsigned count = 0;

    for (; (c = queue_unit_take(destination)) != NULL; count++)
        queue_unit_finish(c);
    return count;
}

void queue_unit_check_content(const struct queue_copy *c, const char *content, size_t len)
{
    char *text = malloc(len + 1);

    ck_assert_uint_eq(c->message.size_bytes, len);
    if (c->content != NULL)
        memcpy(text, c->content, len);
    else
        ck_assert_int_eq(pread(c->content_fd, text, len + 1, 0), (ssize_t)len);
    ck_assert_int_eq(memcmp(text, content, len), 0);
    free(text);
}
