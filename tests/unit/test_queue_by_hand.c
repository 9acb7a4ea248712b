/* SPDX-License-Identifier: ISC */
/* A database that was changed by hand: whatever the rows hold, the queue goes on. */
#include "queue/db.h"
#include "queue/queue_id.h"
#include "queue/queue_private.h"
#include "queue/queue_reader.h"
#include "queue_unit.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One of the two copies that are there gets odd values. */
#define OLDEST_COPY " WHERE id = (SELECT min(id) FROM copy)"
#define OLDEST_MESSAGE " WHERE id = (SELECT min(id) FROM message)"
#define ITS_RECIPIENT " WHERE copy = (SELECT min(id) FROM copy)"

static const char *const edits[] = {
    "UPDATE copy SET destination = CAST('archive' AS BLOB)" OLDEST_COPY,
    "UPDATE copy SET destination = zeroblob(300)" OLDEST_COPY,
    "UPDATE copy SET destination = hex(zeroblob(300))" OLDEST_COPY,
    "UPDATE copy SET destination = 17" OLDEST_COPY,
    "UPDATE copy SET state = CAST('queued' AS BLOB)" OLDEST_COPY,
    "UPDATE copy SET state = 'no state of this name'" OLDEST_COPY,
    "UPDATE copy SET due = 'soon'" OLDEST_COPY,
    "UPDATE copy SET due = 1e300" OLDEST_COPY,
    "UPDATE copy SET due = -1e300" OLDEST_COPY,
    "UPDATE copy SET due = 9223372036854775807" OLDEST_COPY,
    "UPDATE copy SET due = -9223372036854775808" OLDEST_COPY,
    "UPDATE copy SET due = x'ff'" OLDEST_COPY,
    "UPDATE copy SET attempts = -1" OLDEST_COPY,
    "UPDATE copy SET attempts = 'many'" OLDEST_COPY,
    "UPDATE copy SET message = 'none'" OLDEST_COPY,
    "UPDATE copy SET message = -1" OLDEST_COPY,
    "UPDATE copy SET id = 0" OLDEST_COPY,
    "UPDATE copy SET id = -5" OLDEST_COPY,
    "UPDATE copy SET id = 9223372036854775807" OLDEST_COPY,
    "UPDATE message SET size = -1" OLDEST_MESSAGE,
    "UPDATE message SET size = 9223372036854775807" OLDEST_MESSAGE,
    "UPDATE message SET size = 'large'" OLDEST_MESSAGE,
    "UPDATE message SET arrival = 'then'" OLDEST_MESSAGE,
    "UPDATE message SET arrival = 1e300" OLDEST_MESSAGE,
    "UPDATE message SET arrival = -1e300" OLDEST_MESSAGE,
    "UPDATE message SET sender = randomblob(500), helo = x'ff', client_name = x'ff',"
    " client_addr = x'ff', protocol = x'ff', mta_queue_id = x'ff', message_id = x'ff',"
    " flags = x'386269'" OLDEST_MESSAGE,
    "UPDATE message SET sender = 'a' || char(0) || 'b', flags = '8bit,,utf8,'" OLDEST_MESSAGE,
    "UPDATE message SET body_at = CAST('file' AS BLOB)" OLDEST_MESSAGE,
    "UPDATE message SET body_at = 'elsewhere'" OLDEST_MESSAGE,
    "UPDATE message SET state = x'ff'" OLDEST_MESSAGE,
    "UPDATE message SET id = 9223372036854775807" OLDEST_MESSAGE,
    "DELETE FROM message" OLDEST_MESSAGE,
    "UPDATE body SET data = 'text', part = 'first'",
    "UPDATE body SET data = 12, part = -1",
    "DELETE FROM body",
    "UPDATE recipient SET address = randomblob(500), orcpt = x'ff'" ITS_RECIPIENT,
    "UPDATE recipient SET state = CAST('sent' AS BLOB), reason = randomblob(500)" ITS_RECIPIENT,
    "UPDATE recipient SET state = 'no state', reason = hex(zeroblob(500))" ITS_RECIPIENT,
    "UPDATE recipient SET number = 9223372036854775807" ITS_RECIPIENT,
    "UPDATE recipient SET number = 'first'" ITS_RECIPIENT,
    "DELETE FROM recipient" ITS_RECIPIENT,
    "UPDATE history SET destination = x'ff', time = 'then', sender = randomblob(500), relay = x'ff'"
    ", recipients = x'ff', message_id = 3, mta_queue_id = x'ff', size = -1, result = x'ff',"
    " reply = x'ff', attempts = 'x', copy = -1",
    "UPDATE suspended SET destination = zeroblob(300), since = 'then', until = 'x', reason = x'ff'",
    "UPDATE suspended SET until = -1, reason = hex(zeroblob(500))",
};

/* Read what there is. */
static bool read_text(const char *text)
{
    return strlen(text) < 10000;
}

static bool read_entry(void *ctx, const struct queue_entry *e)
{
    const struct queue_message *m = e->message;

    ++*(int64_t *)ctx;
    ck_assert(read_text(e->destination) && read_text(m->sender) && read_text(m->message_id));
    for (size_t i = 0; i < e->recipient_count; i++)
        ck_assert(read_text(e->recipients[i].address) && read_text(e->recipients[i].reason));
    return true;
}

static bool read_event(void *ctx, const struct queue_event *e)
{
    ++*(int64_t *)ctx;
    return read_text(e->destination) && read_text(e->recipients) && read_text(e->reply) &&
           read_text(e->result) && read_text(e->relay);
}

static int64_t read_all(void)
{
    const struct queue_selection all = {0};
    struct err err = {""};
    int64_t count = 0, events = 0;
    struct queue_suspension *suspensions;
    struct queue_depths depths;
    char data[100], reason[QUEUE_REASON_SIZE];
    size_t suspended;
    struct queue_reader *r = queue_reader_open(queue_unit_dir, "sqlite", &err);

    ck_assert_ptr_nonnull(r);
    ck_assert_int_ge(queue_reader_list(r, &all, read_entry, NULL, &count, &err), 0);
    ck_assert_int_eq(queue_reader_count(r, &all, NULL, NULL, &err), count);
    ck_assert_int_ge(queue_reader_history(r, &all, read_event, NULL, &events, &err), 0);
    ck_assert_int_eq(queue_reader_depths(r, fake_now, NULL, NULL, &depths, &err), 0);
    ck_assert_int_eq(queue_reader_suspensions(r, &suspensions, &suspended, &err), 0);
    ck_assert_int_eq(
        queue_reader_last_reason(r, queue_unit_number("SELECT min(id) FROM copy"), reason, &err),
        0);
    ssize_t n = queue_reader_content(r, queue_unit_text("SELECT printf('%X', min(id)) FROM copy"),
                                     0, data, sizeof data, &err);
    ck_assert_int_le(n, (ssize_t)sizeof data);
    free(depths.items);
    free(suspensions);
    queue_reader_close(r);
    return count;
}

static int64_t delete_all(void)
{
    const struct queue_change change = {.action = QUEUE_DELETE};
    struct queue_changed done;
    struct err err = {""};

    ck_assert_msg(q->ops->change(q, &change, &done, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(done.failed, 0);
    return (int64_t)done.changed;
}

/* One copy with a history, two that wait; and the edit, before the queue is opened (0) or while it
 * works (1). */
START_TEST(odd_values_do_no_harm)
{
    const char *edit = edits[_i / 2];
    struct queue_suspension s = {.destination = "other", .reason = "for the test"};
    struct err err = {""};
    struct queue_copy *c;

    ck_assert_int_eq(q->ops->suspend(q, &s, &err), 0);
    queue_unit_put("archive", "sent");
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 1);
    queue_unit_put("archive", "first");
    queue_unit_put("archive", "second");
    q->ops->close(q);
    if (_i % 2 == 0)
        queue_unit_execute(edit);
    queue_unit_open();
    if (_i % 2 == 1)
        queue_unit_execute(edit);
    (void)read_all();
    for (int turn = 0; turn < 2; turn++) {
        while ((c = queue_unit_take("archive")) != NULL) {
            if (turn == 0)
                q->ops->later(q, c, fake_now + 60);
            else
                queue_unit_finish(c);
        }
        queue_unit_put("archive", "new");
        fake_now += 120;
    }
    (void)read_all();
    (void)delete_all();
    queue_unit_put("archive", "last");
    queue_unit_reopen();
    ck_assert_uint_ge(queue_unit_finish_all("archive"), 1);
}
END_TEST

/* What cannot be delivered, because rows are missing, can be listed and deleted. */
START_TEST(a_copy_without_a_message_is_shown)
{
    queue_unit_put("archive", "first");
    q->ops->close(q);
    queue_unit_execute("DELETE FROM message");
    queue_unit_open();
    ck_assert_ptr_null(queue_unit_take("archive"));
    queue_unit_flush();
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE state = 'dead'"), 1);
    ck_assert_int_eq(read_all(), 1);
    ck_assert_int_eq(delete_all(), 1);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* What was sent, and cannot be removed, is not sent again and again. */
START_TEST(a_trigger_makes_no_loop)
{
    queue_unit_put("archive", "x");
    queue_unit_execute("CREATE TRIGGER t BEFORE DELETE ON copy"
                       " BEGIN SELECT RAISE(ABORT, 'copies are kept'); END");
    ck_assert_uint_eq(queue_unit_finish_all("archive"), 1);
    fake_now += 600;
    ck_assert_ptr_null(queue_unit_take("archive"));
}
END_TEST

/* While one copy with an odd time is in hand, others wait in peace. */
START_TEST(an_odd_time_makes_no_loop)
{
    queue_unit_put("archive", "first");
    q->ops->close(q);
    queue_unit_execute("UPDATE copy SET due = 'soon'");
    queue_unit_open();
    struct queue_copy *c = queue_unit_must_take("archive");
    ck_assert_ptr_null(q->ops->next(q, "archive", 0));
    queue_unit_finish(c);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* No id follows the largest number. */
START_TEST(a_huge_id_leaves_room)
{
    queue_unit_put("archive", "first");
    q->ops->close(q);
    queue_unit_execute("UPDATE message SET id = 9223372036854775807");
    queue_unit_open();
    for (int i = 0; i < 2; i++) {
        queue_unit_put("archive", "next");
        ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM copy WHERE id < 0"), 0);
        queue_unit_reopen();
    }
}
END_TEST

static void move_database(const char *command)
{
    char text[300];

    snprintf(text, sizeof text, "cd %s && %s", queue_unit_dir, command);
    ck_assert_int_eq(system(text), 0);
}

/* The queue goes on with no other file, when a fault has the writer open it anew. */
START_TEST(a_database_that_was_moved_is_not_made_again)
{
    char directory[64];
    unsigned count = 0;
    struct err err = {""};
    struct queue_copy *c;

    queue_unit_put("archive", "x");
    strcpy(directory, queue_unit_dir);
    queue_unit_reopen();
    q->ops->release(q, queue_unit_must_take("archive"));
    move_database("mkdir away && mv queue.db* away");
    strcat(queue_unit_dir, "/away");
    struct db *block = queue_unit_block();
    ck_assert_int_eq(q->ops->resume(q, "none", &err), -1);
    queue_unit_unblock(block);
    strcpy(queue_unit_dir, directory);
    for (int i = 0; i < 5; i++, fake_now += 120) {
        c = q->ops->next(q, "archive", 0);
        if (c != NULL)
            queue_unit_finish(c);
        count += c != NULL;
        (void)q->ops->resume(q, "none", &err);
    }
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(q->ops->has_room(q, 0, &err), QUEUE_PUT_FAULT);
    ck_assert_msg(strstr(err.text, "was moved away") != NULL, "%s", err.text);
    move_database("mv away/* .");
    for (int i = 0; i < 3000 && q->ops->has_room(q, 0, &err) != QUEUE_PUT_OK; i++)
        usleep(10000);
    queue_unit_count(0, 0, 0);
}
END_TEST

/* The clock was ahead for a while. */
START_TEST(a_history_from_the_future_goes)
{
    const time_t now = fake_now;

    fake_now += 10 * 365 * 86400;
    for (int i = 0; i < 300; i++) {
        queue_unit_put("archive", "x");
        queue_unit_finish(queue_unit_must_take("archive"));
    }
    queue_unit_flush();
    fake_now = now;
    queue_unit_put("archive", "x");
    queue_unit_finish(queue_unit_must_take("archive"));
    for (int i = 0; i < 3000 && queue_unit_number("SELECT count(*) FROM history") > 1; i++)
        usleep(10000);
    ck_assert_int_eq(queue_unit_number("SELECT count(*) FROM history"), 1);
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue_by_hand");

    tcase_add_loop_test(tests, odd_values_do_no_harm, 0, 2 * UNIT_COUNT(edits));
    tcase_add_test(tests, a_copy_without_a_message_is_shown);
    tcase_add_test(tests, a_trigger_makes_no_loop);
    tcase_add_test(tests, an_odd_time_makes_no_loop);
    tcase_add_test(tests, a_huge_id_leaves_room);
    tcase_add_test(tests, a_database_that_was_moved_is_not_made_again);
    tcase_add_test(tests, a_history_from_the_future_goes);
    return tests;
}

int main(void)
{
    return queue_unit_run_on_sqlite("queue_by_hand", make);
}
