/* SPDX-License-Identifier: ISC */
/* queue_ops.change on a spool: which copies it takes, where they are afterwards, what workers see.
 */
#include "queue/spool.h"
#include "queue/spool_queue.h"
#include "spool_unit.h"
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

static char dir[64];
static struct queue *q;
static atomic_long fake_now;
static struct queue_changed done;

static time_t fake_clock(void *ctx)
{
    return (time_t)atomic_load((atomic_long *)ctx);
}

static void open_queue(size_t window)
{
    struct spool_queue_options options = {
        .directory = dir, .window = window, .clock = fake_clock, .clock_ctx = &fake_now};
    struct err err = {""};

    q = spool_queue_open(&options, &err);
    ck_assert_msg(q != NULL, "%s", err.text);
}

static void set_up(void)
{
    strcpy(dir, "/tmp/split-spool-change-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    fake_now = 1700000045;
    open_queue(8);
}

static void tear_down(void)
{
    q->ops->close(q);
    spool_unit_remove(dir);
}

static void reopen(void)
{
    q->ops->close(q);
    open_queue(8);
}

/* A message with one copy of two recipients. */
static void put(const char *destination, const char *content, bool is_dead, char id[QUEUE_ID_SIZE])
{
    struct queue_message m = spool_unit_message();
    struct queue_recipient r[] = {spool_unit_recipient("a@b.test"),
                                  spool_unit_recipient("c@d.test")};
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

static struct queue_copy *take(const char *destination)
{
    bool backlog;

    // cppcheck-suppress returnDanglingLifetime ; nothing of a copy points to its out-parameter
    return q->ops->next(q, destination, 0, &backlog);
}

static void deliver(struct queue_copy *c)
{
    ck_assert_ptr_nonnull(c);
    for (size_t i = 0; i < c->recipient_count; i++)
        c->recipients[i].state = QUEUE_SENT;
    q->ops->done(q, c);
}

static unsigned deliver_all(const char *destination)
{
    struct queue_copy *c;
    unsigned count = 0;

    for (; (c = take(destination)) != NULL; count++)
        deliver(c);
    return count;
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
    int rc = q->ops->change(q, change, &done, &err);

    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_msg(done.failed == 0, "%s", err.text);
    ck_assert_uint_eq(done.changed, changed);
    ck_assert_uint_eq(done.ordered, ordered);
}

static void must_fail(const struct queue_change *change, const char *text)
{
    struct err err = {""};

    ck_assert_int_eq(q->ops->change(q, change, &done, &err), -1);
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

static void count(size_t in_queue, size_t in_hold, size_t in_dead)
{
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), in_queue);
    ck_assert_uint_eq(spool_unit_count(dir, "hold"), in_hold);
    ck_assert_uint_eq(spool_unit_count(dir, "dead"), in_dead);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 0);
}

START_TEST(held_and_released)
{
    char a[QUEUE_ID_SIZE], b[QUEUE_ID_SIZE];

    put("archive", "1", false, a);
    put("archive", "2", false, b);
    must_change(&(struct queue_change){.action = QUEUE_HOLD, .id = a}, 1, 0);
    count(1, 1, 0);
    struct queue_copy *c = take("archive");
    ck_assert_str_eq(c->id, b);
    deliver(c);
    ck_assert_ptr_null(take("archive"));
    must_fail(&(struct queue_change){.action = QUEUE_HOLD, .id = a}, "is held");
    reopen();
    ck_assert_ptr_null(take("archive"));
    fake_now += 100;
    must_change(&(struct queue_change){.action = QUEUE_RELEASE, .id = a}, 1, 0);
    count(1, 0, 0);
    must_fail(&(struct queue_change){.action = QUEUE_RELEASE, .id = a}, "is in the queue");
    c = take("archive");
    ck_assert_str_eq(c->id, a);
    ck_assert_uint_eq(c->attempts, 0);
    deliver(c);
    count(0, 0, 0);
    must_fail(&(struct queue_change){.action = QUEUE_RELEASE, .id = a}, "no copy");
}
END_TEST

START_TEST(a_deferred_copy_keeps_what_is_known)
{
    char a[QUEUE_ID_SIZE];

    put("archive", "1", false, a);
    struct queue_copy *c = take("archive");
    c->recipients[1].state = QUEUE_SENT;
    defer(c, 1000);
    must_change(&(struct queue_change){.action = QUEUE_HOLD, .id = a}, 1, 0);
    must_change(&(struct queue_change){.action = QUEUE_RELEASE, .destination = "archive"}, 1, 0);
    c = take("archive");
    ck_assert_ptr_nonnull(c);
    ck_assert_uint_eq(c->attempts, 1);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_PENDING);
    ck_assert_str_eq(c->recipients[0].reason, "450 later");
    ck_assert_int_eq(c->recipients[1].state, QUEUE_SENT);
    deliver(c);
}
END_TEST

START_TEST(dead_letters_come_back)
{
    char a[QUEUE_ID_SIZE], b[QUEUE_ID_SIZE];

    put("archive", "1", true, a);
    put("archive", "2", false, b);
    struct queue_copy *c = take("archive");
    c->recipients[0].state = QUEUE_SENT;
    c->recipients[1].state = QUEUE_DEAD;
    strcpy(c->recipients[1].reason, "550 unknown");
    q->ops->done(q, c);
    count(0, 0, 2);
    must_fail(&(struct queue_change){.action = QUEUE_HOLD, .id = a}, "is a dead letter");
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE, .id = b}, 1, 0);
    count(1, 0, 1);
    c = take("archive");
    ck_assert_str_eq(c->id, b);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_SENT);
    ck_assert_int_eq(c->recipients[1].state, QUEUE_PENDING);
    ck_assert_str_eq(c->recipients[1].reason, "550 unknown");
    defer(c, 1);
    must_fail(&(struct queue_change){.action = QUEUE_REQUEUE, .id = b}, "is in the queue");
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE}, 1, 0);
    count(2, 0, 0);
    fake_now += 100;
    ck_assert_uint_eq(deliver_all("archive"), 2);
    count(0, 0, 0);
}
END_TEST

static void check_content(const struct queue_copy *c, const char *content)
{
    char text[64] = "";

    ck_assert_uint_eq(c->message.size_bytes, strlen(content));
    ck_assert_int_eq(pread(c->content_fd, text, sizeof text - 1, (off_t)c->content_offset),
                     (ssize_t)strlen(content));
    ck_assert_str_eq(text, content);
}

/* From each place; under its id, with the recipients that have not got it. */
START_TEST(to_another_destination)
{
    char queued[QUEUE_ID_SIZE], held[QUEUE_ID_SIZE], dead[QUEUE_ID_SIZE];
    struct queue_change change = {.action = QUEUE_REQUEUE, .to = "newmail"};

    put("archive", "queued", false, queued);
    struct queue_copy *c = take("archive");
    c->recipients[0].state = QUEUE_SENT;
    q->ops->later(q, c, (time_t)(fake_now + 50));
    put("archive", "held", false, held);
    put("archive", "dead", true, dead);
    must_change(&(struct queue_change){.action = QUEUE_HOLD, .id = held}, 1, 0);
    must_fail(
        &(struct queue_change){.action = QUEUE_REQUEUE, .to = "archive", .destination = "archive"},
        "for archive already");
    must_change(&change, 2, 0);
    count(2, 1, 0);
    c = take("newmail");
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->id, queued);
    ck_assert_str_eq(c->destination, "newmail");
    ck_assert_uint_eq(c->attempts, 0);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_SENT);
    ck_assert_int_eq(c->recipients[1].state, QUEUE_PENDING);
    ck_assert_str_eq(c->recipients[1].orcpt, "rfc822;o+2Bx@y.test");
    ck_assert_str_eq(c->message.sender, "s@x.test");
    ck_assert_int_eq(c->message.arrival.tv_sec, 1700000000);
    check_content(c, "queued");
    deliver(c);
    c = take("newmail");
    ck_assert_str_eq(c->id, dead);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_PENDING);
    check_content(c, "dead");
    deliver(c);
    change.id = held;
    must_change(&change, 1, 0);
    c = take("newmail");
    ck_assert_str_eq(c->id, held);
    deliver(c);
    count(0, 0, 0);
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
    must_change(&(struct queue_change){.action = QUEUE_HOLD, .id = held}, 1, 0);
    for (size_t i = 0; i < 3; i++) {
        must_change(&(struct queue_change){.action = QUEUE_DELETE, .id = ids[i]}, 1, 0);
        must_fail(&(struct queue_change){.action = QUEUE_DELETE, .id = ids[i]}, "no copy");
    }
    count(1, 0, 0);
    ck_assert_ptr_null(take("archive"));
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
    must_change(&(struct queue_change){.action = QUEUE_HOLD, .destination = "archive"}, 5, 0);
    count(5, 5, 5);
    must_fail(&(struct queue_change){.action = QUEUE_HOLD, .places = QUEUE_IN_DEAD}, "no sense");
    must_change(&(struct queue_change){.action = QUEUE_DELETE, .places = QUEUE_IN_DEAD}, 5, 0);
    count(5, 5, 0);
    must_change(&(struct queue_change){.action = QUEUE_DELETE, .destination = "newmail"}, 5, 0);
    must_change(&(struct queue_change){.action = QUEUE_RELEASE}, 5, 0);
    ck_assert_uint_eq(deliver_all("archive"), 5);
    ck_assert_uint_eq(deliver_all("newmail"), 0);
}
END_TEST

/* More than a batch, more than the window: none is lost, none comes twice, and memory stays. */
START_TEST(many)
{
    enum { MANY = 500 };
    char id[QUEUE_ID_SIZE];

    for (int i = 0; i < MANY; i++) {
        fake_now += 1;
        put("archive", "x", false, id);
    }
    must_change(&(struct queue_change){.action = QUEUE_HOLD}, MANY, 0);
    ck_assert_ptr_null(take("archive"));
    must_change(&(struct queue_change){.action = QUEUE_RELEASE}, MANY, 0);
    count(MANY, 0, 0);
    ck_assert_uint_eq(deliver_all("archive"), MANY);
    for (int i = 0; i < MANY; i++)
        put("archive", "x", true, id);
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE, .to = "newmail"}, MANY, 0);
    count(MANY, 0, 0);
    ck_assert_uint_eq(deliver_all("newmail"), MANY);
}
END_TEST

/* --- copies that a worker has --- */

enum given_back { DONE, LATER, RELEASED, REFUSED };

static const struct {
    enum queue_action action;
    const char *to;
    enum given_back how;
    size_t in_queue, in_hold, in_dead;
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
        deliver(c);
        break;
    case LATER:
        defer(c, 500);
        break;
    case RELEASED:
        q->ops->release(q, c);
        break;
    case REFUSED:
        q->ops->dead(q, c);
        break;
    }
}

START_TEST(an_order_is_carried_out_when_the_copy_is_given_back)
{
    struct queue_change change = {.action = in_delivery[_i].action, .to = in_delivery[_i].to};
    char id[2][QUEUE_ID_SIZE];
    struct queue_copy *c[2];

    for (int by_id = 0; by_id < 2; by_id++) {
        put("archive", "x", false, id[by_id]);
        c[by_id] = take("archive");
        ck_assert_ptr_nonnull(c[by_id]);
        change.id = by_id ? id[by_id] : NULL;
        must_change(&change, 0, 1);
        give_back(c[by_id], in_delivery[_i].how);
        count(in_delivery[_i].in_queue, in_delivery[_i].in_hold, in_delivery[_i].in_dead);
        ck_assert_ptr_null(take("archive"));
        change.id = NULL;
        must_change(&(struct queue_change){.action = QUEUE_DELETE},
                    in_delivery[_i].in_queue + in_delivery[_i].in_hold + in_delivery[_i].in_dead,
                    0);
    }
}
END_TEST

/* A worker has linked the copy into dead/ and has not come to removing its old name: if the copy
 * got that name again, it would be removed. */
START_TEST(a_copy_that_is_just_moving_is_left_alone)
{
    char id[QUEUE_ID_SIZE], from[128], to[128];

    put("archive", "x", true, id); /* makes the directory */
    must_change(&(struct queue_change){.action = QUEUE_DELETE}, 1, 0);
    put("archive", "x", false, id);
    struct queue_copy *c = take("archive");
    ck_assert_ptr_nonnull(c);
    snprintf(from, sizeof from, "%s/queue/archive/1700000040/%s", dir, id);
    snprintf(to, sizeof to, "%s/dead/archive/%s", dir, id);
    ck_assert_int_eq(link(from, to), 0);
    must_fail(&(struct queue_change){.action = QUEUE_REQUEUE, .id = id}, "try again");
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE}, 0, 0);
    count(1, 0, 1);
    q->ops->dead(q, c);
    count(0, 0, 1);
    must_change(&(struct queue_change){.action = QUEUE_REQUEUE, .id = id}, 1, 0);
    ck_assert_uint_eq(deliver_all("archive"), 1);
}
END_TEST

/* --- faults --- */

START_TEST(what_cannot_be_moved_stays)
{
    char id[QUEUE_ID_SIZE], path[128];
    struct err err = {""};

    put("archive", "x", false, id);
    snprintf(path, sizeof path, "%s/hold/archive", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* where a directory is to be */
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(
        q->ops->change(
            q, &(struct queue_change){.action = QUEUE_HOLD, .id = id, .destination = "archive"},
            &done, &err),
        0);
    ck_assert_uint_eq(done.failed, 1);
    ck_assert_str_ne(err.text, "");
    ck_assert_int_eq(unlink(path), 0);
    struct queue_copy *c = take("archive");
    ck_assert_ptr_nonnull(c);
    deliver(c);
    count(0, 0, 0);
}
END_TEST

static const struct {
    const char *id, *destination, *to, *text;
} wrong[] = {
    {"../x", NULL, NULL, "not the id"},   {"", NULL, NULL, "not the id"},
    {NULL, "../x", NULL, "not the name"}, {NULL, NULL, "a/b", "not the name"},
    {"Abc", NULL, "new", "no copy Abc"},  {"Abc", "nowhere", NULL, "no copy Abc"},
};

START_TEST(names_are_checked)
{
    must_fail(&(struct queue_change){.action = QUEUE_REQUEUE,
                                     .id = wrong[_i].id,
                                     .destination = wrong[_i].destination,
                                     .to = wrong[_i].to},
              wrong[_i].text);
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
    count(300 - done.changed, done.changed, 0);
    ck_assert_uint_eq(deliver_all("archive"), 300 - done.changed);
}
END_TEST

/* --- while mail flows --- */

enum { FLOW = 3000 };
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
    struct queue_copy *c;
    bool backlog;
    unsigned turn = 0;

    (void)ctx;
    while (!flow_ends) {
        c = q->ops->next(q, "archive", 20, &backlog);
        if (c == NULL)
            continue;
        if (++turn % 3 == 0) {
            q->ops->later(q, c, (time_t)(fake_now + 1));
        } else if (turn % 7 == 0) {
            q->ops->release(q, c);
        } else {
            delivered++;
            deliver(c);
        }
    }
    return NULL;
}

/* Each copy is delivered exactly once, whatever administrators do meanwhile. */
START_TEST(nothing_is_lost_while_mail_flows)
{
    static const struct queue_change changes[] = {
        {.action = QUEUE_HOLD},
        {.action = QUEUE_RELEASE, .destination = "archive"},
        {.action = QUEUE_REQUEUE},
        {.action = QUEUE_RELEASE},
    };
    pthread_t threads[4];
    struct err err = {""};

    delivered = 0;
    flow_ends = false;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i == 0 ? flow_in : flow_out, NULL), 0);
    for (int i = 0; i < 40; i++) {
        ck_assert_msg(q->ops->change(q, &changes[i % 4], &done, &err) == 0, "%s", err.text);
        ck_assert_uint_eq(done.failed, 0);
        fake_now += 1;
    }
    pthread_join(threads[0], NULL);
    for (int i = 0; delivered < FLOW && i < 3000; i++) {
        fake_now += 1;
        ck_assert_msg(q->ops->change(q, &changes[i % 2 + 1], &done, &err) == 0, "%s", err.text);
        usleep(2000);
    }
    flow_ends = true;
    for (int i = 1; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(delivered, FLOW);
    count(0, 0, 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("spool_change");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, held_and_released);
    tcase_add_test(tc, a_deferred_copy_keeps_what_is_known);
    tcase_add_test(tc, dead_letters_come_back);
    tcase_add_test(tc, to_another_destination);
    tcase_add_test(tc, deleted_wherever_it_is);
    tcase_add_test(tc, all_but_only_of_the_places_asked_for);
    tcase_add_test(tc, many);
    tcase_add_loop_test(tc, an_order_is_carried_out_when_the_copy_is_given_back, 0,
                        UNIT_COUNT(in_delivery));
    tcase_add_test(tc, a_copy_that_is_just_moving_is_left_alone);
    tcase_add_test(tc, what_cannot_be_moved_stays);
    tcase_add_loop_test(tc, names_are_checked, 0, UNIT_COUNT(wrong));
    tcase_add_test(tc, it_can_be_stopped);
    tcase_add_test(tc, nothing_is_lost_while_mail_flows);
    return unit_run("spool_change", tc);
}
