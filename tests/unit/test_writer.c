/* SPDX-License-Identifier: ISC */
/* The writer on a scripted database: what is in which transaction, and what failures do. */
#include "queue/writer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "task/task.h"
#include "unit.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* --- a database --- */

enum { SCRIPT_MAX = 16, TRANSACTIONS_MAX = 64, NAMES_SIZE = 128 };

/* What happened in a transaction: the names of the requests that were applied in it, and its end.
 */
struct transaction {
    char names[NAMES_SIZE];
    bool is_durable, is_committed;
    int64_t begin_ms;
};

static struct script {
    pthread_mutex_t lock;
    enum db_status commits[SCRIPT_MAX], opens[SCRIPT_MAX]; /* then DB_OK */
    enum db_status maintenance;
    unsigned commit_count, open_count, close_count, maintain_count, idle_count, damaged_count;
    bool blocks; /* the next commit waits for `go_on` */
    unsigned idle_more;
    sem_t has_blocked, go_on;
    struct transaction transactions[TRANSACTIONS_MAX];
    unsigned transaction_count;
} script;

static struct transaction *present(void)
{
    ck_assert_uint_gt(script.transaction_count, 0);
    return &script.transactions[script.transaction_count - 1];
}

static enum db_status fake_begin(struct db *db, bool is_durable, struct err *err)
{
    (void)db;
    (void)err;
    pthread_mutex_lock(&script.lock);
    ck_assert_uint_lt(script.transaction_count, TRANSACTIONS_MAX);
    script.transactions[script.transaction_count++] =
        (struct transaction){.is_durable = is_durable, .begin_ms = clock_now_ms()};
    pthread_mutex_unlock(&script.lock);
    return DB_OK;
}

static enum db_status fake_commit(struct db *db, struct err *err)
{
    (void)db;
    pthread_mutex_lock(&script.lock);
    bool blocks = script.blocks;
    script.blocks = false;
    enum db_status status =
        script.commit_count < SCRIPT_MAX ? script.commits[script.commit_count] : DB_OK;
    script.commit_count++;
    present()->is_committed = status == DB_OK;
    pthread_mutex_unlock(&script.lock);
    if (blocks) {
        sem_post(&script.has_blocked);
        sem_wait(&script.go_on);
    }
    if (status != DB_OK)
        err_set(err, "commit failed");
    return status;
}

static void fake_rollback(struct db *db)
{
    (void)db;
}

static enum db_status fake_maintain(struct db *db, bool is_idle, bool *has_more_out,
                                    struct err *err)
{
    (void)db;
    (void)is_idle;
    *has_more_out = false;
    pthread_mutex_lock(&script.lock);
    enum db_status status = script.maintenance;
    script.maintenance = DB_OK;
    script.maintain_count++;
    pthread_mutex_unlock(&script.lock);
    if (status != DB_OK)
        err_set(err, "maintenance failed");
    return status;
}

static enum db_status fake_figures(struct db *db, struct db_figures *out, struct err *err)
{
    (void)db;
    (void)err;
    *out = (struct db_figures){.size_bytes = 4711};
    return DB_OK;
}

static void fake_close(struct db *db)
{
    (void)db;
    pthread_mutex_lock(&script.lock);
    script.close_count++;
    pthread_mutex_unlock(&script.lock);
}

static const struct db_ops fake_ops = {.begin = fake_begin,
                                       .commit = fake_commit,
                                       .rollback = fake_rollback,
                                       .maintain = fake_maintain,
                                       .figures = fake_figures,
                                       .close = fake_close};
static struct db fake = {.ops = &fake_ops};

static struct db *open_fake(void *ctx, enum db_status *status_out, struct err *err)
{
    ck_assert_ptr_eq(ctx, &script);
    pthread_mutex_lock(&script.lock);
    *status_out = script.open_count < SCRIPT_MAX ? script.opens[script.open_count] : DB_OK;
    script.open_count++;
    pthread_mutex_unlock(&script.lock);
    if (*status_out == DB_OK)
        return &fake;
    err_set(err, "open failed");
    return NULL;
}

static enum db_status idle(void *ctx, struct db *db, bool *has_more_out, struct err *err)
{
    (void)ctx;
    (void)db;
    (void)err;
    pthread_mutex_lock(&script.lock);
    script.idle_count++;
    *has_more_out = script.idle_more > 0;
    script.idle_more -= script.idle_more > 0;
    pthread_mutex_unlock(&script.lock);
    return DB_OK;
}

static void damaged(void *ctx, const struct err *err)
{
    (void)ctx;
    ck_assert_str_ne(err->text, "");
    pthread_mutex_lock(&script.lock);
    script.damaged_count++;
    pthread_mutex_unlock(&script.lock);
}

static unsigned read_count(const unsigned *count)
{
    pthread_mutex_lock(&script.lock);
    unsigned value = *count;
    pthread_mutex_unlock(&script.lock);
    return value;
}

/* --- requests --- */

struct order {
    struct writer_request request; /* first */
    char name;
    enum db_status status_of_apply;
    unsigned applied;
    sem_t is_finished;
    enum db_status status;
    struct err err;
};

static enum db_status apply(struct writer_request *r, struct db *db, struct err *err)
{
    struct order *o = (struct order *)r;
    char *names = present()->names;
    size_t len = strlen(names);

    ck_assert_ptr_eq(db, &fake);
    ck_assert_uint_lt(len + 1, NAMES_SIZE);
    names[len] = o->name;
    o->applied++;
    if (o->status_of_apply != DB_OK)
        err_set(err, "apply failed");
    return o->status_of_apply;
}

static void finish(struct writer_request *r, enum db_status status, const struct err *err)
{
    struct order *o = (struct order *)r;

    o->status = status;
    if (status != DB_OK)
        o->err = *err;
    sem_post(&o->is_finished);
}

static void order_init(struct order *o, char name, enum writer_urgency urgency)
{
    *o = (struct order){.request = {.apply = apply, .finish = finish, .urgency = urgency},
                        .name = name};
    sem_init(&o->is_finished, 0, 0);
}

static enum db_status wait_for(struct order *o)
{
    sem_wait(&o->is_finished);
    return o->status;
}

static bool is_finished(struct order *o)
{
    int value;

    sem_getvalue(&o->is_finished, &value);
    return value > 0;
}

/* --- set-up --- */

static struct writer *writer;

static void set_up(void)
{
    memset(&script, 0, sizeof script);
    pthread_mutex_init(&script.lock, NULL);
    sem_init(&script.has_blocked, 0, 0);
    sem_init(&script.go_on, 0, 0);
}

static void start(bool has_idle)
{
    struct writer_options options = {
        .open = open_fake, .idle = has_idle ? idle : NULL, .damaged = damaged, .ctx = &script};
    enum db_status status;
    struct err err;

    writer = writer_start(&options, &status, &err);
    ck_assert_ptr_nonnull(writer);
}

/* A commit is under way, and holds the writer until let_go(). */
static void hold_writer(struct order *first)
{
    script.blocks = true;
    order_init(first, '-', WRITER_DURABLE);
    writer_submit(writer, &first->request);
    sem_wait(&script.has_blocked);
}

static void let_go(void)
{
    sem_post(&script.go_on);
}

/* Let the writer go after 0.3 s. */
static void *let_go_late(void *unused)
{
    struct timespec pause = {.tv_nsec = 300000000};

    nanosleep(&pause, NULL);
    let_go();
    return unused;
}

/* --- tests --- */

START_TEST(a_database_that_cannot_be_opened_is_said_at_the_start)
{
    struct writer_options options = {.open = open_fake, .ctx = &script};
    enum db_status status;
    struct err err;

    script.opens[0] = DB_CORRUPT;
    ck_assert_ptr_null(writer_start(&options, &status, &err));
    ck_assert_int_eq(status, DB_CORRUPT);
    ck_assert_str_eq(err.text, "open failed");
}
END_TEST

START_TEST(requests_gather_while_a_commit_is_under_way)
{
    struct order first, more[5];

    start(false);
    hold_writer(&first);
    for (int i = 0; i < 5; i++) {
        order_init(&more[i], (char)('a' + i), i % 2 == 0 ? WRITER_DURABLE : WRITER_WRITTEN);
        writer_submit(writer, &more[i].request);
    }
    ck_assert(!is_finished(&first));
    let_go();
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(wait_for(&more[i]), DB_OK);
    ck_assert_int_eq(wait_for(&first), DB_OK);
    writer_stop(writer, 0);
    ck_assert_str_eq(script.transactions[0].names, "-");
    ck_assert_str_eq(script.transactions[1].names, "abcde");
    ck_assert(script.transactions[1].is_durable);
    ck_assert_uint_eq(script.transaction_count, 2);
    ck_assert_uint_eq(script.close_count, 1);
}
END_TEST

/* Only a transaction with a DURABLE request has a sync, but none stays without one for long. */
START_TEST(what_need_not_be_durable_has_no_sync_of_its_own)
{
    struct order first, second;
    bool was_unsynced = false, is_synced = false;
    int64_t begin_ms = clock_now_ms();

    start(false);
    while (!is_synced && clock_now_ms() < begin_ms + 20000) {
        order_init(&first, 'd', WRITER_DURABLE);
        writer_submit(writer, &first.request);
        wait_for(&first);
        order_init(&second, 'w', WRITER_WRITTEN);
        writer_submit(writer, &second.request);
        wait_for(&second);
        was_unsynced = was_unsynced || !script.transactions[1].is_durable;
        /* From now on only such: one of them is synced. */
        while (was_unsynced && !is_synced && script.transaction_count < TRANSACTIONS_MAX) {
            struct timespec pause = {.tv_nsec = 20 * 1000000};
            nanosleep(&pause, NULL);
            order_init(&second, 'w', WRITER_WRITTEN);
            writer_submit(writer, &second.request);
            wait_for(&second);
            is_synced = present()->is_durable;
        }
    }
    ck_assert(was_unsynced);
    ck_assert(is_synced);
    writer_stop(writer, 0);
}
END_TEST

/* PostgreSQL syncs by itself; the standby for which a durable commit waits may be away. */
START_TEST(a_shared_database_is_not_synced_without_need)
{
    struct timespec pause = {.tv_nsec = 600 * 1000000};
    struct order order;

    fake.is_shared = true;
    start(false);
    order_init(&order, 'w', WRITER_WRITTEN);
    nanosleep(&pause, NULL);
    writer_submit(writer, &order.request);
    ck_assert_int_eq(wait_for(&order), DB_OK);
    writer_stop(writer, 0);
    ck_assert(!script.transactions[0].is_durable);
}
END_TEST

START_TEST(a_lazy_request_waits_for_company)
{
    struct order lazy, other;

    start(false);
    order_init(&lazy, 'l', WRITER_LAZY);
    order_init(&other, 'd', WRITER_DURABLE);
    writer_submit(writer, &lazy.request);
    writer_submit(writer, &other.request);
    ck_assert_int_eq(wait_for(&lazy), DB_OK);
    ck_assert_int_eq(wait_for(&other), DB_OK);
    ck_assert_str_eq(script.transactions[0].names, "ld");

    int64_t begin_ms = clock_now_ms();
    order_init(&lazy, 'l', WRITER_LAZY);
    writer_submit(writer, &lazy.request);
    ck_assert_int_eq(wait_for(&lazy), DB_OK);
    int64_t waited_ms = script.transactions[1].begin_ms - begin_ms;
    ck_assert_int_ge(waited_ms, WRITER_LAZY_MS - 1);
    ck_assert_int_lt(waited_ms, 20 * WRITER_LAZY_MS); /* a slow machine, not a second */
    writer_stop(writer, 0);
}
END_TEST

START_TEST(requests_run_in_their_order)
{
    static const int64_t wanted[] = {30, 0, INT64_MIN, 10, 0, INT64_MAX};
    struct order first, orders[UNIT_COUNT(wanted)];

    start(false);
    hold_writer(&first);
    for (size_t i = 0; i < UNIT_COUNT(wanted); i++) {
        order_init(&orders[i], (char)('a' + i), i % 2 == 0 ? WRITER_LAZY : WRITER_DURABLE);
        orders[i].request.order = wanted[i];
        writer_submit(writer, &orders[i].request);
    }
    let_go();
    for (size_t i = 0; i < UNIT_COUNT(wanted); i++)
        ck_assert_int_eq(wait_for(&orders[i]), DB_OK);
    writer_stop(writer, 0);
    ck_assert_str_eq(script.transactions[1].names, "becdaf");
}
END_TEST

START_TEST(a_request_that_conflicts_fails_alone)
{
    struct order first, orders[3];

    start(false);
    hold_writer(&first);
    for (int i = 0; i < 3; i++) {
        order_init(&orders[i], (char)('a' + i), WRITER_DURABLE);
        writer_submit(writer, &orders[i].request);
    }
    orders[1].status_of_apply = DB_CONFLICT;
    let_go();
    ck_assert_int_eq(wait_for(&orders[0]), DB_OK);
    ck_assert_int_eq(wait_for(&orders[1]), DB_CONFLICT);
    ck_assert_int_eq(wait_for(&orders[2]), DB_OK);
    ck_assert_str_eq(orders[1].err.text, "apply failed");
    writer_stop(writer, 0);
    ck_assert_str_eq(script.transactions[1].names, "ab");
    ck_assert(!script.transactions[1].is_committed);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(script.transactions[2 + i].names[0], 'a' + (char)i);
        ck_assert_int_eq(script.transactions[2 + i].is_committed, i != 1);
    }
    ck_assert_uint_eq(script.transaction_count, 5);
    ck_assert_uint_eq(script.open_count, 1);
}
END_TEST

/* As with PostgreSQL, which says so when nobody knows which request it was. */
START_TEST(a_conflict_of_the_commit_fails_alone)
{
    struct order first, orders[2];

    start(false);
    script.commits[1] = script.commits[3] = DB_CONFLICT;
    hold_writer(&first);
    for (int i = 0; i < 2; i++) {
        order_init(&orders[i], (char)('a' + i), WRITER_DURABLE);
        writer_submit(writer, &orders[i].request);
    }
    let_go();
    ck_assert_int_eq(wait_for(&orders[0]), DB_OK);
    ck_assert_int_eq(wait_for(&orders[1]), DB_CONFLICT);
    writer_stop(writer, 0);
    ck_assert_uint_eq(script.open_count, 1);
}
END_TEST

START_TEST(after_a_slow_failure_of_one_alone_the_others_fail_too)
{
    struct timespec pause = {.tv_sec = 1, .tv_nsec = 100000000};
    struct order first, orders[3];

    start(false);
    script.commits[1] = DB_FAULT;
    hold_writer(&first);
    for (int i = 0; i < 3; i++) {
        order_init(&orders[i], (char)('a' + i), WRITER_DURABLE);
        writer_submit(writer, &orders[i].request);
    }
    orders[1].status_of_apply = DB_CONFLICT;
    script.blocks = true; /* the commit of `a' alone */
    let_go();
    sem_wait(&script.has_blocked);
    nanosleep(&pause, NULL);
    let_go();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(wait_for(&orders[i]), DB_FAULT);
    ck_assert_uint_eq(orders[2].applied, 0);
    writer_stop(writer, 0);
}
END_TEST

/* The same requests in a new transaction on the same connection; not for ever. */
START_TEST(a_transaction_that_another_one_has_undone_is_run_again)
{
    struct order order;

    start(false);
    for (int i = 0; i < (_i == 0 ? 3 : SCRIPT_MAX); i++)
        script.commits[i] = DB_AGAIN;
    order_init(&order, 'a', WRITER_DURABLE);
    writer_submit(writer, &order.request);
    ck_assert_int_eq(wait_for(&order), _i == 0 ? DB_OK : DB_FAULT);
    ck_assert_uint_eq(order.applied, _i == 0 ? 4 : 5);
    if (_i == 0)
        ck_assert_uint_eq(read_count(&script.open_count), 1);
    writer_stop(writer, 0);
}
END_TEST

START_TEST(a_conflict_alone_is_no_fault)
{
    struct order order;
    struct err err;

    start(false);
    order_init(&order, 'a', WRITER_DURABLE);
    order.status_of_apply = DB_CONFLICT;
    writer_submit(writer, &order.request);
    ck_assert_int_eq(wait_for(&order), DB_CONFLICT);
    ck_assert_int_eq(writer_state(writer, &err), DB_OK);
    writer_stop(writer, 0);
    ck_assert_uint_eq(script.open_count, 1);
}
END_TEST

static const enum db_status faults[] = {DB_FULL, DB_FAULT};

START_TEST(after_a_fault_outcomes_are_written_by_a_new_connection)
{
    struct order first, outcome, message;

    start(false);
    script.commits[1] = faults[_i];
    hold_writer(&first);
    order_init(&outcome, 'o', WRITER_LAZY);
    outcome.request.must_succeed = true;
    order_init(&message, 'm', WRITER_DURABLE);
    writer_submit(writer, &outcome.request);
    writer_submit(writer, &message.request);
    let_go();
    ck_assert_int_eq(wait_for(&message), faults[_i]);
    ck_assert_str_eq(message.err.text, "commit failed");
    ck_assert_int_eq(wait_for(&outcome), DB_OK);
    writer_stop(writer, 0);
    ck_assert_str_eq(script.transactions[1].names, "om");
    ck_assert_str_eq(script.transactions[2].names, "o");
    ck_assert_uint_eq(outcome.applied, 2);
    ck_assert_uint_eq(script.open_count, 2);
    ck_assert_uint_eq(script.close_count, 2);
}
END_TEST

/* An MTA waits for the second one, and would wait twice. */
START_TEST(after_a_slow_failure_those_that_wait_fail_too)
{
    struct timespec pause = {.tv_sec = 1, .tv_nsec = 100000000};
    struct order first, message, outcome;

    start(false);
    script.commits[0] = DB_FAULT;
    hold_writer(&first);
    order_init(&message, 'm', WRITER_DURABLE);
    writer_submit(writer, &message.request);
    order_init(&outcome, 'o', WRITER_LAZY);
    outcome.request.must_succeed = true;
    writer_submit(writer, &outcome.request);
    nanosleep(&pause, NULL);
    let_go();
    ck_assert_int_eq(wait_for(&message), DB_FAULT);
    ck_assert_uint_eq(message.applied, 0);
    ck_assert_int_eq(wait_for(&first), DB_FAULT);
    ck_assert_int_eq(wait_for(&outcome), DB_OK);
    order_init(&message, 'm', WRITER_DURABLE);
    writer_submit(writer, &message.request);
    ck_assert_int_eq(wait_for(&message), DB_OK);
    writer_stop(writer, 0);
}
END_TEST

/* Maintenance makes the room that they need. */
START_TEST(between_outcomes_that_are_tried_again_there_is_maintenance)
{
    enum { OUTCOMES = 60 };
    struct order outcomes[OUTCOMES];

    start(false);
    script.commits[1] = DB_FULL;
    struct order first;
    hold_writer(&first);
    for (int i = 0; i < OUTCOMES; i++) {
        order_init(&outcomes[i], 'o', WRITER_DURABLE);
        outcomes[i].request.must_succeed = true;
        writer_submit(writer, &outcomes[i].request);
    }
    unsigned before = read_count(&script.maintain_count);
    let_go();
    for (int i = 0; i < OUTCOMES; i++)
        ck_assert_int_eq(wait_for(&outcomes[i]), DB_OK);
    ck_assert_uint_ge(read_count(&script.maintain_count) - before, 2);
    writer_stop(writer, 0);
}
END_TEST

/* The same while outcomes are tried again. */
START_TEST(after_a_slow_failure_of_outcomes_those_that_wait_fail_too)
{
    struct timespec pause = {.tv_sec = 1, .tv_nsec = 100000000};
    struct order outcome, message;

    fake.is_shared = true;
    start(false);
    script.commits[0] = script.commits[1] = DB_FAULT;
    script.blocks = true;
    order_init(&outcome, 'o', WRITER_DURABLE);
    outcome.request.must_succeed = true;
    writer_submit(writer, &outcome.request);
    sem_wait(&script.has_blocked);
    order_init(&message, 'm', WRITER_DURABLE);
    writer_submit(writer, &message.request);
    script.blocks = true; /* the second attempt, too */
    let_go();
    sem_wait(&script.has_blocked);
    nanosleep(&pause, NULL);
    let_go();
    ck_assert_int_eq(wait_for(&message), DB_FAULT);
    ck_assert_uint_eq(message.applied, 0);
    ck_assert_int_eq(wait_for(&outcome), DB_OK);
    ck_assert_uint_eq(outcome.applied, 3);
    writer_stop(writer, 0);
}
END_TEST

/* Nothing hammers at a disk that fails; what comes meanwhile is refused at once. */
START_TEST(after_two_faults_there_is_a_pause)
{
    struct order outcome, message;
    struct err err;

    start(false);
    script.commits[0] = script.commits[1] = DB_FULL;
    order_init(&outcome, 'o', WRITER_DURABLE);
    outcome.request.must_succeed = true;
    writer_submit(writer, &outcome.request);
    while (read_count(&script.commit_count) < 2 || writer_state(writer, &err) == DB_OK)
        sched_yield();
    ck_assert_uint_eq(writer_backlog(writer), 1);
    ck_assert_int_eq(writer_state(writer, &err), DB_FULL);
    ck_assert_str_eq(err.text, "commit failed");
    unsigned opened = read_count(&script.open_count);
    order_init(&message, 'm', WRITER_DURABLE);
    writer_submit(writer, &message.request);
    ck_assert_int_eq(wait_for(&message), DB_FULL);
    ck_assert_uint_eq(message.applied, 0);
    ck_assert_uint_eq(read_count(&script.open_count), opened);

    ck_assert_int_eq(wait_for(&outcome), DB_OK);
    ck_assert_int_eq(writer_state(writer, &err), DB_OK);
    order_init(&message, 'm', WRITER_DURABLE);
    writer_submit(writer, &message.request);
    ck_assert_int_eq(wait_for(&message), DB_OK);
    ck_assert_uint_eq(writer_backlog(writer), 0);
    writer_stop(writer, 0);
    ck_assert_int_ge(script.transactions[2].begin_ms - script.transactions[1].begin_ms, 900);
}
END_TEST

/* An outcome that fails again and again is tried once a second, also while others are committed. */
START_TEST(an_outcome_that_always_fails_leaves_time_for_messages)
{
    struct order outcome, message;

    start(false);
    order_init(&outcome, 'o', WRITER_DURABLE);
    outcome.request.must_succeed = true;
    outcome.status_of_apply = DB_FAULT;
    writer_submit(writer, &outcome.request);
    while (writer_backlog(writer) == 0)
        sched_yield();
    int64_t begin_ms = clock_now_ms();
    for (int i = 0; i < 20; i++) {
        order_init(&message, 'm', WRITER_DURABLE);
        writer_submit(writer, &message.request);
        ck_assert_int_eq(wait_for(&message), DB_OK);
    }
    unsigned seconds = (unsigned)((clock_now_ms() - begin_ms) / 1000) + 1;
    writer_stop(writer, 0);
    ck_assert_int_eq(wait_for(&outcome), DB_FAULT);
    ck_assert_uint_le(outcome.applied, 3 + seconds);
}
END_TEST

/* Nobody asks while it says that nothing can be written: it looks itself. */
START_TEST(a_database_that_comes_back_is_found_without_a_request)
{
    struct order message;
    struct err err;

    start(false);
    script.commits[0] = DB_FAULT;
    script.opens[1] = DB_FAULT;
    order_init(&message, 'm', WRITER_DURABLE);
    writer_submit(writer, &message.request);
    ck_assert_int_eq(wait_for(&message), DB_FAULT);
    int64_t until_ms = clock_now_ms() + 20000;
    while (read_count(&script.open_count) < 3 && clock_now_ms() < until_ms)
        sched_yield();
    ck_assert_uint_ge(read_count(&script.open_count), 3);
    while (writer_state(writer, &err) != DB_OK && clock_now_ms() < until_ms)
        sched_yield();
    ck_assert_int_eq(writer_state(writer, &err), DB_OK);
    writer_stop(writer, 0);
}
END_TEST

START_TEST(a_fault_of_the_maintenance_opens_the_database_anew)
{
    struct order order;

    start(false);
    script.maintenance = DB_FAULT;
    for (int i = 0; i < 2; i++) {
        order_init(&order, 'a', WRITER_DURABLE);
        writer_submit(writer, &order.request);
        ck_assert_int_eq(wait_for(&order), DB_OK);
    }
    writer_stop(writer, 0);
    ck_assert_uint_eq(script.open_count, 2);
}
END_TEST

/* A page that was read short once looks like damage: a second look decides. */
START_TEST(damage_is_believed_when_it_is_seen_twice)
{
    struct order order, outcome;
    struct err err;

    start(false);
    script.commits[0] = DB_CORRUPT;
    order_init(&order, 'a', WRITER_DURABLE);
    writer_submit(writer, &order.request);
    ck_assert_int_eq(wait_for(&order), DB_OK);
    ck_assert_uint_eq(read_count(&script.damaged_count), 0);
    ck_assert_uint_eq(read_count(&script.open_count), 2);

    script.commits[2] = script.commits[3] = DB_CORRUPT;
    order_init(&order, 'b', WRITER_DURABLE);
    writer_submit(writer, &order.request);
    ck_assert_int_eq(wait_for(&order), DB_CORRUPT);
    ck_assert_uint_eq(read_count(&script.damaged_count), 1);
    ck_assert_int_eq(writer_state(writer, &err), DB_CORRUPT);
    unsigned opened = read_count(&script.open_count);

    order_init(&outcome, 'o', WRITER_DURABLE);
    outcome.request.must_succeed = true;
    writer_submit(writer, &outcome.request);
    order_init(&order, 'c', WRITER_DURABLE);
    writer_submit(writer, &order.request);
    ck_assert_int_eq(wait_for(&order), DB_CORRUPT);
    ck_assert_uint_eq(order.applied, 0);
    writer_stop(writer, 10000);
    ck_assert(is_finished(&outcome));
    ck_assert_int_eq(outcome.status, DB_CORRUPT);
    ck_assert_uint_eq(script.open_count, opened);
    ck_assert_uint_eq(script.damaged_count, 1);
}
END_TEST

START_TEST(a_stop_commits_what_waits)
{
    struct order lazy[3];

    start(false);
    for (int i = 0; i < 3; i++) {
        order_init(&lazy[i], (char)('a' + i), WRITER_LAZY);
        lazy[i].request.must_succeed = true;
        writer_submit(writer, &lazy[i].request);
    }
    writer_stop(writer, 1000);
    for (int i = 0; i < 3; i++) {
        ck_assert(is_finished(&lazy[i]));
        ck_assert_int_eq(lazy[i].status, DB_OK);
    }
}
END_TEST

START_TEST(a_stop_tries_for_a_while_what_must_succeed)
{
    struct order outcome;

    start(false);
    for (int i = 0; i < SCRIPT_MAX; i++)
        script.commits[i] = _i == 0 && i >= 2 ? DB_OK : DB_FAULT;
    order_init(&outcome, 'o', WRITER_LAZY);
    outcome.request.must_succeed = true;
    writer_submit(writer, &outcome.request);
    int64_t begin_ms = clock_now_ms();
    writer_stop(writer, _i == 0 ? 30000 : 300);
    ck_assert(is_finished(&outcome));
    ck_assert_int_eq(outcome.status, _i == 0 ? DB_OK : DB_FAULT);
    if (_i != 0)
        ck_assert_int_ge(clock_now_ms() - begin_ms, 300);
}
END_TEST

START_TEST(a_stop_whose_time_is_over_tries_nothing_more)
{
    struct order outcome;

    start(false);
    script.commits[0] = DB_FAULT;
    script.blocks = true;
    order_init(&outcome, 'o', WRITER_DURABLE);
    outcome.request.must_succeed = true;
    writer_submit(writer, &outcome.request);
    sem_wait(&script.has_blocked);
    pthread_t other;
    ck_assert_int_eq(pthread_create(&other, NULL, let_go_late, NULL), 0);
    writer_stop(writer, 0);
    pthread_join(other, NULL);
    ck_assert_int_eq(wait_for(&outcome), DB_FAULT);
    ck_assert_uint_eq(outcome.applied, 1);
}
END_TEST

START_TEST(the_histogram_has_the_time_of_each_commit)
{
    struct writer_figures figures;
    struct order first, second;
    struct timespec pause = {.tv_nsec = 60 * 1000000};

    start(false);
    writer_get_figures(writer, &figures);
    ck_assert_uint_eq(figures.db.size_bytes, 4711);
    hold_writer(&first);
    order_init(&second, 'a', WRITER_DURABLE);
    writer_submit(writer, &second.request); /* waits as long, though its own commit is fast */
    nanosleep(&pause, NULL);
    let_go();
    wait_for(&first);
    wait_for(&second);
    writer_get_figures(writer, &figures);
    ck_assert_uint_eq(figures.commits, 2);
    for (int i = 0; i < 4; i++) /* 1, 5, 10, 50 ms */
        ck_assert_uint_eq(figures.commit_slower[i], 2);
    ck_assert_uint_eq(figures.commit_slower[7], 0);
    ck_assert_double_ge(figures.commit_seconds, 0.12);
    writer_stop(writer, 0);
}
END_TEST

START_TEST(the_work_of_the_queue_is_done_while_nothing_waits)
{
    script.idle_more = 5;
    start(true);
    int64_t begin_ms = clock_now_ms();
    while (read_count(&script.idle_count) < 6 && clock_now_ms() < begin_ms + 20000)
        sched_yield();
    ck_assert_uint_ge(read_count(&script.idle_count), 6);
    int64_t took_ms = clock_now_ms() - begin_ms;
    ck_assert_int_ge(took_ms, 900);  /* once in a second */
    ck_assert_int_lt(took_ms, 5000); /* but the rest of it at once */
    writer_stop(writer, 0);
}
END_TEST

static void do_it(void *arg)
{
    struct order *o = arg;

    o->status = writer_do(writer, &o->request, &o->err);
    sem_post(&o->is_finished);
}

START_TEST(tasks_and_threads_can_wait)
{
    struct order orders[20], conflict;
    struct err err;

    start(false);
    struct task_pool *pool = task_pool_new(1, NULL, &err);
    ck_assert_ptr_nonnull(pool);
    for (int i = 0; i < 20; i++) {
        order_init(&orders[i], (char)('a' + i), WRITER_DURABLE);
        ck_assert_int_eq(task_start(pool, do_it, &orders[i]), 0);
    }
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(wait_for(&orders[i]), DB_OK);
    order_init(&conflict, 'x', WRITER_DURABLE);
    conflict.status_of_apply = DB_CONFLICT;
    ck_assert_int_eq(writer_do(writer, &conflict.request, &err), DB_CONFLICT);
    ck_assert_str_eq(err.text, "apply failed");
    task_pool_free(pool);
    writer_stop(writer, 0);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("writer");
    struct err err;

    if (log_open("test_writer", "stderr", "mail", "error", &err) < 0)
        return EXIT_FAILURE;
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, a_database_that_cannot_be_opened_is_said_at_the_start);
    tcase_add_test(tests, requests_gather_while_a_commit_is_under_way);
    tcase_add_test(tests, what_need_not_be_durable_has_no_sync_of_its_own);
    tcase_add_test(tests, a_shared_database_is_not_synced_without_need);
    tcase_add_test(tests, a_lazy_request_waits_for_company);
    tcase_add_test(tests, requests_run_in_their_order);
    tcase_add_test(tests, a_request_that_conflicts_fails_alone);
    tcase_add_test(tests, a_conflict_of_the_commit_fails_alone);
    tcase_add_test(tests, after_a_slow_failure_of_one_alone_the_others_fail_too);
    tcase_add_test(tests, a_conflict_alone_is_no_fault);
    tcase_add_loop_test(tests, a_transaction_that_another_one_has_undone_is_run_again, 0, 2);
    tcase_add_loop_test(tests, after_a_fault_outcomes_are_written_by_a_new_connection, 0,
                        UNIT_COUNT(faults));
    tcase_add_test(tests, after_a_slow_failure_those_that_wait_fail_too);
    tcase_add_test(tests, between_outcomes_that_are_tried_again_there_is_maintenance);
    tcase_add_test(tests, after_a_slow_failure_of_outcomes_those_that_wait_fail_too);
    tcase_add_test(tests, after_two_faults_there_is_a_pause);
    tcase_add_test(tests, an_outcome_that_always_fails_leaves_time_for_messages);
    tcase_add_test(tests, a_database_that_comes_back_is_found_without_a_request);
    tcase_add_test(tests, a_fault_of_the_maintenance_opens_the_database_anew);
    tcase_add_test(tests, damage_is_believed_when_it_is_seen_twice);
    tcase_add_test(tests, a_stop_commits_what_waits);
    tcase_add_loop_test(tests, a_stop_tries_for_a_while_what_must_succeed, 0, 2);
    tcase_add_test(tests, a_stop_whose_time_is_over_tries_nothing_more);
    tcase_add_test(tests, the_histogram_has_the_time_of_each_commit);
    tcase_add_test(tests, the_work_of_the_queue_is_done_while_nothing_waits);
    tcase_add_test(tests, tasks_and_threads_can_wait);
    return unit_run("writer", tests);
}
