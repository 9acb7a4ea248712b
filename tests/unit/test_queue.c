/* SPDX-License-Identifier: ISC */
/* queue.h: storing copies, handing them out, taking them back. */
#include "queue_unit.h"
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE (DB_BODY_PART_BYTES + 100000)
static char large[LARGE];

static const char *const archive[] = {"archive"};

/* --- storing --- */

static char stored_id[QUEUE_ID_SIZE];

/* When a copy is stored its id is final, and no worker has got it. */
static void note_stored(void *ctx)
{
    const struct queue_new_copy *copy = ctx;

    ck_assert_ptr_null(queue_unit_take(copy->destination));
    strcpy(stored_id, copy->id);
}

START_TEST(stored_is_told_before_it_is_handed_out)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r = queue_unit_recipient("a@b.test");
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_ptr_null(queue_unit_take("archive"));
    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, "x", 1, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, note_stored, &copy, &err), QUEUE_PUT_OK);
    struct queue_copy *c = queue_unit_must_take("archive");
    ck_assert_str_eq(c->id, stored_id);
    queue_unit_finish(c);
}
END_TEST

static const struct {
    size_t len;
    bool is_reopened;
} contents[] = {{0, false},
                {20, false},
                {20, true},
                {DB_BODY_PART_BYTES, true},
                {DB_BODY_PART_BYTES + 1, true},
                {LARGE, false},
                {LARGE, true}};

static void check_copy(const struct queue_copy *c, const char *destination, const char *id)
{
    ck_assert_str_eq(c->id, id);
    ck_assert_str_eq(c->destination, destination);
    ck_assert_str_eq(c->message.sender, "s@x.test");
    ck_assert_str_eq(c->message.client_name, "c.test");
    ck_assert_str_eq(c->message.client_addr, "192.0.2.1");
    ck_assert_str_eq(c->message.helo, "helo.test");
    ck_assert_str_eq(c->message.protocol, "ESMTP");
    ck_assert_str_eq(c->message.mta_queue_id, "4ABC");
    ck_assert_str_eq(c->message.message_id, "<1@x.test>");
    ck_assert(c->message.is_8bit && !c->message.is_utf8 && !c->message.needs_requiretls);
    ck_assert_int_eq(c->message.arrival.tv_sec, 1700000000);
    ck_assert_int_eq(c->message.arrival.tv_nsec / 1000000, 123);
    ck_assert_uint_eq(c->recipient_count, 1);
    ck_assert_str_eq(c->recipients[0].address, "a@b.test");
    ck_assert_str_eq(c->recipients[0].orcpt, "rfc822;o+2Bx@y.test");
    ck_assert_int_eq(c->recipients[0].state, QUEUE_PENDING);
    ck_assert_str_eq(c->recipients[0].reason, "");
    ck_assert_uint_eq(c->attempts, 0);
}

START_TEST(a_copy_comes_out_as_it_went_in)
{
    static const char *const destinations[] = {"archive", "new-mail"};
    const size_t len = contents[_i].len;
    char ids[2][QUEUE_ID_SIZE], path[128];

    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)('a' + i % 23);
    queue_unit_put_to(destinations, 2, large, len, ids);
    ck_assert_int_lt(strcmp(ids[0], ids[1]), 0);
    if (contents[_i].is_reopened)
        queue_unit_reopen();
    for (size_t i = 0; i < 2; i++) {
        struct queue_copy *c = queue_unit_must_take(destinations[i]);
        check_copy(c, destinations[i], ids[i]);
        queue_unit_check_content(c, large, len);
        ck_assert_ptr_null(queue_unit_take(destinations[i]));
        queue_unit_finish(c);
        ck_assert_ptr_null(queue_unit_take(destinations[i]));
        queue_unit_count(1 - (int64_t)i, 0, 0);
    }
    snprintf(path, sizeof path, "%s/large", queue_unit_dir);
    ck_assert_int_eq(rmdir(path), 0); /* it is empty */
}
END_TEST

/* Recipients that were refused before the commit get nothing. */
START_TEST(what_others_accepted_is_left_out)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r[] = {queue_unit_recipient("a@b.test"),
                                  queue_unit_recipient("b@b.test"),
                                  queue_unit_recipient("c@b.test")};
    struct queue_new_copy copies[] = {
        {.destination = "archive", .recipients = r, .recipient_count = 2},
        {.destination = "newmail", .recipients = &r[2], .recipient_count = 1}};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_int_eq(q->ops->put_begin(q, &m, copies, 2, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, "x", 1, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_prepare(p, &err), QUEUE_PUT_OK);
    ck_assert_ptr_null(queue_unit_take("archive"));
    r[0].state = r[2].state = QUEUE_SENT;
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_OK);
    if (_i == 1)
        queue_unit_reopen();
    ck_assert_ptr_null(queue_unit_take("newmail"));
    struct queue_copy *c = queue_unit_must_take("archive");
    ck_assert_uint_eq(c->recipient_count, 1);
    ck_assert_str_eq(c->recipients[0].address, "b@b.test");
    strcpy(c->recipients[0].reason, "450 later");
    q->ops->later(q, c, fake_now + 10);
    queue_unit_flush();
    fake_now += 10;
    c = queue_unit_must_take("archive");
    ck_assert_str_eq(c->recipients[0].reason, "450 later");
    queue_unit_finish(c);
    queue_unit_count(0, 0, 0);
}
END_TEST

static struct queue_put *prepare(const char *content, size_t len, struct queue_new_copy *copy,
                                 struct queue_message *m)
{
    struct queue_put *p;
    struct err err = {""};

    ck_assert_int_eq(q->ops->put_begin(q, m, copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, content, len, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_prepare(p, &err), QUEUE_PUT_OK);
    return p;
}

/* Of what was prepared nothing is left: given up (0), or by a crash (1). */
START_TEST(what_is_only_prepared_leaves_nothing)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r = queue_unit_recipient("a@b.test");
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    const bool is_crash = _i % 2 == 1;
    const size_t len = _i < 2 ? 10 : LARGE;
    char path[128];

    if (is_crash) {
        q->ops->close(q);
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            queue_unit_open();
            (void)prepare(large, len, &copy, &m);
            _exit(0);
        }
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message"), 1);
        queue_unit_open();
    } else {
        q->ops->put_abort(prepare(large, len, &copy, &m));
    }
    ck_assert_ptr_null(queue_unit_take("archive"));
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM message"), 0);
    queue_unit_count(0, 0, 0);
    snprintf(path, sizeof path, "%s/large", queue_unit_dir);
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* --- outcomes --- */

START_TEST(a_deferred_copy_waits_for_its_time)
{
    queue_unit_put("archive", "x\r\n");
    struct queue_copy *c = queue_unit_must_take("archive");
    strcpy(c->recipients[0].reason, "450 busy");
    q->ops->later(q, c, fake_now + 160);
    ck_assert_ptr_null(queue_unit_take("archive"));
    fake_now += 159;
    ck_assert_ptr_null(queue_unit_take("archive"));
    fake_now += 1;
    c = queue_unit_must_take("archive");
    ck_assert_uint_eq(c->attempts, 1);
    ck_assert_str_eq(c->recipients[0].reason, "450 busy");
    q->ops->later(q, c, fake_now + 3600);
    queue_unit_reopen();
    ck_assert_ptr_null(queue_unit_take("archive"));
    fake_now += 3600;
    c = queue_unit_must_take("archive");
    ck_assert_uint_eq(c->attempts, 2);
    queue_unit_finish(c);
    queue_unit_count(0, 0, 0);
}
END_TEST

static struct queue_copy *put_three(void)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r[3] = {queue_unit_recipient("a@b.test"),
                                   queue_unit_recipient("b@b.test"),
                                   queue_unit_recipient("c@b.test")};
    struct queue_new_copy copy = {.destination = "archive", .recipients = r, .recipient_count = 3};
    struct queue_put *p;
    struct err err;

    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_OK);
    return queue_unit_must_take("archive");
}

START_TEST(what_was_accepted_is_not_pending_after_a_restart)
{
    struct queue_copy *c = put_three();

    c->recipients[0].state = QUEUE_SENT;
    c->recipients[1].state = QUEUE_DEAD;
    strcpy(c->recipients[1].reason, "550 no");
    q->ops->release(q, c);
    queue_unit_reopen();
    c = queue_unit_must_take("archive");
    ck_assert_uint_eq(c->message.size_bytes, 0);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_SENT);
    ck_assert_int_eq(c->recipients[1].state, QUEUE_DEAD);
    ck_assert_str_eq(c->recipients[1].reason, "550 no");
    ck_assert_int_eq(c->recipients[2].state, QUEUE_PENDING);
    ck_assert_uint_eq(c->attempts, 0);
    c->recipients[2].state = QUEUE_SENT;
    q->ops->done(q, c, &(struct queue_delivery){"", ""});
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_count(0, 0, 1);
    ck_assert_int_eq(queue_unit_number("SELECT attempts FROM copy"), 1);
    queue_unit_reopen();
    ck_assert_ptr_null(queue_unit_take("archive"));
}
END_TEST

/* By hand, with gaps in the numbers: an outcome finds the row of its recipient. */
START_TEST(a_recipient_may_be_removed_by_hand)
{
    q->ops->release(q, put_three());
    queue_unit_flush();
    q->ops->close(q);
    queue_unit_execute("DELETE FROM recipient WHERE address = 'a@b.test'");
    queue_unit_open();
    struct queue_copy *c = queue_unit_must_take("archive");
    ck_assert_uint_eq(c->recipient_count, 2);
    c->recipients[0].state = QUEUE_SENT;
    q->ops->later(q, c, fake_now + 1);
    queue_unit_flush();
    ck_assert_str_eq(queue_unit_text("SELECT address FROM recipient WHERE state = 'sent'"),
                     "b@b.test");
}
END_TEST

START_TEST(done_with_pending_recipients_is_no_loss)
{
    queue_unit_put("archive", "x");
    q->ops->done(q, queue_unit_must_take("archive"), &(struct queue_delivery){"", ""});
    queue_unit_finish(queue_unit_must_take("archive"));
    ck_assert_ptr_null(queue_unit_take("archive"));
}
END_TEST

/* All that was taken and given back unchanged comes again, in its order. */
START_TEST(what_is_released_comes_first)
{
    char ids[3][QUEUE_ID_SIZE];
    struct queue_copy *c[2];

    for (int i = 0; i < 3; i++)
        queue_unit_put_to(archive, 1, "x", 1, &ids[i]);
    queue_unit_reopen();
    for (int i = 0; i < 2; i++)
        c[i] = queue_unit_must_take("archive");
    for (int i = 1; i >= 0; i--)
        q->ops->release(q, c[i]);
    for (int i = 0; i < 3; i++) {
        struct queue_copy *again = queue_unit_must_take("archive");
        ck_assert_str_eq(again->id, ids[i]);
        ck_assert_uint_eq(again->attempts, 0);
        queue_unit_finish(again);
    }
}
END_TEST

START_TEST(a_dead_copy_is_never_handed_out)
{
    struct queue_message m = queue_unit_message();
    struct queue_recipient r = queue_unit_recipient("a@b.test");
    struct queue_new_copy copy = {
        .destination = "archive", .recipients = &r, .recipient_count = 1, .is_dead = true};
    struct queue_put *p;
    struct err err;

    r.state = QUEUE_DEAD;
    strcpy(r.reason, "552 too large");
    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_OK);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_reopen();
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_count(0, 0, 1);
}
END_TEST

/* A copy that is due later than it can have been deferred to: it is tried now. */
START_TEST(the_clock_may_be_set_back)
{
    queue_unit_put("archive", "0");
    q->ops->later(q, queue_unit_must_take("archive"), fake_now + 100);
    queue_unit_flush();
    fake_now -= QUEUE_UNIT_DELAY_MAX_S + 3600;
    queue_unit_finish(queue_unit_must_take("archive"));

    queue_unit_put("archive", "1");
    q->ops->later(q, queue_unit_must_take("archive"), fake_now + 100);
    queue_unit_flush();
    fake_now -= QUEUE_UNIT_DELAY_MAX_S - 3600;
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_count(1, 0, 0);
}
END_TEST

/* A copy was in delivery when the clock was set back, and is deferred by the time of before, after
 * a look by the new one. */
START_TEST(a_copy_is_deferred_by_a_clock_that_was_set_back)
{
    const time_t before = (time_t)fake_now;

    queue_unit_put("archive", "0");
    struct queue_copy *c = queue_unit_must_take("archive");
    fake_now -= QUEUE_UNIT_DELAY_MAX_S + 3600;
    ck_assert_ptr_null(queue_unit_take("archive"));
    q->ops->later(q, c, before + 1);
    queue_unit_finish(queue_unit_must_take("archive"));
}
END_TEST

/* Somebody brings a row back with a database shell: it is found within a minute. */
START_TEST(rows_that_were_changed_by_hand_are_found)
{
    queue_unit_put("archive", "0");
    struct queue_copy *c = queue_unit_must_take("archive");
    q->ops->later(q, c, fake_now + 100000);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_execute("UPDATE copy SET due = 0");
    ck_assert_ptr_null(queue_unit_take("archive"));
    fake_now += 60;
    queue_unit_finish(queue_unit_must_take("archive"));
}
END_TEST

/* --- what cannot be delivered --- */

static const struct {
    size_t len;
    const char *sql, *reason;
} damages[] = {
    {10, "DELETE FROM message WHERE id < (SELECT max(id) FROM message)",
     "its message is missing in the database"},
    {10, "DELETE FROM body WHERE message < (SELECT max(message) FROM body)",
     "its content is missing in the database, or cut off"},
    {10,
     "UPDATE body SET data = substr(data, 1, 1) WHERE message < (SELECT max(message) FROM body)",
     "its content is missing in the database, or cut off"},
    {LARGE, "UPDATE message SET size = 5 WHERE id < (SELECT max(id) FROM message)", NULL},
    {LARGE, NULL, NULL}, /* without its file */
    {10, "DELETE FROM recipient WHERE copy < (SELECT max(copy) FROM recipient)", NULL},
};

START_TEST(what_cannot_be_read_goes_to_the_dead_letters)
{
    char id[QUEUE_ID_SIZE], command[200];

    queue_unit_put_to(archive, 1, large, damages[_i].len, &id);
    queue_unit_put("archive", "good");
    q->ops->close(q);
    snprintf(command, sizeof command, "rm %s/large/*", queue_unit_dir);
    if (damages[_i].sql != NULL)
        queue_unit_execute(damages[_i].sql);
    else if (queue_unit_is_shared())
        queue_unit_execute("DELETE FROM body WHERE part = 1");
    else
        ck_assert_int_eq(system(command), 0);
    queue_unit_open();
    struct queue_copy *c = queue_unit_must_take("archive");
    queue_unit_check_content(c, "good", 4);
    queue_unit_finish(c);
    ck_assert_ptr_null(queue_unit_take("archive"));
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE state = 'dead'"), 1);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy"), 1);
    if (damages[_i].reason != NULL)
        ck_assert_str_eq(queue_unit_text("SELECT reason FROM recipient"), damages[_i].reason);
    queue_unit_reopen();
    ck_assert_ptr_null(queue_unit_take("archive"));
}
END_TEST

/* No descriptors: the copy is not lost, not dead, and comes later without another attempt. */
START_TEST(a_copy_that_cannot_be_opened_comes_later)
{
    struct rlimit old, none;

    queue_unit_put_to(archive, 1, large, LARGE, NULL);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_ptr_null(q->ops->next(q, "archive", 0));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_ptr_null(queue_unit_take("archive"));
    fake_now += 60;
    struct queue_copy *c = queue_unit_must_take("archive");
    ck_assert_uint_eq(c->attempts, 0);
    queue_unit_check_content(c, large, LARGE);
    queue_unit_finish(c);
}
END_TEST

/* --- more than fits into memory --- */

#define MANY 600 /* a window has room for fewer */
static int seen[MANY];

static int content_number(const struct queue_copy *c)
{
    char text[32] = "", *end;

    ck_assert_uint_lt(c->message.size_bytes, sizeof text);
    memcpy(text, c->content, c->message.size_bytes);
    long number = strtol(text, &end, 10);
    ck_assert_str_eq(end, "\r\n");
    ck_assert_int_ge(number, 0);
    ck_assert_int_lt(number, MANY);
    return (int)number;
}

static void put_number(int number)
{
    char text[16];

    snprintf(text, sizeof text, "%d\r\n", number);
    queue_unit_put("archive", text);
}

static void put_numbers(int first, int count)
{
    for (int i = first; i < first + count; i++) {
        if (i % 10 == 0)
            fake_now++;
        put_number(i);
    }
}

START_TEST(what_does_not_fit_comes_from_the_database)
{
    struct queue_copy *c;
    int last = -1;

    put_numbers(0, MANY);
    if (_i == 1)
        queue_unit_reopen();
    while ((c = q->ops->next(q, "archive", 0)) != NULL) {
        int number = content_number(c);
        ck_assert(_i == 0 || number > last); /* the oldest first */
        last = number;
        seen[number]++;
        queue_unit_finish(c);
    }
    for (int i = 0; i < MANY; i++)
        ck_assert_msg(seen[i] == 1, "copy %d came %d times", i, seen[i]);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* While new copies keep coming, as fast as they are taken, old ones get their turn, and new ones
 * do as well. */
START_TEST(neither_old_nor_new_copies_starve)
{
    put_numbers(0, MANY / 2);
    queue_unit_reopen();
    int old = 0, fresh = 0;
    for (int i = MANY / 2; i < MANY; i++) {
        put_number(i);
        struct queue_copy *c = queue_unit_must_take("archive");
        old += content_number(c) < MANY / 2;
        fresh += content_number(c) >= MANY / 2;
        queue_unit_finish(c);
    }
    ck_assert_int_ge(old, MANY / 4);
    ck_assert_int_ge(fresh, MANY / 10);
}
END_TEST

/* A worker for each: all are known, and none comes twice. */
START_TEST(in_hand_each_is_there_once)
{
    static struct queue_copy *in_hand[MANY];
    struct queue_copy *c;
    int count = 0;

    put_numbers(0, MANY);
    while ((c = q->ops->next(q, "archive", 0)) != NULL) {
        ck_assert_int_lt(count, MANY);
        seen[content_number(c)]++;
        in_hand[count++] = c;
    }
    for (int i = 0; i < MANY; i++)
        ck_assert_msg(seen[i] == 1, "copy %d came %d times", i, seen[i]);
    for (int i = 0; i < MANY; i++)
        q->ops->release(q, in_hand[i]);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), MANY);
}
END_TEST

/* --- while nothing can be written --- */

#define OUTCOMES 1000 /* as many as may wait */

static void multiply(int count)
{
    static const char *const statements[] = {
        "INSERT INTO copy (id, message, destination, state, due, attempts) SELECT"
        " id + i * 32768, message + i * 32768, destination, state, due, attempts FROM copy, n",
        "INSERT INTO message SELECT id + i * 32768, arrival, size, sender, client_name,"
        " client_addr, helo, protocol, mta_queue_id, message_id, flags, body_at, state"
        " FROM message, n",
        "INSERT INTO body SELECT message + i * 32768, part, data FROM body, n",
        "INSERT INTO recipient SELECT copy + i * 32768, number, address, orcpt, state, reason"
        " FROM recipient, n",
    };
    char sql[1000];

    for (size_t i = 0; i < UNIT_COUNT(statements); i++) {
        snprintf(sql, sizeof sql,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) %s",
                 count, statements[i]);
        queue_unit_execute(sql);
    }
}

static uint64_t unwritten(void)
{
    struct queue_figures figures;

    queue_get_figures(q, &figures);
    return figures.unwritten;
}

/* Nothing more is sent when what was sent cannot be removed; and nothing is sent twice. */
START_TEST(the_queue_stops_when_outcomes_cannot_be_written)
{
    struct queue_copy *c;

    queue_unit_put("archive", "x");
    q->ops->close(q);
    multiply(OUTCOMES + 99);
    queue_unit_open();
    struct db *block = queue_unit_block();
    for (int i = 0; i < OUTCOMES; i++) {
        c = q->ops->next(q, "archive", 0);
        ck_assert_ptr_nonnull(c);
        queue_unit_finish(c);
    }
    for (int i = 0; i < 3000 && unwritten() < OUTCOMES; i++)
        usleep(10000);
    ck_assert_uint_eq(unwritten(), OUTCOMES);
    ck_assert_ptr_null(q->ops->next(q, "archive", 0));
    queue_unit_unblock(block);
    for (int i = 0; i < 3000 && unwritten() > 0; i++)
        usleep(10000);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 100);
    queue_unit_count(0, 0, 0);
    ck_assert_int_eq(queue_unit_number("SELECT count(DISTINCT copy) FROM history"), OUTCOMES + 100);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), OUTCOMES + 100);
}
END_TEST

/* Neither by their number, nor by the size of their contents. */
START_TEST(outcomes_that_wait_take_little_memory)
{
    static char content[256 * 1024];
    struct queue_copy *c;
    int count = 0;

    for (int i = 0; i < 150; i++)
        queue_unit_put_to(archive, 1, content, sizeof content, NULL);
    struct db *block = queue_unit_block();
    while ((c = q->ops->next(q, "archive", 0)) != NULL) {
        queue_unit_finish(c);
        count++;
    }
    queue_unit_unblock(block);
    ck_assert_int_gt(count, 100);
    ck_assert_int_lt(count, 150);
    for (int i = 0; i < 3000 && queue_unit_number("SELECT count(*) FROM copy") > 150 - count; i++)
        usleep(10000);
    ck_assert_uint_eq(queue_unit_finish_all("archive"), (unsigned)(150 - count));
    queue_unit_count(0, 0, 0);
}
END_TEST

/* --- threads --- */

#define PUTTERS 4
#define TAKERS 4
#define PER_PUTTER (MANY / PUTTERS)

static atomic_int came[MANY];
static atomic_int finished;

static void *putter(void *ctx)
{
    int first = *(const int *)ctx * PER_PUTTER;

    for (int i = 0; i < PER_PUTTER; i++)
        put_number(first + i);
    return NULL;
}

/* Half of the copies are given back the first time, in one way or another. */
static void give_back(struct queue_copy *c, int number)
{
    struct queue_change retry = {.action = QUEUE_RETRY};
    struct queue_changed done;
    char id[QUEUE_ID_SIZE];
    struct err err;

    switch (number % 4) {
    case 0:
        if (number % 8 == 0)
            strcpy(c->recipients[0].reason, "421 down");
        q->ops->release(q, c);
        break;
    case 1:
        strcpy(id, c->id);
        q->ops->later(q, c, fake_now + 3600);
        retry.selection.id = number % 8 == 1 ? id : NULL;
        /* It may be gone: another thread's retry of all was first, and the copy is done. */
        (void)q->ops->change(q, &retry, &done, &err);
        break;
    default:
        finished++;
        queue_unit_finish(c);
        break;
    }
}

static void *taker(void *ctx)
{
    (void)ctx;
    while (finished < MANY) {
        struct queue_copy *c = q->ops->next(q, "archive", 200);
        if (c == NULL)
            continue;
        int number = content_number(c);
        if (came[number]++ == 0) {
            give_back(c, number);
        } else {
            finished++;
            queue_unit_finish(c);
        }
        if (finished == MANY)
            q->ops->wake(q, NULL);
    }
    return NULL;
}

START_TEST(threads_get_each_copy_once)
{
    struct queue_change retry = {.action = QUEUE_RETRY};
    pthread_t threads[PUTTERS + TAKERS];
    int numbers[PUTTERS + TAKERS];
    struct queue_changed done;
    struct err err;

    for (int i = 0; i < PUTTERS + TAKERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, i < PUTTERS ? putter : taker, &numbers[i]), 0);
    }
    for (int i = 0; i < PUTTERS; i++)
        pthread_join(threads[i], NULL);
    while (finished < MANY) { /* what was deferred after the last retry of its thread */
        ck_assert_int_eq(q->ops->change(q, &retry, &done, &err), 0);
        usleep(1000);
    }
    for (int i = PUTTERS; i < PUTTERS + TAKERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < MANY; i++)
        ck_assert_msg(came[i] == (i % 4 < 2 ? 2 : 1), "copy %d came %d times", i, came[i]);
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_count(0, 0, 0);
}
END_TEST

static void *wait_long(void *ctx)
{
    return q->ops->next(q, ctx, 60000);
}

START_TEST(a_waiting_worker_gets_a_new_copy_or_is_woken)
{
    char first[] = "archive", second[] = "backup";
    pthread_t threads[2];
    void *result;

    pthread_create(&threads[0], NULL, wait_long, first);
    pthread_create(&threads[1], NULL, wait_long, second);
    put_number(7);
    pthread_join(threads[0], &result);
    ck_assert_ptr_nonnull(result);
    ck_assert_int_eq(content_number(result), 7);
    queue_unit_finish(result);
    /* it may not have begun to wait yet: wake until it is back */
    struct timespec pause = {0, 1000000};
    int tries = 0;
    while (pthread_tryjoin_np(threads[1], &result) != 0) {
        ck_assert_int_lt(tries++, 10000);
        q->ops->wake(q, tries % 2 == 0 ? "backup" : NULL);
        nanosleep(&pause, NULL);
    }
    ck_assert_ptr_null(result);
}
END_TEST

/* A thread that waits for longer sees a deferred copy become due. */
START_TEST(a_waiting_worker_gets_what_becomes_due)
{
    char name[] = "archive";
    pthread_t thread;
    void *result;

    put_number(7);
    q->ops->later(q, queue_unit_must_take("archive"), fake_now + 3600);
    queue_unit_flush();
    fake_now += 3599;
    pthread_create(&thread, NULL, wait_long, name);
    fake_now += 300; /* it looks again within a second or so of what the clock said */
    pthread_join(thread, &result);
    ck_assert_ptr_nonnull(result);
    queue_unit_finish(result);
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue");

    tcase_add_test(tests, stored_is_told_before_it_is_handed_out);
    tcase_add_loop_test(tests, a_copy_comes_out_as_it_went_in, 0, UNIT_COUNT(contents));
    tcase_add_loop_test(tests, what_others_accepted_is_left_out, 0, 2);
    tcase_add_loop_test(tests, what_is_only_prepared_leaves_nothing, 0, 4);
    tcase_add_test(tests, a_deferred_copy_waits_for_its_time);
    tcase_add_test(tests, what_was_accepted_is_not_pending_after_a_restart);
    tcase_add_test(tests, a_recipient_may_be_removed_by_hand);
    tcase_add_test(tests, done_with_pending_recipients_is_no_loss);
    tcase_add_test(tests, what_is_released_comes_first);
    tcase_add_test(tests, a_dead_copy_is_never_handed_out);
    tcase_add_test(tests, the_clock_may_be_set_back);
    tcase_add_test(tests, a_copy_is_deferred_by_a_clock_that_was_set_back);
    tcase_add_test(tests, rows_that_were_changed_by_hand_are_found);
    tcase_add_loop_test(tests, what_cannot_be_read_goes_to_the_dead_letters, 0,
                        UNIT_COUNT(damages));
    tcase_add_test(tests, a_copy_that_cannot_be_opened_comes_later);
    tcase_add_loop_test(tests, what_does_not_fit_comes_from_the_database, 0, 2);
    tcase_add_test(tests, neither_old_nor_new_copies_starve);
    tcase_add_test(tests, in_hand_each_is_there_once);
    tcase_add_test(tests, the_queue_stops_when_outcomes_cannot_be_written);
    tcase_add_test(tests, outcomes_that_wait_take_little_memory);
    tcase_add_test(tests, threads_get_each_copy_once);
    tcase_add_test(tests, a_waiting_worker_gets_a_new_copy_or_is_woken);
    tcase_add_test(tests, a_waiting_worker_gets_what_becomes_due);
    return tests;
}

int main(void)
{
    return queue_unit_run("queue", make);
}
