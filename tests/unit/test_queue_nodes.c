/* SPDX-License-Identifier: ISC */
/* Two nodes at one database of PostgreSQL: node "one" is q, node "two" is `two`. */
#include "queue/queue_id.h"
#include "queue/queue_private.h"
#include "queue_unit.h"
#include "unit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE (3 * DB_BODY_PART_BYTES + 100)

static struct queue *two;
static char two_dir[80];

static void open_two(void)
{
    struct err err = {""};

    snprintf(two_dir, sizeof two_dir, "%s/two", queue_unit_dir);
    two = queue_unit_open_node("two", two_dir, &err);
    ck_assert_msg(two != NULL, "%s", err.text);
}

static void close_two(void)
{
    if (two != NULL)
        two->ops->close(two);
    two = NULL;
}

/* Take a copy at a node; it becomes visible there within some seconds. */
static struct queue_copy *take_at(struct queue *node, unsigned wait_ms)
{
    return node->ops->next(node, "archive", wait_ms);
}

static void finish_at(struct queue *node, struct queue_copy *c)
{
    queue_unit_set_all(c, QUEUE_SENT, "250 ok");
    node->ops->done(node, c, &(struct queue_delivery){"mx", "250 ok"});
}

/* The clock goes on meanwhile: a node looks every 5 seconds. */
static struct queue_copy *wait_for_copy(struct queue *node, const char *destination)
{
    struct queue_copy *c = NULL;

    for (int i = 0; i < 3000 && c == NULL; i++, fake_now += c == NULL)
        c = node->ops->next(node, destination, 10);
    ck_assert_ptr_nonnull(c);
    return c;
}

static void flush(struct queue *node)
{
    struct err err = {""};

    for (int i = 0; i < 2; i++)
        ck_assert_msg(node->ops->resume(node, "none", &err) == 0, "%s", err.text);
}

static void wait_for(const char *sql, int64_t number)
{
    for (int i = 0; i < 3000 && queue_unit_number(sql) != number; i++)
        usleep(10000);
    ck_assert_msg(queue_unit_number(sql) == number, "%s", sql);
}

/* Begin to change the database beside the nodes. */
static struct db *begin_beside(const char *sql)
{
    struct db *db = queue_unit_begin();
    struct err err = {""};

    ck_assert_msg(db->ops->query_text(db, sql, NULL, 0, NULL, NULL, &err) == DB_OK, "%s", err.text);
    return db;
}

static void commit_beside(struct db *db)
{
    struct err err = {""};

    ck_assert_msg(db->ops->commit(db, &err) == DB_OK, "%s", err.text);
    db->ops->close(db);
}

/* --- names and numbers --- */

START_TEST(a_name_is_used_once)
{
    struct err err = {""};
    char other[100];

    snprintf(other, sizeof other, "%s/other", queue_unit_dir);
    ck_assert_ptr_null(queue_unit_open_node("two", other, &err));
    ck_assert_msg(strstr(err.text, "another splitrelay is node \"two\"") != NULL, "%s", err.text);
    close_two();
    open_two();
    ck_assert_int_eq(queue_unit_number("SELECT number FROM node WHERE name = 'one'"), 0);
    ck_assert_int_eq(queue_unit_number("SELECT number FROM node WHERE name = 'two'"), 1);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM alive"), 2);
    close_two();
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM alive"), 1);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM node WHERE until IS NULL"), 1);
}
END_TEST

/* 64 numbers; that of a node that has ended is given to another one. */
START_TEST(numbers_are_used_again)
{
    struct err err = {""};

    close_two();
    queue_unit_execute("INSERT INTO node SELECT i, 'n' || i, 0, 4000000000, '' FROM"
                       " generate_series(2, 63) AS i");
    queue_unit_execute("UPDATE node SET until = 17 WHERE number = 40");
    queue_unit_execute("UPDATE node SET name = 'before two', until = 4000000000 WHERE number = 1");
    open_two();
    ck_assert_int_eq(queue_unit_number("SELECT number FROM node WHERE name = 'two'"), 40);
    close_two();
    queue_unit_execute("UPDATE node SET until = 4000000000, name = 'after two' WHERE number = 40");
    ck_assert_ptr_null(queue_unit_open_node("two", two_dir, &err));
    ck_assert_msg(strstr(err.text, "64") != NULL, "%s", err.text);
}
END_TEST

/* --- leases --- */

START_TEST(each_copy_is_handed_out_by_one_node)
{
    enum { COUNT = 1200 };
    unsigned ended = 0, by_two = 0;
    struct queue_copy *c;

    for (int i = 0; i < COUNT; i++)
        queue_unit_put("archive", "x");
    for (unsigned turn = 0; ended < COUNT && turn < 10 * COUNT; turn++) {
        c = take_at(turn % 2 == 0 ? q : two, 10);
        fake_now += c == NULL;
        by_two += c != NULL && turn % 2 == 1;
        if (c != NULL) {
            finish_at(turn % 2 == 0 ? q : two, c);
            ended++;
        }
    }
    ck_assert_uint_eq(ended, COUNT);
    ck_assert_uint_gt(by_two, 100);
    ck_assert_uint_lt(by_two, COUNT - 100);
    flush(q);
    flush(two);
    queue_unit_count(0, 0, 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(DISTINCT copy) FROM history"), COUNT);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), COUNT);
}
END_TEST

/* What a node has leased, and not sent, others have at once when it ends, and later when it dies.
 */
START_TEST(the_copies_of_a_node_that_ends_are_given_to_others)
{
    int status;

    if (_i == 0) {
        queue_unit_put("archive", "x");
        two->ops->release(two, wait_for_copy(two, "archive"));
        ck_assert_ptr_null(take_at(q, 0));
    } else {
        close_two();
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            open_two();
            q = two;
            queue_unit_put("archive", "x");
            (void)wait_for_copy(two, "archive");
            _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    }
    ck_assert_str_eq(queue_unit_text("SELECT owner FROM copy"), "two");
    close_two();
    finish_at(q, wait_for_copy(q, "archive"));
    queue_unit_count(0, 0, 0);
}
END_TEST

/* The node did not see its lease end. Another node has the copy, and what this one has to say about
 * it counts only if it was accepted. */
START_TEST(a_node_that_has_lost_its_lease)
{
    queue_unit_put("archive", "x");
    struct queue_copy *late = wait_for_copy(two, "archive");
    queue_unit_execute("UPDATE copy SET owner = 'three'");
    queue_unit_execute("INSERT INTO node VALUES (9, 'three', 0, 1, '')");
    struct queue_copy *c = wait_for_copy(q, "archive");
    ck_assert_str_eq(c->id, late->id);
    if (_i == 0) {
        two->ops->later(two, late, (time_t)fake_now + 10000000);
    } else if (_i == 1) {
        queue_unit_set_all(late, QUEUE_DEAD, "550 no");
        two->ops->done(two, late, &(struct queue_delivery){"", ""});
    } else {
        finish_at(two, late);
    }
    flush(two);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE owner = 'one' AND due <"
                                       " 1710000000 AND state = 'queued' AND attempts = 0"),
                     _i < 2);
    finish_at(q, c);
    queue_unit_count(0, 0, 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 1);
}
END_TEST

/* A copy that no window knows, with this node as its owner, is found again. */
START_TEST(no_copy_is_stranded)
{
    queue_unit_put("archive", "x");
    q->ops->later(q, wait_for_copy(q, "archive"), (time_t)fake_now + 100);
    queue_unit_flush();
    queue_unit_execute("UPDATE copy SET owner = 'one'");
    finish_at(q, wait_for_copy(q, "archive"));
}
END_TEST

/* The database knows better than the node's clock: the machine was suspended, or the heartbeats
 * were lost with the primary. */
START_TEST(a_lease_that_the_database_has_not_seen_renewed)
{
    queue_unit_put("archive", "x");
    q->ops->release(q, wait_for_copy(q, "archive"));
    queue_unit_execute("INSERT INTO node VALUES (9, 'three', 0, 4000000000, '')");
    queue_unit_execute("UPDATE node SET until = 1 WHERE name = 'one'");
    queue_unit_execute("UPDATE copy SET owner = 'three'");
    wait_for("SELECT count(*) FROM node WHERE name = 'one' AND until > 1", 1);
    flush(q); /* the heartbeat has ended */
    ck_assert_ptr_null(take_at(q, 300));
    ck_assert_str_eq(queue_unit_text("SELECT owner FROM copy"), "three");
}
END_TEST

/* Orders may have been missed while nothing was listened to. */
START_TEST(what_was_held_while_nobody_listened)
{
    char old[300], new[300];

#define OTHERS /* connections than that of the writer */                                           \
    " application_name = 'splitrelay two' AND pid NOT IN"                                          \
    " (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
    queue_unit_put("archive", "x");
    two->ops->release(two, wait_for_copy(two, "archive"));
    queue_unit_execute("UPDATE copy SET state = 'held'");
    const int64_t now_us =
        queue_unit_number("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)");
    snprintf(old, sizeof old,
             "SELECT count(*) FROM pg_stat_activity WHERE" OTHERS
             " AND extract(epoch FROM backend_start) * 1000000 < %" PRId64,
             now_us);
    snprintf(new, sizeof new,
             "SELECT CASE WHEN count(*) > 0 THEN 1 END FROM pg_stat_activity WHERE" OTHERS
             " AND extract(epoch FROM backend_start) * 1000000 >= %" PRId64,
             now_us);
    queue_unit_execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE" OTHERS);
    wait_for(old, 0);
    wait_for(new, 1);
    ck_assert_ptr_null(take_at(two, 300));
#undef OTHERS
}
END_TEST

/* A node does not deliver to a destination any more. It has copies of it that are ready (0), and
 * one that a worker gives back later with something to be written (1). */
START_TEST(the_copies_of_a_destination_that_a_node_leaves)
{
    for (int i = 0; i < 3; i++)
        queue_unit_put("archive", "x");
    struct queue_copy *c = wait_for_copy(two, "archive");
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE owner = 'two'"), 3);
    if (_i == 0)
        two->ops->release(two, c);
    two->ops->leave(two, "archive");
    if (_i == 1) {
        flush(two);
        ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE owner = 'two'"), 1);
        strcpy(c->recipients[0].reason, "421 down");
        two->ops->release(two, c);
    }
    flush(two);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE owner IS NULL"), 3);
    for (int i = 0; i < 3; i++)
        finish_at(q, wait_for_copy(q, "archive"));
    flush(q);
    queue_unit_count(0, 0, 0);
    q->ops->leave(q, "archive");
    queue_unit_put("archive", "x");
    finish_at(two, wait_for_copy(two, "archive")); /* it is configured again */
}
END_TEST

/* A node is started again, after it was stopped cleanly (0) or not (1), and does not deliver to the
 * destination any more. */
START_TEST(the_copies_of_a_destination_that_a_node_has_no_more)
{
    queue_unit_put("archive", "x");
    two->ops->release(two, wait_for_copy(two, "archive"));
    close_two();
    if (_i == 1)
        queue_unit_execute("UPDATE node SET until = 4000000000 WHERE name = 'two'");
    open_two();
    finish_at(q, wait_for_copy(q, "archive"));
    queue_unit_count(0, 0, 0);
}
END_TEST

/* The window of the node does not know these copies: one is held, of the other it knows nothing. */
START_TEST(the_copies_that_a_node_leaves_besides_its_window)
{
    queue_unit_put("archive", "x");
    two->ops->release(two, wait_for_copy(two, "archive"));
    queue_unit_put("archive", "x");
    flush(two);
    queue_unit_execute("UPDATE copy SET state = 'held' WHERE owner = 'two'");
    queue_unit_execute("UPDATE copy SET owner = 'two'");
    two->ops->leave(two, "archive");
    wait_for("SELECT count(*) FROM copy WHERE owner IS NULL", 2);
    queue_unit_execute("UPDATE copy SET state = 'queued'");
    for (int i = 0; i < 2; i++)
        finish_at(q, wait_for_copy(q, "archive"));
}
END_TEST

static void *take_at_two(void *ctx)
{
    *(struct queue_copy **)ctx = take_at(two, 100000); /* longer than a test may take */
    return NULL;
}

/* The look has leased the copy, and cannot read it yet. */
START_TEST(a_look_goes_on_while_the_node_leaves)
{
    struct queue_copy *copy = NULL;
    pthread_t thread;

    ck_assert_ptr_null(take_at(two, 0)); /* the window is there */
    queue_unit_put("archive", "x");
    flush(q);
    struct db *block = begin_beside("LOCK TABLE recipient IN ACCESS EXCLUSIVE MODE");
    fake_now += 10;
    ck_assert_int_eq(pthread_create(&thread, NULL, take_at_two, &copy), 0);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
             " AND wait_event_type = 'Lock'",
             1);
    two->ops->leave(two, "archive");
    two->ops->wake(two, "archive");
    flush(two);
    commit_beside(block);
    pthread_join(thread, NULL);
    ck_assert_ptr_null(copy);
    flush(two);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE owner IS NULL"), 1);
    finish_at(q, wait_for_copy(q, "archive"));
}
END_TEST

/* --- the last copies of a message --- */

/* Close all connections of the nodes, so that their statistics are there. */
static void close_both(void)
{
    close_two();
    q->ops->close(q);
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
             " AND application_name LIKE 'splitrelay %'",
             0);
}

/* Each node has one of the two copies of many messages, and they end in opposite orders. */
START_TEST(two_nodes_remove_copies_of_the_same_messages)
{
    enum { COUNT = 200 };
    static const char *const destinations[] = {"archive", "beyond"};
    struct queue_copy *first[COUNT], *second[COUNT];

    for (int i = 0; i < COUNT; i++)
        queue_unit_put_to(destinations, 2, "x", 1, NULL);
    for (int i = 0; i < COUNT; i++) {
        first[i] = wait_for_copy(q, "archive");
        second[i] = wait_for_copy(two, "beyond");
    }
    struct db *block = queue_unit_block(); /* both transactions begin before one can end */
    for (int i = 0; i < COUNT; i++) {
        finish_at(q, first[i]);
        finish_at(two, second[COUNT - 1 - i]);
    }
    wait_for("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
             " AND wait_event_type = 'Lock'",
             2);
    queue_unit_unblock(block);
    flush(q);
    flush(two);
    queue_unit_count(0, 0, 0);
    close_both();
    int64_t deadlocks = queue_unit_number(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    queue_unit_open();
    ck_assert_int_eq(deadlocks, 0);
}
END_TEST

/* Both remove the same old rows of the history. */
START_TEST(two_nodes_prune_the_history)
{
    struct db *one = queue_unit_begin(), *other = queue_unit_begin();
    struct db_queue strict = {.options = ((struct db_queue *)q)->options, .history_s = 10};
    struct err err = {""};
    uint64_t removed;

    fake_now += 1000; /* the nodes themselves keep these rows for a day */
    queue_unit_execute("INSERT INTO history (copy, destination, time, sender, recipients,"
                       " message_id, mta_queue_id, size, result, relay, reply, attempts)"
                       " SELECT 1, '', 1700000045, '', '', '', '', 0, '', '', '', 0"
                       " FROM generate_series(1, 10)");
    ck_assert_int_eq(queue_write_prune(&strict, one, 5, &removed, &err), DB_OK);
    ck_assert_uint_eq(removed, 5);
    ck_assert_msg(queue_write_prune(&strict, other, 5, &removed, &err) == DB_OK, "%s", err.text);
    ck_assert_uint_eq(removed, 0);
    commit_beside(one);
    commit_beside(other);
}
END_TEST

struct removing {
    struct db *db;
    const struct queue_ready *copy;
    atomic_bool is_over;
};

static void remove_copy(struct db *db, const struct queue_ready *copy)
{
    struct queue_files files = {0};
    struct err err = {""};
    int64_t count;

    ck_assert_int_eq(db->ops->begin(db, true, &err), DB_OK);
    ck_assert_int_eq(queue_write_removal(db, copy, &files, &err), DB_OK);
    /* so that the statements before it are executed */
    ck_assert_int_eq(db_get_number(db, "SELECT count(*) FROM copy", NULL, 0, &count, &err), DB_OK);
}

static void *remove_and_commit(void *ctx)
{
    struct removing *r = ctx;
    struct err err = {""};

    remove_copy(r->db, r->copy);
    ck_assert_int_eq(r->db->ops->commit(r->db, &err), DB_OK);
    r->is_over = true;
    return NULL;
}

/* Each of them sees the copy of the other, until one has committed. */
START_TEST(two_nodes_remove_the_last_two_copies)
{
    static const char *const destinations[] = {"elsewhere", "beyond"};
    struct db *one = queue_unit_connect(), *other = queue_unit_connect();
    char text[2][QUEUE_ID_SIZE];
    struct queue_batch batch;
    struct err err = {""};
    pthread_t thread;
    int64_t ids[2];

    queue_unit_put_to(destinations, 2, "x", 1, text);
    ck_assert(queue_id_parse(text[0], &ids[0]) && queue_id_parse(text[1], &ids[1]));
    ck_assert_int_eq(queue_read_copies(one, ids, 2, 0, &batch, &err), DB_OK);
    ck_assert_uint_eq(batch.count, 2);
    struct removing second = {.db = other, .copy = batch.items[1]};
    remove_copy(one, batch.items[0]);
    ck_assert_int_eq(pthread_create(&thread, NULL, remove_and_commit, &second), 0);
    for (int i = 0; i < 1000 && !second.is_over &&
                    queue_unit_number("SELECT count(*) FROM pg_stat_activity WHERE datname ="
                                      " current_database() AND wait_event_type = 'Lock'") == 0;
         i++)
        usleep(10000);
    ck_assert_int_eq(one->ops->commit(one, &err), DB_OK);
    pthread_join(thread, NULL);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message"), 0);
    queue_unit_count(0, 0, 0);
    for (int i = 0; i < 2; i++)
        queue_ready_free(batch.items[i]);
    one->ops->close(one);
    other->ops->close(other);
}
END_TEST

/* --- orders --- */

static const struct {
    enum queue_action action;
    bool is_in_hand;
    int64_t queued, held;
} orders[] = {
    {QUEUE_HOLD, true, 0, 1},  {QUEUE_DELETE, true, 0, 0},  {QUEUE_REQUEUE, true, 1, 0},
    {QUEUE_HOLD, false, 0, 1}, {QUEUE_DELETE, false, 0, 0}, {QUEUE_REQUEUE, false, 1, 0},
};

/* The copy is leased by node two: in a worker's hands, or ready in its window. */
START_TEST(orders_are_carried_out_by_any_node)
{
    struct queue_change change = {.action = orders[_i].action};
    struct queue_changed done;
    struct err err = {""};

    if (change.action == QUEUE_REQUEUE)
        change.to = "new";
    queue_unit_put("archive", "x");
    struct queue_copy *c = wait_for_copy(two, "archive");
    if (!orders[_i].is_in_hand)
        two->ops->release(two, c);
    ck_assert_msg(q->ops->change(q, &change, &done, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(done.ordered, 1);
    ck_assert_uint_eq(done.changed + done.failed, 0);
    if (orders[_i].is_in_hand)
        two->ops->later(two, c, (time_t)fake_now);
    flush(two);
    wait_for("SELECT count(*) FROM copy WHERE ordered IS NOT NULL", 0);
    queue_unit_count(orders[_i].queued, orders[_i].held, 0);
    ck_assert_ptr_null(take_at(two, 300));
    ck_assert_ptr_null(take_at(q, 300));
    if (orders[_i].queued == 1)
        finish_at(two, wait_for_copy(two, "new"));
}
END_TEST

/* Give what is done every second or so the time to be done; what cannot be done waits. */
static void wait_a_while_for(const char *sql, int64_t number)
{
    for (int i = 0; i < 30 && queue_unit_number(sql) != number; i++)
        usleep(100000);
}

/* Another node carries out the order and leases the copy, while this one has seen the order, too.
 */
START_TEST(an_order_is_carried_out_by_one_node)
{
    queue_unit_execute("INSERT INTO node VALUES (9, 'three', 0, 4000000000, '')");
    queue_unit_put("archive", "x");
    q->ops->later(q, wait_for_copy(q, "archive"), (time_t)fake_now + 1000000);
    flush(q);
    queue_unit_execute("UPDATE copy SET owner = 'three', ordered = 'requeue new'");
    struct db *db =
        begin_beside("UPDATE copy SET ordered = NULL, destination = 'new', owner = 'three'");
    queue_unit_execute("UPDATE node SET until = NULL WHERE name = 'three'");
    queue_unit_execute("SELECT pg_notify('splitmilter', 'order none 1')");
    wait_a_while_for("SELECT 1", 0);
    commit_beside(db);
    flush(q);
    flush(two);
    ck_assert_str_eq(queue_unit_text("SELECT owner FROM copy"), "three");
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 0);
}
END_TEST

START_TEST(a_suspension_holds_for_all_nodes)
{
    struct queue_suspension s = {.destination = "archive", .since = 1700000000, .reason = "moved"};
    struct err err = {""};

    ck_assert_int_eq(q->ops->suspend(q, &s, &err), 0);
    struct queue_copy *early;
    int tries = 0;
    do { /* the other node is told of it */
        ck_assert_int_lt(++tries, 100);
        queue_unit_put("archive", "x");
        early = take_at(two, 300);
        if (early != NULL)
            finish_at(two, early);
    } while (early != NULL);
    ck_assert_int_eq(q->ops->resume(q, "archive", &err), 1);
    struct queue_copy *c = wait_for_copy(two, "archive");
    finish_at(two, c);
}
END_TEST

/* --- large contents --- */

START_TEST(a_large_content_goes_through_the_database)
{
    static char content[LARGE];
    const char *archive[] = {"archive"};

    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)('a' + i / 1000 % 26);
    queue_unit_put_to(archive, 1, content, sizeof content, NULL);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM body"), 4);
    struct queue_copy *c = wait_for_copy(two, "archive");
    ck_assert_int_ge(c->content_fd, 0);
    queue_unit_check_content(c, content, sizeof content);
    finish_at(two, c);
    flush(two);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* A part was not on the disk of the machine that is the primary now. */
START_TEST(a_content_that_has_lost_a_part_is_not_stored)
{
    static char content[LARGE];
    struct queue_message m = queue_unit_message();
    struct queue_recipient r = queue_unit_recipient("a@b.test");
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, content, sizeof content, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_prepare(p, &err), QUEUE_PUT_OK);
    queue_unit_execute("DELETE FROM body WHERE part = 3");
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_FAULT);
    ck_assert_ptr_null(take_at(q, 300));
    flush(q);
    wait_for("SELECT count(*) FROM message", 0);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* What a node prepared before it died is removed by another. */
START_TEST(prepared_messages_of_the_dead_are_removed)
{
    queue_unit_execute(
        "INSERT INTO message SELECT 1000000 * 32768::bigint + (n << 9), 0, 1, '', '', '', '',"
        " '', '', '', '', 'body', 'prepared' FROM generate_series(0, 2) AS n");
    wait_for("SELECT count(*) FROM message", 2); /* of nodes 0 and 1, which live */
}
END_TEST

/* A node that is only slow stores the message in the moment when it is taken for dead. */
START_TEST(a_message_that_is_stored_meanwhile_is_not_removed)
{
    static const int64_t id = INT64_C(1000000) * 32768;
    char sql[300];

    snprintf(sql, sizeof sql,
             "INSERT INTO message SELECT %lld + (n << 9), 0, 1, '', '', '', '', '', '', '', '',"
             " 'body', 'prepared' FROM generate_series(1, 2) AS n",
             (long long)id);
    close_two();
    queue_unit_execute("UPDATE node SET until = 4000000000 WHERE name = 'two'");
    queue_unit_execute("INSERT INTO node VALUES (2, 'three', 0, 4000000000, '')");
    queue_unit_execute(sql);
    queue_unit_execute("INSERT INTO body SELECT id, 0, 'x' FROM message");
    struct db *db = begin_beside("UPDATE message SET state = 'stored' WHERE (id >> 9) & 63 = 1");
    queue_unit_execute("UPDATE node SET until = NULL WHERE name <> 'one'");
    wait_a_while_for("SELECT count(*) FROM message", 1);
    commit_beside(db);
    wait_for("SELECT count(*) FROM message WHERE state = 'prepared'", 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message"), 1);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM body"), 1);
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue_nodes");

    tcase_add_checked_fixture(tests, open_two, close_two);
    tcase_add_test(tests, a_name_is_used_once);
    tcase_add_test(tests, numbers_are_used_again);
    tcase_add_test(tests, each_copy_is_handed_out_by_one_node);
    tcase_add_loop_test(tests, the_copies_of_a_node_that_ends_are_given_to_others, 0, 2);
    tcase_add_loop_test(tests, a_node_that_has_lost_its_lease, 0, 3);
    tcase_add_test(tests, no_copy_is_stranded);
    tcase_add_test(tests, a_lease_that_the_database_has_not_seen_renewed);
    tcase_add_test(tests, what_was_held_while_nobody_listened);
    tcase_add_loop_test(tests, the_copies_of_a_destination_that_a_node_leaves, 0, 2);
    tcase_add_test(tests, the_copies_that_a_node_leaves_besides_its_window);
    tcase_add_test(tests, a_look_goes_on_while_the_node_leaves);
    tcase_add_loop_test(tests, the_copies_of_a_destination_that_a_node_has_no_more, 0, 2);
    tcase_add_test(tests, two_nodes_remove_the_last_two_copies);
    tcase_add_test(tests, two_nodes_remove_copies_of_the_same_messages);
    tcase_add_test(tests, two_nodes_prune_the_history);
    tcase_add_loop_test(tests, orders_are_carried_out_by_any_node, 0, UNIT_COUNT(orders));
    tcase_add_test(tests, an_order_is_carried_out_by_one_node);
    tcase_add_test(tests, a_suspension_holds_for_all_nodes);
    tcase_add_test(tests, a_large_content_goes_through_the_database);
    tcase_add_test(tests, a_content_that_has_lost_a_part_is_not_stored);
    tcase_add_test(tests, prepared_messages_of_the_dead_are_removed);
    tcase_add_test(tests, a_message_that_is_stored_meanwhile_is_not_removed);
    return tests;
}

int main(void)
{
    return queue_unit_run_on_postgresql("queue_nodes", make);
}
