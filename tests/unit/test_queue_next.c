/* SPDX-License-Identifier: ISC */
/* What queue_next.c promises to the other parts of the queue: a reserved copy is not handed out. */
#include "queue/queue_private.h"
#include "queue_unit.h"
#include "task/task.h"
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static struct db_queue *inner(void)
{
    return (struct db_queue *)q;
}

static int64_t put_one(size_t len)
{
    static const char content[DB_BODY_PART_BYTES];
    static const char *const archive[] = {"archive"};
    char text[1][QUEUE_ID_SIZE];
    int64_t id;

    queue_unit_put_to(archive, 1, content, len, text);
    ck_assert(queue_id_parse(text[0], &id));
    return id;
}

static struct queue_ready *read_copy(int64_t id)
{
    struct queue_batch batch;
    struct err err = {""};
    struct db *db = queue_borrow_reader(inner(), &err);

    ck_assert_ptr_nonnull(db);
    enum db_status status = queue_read_copies(db, &id, 1, 1000000, &batch, &err);
    queue_give_back_reader(inner(), db, status, &err);
    ck_assert_uint_eq(batch.count, 1);
    return batch.items[0];
}

START_TEST(each_reservation_counts)
{
    const int64_t id = put_one(1);

    ck_assert(queue_next_seize(inner(), "archive", id));
    queue_next_reserve(inner(), "archive", id);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_next_settle(inner(), "archive", id, read_copy(id));
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_next_settle(inner(), "archive", id, _i == 0 ? NULL : read_copy(id));
    queue_unit_finish(queue_unit_must_take("archive"));
    ck_assert_ptr_null(queue_unit_take("archive"));
}
END_TEST

/* A worker gives back what is reserved; with (1) and without anything to be written. */
START_TEST(what_is_given_back_while_it_is_reserved_waits)
{
    const int64_t id = put_one(1);
    struct queue_copy *c = queue_unit_must_take("archive");

    ck_assert(!queue_next_seize(inner(), "archive", id));
    if (_i == 1)
        strcpy(c->recipients[0].reason, "421 down");
    q->ops->release(q, c);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_next_settle(inner(), "archive", id, NULL);
    c = queue_unit_must_take("archive");
    ck_assert_str_eq(c->recipients[0].reason, _i == 1 ? "421 down" : "");
    queue_unit_finish(c);
}
END_TEST

/* What was sent could not be removed. */
START_TEST(a_damaged_queue_hands_out_nothing)
{
    const struct err err = {"a test"};

    (void)put_one(1);
    queue_report_damage(inner(), &err);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_reopen();
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 1);
}
END_TEST

/* --- while the writer is behind --- */

static void *take_in_time(void *ctx)
{
    (void)ctx;
    return q->ops->next(q, "other", 100000); /* longer than a test may take */
}

/* What came of so many copies cannot be written yet: the others wait, of all destinations, and are
 * handed out as soon as it is. */
START_TEST(outcomes_that_wait_for_the_writer_are_bounded)
{
    enum { PUT = QUEUE_OUTCOMES_MAX + 20 };
    unsigned count = 0;
    struct queue_copy *c;
    pthread_t thread;
    void *other;

    for (unsigned i = 0; i < PUT; i++)
        queue_unit_put("archive", "x");
    queue_unit_put("other", "x");
    queue_unit_flush();
    struct db *block = queue_unit_block();
    for (; (c = q->ops->next(q, "archive", 100)) != NULL; count++)
        queue_unit_finish(c);
    ck_assert_uint_eq(count, QUEUE_OUTCOMES_MAX);
    ck_assert_ptr_null(q->ops->next(q, "other", 0));
    ck_assert_int_eq(pthread_create(&thread, NULL, take_in_time, NULL), 0);
    queue_unit_unblock(block);
    pthread_join(thread, &other);
    ck_assert_ptr_nonnull(other);
    queue_unit_finish(other);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), PUT - QUEUE_OUTCOMES_MAX);
}
END_TEST

/* --- while looks go on --- */

struct taking {
    struct task_event is_over;
    struct queue_copy *copy;
};

static void take_as_a_task(void *ctx)
{
    struct taking *t = ctx;

    t->copy = q->ops->next(q, "archive", 0);
    task_event_set(&t->is_over);
}

/* All connections for looks are in use. */
START_TEST(what_is_ready_does_not_wait_for_a_look)
{
    struct err err = {""};
    struct task_pool *pool = task_pool_new(1, NULL, &err);
    struct taking t = {.copy = NULL};
    struct db *readers[4];

    ck_assert_ptr_nonnull(pool);
    for (int i = 0; i < 3; i++)
        (void)put_one(1);
    q->ops->release(q, queue_unit_must_take("archive"));
    for (int i = 0; i < 4; i++)
        readers[i] = queue_borrow_reader(inner(), &err);
    queue_next_look(inner(), "archive");
    task_event_init(&t.is_over);
    ck_assert_int_eq(task_start(pool, take_as_a_task, &t), 0);
    bool is_over = task_event_wait(&t.is_over, task_now_ms() + 5000);
    for (int i = 0; i < 4; i++)
        queue_give_back_reader(inner(), readers[i], DB_OK, &err);
    ck_assert_msg(is_over, "the copy has waited for the look");
    ck_assert_ptr_nonnull(t.copy);
    queue_unit_finish(t.copy);
    task_pool_free(pool); /* the look has ended */
    task_event_clear(&t.is_over);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 2);
}
END_TEST

static void take_all_as_a_task(void *ctx)
{
    atomic_uint *count = ctx;
    struct queue_copy *c;

    while ((c = q->ops->next(q, "archive", 0)) != NULL) {
        queue_unit_finish(c);
        ++*count;
    }
}

/* The look begins while two copies are ready, and finds a third one. */
START_TEST(nothing_is_left_while_a_look_goes_on)
{
    struct err err = {""};
    struct task_pool *pool = task_pool_new(1, NULL, &err);
    struct db *readers[4];
    atomic_uint count = 0;

    ck_assert_ptr_nonnull(pool);
    for (int i = 0; i < 3; i++)
        (void)put_one(1);
    queue_unit_reopen(); /* the window is empty */
    queue_unit_execute("UPDATE copy SET state = 'held' WHERE id = (SELECT max(id) FROM copy)");
    q->ops->release(q, queue_unit_must_take("archive"));
    queue_unit_execute("UPDATE copy SET state = 'queued'");
    for (int i = 0; i < 4; i++)
        readers[i] = queue_borrow_reader(inner(), &err);
    queue_next_look(inner(), "archive");
    ck_assert_int_eq(task_start(pool, take_all_as_a_task, &count), 0);
    for (int i = 0; i < 1000 && count < 2; i++)
        usleep(10000);
    ck_assert_uint_eq(count, 2);
    for (int i = 0; i < 4; i++)
        queue_give_back_reader(inner(), readers[i], DB_OK, &err);
    task_pool_free(pool); /* the task has ended */
    ck_assert_uint_eq(count, 3);
}
END_TEST

static atomic_bool is_reserved, is_over;

static char reserved_id[QUEUE_ID_SIZE];

/* Let other threads go on. On a busy machine each yield may take some milliseconds. */
static void yield(int times)
{
    const int64_t end_ms = task_now_ms() + 3;

    for (int i = 0; i < times && task_now_ms() < end_ms; i++)
        sched_yield();
}

static void *take_and_release(void *ctx)
{
    atomic_uint *count = ctx;

    while (!is_over) {
        struct queue_copy *c = q->ops->next(q, "archive", 0);
        if (c == NULL)
            continue;
        ck_assert_msg(strcmp(c->id, reserved_id) != 0 || !is_reserved,
                      "a reserved copy is handed out");
        ++*count;
        q->ops->release(q, c);
        yield(20);
    }
    return NULL;
}

START_TEST(no_look_hands_out_what_is_reserved)
{
    const int64_t id = put_one(DB_BODY_PART_BYTES); /* a look takes its time */
    atomic_uint taken_count = 0;
    unsigned free_count = 0;
    pthread_t thread;

    queue_id_format(id, reserved_id);
    ck_assert_int_eq(pthread_create(&thread, NULL, take_and_release, &taken_count), 0);
    const int64_t end_ms = task_now_ms() + 3000;
    for (int i = 0; (i < 3000 && task_now_ms() < end_ms) || taken_count < 10 || free_count < 10;
         i++) {
        bool is_free = queue_next_seize(inner(), "archive", id);
        is_reserved = is_free;
        if (is_free)
            yield(100); /* a look comes to its end meanwhile */
        is_reserved = false;
        free_count += is_free;
        queue_next_settle(inner(), "archive", id, NULL);
        if (is_free)
            yield(100); /* so the copy is free at the end of many looks */
    }
    is_over = true;
    pthread_join(thread, NULL);
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue_next");

    tcase_add_loop_test(tests, each_reservation_counts, 0, 2);
    tcase_add_loop_test(tests, what_is_given_back_while_it_is_reserved_waits, 0, 2);
    tcase_add_test(tests, a_damaged_queue_hands_out_nothing);
    tcase_add_test(tests, outcomes_that_wait_for_the_writer_are_bounded);
    tcase_add_test(tests, what_is_ready_does_not_wait_for_a_look);
    tcase_add_test(tests, nothing_is_left_while_a_look_goes_on);
    tcase_add_test(tests, no_look_hands_out_what_is_reserved);
    return tests;
}

int main(void)
{
    return queue_unit_run("queue_next", make);
}
