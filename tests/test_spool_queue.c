/* SPDX-License-Identifier: ISC */
#include "relay/spool_queue.h"
#include "spool_unit.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char dir[64];
static struct queue *q;
static size_t window;
static atomic_long fake_now;

static time_t fake_clock(void *ctx)
{
    return (time_t)atomic_load((atomic_long *)ctx);
}

static void open_queue(void)
{
    struct spool_queue_options options = {
        .directory = dir, .window = window, .clock = fake_clock, .clock_ctx = &fake_now};
    struct err err = {""};

    q = spool_queue_open(&options, &err);
    ck_assert_msg(q != NULL, "%s", err.text);
}

static void reopen(void)
{
    q->ops->close(q);
    open_queue();
}

static void set_up(void)
{
    strcpy(dir, "/tmp/split-spool-queue-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    fake_now = 1700000030;
    window = 0;
    open_queue();
}

static void tear_down(void)
{
    q->ops->close(q);
    spool_unit_remove(dir);
}

/* Put one message with a copy of one recipient for each of these destinations. ids: of the copies,
 * or NULL. */
static void put_to(const char *const *destinations, size_t count, const char *content,
                   char (*ids)[QUEUE_ID_SIZE])
{
    struct queue_message m = spool_unit_message();
    struct queue_recipient r[4];
    struct queue_new_copy copies[4] = {0};
    struct queue_put *p;
    struct err err = {""};

    for (size_t i = 0; i < count; i++) {
        r[i] = spool_unit_recipient("a@b.test");
        copies[i] = (struct queue_new_copy){
            .destination = destinations[i], .recipients = &r[i], .recipient_count = 1};
    }
    ck_assert_int_eq(q->ops->put_begin(q, &m, copies, count, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, content, strlen(content), &err), QUEUE_PUT_OK);
    ck_assert_msg(q->ops->put_commit(p, &err) == QUEUE_PUT_OK, "%s", err.text);
    for (size_t i = 0; i < count && ids != NULL; i++)
        strcpy(ids[i], copies[i].id);
}

static void put(const char *destination, const char *content)
{
    put_to(&destination, 1, content, NULL);
}

static struct queue_copy *take(const char *destination)
{
    bool backlog;

    return q->ops->next(q, destination, 0, &backlog);
}

static struct queue_copy *must_take(const char *destination)
{
    struct queue_copy *c = take(destination);

    ck_assert_ptr_nonnull(c);
    return c;
}

static void set_all(struct queue_copy *c, enum queue_recipient_state state, const char *reason)
{
    for (size_t i = 0; i < c->recipient_count; i++) {
        c->recipients[i].state = state;
        strcpy(c->recipients[i].reason, reason);
    }
}

static void finish(struct queue_copy *c)
{
    set_all(c, QUEUE_SENT, "250 ok");
    q->ops->done(q, c);
}

START_TEST(a_copy_comes_out_as_it_went_in)
{
    static const char content[] = "Subject: x\r\n\r\nbody\r\n";
    const char *destinations[] = {"archive", "new-mail"};
    char ids[2][QUEUE_ID_SIZE], text[64] = "";

    put_to(destinations, 2, content, ids);
    ck_assert_int_lt(strcmp(ids[0], ids[1]), 0);
    for (size_t i = 0; i < 2; i++) {
        struct queue_copy *c = must_take(destinations[i]);
        ck_assert_str_eq(c->id, ids[i]);
        ck_assert_str_eq(c->destination, destinations[i]);
        ck_assert_str_eq(c->message.sender, "s@x.test");
        ck_assert_str_eq(c->message.mta_queue_id, "4ABC");
        ck_assert_int_eq(c->message.arrival.tv_sec, 1700000000);
        ck_assert_int_eq(c->message.arrival.tv_nsec, 123456000);
        ck_assert_uint_eq(c->message.size_bytes, strlen(content));
        ck_assert_uint_eq(c->recipient_count, 1);
        ck_assert_str_eq(c->recipients[0].address, "a@b.test");
        ck_assert_str_eq(c->recipients[0].orcpt, "rfc822;o+2Bx@y.test");
        ck_assert_int_eq(c->recipients[0].state, QUEUE_PENDING);
        ck_assert_str_eq(c->recipients[0].reason, "");
        ck_assert_uint_eq(c->attempts, 0);
        ck_assert_int_eq(pread(c->content_fd, text, sizeof text, (off_t)c->content_offset),
                         (ssize_t)strlen(content));
        ck_assert_str_eq(text, content);
        ck_assert_ptr_null(take(destinations[i]));
        finish(c);
        ck_assert_ptr_null(take(destinations[i]));
    }
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
}
END_TEST

START_TEST(a_deferred_copy_waits_for_its_time)
{
    put("archive", "x\r\n");
    struct queue_copy *c = must_take("archive");
    strcpy(c->recipients[0].reason, "450 busy");
    q->ops->later(q, c, fake_now + 160);
    ck_assert_ptr_null(take("archive"));
    fake_now += 159;
    ck_assert_ptr_null(take("archive"));
    fake_now += 11;
    c = must_take("archive");
    ck_assert_uint_eq(c->attempts, 1);
    ck_assert_str_eq(c->recipients[0].reason, "450 busy");
    q->ops->later(q, c, fake_now + 3600);
    reopen();
    ck_assert_ptr_null(take("archive"));
    fake_now += 3600 + 225;
    c = must_take("archive");
    ck_assert_uint_eq(c->attempts, 2);
    finish(c);
}
END_TEST

START_TEST(what_was_accepted_is_not_pending_after_a_restart)
{
    struct queue_message m = spool_unit_message();
    struct queue_recipient r[3] = {spool_unit_recipient("a@b.test"),
                                   spool_unit_recipient("b@b.test"),
                                   spool_unit_recipient("c@b.test")};
    struct queue_new_copy copy = {.destination = "archive", .recipients = r, .recipient_count = 3};
    struct queue_put *p;
    struct err err;

    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, &err), QUEUE_PUT_OK);
    struct queue_copy *c = must_take("archive");
    c->recipients[0].state = QUEUE_SENT;
    c->recipients[1].state = QUEUE_DEAD;
    q->ops->release(q, c);
    reopen();
    c = must_take("archive");
    ck_assert_uint_eq(c->message.size_bytes, 0);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_SENT);
    ck_assert_int_eq(c->recipients[1].state, QUEUE_DEAD);
    ck_assert_int_eq(c->recipients[2].state, QUEUE_PENDING);
    ck_assert_uint_eq(c->attempts, 0);
    q->ops->dead(q, c);
    ck_assert_ptr_null(take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "dead/archive"), 1);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("spool_queue");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_copy_comes_out_as_it_went_in);
    tcase_add_test(tests, a_deferred_copy_waits_for_its_time);
    tcase_add_test(tests, what_was_accepted_is_not_pending_after_a_restart);
    return unit_run("spool_queue", tests);
}
