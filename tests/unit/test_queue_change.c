/* SPDX-License-Identifier: ISC */
/* queue_ops.change: which copies it takes, where they are afterwards, what workers see. */
#include "queue/queue_id.h"
#include "queue_unit.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct queue_changed done;

/* A message with one copy of two recipients. */
static void put(const char *destination, const char *content, bool is_dead, char id[QUEUE_ID_SIZE])
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r[] = {queue_unit_recipient("a@b.test"),
                                  queue_unit_recipient("c@d.test")};
    struct queue_new_copy copy = {
        .destination = destination, .recipients = r, .recipient_count = 2, .is_dead = is_dead};
    struct queue_put *p;
    struct err err = {""};

    if (is_dead) {
        r[0].state = QUEUE_DEAD;
        r[1].state = QUEUE_DEAD;
        strcpy(r[0].reason, "550 no");
    }
    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, content, strlen(content), &err), QUEUE_PUT_OK);
    ck_assert_msg(q->ops->put_commit(p, NULL, NULL, &err) == QUEUE_PUT_OK, "%s", err.text);
    strcpy(id, copy.id);
}

static void defer(struct queue_copy *c, long seconds)
{
    ck_assert_ptr_nonnull(c);
    strcpy(c->recipients[0].reason, "450 later");
    q->ops->later(q, c, (time_t)(fake_now + seconds));
}

static void must_change(const struct queue_change *change, uint64_t changed, uint64_t ordered)
{
    struct err err = {""};

    queue_unit_flush();
    int rc = q->ops->change(q, change, &done, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_msg(done.failed == 0, "%s", err.text);
    ck_assert_uint_eq(done.changed, changed);
    ck_assert_uint_eq(done.ordered, ordered);
}

static void must_change_one(enum queue_action action, const char *id)
{
    must_change(&(struct queue_change){.action = action, .selection = {.id = id}}, 1, 0);
}

static void must_fail(const struct queue_change *change, const char *text)
{
    struct err err = {""};

    queue_unit_flush();
    ck_assert_int_eq(q->ops->change(q, change, &done, &err), -1);
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

static void must_fail_one(enum queue_action action, const char *id, const char *text)
{
    must_fail(&(struct queue_change){.action = action, .selection = {.id = id}}, text);
}

START_TEST(held_and_released)
{
    char a[QUEUE_ID_SIZE], b[QUEUE_ID_SIZE];

    put("archive", "1", false, a);
    put("archive", "2", false, b);
    must_change_one(QUEUE_HOLD, a);
    queue_unit_count(1, 1, 0);
    struct queue_copy *c = queue_unit_must_take("archive");
    ck_assert_str_eq(c->id, b);
    queue_unit_finish(c);
    ck_assert_ptr_null(queue_unit_take("archive"));
    must_fail_one(QUEUE_HOLD, a, "is held");
    queue_unit_reopen();
    ck_assert_ptr_null(queue_unit_take("archive"));
    must_change_one(QUEUE_RELEASE, a);
    queue_unit_count(1, 0, 0);
    must_fail_one(QUEUE_RELEASE, a, "is in the queue");
    c = queue_unit_must_take("archive");
    ck_assert_str_eq(c->id, a);
    ck_assert_uint_eq(c->attempts, 0);
    queue_unit_finish(c);
    queue_unit_count(0, 0, 0);
    must_fail_one(QUEUE_RELEASE, a, "no copy");
}
END_TEST

START_TEST(a_deferred_copy_keeps_what_is_known)
{
    char a[QUEUE_ID_SIZE];

    put("archive", "1", false, a);
    struct queue_copy *c = queue_unit_must_take("archive");
    c->recipients[1].state = QUEUE_SENT;
    defer(c, 1000);
    must_change_one(QUEUE_HOLD, a);
    must_change(
        &(struct queue_change){.action = QUEUE_RELEASE, .selection = {.destination = "archive"}}, 1,
        0);
    c = queue_unit_must_take("archive");
    ck_assert_uint_eq(c->attempts, 1);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_PENDING);
    ck_assert_str_eq(c->recipients[0].reason, "450 later");
    ck_assert_int_eq(c->recipients[1].state, QUEUE_SENT);
    queue_unit_finish(c);
}
END_TEST

START_TEST(deferred_copies_can_be_had_now)
{
    char ids[2][QUEUE_ID_SIZE];

    put("archive", "0", false, ids[0]);
    put("backup", "1", false, ids[1]);
    const char *destinations[] = {"archive", "backup"};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++)
            defer(queue_unit_must_take(destinations[i]), 3600 + i);
        ck_assert_ptr_null(queue_unit_take("archive"));
        ck_assert_ptr_null(queue_unit_take("backup"));
        for (int i = 0; i < 2 && round < 2; i++)
            must_change(
                &(struct queue_change){
                    .action = QUEUE_RETRY,
                    .selection = {.id = round == 0 ? ids[i] : NULL,
                                  .destination = round == 1 ? destinations[i] : NULL}},
                1, 0);
    }
    must_change(&(struct queue_change){.action = QUEUE_RETRY}, 2, 0);
    must_change(&(struct queue_change){.action = QUEUE_RETRY}, 0, 0);
    struct queue_copy *c = queue_unit_must_take("backup");
    ck_assert_str_eq(c->id, ids[1]);
    ck_assert_uint_eq(c->attempts, 3);
    /* in hand: it is due already */
    must_change(&(struct queue_change){.action = QUEUE_RETRY, .selection = {.id = ids[1]}}, 0, 0);
    queue_unit_finish(c);
    must_fail_one(QUEUE_RETRY, ids[1], "no copy");
    must_change_one(QUEUE_HOLD, ids[0]);
    must_fail_one(QUEUE_RETRY, ids[0], "is held");
}
END_TEST

START_TEST(dead_letters_come_back)
{
    char a[QUEUE_ID_SIZE], b[QUEUE_ID_SIZE];

    put("archive", "1", true, a);
    put("archive", "2", false, b);
    struct queue_copy *c = queue_unit_must_take("archive");
    c->recipients[0].state = QUEUE_SENT;
    c->recipients[1].state = QUEUE_DEAD;
    strcpy(c->recipients[1].reason, "550 unknown");
    q->ops->done(q, c, &(struct queue_delivery){"", ""});
    queue_unit_count(0, 0, 2);
    must_fail_one(QUEUE_HOLD, a, "is a dead letter");
    must_change_one(QUEUE_REQUEUE, b);
    queue_unit_count(1, 0, 1);
    c = queue_unit_must_take("archive");
    ck_assert_str_eq(c->id, b);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_SENT);
    ck_assert_int_eq(c->recipients[1].state, QUEUE_PENDING);
    ck_assert_str_eq(c->recipients[1].reason, "550 unknown");
    ck_assert_uint_eq(c->attempts, 0);
    defer(c, 1);
    must_fail_one(QUEUE_REQUEUE, b, "is in the queue");
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE}, 1, 0);
    queue_unit_count(2, 0, 0);
    fake_now += 100;
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 2);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* From each place; under its id, with the recipients that have not got it. */
START_TEST(to_another_destination)
{
    char queued[QUEUE_ID_SIZE], held[QUEUE_ID_SIZE], dead[QUEUE_ID_SIZE];
    struct queue_change change = {.action = QUEUE_REQUEUE, .to = "newmail"};

    put("archive", "queued", false, queued);
    struct queue_copy *c = queue_unit_must_take("archive");
    c->recipients[0].state = QUEUE_SENT;
    q->ops->later(q, c, (time_t)(fake_now + 50));
    put("archive", "held", false, held);
    put("archive", "dead", true, dead);
    must_change_one(QUEUE_HOLD, held);
    must_fail(&(struct queue_change){.action = QUEUE_REQUEUE,
                                     .to = "archive",
                                     .selection = {.destination = "archive"}},
              "for archive already");
    must_change(&change, 2, 0);
    queue_unit_count(2, 1, 0);
    c = queue_unit_must_take("newmail");
    ck_assert_str_eq(c->id, queued);
    ck_assert_str_eq(c->destination, "newmail");
    ck_assert_uint_eq(c->attempts, 0);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_SENT);
    ck_assert_int_eq(c->recipients[1].state, QUEUE_PENDING);
    ck_assert_str_eq(c->recipients[1].orcpt, "rfc822;o+2Bx@y.test");
    ck_assert_int_eq(c->message.arrival.tv_sec, 1700000000);
    queue_unit_check_content(c, "queued", 6);
    queue_unit_finish(c);
    c = queue_unit_must_take("newmail");
    ck_assert_str_eq(c->id, dead);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_PENDING);
    queue_unit_check_content(c, "dead", 4);
    queue_unit_finish(c);
    change.selection.id = held;
    must_change(&change, 1, 0);
    must_fail(&change, "for newmail already");
    c = queue_unit_must_take("newmail");
    ck_assert_str_eq(c->id, held);
    queue_unit_finish(c);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* A copy that is for the other destination already stays as it is. */
START_TEST(what_is_there_already_is_not_moved)
{
    char a[QUEUE_ID_SIZE], b[QUEUE_ID_SIZE];

    put("archive", "1", false, a);
    put("newmail", "2", false, b);
    defer(queue_unit_must_take("newmail"), 1000);
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE, .to = "newmail"}, 1, 0);
    struct queue_copy *c = queue_unit_must_take("newmail");
    ck_assert_str_eq(c->id, a);
    ck_assert_ptr_null(queue_unit_take("newmail"));
    queue_unit_finish(c);
}
END_TEST

START_TEST(deleted_wherever_it_is)
{
    char queued[QUEUE_ID_SIZE], held[QUEUE_ID_SIZE], dead[QUEUE_ID_SIZE], other[QUEUE_ID_SIZE];
    const char *const ids[] = {queued, held, dead};

    put("archive", "1", false, queued);
    put("archive", "2", false, held);
    put("archive", "3", true, dead);
    put("newmail", "4", false, other);
    must_change_one(QUEUE_HOLD, held);
    for (size_t i = 0; i < 3; i++) {
        must_change_one(QUEUE_DELETE, ids[i]);
        must_fail_one(QUEUE_DELETE, ids[i], "no copy");
    }
    queue_unit_count(1, 0, 0);
    ck_assert_ptr_null(queue_unit_take("archive"));
}
END_TEST

START_TEST(all_but_only_of_the_places_asked_for)
{
    char id[QUEUE_ID_SIZE];

    for (int i = 0; i < 5; i++) {
        put("archive", "x", false, id);
        put("archive", "x", true, id);
        put("newmail", "x", false, id);
    }
    must_change(
        &(struct queue_change){.action = QUEUE_HOLD, .selection = {.destination = "archive"}}, 5,
        0);
    queue_unit_count(5, 5, 5);
    must_fail(&(struct queue_change){.action = QUEUE_HOLD, .selection = {.places = QUEUE_IN_DEAD}},
              "no sense");
    must_change(
        &(struct queue_change){.action = QUEUE_DELETE, .selection = {.places = QUEUE_IN_DEAD}}, 5,
        0);
    queue_unit_count(5, 5, 0);
    must_change(
        &(struct queue_change){.action = QUEUE_DELETE, .selection = {.destination = "newmail"}}, 5,
        0);
    must_change(&(struct queue_change){.action = QUEUE_RELEASE}, 5, 0);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 5);
    ck_assert_uint_eq(queue_unit_finish_all("newmail"), 0);
}
END_TEST

/* Oldest first, and no more than the limit. */
START_TEST(a_selection_has_a_limit)
{
    char id[6][QUEUE_ID_SIZE];

    for (int i = 0; i < 6; i++)
        put(i % 2 == 0 ? "archive" : "newmail", i < 3 ? "x" : "longer", false, id[i]);
    must_change(
        &(struct queue_change){.action = QUEUE_HOLD, .selection = {.larger_bytes = 3, .limit = 2}},
        2, 0);
    for (int i = 0; i < 6; i++)
        if (i == 3 || i == 4)
            must_change_one(QUEUE_RELEASE, id[i]);
        else
            must_fail_one(QUEUE_RELEASE, id[i], "is in the queue");
}
END_TEST

/* More than a batch, more than a window: none is lost, none comes twice. */
START_TEST(many)
{
    enum { MANY = 500 };
    char id[QUEUE_ID_SIZE];

    for (int i = 0; i < MANY; i++) {
        fake_now += 1;
        put("archive", "x", false, id);
    }
    must_change(&(struct queue_change){.action = QUEUE_HOLD}, MANY, 0);
    ck_assert_ptr_null(queue_unit_take("archive"));
    must_change(&(struct queue_change){.action = QUEUE_RELEASE}, MANY, 0);
    queue_unit_count(MANY, 0, 0);
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE, .to = "newmail"}, MANY, 0);
    queue_unit_count(MANY, 0, 0);
    ck_assert_ptr_null(queue_unit_take("archive"));
    ck_assert_uint_eq(queue_unit_finish_all("newmail"), MANY);
}
END_TEST

/* --- copies that a worker has --- */

enum given_back { DONE, LATER, RELEASED, REFUSED };

static const struct {
    enum queue_action action;
    const char *to;
    enum given_back how;
    int64_t queued, held, dead;
} in_delivery[] = {
    {QUEUE_HOLD, NULL, DONE, 0, 0, 0},         {QUEUE_HOLD, NULL, LATER, 0, 1, 0},
    {QUEUE_HOLD, NULL, RELEASED, 0, 1, 0},     {QUEUE_HOLD, NULL, REFUSED, 0, 0, 1},
    {QUEUE_DELETE, NULL, DONE, 0, 0, 0},       {QUEUE_DELETE, NULL, LATER, 0, 0, 0},
    {QUEUE_DELETE, NULL, RELEASED, 0, 0, 0},   {QUEUE_DELETE, NULL, REFUSED, 0, 0, 0},
    {QUEUE_REQUEUE, "new", DONE, 0, 0, 0},     {QUEUE_REQUEUE, "new", LATER, 1, 0, 0},
    {QUEUE_REQUEUE, "new", RELEASED, 1, 0, 0}, {QUEUE_REQUEUE, "new", REFUSED, 1, 0, 0},
};

static void give_back(struct queue_copy *c, enum given_back how)
{
    switch (how) {
    case DONE:
        queue_unit_finish(c);
        break;
    case LATER:
        defer(c, 500);
        break;
    case RELEASED:
        q->ops->release(q, c);
        break;
    case REFUSED:
        queue_unit_set_all(c, QUEUE_DEAD, "550 no");
        q->ops->done(q, c, &(struct queue_delivery){"", ""});
        break;
    }
}

START_TEST(an_order_is_carried_out_when_the_copy_is_given_back)
{
    struct queue_change change = {.action = in_delivery[_i].action, .to = in_delivery[_i].to};
    const int64_t queued = in_delivery[_i].queued, held = in_delivery[_i].held,
                  dead = in_delivery[_i].dead;
    char id[2][QUEUE_ID_SIZE];

    for (int by_id = 0; by_id < 2; by_id++) {
        put("archive", "x", false, id[by_id]);
        struct queue_copy *c = queue_unit_must_take("archive");
        change.selection.id = by_id ? id[by_id] : NULL;
        must_change(&change, 0, 1);
        queue_unit_count(change.action != QUEUE_HOLD, change.action == QUEUE_HOLD, 0);
        ck_assert_ptr_null(queue_unit_take("new"));
        give_back(c, in_delivery[_i].how);
        queue_unit_count(queued, held, dead);
        ck_assert_ptr_null(queue_unit_take("archive"));
        if (queued == 1) {
            c = queue_unit_must_take("new");
            ck_assert_uint_eq(c->attempts, 0);
            ck_assert_int_eq(c->recipients[0].state, QUEUE_PENDING);
            queue_unit_finish(c);
            continue;
        }
        must_change(&(struct queue_change){.action = QUEUE_DELETE},
                    (uint64_t)(queued + held + dead), 0);
    }
}
END_TEST

/* The process ends while a worker has the copy. */
static void hold_all(void *ctx)
{
    (void)ctx;
    must_change(&(struct queue_change){.action = QUEUE_HOLD}, 1, 0);
}

/* The commit that has stored the copy has not handed it out yet. */
START_TEST(a_fresh_copy_that_is_held_is_not_handed_out)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r = queue_unit_recipient("a@b.test");
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_ptr_null(queue_unit_take("archive"));
    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, hold_all, NULL, &err), QUEUE_PUT_OK);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_count(0, 1, 0);
}
END_TEST

START_TEST(an_order_outlasts_a_crash)
{
    const bool is_deletion = _i == 0;
    struct queue_change change = {.action = is_deletion ? QUEUE_DELETE : QUEUE_REQUEUE,
                                  .to = is_deletion ? NULL : "new"};
    char id[QUEUE_ID_SIZE];
    int status;

    put("archive", "x", false, id);
    q->ops->close(q);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        queue_unit_open();
        (void)queue_unit_must_take("archive");
        must_change(&change, 0, 1);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE ordered IS NOT NULL"), 1);
    queue_unit_open();
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_count(is_deletion ? 0 : 1, 0, 0);
    ck_assert_uint_eq(queue_unit_finish_all("new"), is_deletion ? 0 : 1);
}
END_TEST

/* Deletion replaces an order; a release ends the order to hold. */
START_TEST(an_order_may_be_replaced)
{
    char id[QUEUE_ID_SIZE];

    put("archive", "x", false, id);
    struct queue_copy *c = queue_unit_must_take("archive");
    must_change(&(struct queue_change){.action = QUEUE_HOLD, .selection = {.id = id}}, 0, 1);
    must_change_one(QUEUE_RELEASE, id);
    queue_unit_count(1, 0, 0);
    q->ops->release(q, c);
    c = queue_unit_must_take("archive");
    must_change(&(struct queue_change){.action = QUEUE_HOLD, .selection = {.id = id}}, 0, 1);
    must_change(&(struct queue_change){.action = QUEUE_DELETE, .selection = {.id = id}}, 0, 1);
    /* it is as good as deleted: it cannot be released any more */
    must_change(&(struct queue_change){.action = QUEUE_RELEASE, .selection = {.id = id}}, 0, 0);
    queue_unit_count(0, 1, 0);
    q->ops->release(q, c);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* --- the history --- */

static void check_history(const char *id, const char *what)
{
    char sql[400];
    int64_t number;

    ck_assert(queue_id_parse(id, &number));
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM history WHERE copy = %lld AND %s AND destination = 'archive'"
             " AND sender = 's@x.test' AND message_id = '<1@x.test>' AND mta_queue_id = '4ABC'"
             " AND size = 1 AND time = %ld",
             (long long)number, what, atomic_load(&fake_now));
    ck_assert_msg(queue_unit_number(sql) == 1, "%s", sql);
}

START_TEST(the_history_says_what_became_of_a_copy)
{
    char sent[QUEUE_ID_SIZE], deleted[QUEUE_ID_SIZE], requeued[QUEUE_ID_SIZE];

    put("archive", "1", false, sent);
    defer(queue_unit_must_take("archive"), 5);
    queue_unit_flush();
    fake_now += 5;
    queue_unit_finish(queue_unit_must_take("archive"));
    queue_unit_flush();
    check_history(sent, "result = 'sent' AND recipients = 'a@b.test, c@d.test' AND attempts = 2"
                        " AND relay = 'mx.test[192.0.2.9]:25' AND reply = '250 ok'");
    put("archive", "2", false, deleted);
    struct queue_copy *c = queue_unit_must_take("archive");
    c->recipients[1].state = QUEUE_SENT;
    defer(c, 1000);
    must_change_one(QUEUE_DELETE, deleted);
    check_history(deleted, "result = 'sent' AND recipients = 'c@d.test'");
    check_history(deleted, "result = 'deleted' AND recipients = 'a@b.test' AND attempts = 1"
                           " AND reply = '450 later'");
    put("archive", "3", true, requeued);
    must_change_one(QUEUE_REQUEUE, requeued);
    check_history(requeued, "result = 'requeued' AND reply = '550 no'");
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 4);
}
END_TEST

/* Put a message of 300 kB or 1 byte with a copy for `archive`, which is skipped, and maybe another
 * copy. */
static void put_skipped(bool is_large, bool is_prepared, bool has_other, char id[QUEUE_ID_SIZE])
{
    static char content[300000];
    struct queue_message m = queue_unit_message();
    struct queue_recipient r[] = {queue_unit_recipient("a@b.test"),
                                  queue_unit_recipient("c@d.test"),
                                  queue_unit_recipient("refused@d.test")};
    struct queue_recipient other = queue_unit_recipient("e@f.test");
    struct queue_new_copy copies[] = {
        {.destination = "archive", .recipients = r, .recipient_count = 3},
        {.destination = "other", .recipients = &other, .recipient_count = 1}};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_int_eq(q->ops->put_begin(q, &m, copies, has_other ? 2 : 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, content, is_large ? sizeof content : 1, &err),
                     QUEUE_PUT_OK);
    copies[0].skip = QUEUE_SKIP_MAX_SIZE;
    strcpy(copies[0].skip_reason, "max_size 1k: x");
    if (is_prepared)
        ck_assert_int_eq(q->ops->put_prepare(p, &err), QUEUE_PUT_OK);
    r[2].state = QUEUE_SENT; /* the primary refuses the recipient */
    ck_assert_msg(q->ops->put_commit(p, NULL, NULL, &err) == QUEUE_PUT_OK, "%s", err.text);
    strcpy(id, copies[0].id);
}

/* What a destination does not want is in the history alone, with its condition. */
START_TEST(a_skipped_copy_has_a_history_and_nothing_else)
{
    const bool is_large = (_i & 1) != 0, is_prepared = (_i & 2) != 0, has_other = (_i & 4) != 0;
    char id[QUEUE_ID_SIZE];

    put_skipped(is_large, is_prepared, has_other, id);
    queue_unit_flush();
    queue_unit_count(has_other, 0, 0);
    ck_assert_ptr_null(queue_unit_take("archive"));
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM recipient"), has_other);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message"), has_other);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 1);
    if (!is_large)
        check_history(id, "result = 'skipped' AND recipients = 'a@b.test, c@d.test' AND relay = ''"
                          " AND attempts = 0 AND reply = 'max_size 1k: x'");
    ck_assert_int_eq(queue_unit_number("SELECT size FROM history"), is_large ? 300000 : 1);
    queue_unit_reopen();
    ck_assert_uint_eq(queue_unit_finish_all("other"), has_other);
    queue_unit_flush();
    queue_unit_count(0, 0, 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM body"), 0);
}
END_TEST

START_TEST(without_history_a_skipped_copy_leaves_nothing)
{
    char id[QUEUE_ID_SIZE];

    queue_unit_history_s = 0;
    queue_unit_reopen();
    struct db *db = queue_unit_block();
    put_skipped(false, false, false, id); /* does not wait for the database */
    queue_unit_unblock(db);
    put_skipped(true, true, true, id);
    queue_unit_flush();
    queue_unit_count(1, 0, 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 0);
}
END_TEST

/* As when a commit that failed was stored all the same, and is tried again. */
START_TEST(an_outcome_that_was_written_before_is_not_told_twice)
{
    char id[QUEUE_ID_SIZE];

    put("archive", "1", false, id);
    struct queue_copy *c = queue_unit_must_take("archive");
    queue_unit_execute("DELETE FROM copy");
    queue_unit_execute("DELETE FROM recipient");
    queue_unit_finish(c);
    queue_unit_count(0, 0, 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 0);
}
END_TEST

START_TEST(a_history_ends)
{
    char id[QUEUE_ID_SIZE];

    put("archive", "1", false, id);
    queue_unit_finish(queue_unit_must_take("archive"));
    queue_unit_flush();
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 1);
    if (_i == 0)
        fake_now += 86401;
    else
        queue_reconfigure(q, QUEUE_UNIT_DELAY_MAX_S, 0);
    put("archive", "2", false, id);
    fake_now += 1;
    queue_unit_finish(queue_unit_must_take("archive"));
    queue_unit_flush();
    /* The writer removes old rows when it has nothing else to do. */
    for (int i = 0; i < 1000 && queue_unit_number("SELECT count(*) FROM history") > 1 - _i; i++)
        usleep(10000);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 1 - _i);
    if (_i == 0)
        ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history WHERE copy ="
                                           " (SELECT max(copy) FROM history)"),
                         1);
}
END_TEST

/* --- suspending --- */

static void suspend(const char *destination, time_t until)
{
    struct queue_suspension s = {.since = (time_t)fake_now, .until = until, .reason = "moved"};
    struct err err;

    snprintf(s.destination, sizeof s.destination, "%s", destination);
    ck_assert_int_eq(q->ops->suspend(q, &s, &err), 0);
}

START_TEST(a_suspended_destination_gets_nothing)
{
    struct queue_suspension *items;
    struct err err;
    size_t count;
    char id[QUEUE_ID_SIZE];

    put("archive", "1", false, id);
    suspend("archive", 0);
    suspend("backup", fake_now + 1000);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_reopen();
    put("archive", "2", false, id);
    put("backup", "3", false, id);
    put("other", "4", false, id);
    ck_assert_ptr_null(queue_unit_take("archive"));
    ck_assert_ptr_null(queue_unit_take("backup"));
    ck_assert_uint_eq(queue_unit_finish_all("other"), 1);
    ck_assert_int_eq(q->ops->suspensions(q, &items, &count, &err), 0);
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(items[0].destination, "archive");
    ck_assert_str_eq(items[0].reason, "moved");
    ck_assert_int_eq(items[0].until, 0);
    ck_assert_int_eq(items[1].until - items[1].since, 1000);
    free(items);
    fake_now += 1000;
    ck_assert_uint_eq(queue_unit_finish_all("backup"), 1);
    ck_assert_ptr_null(queue_unit_take("archive"));
    /* The writer removes what is over when it has nothing else to do. */
    for (int i = 0; i < 1000 && queue_unit_number("SELECT count(*) FROM suspended") > 1; i++)
        usleep(10000);
    ck_assert_str_eq(queue_unit_text("SELECT destination FROM suspended"), "archive");
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM suspended"), 1);
    ck_assert_int_eq(q->ops->resume(q, "archive", &err), 1);
    ck_assert_int_eq(q->ops->resume(q, "archive", &err), 0);
    ck_assert_int_eq(q->ops->resume(q, "../x", &err), -1);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 2);
    queue_unit_reopen();
    put("archive", "5", false, id);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 1);
}
END_TEST

static void *wait_long(void *ctx)
{
    (void)ctx;
    return q->ops->next(q, "archive", 60000);
}

START_TEST(a_waiting_worker_gets_a_copy_when_its_destination_is_resumed)
{
    char id[QUEUE_ID_SIZE];
    pthread_t thread;
    struct err err;
    void *copy;

    put("archive", "1", false, id);
    suspend("archive", 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_long, NULL), 0);
    ck_assert_int_eq(q->ops->resume(q, "archive", &err), 1);
    pthread_join(thread, &copy);
    ck_assert_ptr_nonnull(copy);
    queue_unit_finish(copy);
}
END_TEST

/* --- depths --- */

START_TEST(depths_are_counted)
{
    struct queue_depths d;
    struct err err = {""};
    char id[QUEUE_ID_SIZE];

    put("archive", "1", true, id);
    put("archive", "22", false, id);
    defer(queue_unit_must_take("archive"), 1000);
    put("archive", "333", false, id);
    must_change_one(QUEUE_HOLD, id);
    put("archive", "4444", false, id);
    put("backup", "55555", false, id);
    struct queue_copy *c = queue_unit_must_take("archive"); /* still counts as due */
    ck_assert_msg(q->ops->depths(q, &d, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(d.count, 2);
    ck_assert_str_eq(d.items[0].destination, "archive");
    ck_assert_uint_eq(d.items[0].dead.copies, 1);
    ck_assert_uint_eq(d.items[0].dead.bytes, 1);
    ck_assert_uint_eq(d.items[0].deferred.bytes, 2);
    ck_assert_uint_eq(d.items[0].held.bytes, 3);
    ck_assert_uint_eq(d.items[0].due.copies, 1);
    ck_assert_uint_eq(d.items[0].due.bytes, 4);
    ck_assert_int_eq(d.items[0].due.oldest, 1700000000);
    ck_assert_uint_eq(d.items[1].due.bytes, 5);
    ck_assert_uint_eq(d.items[1].deferred.copies, 0);
    free(d.items);
    queue_unit_finish(c);
}
END_TEST

/* --- what is refused --- */

static const struct {
    const char *id, *destination, *to, *text;
} wrong[] = {
    {"../x", NULL, NULL, "not the id"},    {"", NULL, NULL, "not the id"},
    {NULL, "../x", NULL, "not the name"},  {NULL, NULL, "a/b", "not the name"},
    {"1234", NULL, "new", "no copy 1234"},
};

START_TEST(names_are_checked)
{
    must_fail(&(struct queue_change){.action = QUEUE_REQUEUE,
                                     .selection = {.id = wrong[_i].id,
                                                   .destination = wrong[_i].destination},
                                     .to = wrong[_i].to},
              wrong[_i].text);
}
END_TEST

START_TEST(a_copy_of_another_destination_is_none)
{
    char id[QUEUE_ID_SIZE];

    put("archive", "1", false, id);
    must_fail(&(struct queue_change){.action = QUEUE_HOLD,
                                     .selection = {.id = id, .destination = "backup"}},
              "no copy");
    queue_unit_count(1, 0, 0);
}
END_TEST

static bool stop_at_once(void *ctx, const struct queue_changed *so_far)
{
    unsigned *calls = ctx;

    ++*calls;
    return so_far->changed == 0;
}

START_TEST(it_can_be_stopped)
{
    unsigned calls = 0;
    struct queue_change change = {.action = QUEUE_HOLD, .go_on = stop_at_once, .ctx = &calls};
    char id[QUEUE_ID_SIZE];

    for (int i = 0; i < 300; i++)
        put("archive", "x", false, id);
    struct err err = {""};
    ck_assert_int_eq(q->ops->change(q, &change, &done, &err), 0);
    ck_assert(done.is_stopped);
    ck_assert_uint_eq(calls, 2);
    ck_assert_uint_gt(done.changed, 0);
    ck_assert_uint_lt(done.changed, 300);
    queue_unit_count(300 - (int64_t)done.changed, (int64_t)done.changed, 0);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 300 - done.changed);
}
END_TEST

/* --- while mail flows --- */

enum { FLOW = 1500 };
static atomic_uint delivered;
static atomic_bool flow_ends;

static void *flow_in(void *ctx)
{
    char id[QUEUE_ID_SIZE];

    (void)ctx;
    for (int i = 0; i < FLOW; i++)
        put("archive", "x", i % 10 == 0, id);
    return NULL;
}

static void *flow_out(void *ctx)
{
    unsigned turn = 0;

    while (!flow_ends) {
        struct queue_copy *c = q->ops->next(q, ctx, 20);
        if (c == NULL)
            continue;
        if (++turn % 3 == 0) {
            defer(c, 1);
        } else if (turn % 7 == 0) {
            q->ops->release(q, c);
        } else {
            delivered++;
            queue_unit_finish(c);
        }
    }
    return NULL;
}

/* Each copy is delivered exactly once, whatever administrators do meanwhile. */
START_TEST(nothing_is_lost_while_mail_flows)
{
    static const struct queue_change changes[] = {
        {.action = QUEUE_HOLD},
        {.action = QUEUE_REQUEUE, .to = "newmail"},
        {.action = QUEUE_RELEASE, .selection = {.destination = "archive"}},
        {.action = QUEUE_REQUEUE},
        {.action = QUEUE_RELEASE},
        {.action = QUEUE_REQUEUE, .to = "archive", .selection = {.limit = 20}},
        {.action = QUEUE_RETRY},
    };
    char archive[] = "archive", newmail[] = "newmail";
    pthread_t threads[5];
    struct err err = {""};

    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i == 0 ? flow_in : flow_out,
                                        i < 3 ? archive : newmail),
                         0);
    for (size_t i = 0; i < 10 * UNIT_COUNT(changes); i++) {
        ck_assert_msg(q->ops->change(q, &changes[i % UNIT_COUNT(changes)], &done, &err) == 0, "%s",
                      err.text);
        ck_assert_uint_eq(done.failed, 0);
        fake_now += 1;
    }
    pthread_join(threads[0], NULL);
    for (int i = 0; delivered < FLOW && i < 3000; i++) {
        fake_now += 1;
        ck_assert_msg(q->ops->change(q, &changes[i % 4 + 1], &done, &err) == 0, "%s", err.text);
        usleep(2000);
    }
    flow_ends = true;
    for (int i = 1; i < 5; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(delivered, FLOW);
    queue_unit_count(0, 0, 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history WHERE result = 'sent'"), FLOW);
    ck_assert_int_eq(queue_unit_number("SELECT count(DISTINCT copy) FROM history"
                                       " WHERE result = 'sent'"),
                     FLOW);
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue_change");

    tcase_add_test(tests, held_and_released);
    tcase_add_test(tests, a_deferred_copy_keeps_what_is_known);
    tcase_add_test(tests, deferred_copies_can_be_had_now);
    tcase_add_test(tests, dead_letters_come_back);
    tcase_add_test(tests, to_another_destination);
    tcase_add_test(tests, what_is_there_already_is_not_moved);
    tcase_add_test(tests, deleted_wherever_it_is);
    tcase_add_test(tests, all_but_only_of_the_places_asked_for);
    tcase_add_test(tests, a_selection_has_a_limit);
    tcase_add_test(tests, many);
    tcase_add_loop_test(tests, an_order_is_carried_out_when_the_copy_is_given_back, 0,
                        UNIT_COUNT(in_delivery));
    tcase_add_test(tests, a_fresh_copy_that_is_held_is_not_handed_out);
    tcase_add_loop_test(tests, an_order_outlasts_a_crash, 0, 2);
    tcase_add_test(tests, an_order_may_be_replaced);
    tcase_add_test(tests, the_history_says_what_became_of_a_copy);
    tcase_add_loop_test(tests, a_skipped_copy_has_a_history_and_nothing_else, 0, 8);
    tcase_add_test(tests, without_history_a_skipped_copy_leaves_nothing);
    tcase_add_test(tests, an_outcome_that_was_written_before_is_not_told_twice);
    tcase_add_loop_test(tests, a_history_ends, 0, 2);
    tcase_add_test(tests, a_suspended_destination_gets_nothing);
    tcase_add_test(tests, a_waiting_worker_gets_a_copy_when_its_destination_is_resumed);
    tcase_add_test(tests, depths_are_counted);
    tcase_add_loop_test(tests, names_are_checked, 0, UNIT_COUNT(wrong));
    tcase_add_test(tests, a_copy_of_another_destination_is_none);
    tcase_add_test(tests, it_can_be_stopped);
    tcase_add_test(tests, nothing_is_lost_while_mail_flows);
    return tests;
}

int main(void)
{
    return queue_unit_run("queue_change", make);
}
