/* SPDX-License-Identifier: ISC */
/*
 * Storing messages where writes and syncs fail: nothing that was answered with an error is handed
 * out or left behind, nothing that was answered with success is missing. All writes and syncs of
 * the process go through the functions below.
 */
#include "base/mem.h"
#include "queue/queue_id.h"
#include "queue_unit.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 700 * 1000 }; /* does not fit into a row */

static char large_content[LARGE];

/* --- faults --- */

static const char *_Atomic fail_sync_of,
    *_Atomic fail_write_of; /* files whose path, with a `$` behind it, has this in it */
static atomic_int fail_count, fail_errno; /* so many, with this errno */
static atomic_uint fail_one_in;           /* or at random; 0: not */

static bool is_to_fail(int fd, const char *of)
{
    static _Atomic uint32_t random = 1;
    char link[64], path[256];

    if (of == NULL)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 2);
    if (n < 0)
        return false;
    mem_copy_string(path + n, 2, "$"); /* so that the end can be asked for */
    if (strstr(path, of) == NULL)
        return false;
    unsigned one_in = atomic_load(&fail_one_in);
    uint32_t next = (atomic_fetch_add(&random, 1) * 2654435761U) >> 16;
    if (one_in == 0 ? atomic_fetch_sub(&fail_count, 1) <= 0 : next % one_in != 0)
        return false;
    errno = atomic_load(&fail_errno);
    return true;
}

int fdatasync(int fd);
int fsync(int fd);
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t write(int fd, const void *data, size_t len);

int fdatasync(int fd)
{
    return is_to_fail(fd, atomic_load(&fail_sync_of)) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return is_to_fail(fd, atomic_load(&fail_sync_of)) ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return is_to_fail(fd, atomic_load(&fail_write_of)) ? -1
                                                       : syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t write(int fd, const void *data, size_t len)
{
    return is_to_fail(fd, atomic_load(&fail_write_of)) ? -1 : syscall(SYS_write, fd, data, len);
}

static void fail_syncs(const char *of, int count)
{
    atomic_store(&fail_errno, EIO);
    atomic_store(&fail_count, count);
    atomic_store(&fail_sync_of, of);
}

static void fail_writes(const char *of, int count, int error)
{
    atomic_store(&fail_errno, error);
    atomic_store(&fail_count, count);
    atomic_store(&fail_write_of, of);
}

static void set_up(void)
{
    atomic_store(&fail_sync_of, NULL);
    atomic_store(&fail_write_of, NULL);
    atomic_store(&fail_one_in, 0);
    memset(large_content, 'x', sizeof large_content);
}

/* --- messages --- */

struct new_message {
    struct queue_message message;
    struct queue_recipient recipient;
    struct queue_new_copy copy;
    struct queue_put *put;
    struct err err;
};

static enum queue_put_status try_begin(struct new_message *m, const char *content, size_t len)
{
    *m = (struct new_message){.message = queue_unit_message(),
                              .recipient = queue_unit_recipient("a@b.test")};
    m->copy = (struct queue_new_copy){
        .destination = "archive", .recipients = &m->recipient, .recipient_count = 1};
    ck_assert_int_eq(q->ops->put_begin(q, &m->message, &m->copy, 1, &m->put, &m->err),
                     QUEUE_PUT_OK);
    return q->ops->put_data(m->put, content, len, &m->err);
}

static void begin(struct new_message *m, const char *content, size_t len)
{
    ck_assert_int_eq(try_begin(m, content, len), QUEUE_PUT_OK);
}

static enum queue_put_status commit(struct new_message *m)
{
    return q->ops->put_commit(m->put, NULL, NULL, &m->err);
}

static enum queue_put_status prepare(struct new_message *m)
{
    return q->ops->put_prepare(m->put, &m->err);
}

static size_t count_large(void)
{
    char *path = mem_printf("%s/large", queue_unit_dir);
    DIR *dir = opendir(path);
    struct dirent *e;
    size_t count = 0;

    ck_assert_ptr_nonnull(dir);
    while ((e = readdir(dir)) != NULL)
        count += e->d_name[0] != '.';
    closedir(dir);
    free(path);
    return count;
}

/* What the writer has still to do is done soon. */
static void wait_until_empty(void)
{
    struct timespec pause = {.tv_nsec = 5000000};

    for (int i = 0; i < 2000; i++) {
        if (queue_unit_number("SELECT count(*) FROM message") == 0 && count_large() == 0)
            break;
        nanosleep(&pause, NULL);
    }
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message"), 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM body"), 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM recipient"), 0);
    ck_assert_uint_eq(count_large(), 0);
    queue_unit_count(0, 0, 0);
}

static void check_that_all_is_well(void)
{
    struct new_message m;

    begin(&m, "well\r\n", 6);
    ck_assert_int_eq(commit(&m), QUEUE_PUT_OK);
    struct queue_copy *c = q->ops->next(q, "archive", 5000);
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->id, m.copy.id);
    queue_unit_check_content(c, "well\r\n", 6);
    queue_unit_finish(c);
    ck_assert_ptr_null(q->ops->next(q, "archive", 0));
}

/* --- tests --- */

static const struct {
    bool is_large, is_prepared;
} forms[] = {{false, false}, {false, true}, {true, false}, {true, true}};

static void begin_form(struct new_message *m, int form)
{
    if (forms[form].is_large)
        begin(m, large_content, sizeof large_content);
    else
        begin(m, "text\r\n", 6);
    if (forms[form].is_prepared)
        ck_assert_int_eq(prepare(m), QUEUE_PUT_OK);
}

START_TEST(a_commit_whose_sync_fails_leaves_nothing)
{
    struct new_message m;

    begin_form(&m, _i);
    fail_syncs("queue.db-wal", 1);
    ck_assert_int_eq(commit(&m), QUEUE_PUT_FAULT);
    ck_assert_str_ne(m.err.text, "");
    ck_assert_ptr_null(q->ops->next(q, "archive", 300));
    wait_until_empty();
    check_that_all_is_well();
    queue_unit_reopen();
    ck_assert_ptr_null(q->ops->next(q, "archive", 0));
}
END_TEST

START_TEST(a_commit_without_room_leaves_nothing)
{
    struct new_message m;

    begin_form(&m, _i);
    fail_writes("queue.db-wal", 1, ENOSPC);
    ck_assert_int_eq(commit(&m), QUEUE_PUT_FULL);
    ck_assert_ptr_null(q->ops->next(q, "archive", 300));
    wait_until_empty();
    check_that_all_is_well();
}
END_TEST

START_TEST(an_abort_leaves_nothing)
{
    struct new_message m;

    begin_form(&m, _i);
    q->ops->put_abort(m.put);
    ck_assert_uint_eq(count_large(), 0);
    wait_until_empty();
    check_that_all_is_well();
}
END_TEST

START_TEST(a_prepare_that_fails_can_be_aborted)
{
    struct new_message m;

    begin(&m, _i == 0 ? "text\r\n" : large_content, _i == 0 ? 6 : sizeof large_content);
    fail_writes("queue.db-wal", 1, _i == 0 ? ENOSPC : EIO);
    ck_assert_int_eq(prepare(&m), _i == 0 ? QUEUE_PUT_FULL : QUEUE_PUT_FAULT);
    q->ops->put_abort(m.put);
    wait_until_empty();
    check_that_all_is_well();
}
END_TEST

/* The sync of the file, or of the directory. */
START_TEST(a_large_file_that_is_not_on_the_disk_is_none)
{
    struct new_message m;
    bool is_prepared = _i % 2 == 1;

    begin(&m, large_content, sizeof large_content);
    fail_syncs(_i / 2 == 0 ? "/large/" : "/large$", 1);
    enum queue_put_status status = is_prepared ? prepare(&m) : commit(&m);
    ck_assert_int_eq(status, QUEUE_PUT_FAULT);
    if (is_prepared)
        q->ops->put_abort(m.put);
    wait_until_empty();
    check_that_all_is_well();
}
END_TEST

START_TEST(a_large_file_without_room_is_none)
{
    struct new_message m;

    begin(&m, "begin", 5);
    fail_writes("/large/", 1, ENOSPC);
    ck_assert_int_eq(q->ops->put_data(m.put, large_content, sizeof large_content, &m.err),
                     QUEUE_PUT_FULL);
    q->ops->put_abort(m.put);
    wait_until_empty();
    check_that_all_is_well();
}
END_TEST

/* The connection was opened anew in between, and what had no sync is gone. */
START_TEST(rows_that_were_lost_are_written_again)
{
    struct new_message m;

    begin_form(&m, _i == 0 ? 1 : 3);
    queue_unit_execute("DELETE FROM body");
    queue_unit_execute("DELETE FROM message");
    ck_assert_int_eq(commit(&m), QUEUE_PUT_OK);
    queue_unit_reopen();
    struct queue_copy *c = q->ops->next(q, "archive", 1000);
    ck_assert_ptr_nonnull(c);
    if (_i == 0)
        queue_unit_check_content(c, "text\r\n", 6);
    else
        queue_unit_check_content(c, large_content, sizeof large_content);
    queue_unit_finish(c);
    queue_unit_flush();
    wait_until_empty();
}
END_TEST

static void mark(void *ctx)
{
    *(bool *)ctx = true;
}

START_TEST(a_message_that_all_have_got_is_not_kept)
{
    struct new_message m;
    bool is_stored = false;

    begin_form(&m, _i);
    m.recipient.state = QUEUE_SENT;
    ck_assert_int_eq(q->ops->put_commit(m.put, mark, &is_stored, &m.err), QUEUE_PUT_OK);
    ck_assert(is_stored);
    wait_until_empty();
}
END_TEST

/* Two nodes have the same number, against all rules. */
START_TEST(a_message_with_the_same_id_is_not_removed)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r = queue_unit_recipient("a@b.test");
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err = {""};
    char sql[200];
    int64_t id;

    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert(queue_id_parse(copy.id, &id));
    snprintf(sql, sizeof sql,
             "INSERT INTO message VALUES (%lld, 0, 0, '', '', '', '', '', '', '', '', 'body',"
             " 'stored')",
             (long long)queue_id_message(id));
    queue_unit_execute(sql);
    if (_i == 1)
        ck_assert_int_eq(q->ops->put_prepare(p, &err), QUEUE_PUT_FAULT);
    if (_i == 1)
        q->ops->put_abort(p);
    else
        ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_FAULT);
    queue_unit_flush();
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message"), 1);
    ck_assert_ptr_null(queue_unit_take("archive"));
}
END_TEST

START_TEST(too_many_copies_are_refused)
{
    struct new_message m;
    static struct queue_new_copy copies[512];

    begin(&m, "text\r\n", 6);
    q->ops->put_abort(m.put);
    for (size_t i = 0; i < UNIT_COUNT(copies); i++)
        copies[i] = m.copy;
    ck_assert_int_eq(q->ops->put_begin(q, &m.message, copies, 512, &m.put, &m.err),
                     QUEUE_PUT_FAULT);
    ck_assert_int_eq(q->ops->put_begin(q, &m.message, copies, 511, &m.put, &m.err), QUEUE_PUT_OK);
    q->ops->put_abort(m.put);
}
END_TEST

/* Nothing is stored for a while: that is said before a message is taken. */
START_TEST(room_is_denied_while_the_database_takes_nothing)
{
    struct new_message m;
    struct err err;

    ck_assert_int_eq(q->ops->has_room(q, 1000, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->has_room(q, UINT64_MAX / 2, &err), QUEUE_PUT_FULL);
    fail_writes("queue.db", INT32_MAX, ENOSPC);
    for (int i = 0; i < 2; i++) {
        begin(&m, "text\r\n", 6);
        ck_assert_int_eq(commit(&m), QUEUE_PUT_FULL);
    }
    ck_assert_int_eq(q->ops->has_room(q, 1000, &err), QUEUE_PUT_FULL);
    atomic_store(&fail_write_of, NULL);
    struct timespec pause = {.tv_nsec = 10000000};
    for (int i = 0; i < 2000 && q->ops->has_room(q, 1000, &err) != QUEUE_PUT_OK; i++)
        nanosleep(&pause, NULL);
    ck_assert_int_eq(q->ops->has_room(q, 1000, &err), QUEUE_PUT_OK);
    check_that_all_is_well();
    wait_until_empty();
}
END_TEST

/* --- faults at random, many threads --- */

enum { THREADS = 8, EACH = 150 };

struct result {
    char id[QUEUE_ID_SIZE];
    bool is_stored;
};

static void *put_many(void *ctx)
{
    struct result *results = ctx;

    for (int i = 0; i < EACH; i++) {
        struct new_message m;
        bool is_large = i % 25 == 7;
        enum queue_put_status status = try_begin(&m, is_large ? large_content : "text\r\n",
                                                 is_large ? sizeof large_content / 2 : 6);
        bool is_prepared = i % 3 == 0;
        if (status == QUEUE_PUT_OK && is_prepared)
            status = prepare(&m);
        if (status != QUEUE_PUT_OK) {
            q->ops->put_abort(m.put);
            continue;
        }
        mem_copy_string(results[i].id, QUEUE_ID_SIZE, m.copy.id);
        if (is_prepared && i % 9 == 0)
            q->ops->put_abort(m.put);
        else
            results[i].is_stored = commit(&m) == QUEUE_PUT_OK;
    }
    return NULL;
}

/* Removes the copy from the results. */
static void strike_out(struct result *results, const char *id)
{
    for (int i = 0; i < THREADS * EACH; i++)
        if (results[i].is_stored && strcmp(results[i].id, id) == 0) {
            results[i].is_stored = false;
            return;
        }
    ck_abort_msg("%s was refused, or handed out twice", id);
}

/* Some are taken and finished while it goes on, the rest after a restart. */
START_TEST(faults_at_random_lose_nothing)
{
    static struct result results[THREADS * EACH];
    pthread_t threads[THREADS];
    struct queue_copy *c;
    int taken = 0, stored = 0;

    atomic_store(&fail_errno, _i == 0 ? EIO : ENOSPC);
    atomic_store(&fail_one_in, 40);
    atomic_store(_i == 0 ? &fail_sync_of : &fail_write_of, queue_unit_dir);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_many, &results[i * EACH]), 0);
    char ids[THREADS * EACH][QUEUE_ID_SIZE];
    for (int i = 0; i < 100 && (c = q->ops->next(q, "archive", 100)) != NULL; i++) {
        mem_copy_string(ids[taken++], QUEUE_ID_SIZE, c->id);
        queue_unit_finish(c);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&fail_sync_of, NULL);
    atomic_store(&fail_write_of, NULL);
    for (int i = 0; i < THREADS * EACH; i++)
        stored += results[i].is_stored;
    ck_assert_int_gt(stored, 0);
    ck_assert_int_lt(stored, THREADS * EACH);
    struct timespec pause = {.tv_sec = 2}; /* what must succeed is tried once in a second */
    nanosleep(&pause, NULL);
    queue_unit_reopen();
    for (int i = 0; i < taken; i++)
        strike_out(results, ids[i]);
    while ((c = q->ops->next(q, "archive", 500)) != NULL) {
        strike_out(results, c->id);
        queue_unit_finish(c);
        taken++;
    }
    ck_assert_int_eq(taken, stored);
    wait_until_empty();
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("put");

    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_loop_test(tests, an_abort_leaves_nothing, 0, UNIT_COUNT(forms));
    tcase_add_loop_test(tests, a_message_that_all_have_got_is_not_kept, 0, UNIT_COUNT(forms));
    tcase_add_loop_test(tests, a_message_with_the_same_id_is_not_removed, 0, 2);
    tcase_add_test(tests, too_many_copies_are_refused);
    tcase_add_loop_test(tests, rows_that_were_lost_are_written_again, 0,
                        queue_unit_is_shared() ? 1 : 2);
    if (queue_unit_is_shared()) /* the others fail system calls of this process */
        return tests;
    tcase_add_loop_test(tests, a_commit_whose_sync_fails_leaves_nothing, 0, UNIT_COUNT(forms));
    tcase_add_loop_test(tests, a_commit_without_room_leaves_nothing, 0, UNIT_COUNT(forms));
    tcase_add_loop_test(tests, a_prepare_that_fails_can_be_aborted, 0, 2);
    tcase_add_loop_test(tests, a_large_file_that_is_not_on_the_disk_is_none, 0, 4);
    tcase_add_test(tests, a_large_file_without_room_is_none);
    tcase_add_test(tests, room_is_denied_while_the_database_takes_nothing);
    tcase_add_loop_test(tests, faults_at_random_lose_nothing, 0, 2);
    return tests;
}

int main(void)
{
    return queue_unit_run("queue_put", make);
}
