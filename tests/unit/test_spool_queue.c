/* SPDX-License-Identifier: ISC */
#include "queue/spool_queue.h"
#include "spool_unit.h"
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char dir[64];
static struct queue *q;
static size_t window;
static atomic_long fake_now;

#define DELAY_MAX_S (30 * 86400)

static time_t fake_clock(void *ctx)
{
    return (time_t)atomic_load((atomic_long *)ctx);
}

static void open_queue(void)
{
    struct spool_queue_options options = {.directory = dir,
                                          .window = window,
                                          .clock = fake_clock,
                                          .delay_max_s = DELAY_MAX_S,
                                          .clock_ctx = &fake_now};
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
    fake_now = 1700000045;
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
    ck_assert_msg(q->ops->put_commit(p, NULL, NULL, &err) == QUEUE_PUT_OK, "%s", err.text);
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

    // cppcheck-suppress returnDanglingLifetime ; nothing of a copy points to its out-parameter
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

static char stored_id[QUEUE_ID_SIZE];

/* When a copy is stored its id is final, and nobody has got it. */
static void note_stored(void *ctx)
{
    const struct queue_new_copy *copy = ctx;

    ck_assert_ptr_null(take(copy->destination));
    strcpy(stored_id, copy->id);
}

START_TEST(stored_is_told_before_it_is_handed_out)
{
    struct queue_message m = spool_unit_message();
    struct queue_recipient r = spool_unit_recipient("a@b.test");
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err = {""};

    ck_assert_ptr_null(take("archive"));
    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, "x", 1, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, note_stored, &copy, &err), QUEUE_PUT_OK);
    struct queue_copy *c = must_take("archive");
    ck_assert_str_eq(c->id, stored_id);
    set_all(c, QUEUE_SENT, "250 Ok");
    q->ops->done(q, c);
}
END_TEST

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
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_OK);
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

/* --- more than fits into the window --- */

/* How often a copy with this content came out. */
#define MANY 200
static int seen[MANY];

static int content_number(const struct queue_copy *c)
{
    char text[32] = "";

    ck_assert_uint_lt(c->message.size_bytes, sizeof text);
    ck_assert_int_gt(pread(c->content_fd, text, c->message.size_bytes, (off_t)c->content_offset),
                     0);
    char *end;
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
    put("archive", text);
}

static void assert_each_once(int count)
{
    for (int i = 0; i < count; i++)
        ck_assert_msg(seen[i] == 1, "copy %d came %d times", i, seen[i]);
}

START_TEST(what_does_not_fit_comes_from_disk)
{
    struct queue_copy *c;

    q->ops->close(q);
    window = 16;
    open_queue();
    for (int i = 0; i < MANY; i++) {
        if (i % 25 == 0)
            fake_now += 60; /* eight directories */
        put_number(i);
    }
    if (_i == 1)
        reopen();
    bool backlog;
    while ((c = q->ops->next(q, "archive", 0, &backlog)) != NULL) {
        seen[content_number(c)]++;
        finish(c);
    }
    ck_assert(!backlog);
    assert_each_once(MANY);
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    /* the next pass removes the empty directories */
    fake_now += SPOOL_QUEUE_PASS_S;
    ck_assert_ptr_null(take("archive"));
    char path[100];
    snprintf(path, sizeof path, "%s/queue/archive", dir);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_nlink, 2);
}
END_TEST

START_TEST(older_ones_come_first_roughly)
{
    q->ops->close(q);
    window = 16;
    open_queue();
    for (int i = 0; i < MANY; i++) {
        if (i % 25 == 0)
            fake_now += 60;
        put_number(i);
    }
    reopen();
    /* each found one is from the oldest directory that is not empty */
    for (int i = 0; i < MANY; i++) {
        struct queue_copy *c = must_take("archive");
        ck_assert_int_eq(content_number(c) / 25, i / 25);
        finish(c);
    }
}
END_TEST

/* While new copies keep coming, faster than they are taken, old ones on disk get their turn. */
START_TEST(arrivals_do_not_starve_a_backlog)
{
    q->ops->close(q);
    window = 16;
    open_queue();
    for (int i = 0; i < 60; i++)
        put_number(i);
    reopen();
    fake_now += 600;
    int old = 0;
    for (int i = 60; i < 180; i++) {
        put_number(i);
        struct queue_copy *c = must_take("archive");
        old += content_number(c) < 60;
        finish(c);
    }
    ck_assert_int_eq(old, 60);
}
END_TEST

START_TEST(in_hand_and_overflown_copies_are_each_there_once)
{
    struct queue_copy *held[40], *c;
    size_t count = 0;

    q->ops->close(q);
    window = 8;
    open_queue();
    for (int i = 0; i < 40; i++)
        put_number(i);
    while ((c = take("archive")) != NULL) {
        ck_assert_uint_lt(count, UNIT_COUNT(held));
        seen[content_number(c)]++;
        held[count++] = c;
    }
    assert_each_once(40);
    for (size_t i = 0; i < count; i++)
        q->ops->release(q, held[i]);
    for (size_t i = 0; i < count; i++) {
        c = must_take("archive");
        seen[content_number(c)]++;
        finish(c);
    }
    ck_assert_ptr_null(take("archive"));
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(seen[i], 2);
}
END_TEST

START_TEST(backlog_says_whether_there_is_more)
{
    bool backlog = true;

    ck_assert_ptr_null(q->ops->next(q, "archive", 0, &backlog));
    ck_assert(!backlog);
    put_number(0);
    put_number(1);
    struct queue_copy *a = q->ops->next(q, "archive", 0, &backlog);
    ck_assert(backlog);
    struct queue_copy *b = q->ops->next(q, "archive", 0, &backlog);
    ck_assert(!backlog);
    finish(a);
    finish(b);
}
END_TEST

/* --- retry --- */

START_TEST(deferred_copies_can_be_had_now)
{
    const char *destinations[] = {"archive", "backup"};
    char ids[2][QUEUE_ID_SIZE];
    struct err err = {""};

    put_to(destinations, 2, "x", ids);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 2; i++) {
            struct queue_copy *c = must_take(destinations[i]);
            q->ops->later(q, c, fake_now + 3600 + i);
            ck_assert_ptr_null(take(destinations[i]));
            if (round == 0)
                ck_assert_int_eq(q->ops->retry(q, i == 0 ? NULL : "backup", ids[i], &err), 1);
            else if (round == 1)
                ck_assert_int_eq(q->ops->retry(q, destinations[i], NULL, &err), 1);
            else if (i == 1)
                ck_assert_int_eq(q->ops->retry(q, NULL, NULL, &err), 2);
        }
    for (int i = 0; i < 2; i++) {
        struct queue_copy *c = must_take(destinations[i]);
        ck_assert_str_eq(c->id, ids[i]);
        ck_assert_uint_eq(c->attempts, 3);
        ck_assert_int_eq(q->ops->retry(q, NULL, ids[i], &err), 0); /* in hand */
        q->ops->release(q, c);
    }
    reopen();
    ck_assert_int_eq(q->ops->retry(q, NULL, ids[1], &err), 0); /* due, but not known yet */
    ck_assert_int_eq(q->ops->retry(q, "archive", ids[1], &err), -1);
    ck_assert_int_eq(q->ops->retry(q, NULL, "none", &err), -1);
    ck_assert_str_eq(err.text, "no copy none in the queue");
    ck_assert_int_eq(q->ops->retry(q, NULL, "../x", &err), -1);
    ck_assert_int_eq(q->ops->retry(q, "../x", NULL, &err), -1);
    ck_assert_int_eq(q->ops->retry(q, NULL, NULL, &err), 0);
    for (int i = 0; i < 2; i++)
        finish(must_take(destinations[i]));
}
END_TEST

START_TEST(many_deferred_groups_are_retried)
{
    struct err err;

    for (int i = 0; i < 50; i++)
        put_number(i);
    for (int i = 0; i < 50; i++)
        q->ops->later(q, must_take("archive"), fake_now + 1000 + 100 * i);
    ck_assert_ptr_null(take("archive"));
    long groups = q->ops->retry(q, "archive", NULL, &err);
    ck_assert_int_gt(groups, 5);
    ck_assert_int_le(groups, 50);
    for (int i = 0; i < 50; i++) {
        struct queue_copy *c = must_take("archive");
        seen[content_number(c)]++;
        finish(c);
    }
    assert_each_once(50);
}
END_TEST

/* --- faults --- */

static const char *path_of(const char *below, const char *name)
{
    static char paths[2][256];
    static unsigned at;
    char *path = paths[at++ % 2];

    snprintf(path, sizeof paths[0], "%.60s/%.60s%.60s", dir, below, name);
    return path;
}

#define MINUTE "queue/archive/1700000040/"

START_TEST(what_is_no_copy_goes_to_quarantine)
{
    const char *archive[] = {"archive"};
    char id[QUEUE_ID_SIZE];

    put_to(archive, 1, "x", &id);
    put_number(1);
    ck_assert_int_eq(truncate(path_of(MINUTE, id), 10), 0);
    ck_assert_int_eq(mkdir(path_of(MINUTE, "directory"), 0700), 0);
    ck_assert_int_eq(symlink("/etc/passwd", path_of(MINUTE, "a.b")), 0);
    reopen();
    struct queue_copy *c = must_take("archive");
    ck_assert_int_eq(content_number(c), 1);
    finish(c);
    ck_assert_ptr_null(take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 2); /* and a directory */
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
}
END_TEST

/* A file where the directory of the deferred copy has to be. */
START_TEST(a_copy_that_cannot_be_deferred_stays)
{
    put_number(0);
    struct queue_copy *c = must_take("archive");
    int fd = open(path_of("queue/archive/", "1700000056"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    strcpy(c->recipients[0].reason, "450 busy");
    q->ops->later(q, c, fake_now + 11);
    fake_now += 10;
    ck_assert_ptr_null(take("archive"));
    fake_now += 1;
    c = must_take("archive");
    ck_assert_uint_eq(c->attempts, 1);
    ck_assert_str_eq(c->recipients[0].reason, "450 busy");
    ck_assert_int_eq(content_number(c), 0);
    q->ops->later(q, c, fake_now + 100);
    ck_assert_ptr_null(take("archive"));
    fake_now += 106;
    c = must_take("archive");
    ck_assert_uint_eq(c->attempts, 2);
    finish(c);
    ck_assert_uint_eq(spool_unit_count(dir, "queue/archive"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 1);
}
END_TEST

/* Something in the way of unlink(): what was sent is not sent again, now or after a restart. */
START_TEST(a_copy_that_cannot_be_removed_is_not_sent_again)
{
    char id[QUEUE_ID_SIZE], aside[256];

    put_number(0);
    struct queue_copy *c = must_take("archive");
    strcpy(id, c->id);
    strcpy(aside, path_of("", "aside"));
    ck_assert_int_eq(rename(path_of(MINUTE, id), aside), 0);
    ck_assert_int_eq(mkdir(path_of(MINUTE, id), 0700), 0);
    finish(c);
    ck_assert_ptr_null(take("archive"));
    fake_now += SPOOL_QUEUE_PASS_S + 60; /* a pass sees it, and it is tried again */
    ck_assert_ptr_null(take("archive"));
    ck_assert_int_eq(rmdir(path_of(MINUTE, id)), 0);
    ck_assert_int_eq(rename(aside, path_of(MINUTE, id)), 0);
    if (_i == 1)
        reopen();
    fake_now += 60;
    ck_assert_ptr_null(take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 0);
}
END_TEST

START_TEST(a_copy_that_cannot_be_buried_stays_refused)
{
    int fd = open(path_of("dead/", "archive"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    close(fd);
    put_number(0);
    struct queue_copy *c = must_take("archive");
    strcpy(c->recipients[0].reason, "550 no");
    q->ops->dead(q, c);
    ck_assert_ptr_null(take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "queue/archive"), 1);
    if (_i == 1)
        reopen(); /* puts the file into quarantine */
    else
        ck_assert_int_eq(unlink(path_of("dead/", "archive")), 0);
    fake_now += 60;
    ck_assert_ptr_null(take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "dead/archive"), 1);
}
END_TEST

/* No descriptors: the copy is not lost, not moved to quarantine, and comes later. */
START_TEST(a_copy_that_cannot_be_opened_comes_later)
{
    struct rlimit old, none;

    put_number(0);
    ck_assert_ptr_null(take("other")); /* whatever is opened once is open */
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_ptr_null(take("archive"));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_ptr_null(take("archive"));
    fake_now += 60;
    finish(must_take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 0);
}
END_TEST

START_TEST(done_with_pending_recipients_is_no_loss)
{
    put_number(0);
    q->ops->done(q, must_take("archive"));
    finish(must_take("archive"));
    ck_assert_ptr_null(take("archive"));
}
END_TEST

START_TEST(a_copy_moved_in_by_hand_is_found)
{
    char id[QUEUE_ID_SIZE], aside[256];
    const char *archive[] = {"archive"};

    put_to(archive, 1, "0", &id);
    strcpy(aside, path_of("", "aside"));
    ck_assert_int_eq(rename(path_of(MINUTE, id), aside), 0);
    ck_assert_ptr_null(take("archive"));
    ck_assert_int_eq(rename(aside, path_of(MINUTE, id)), 0);
    fake_now += SPOOL_QUEUE_PASS_S;
    finish(must_take("archive"));
}
END_TEST

/* While it is in hand it is not handed out again; afterwards it is found where it went. */
START_TEST(a_copy_that_moves_while_it_is_in_hand_is_found)
{
    char id[QUEUE_ID_SIZE];
    const char *archive[] = {"archive"};

    put_to(archive, 1, "0", &id);
    struct queue_copy *c = must_take("archive");
    ck_assert_int_eq(mkdir(path_of("queue/archive/", "1700000039"), 0700), 0);
    ck_assert_int_eq(rename(path_of(MINUTE, id), path_of("queue/archive/1700000039/", id)), 0);
    fake_now += SPOOL_QUEUE_PASS_S;
    ck_assert_ptr_null(take("archive"));
    finish(c);
    finish(must_take("archive"));
    ck_assert_ptr_null(take("archive"));
}
END_TEST

START_TEST(a_dead_copy_is_never_handed_out)
{
    struct queue_message m = spool_unit_message();
    struct queue_recipient r = spool_unit_recipient("a@b.test");
    struct queue_new_copy copy = {
        .destination = "archive", .recipients = &r, .recipient_count = 1, .is_dead = true};
    struct queue_put *p;
    struct err err;

    r.state = QUEUE_DEAD;
    strcpy(r.reason, "552 too large");
    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_OK);
    ck_assert_ptr_null(take("archive"));
    reopen();
    ck_assert_ptr_null(take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "dead/archive"), 1);
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
    struct err err;

    switch (number % 4) {
    case 0:
        q->ops->release(q, c);
        break;
    case 1: {
        char id[QUEUE_ID_SIZE];
        strcpy(id, c->id);
        q->ops->later(q, c, fake_now + 3600);
        /* One id may be gone: another thread's retry of all was first, and the copy is done. */
        if (number % 8 == 1)
            (void)q->ops->retry(q, "archive", id, &err);
        else
            ck_assert_int_ge(q->ops->retry(q, "archive", NULL, &err), 0);
        break;
    }
    default:
        finished++;
        finish(c);
        break;
    }
}

static void *taker(void *ctx)
{
    bool backlog;

    (void)ctx;
    while (finished < MANY) {
        struct queue_copy *c = q->ops->next(q, "archive", 1000, &backlog);
        if (c == NULL)
            continue;
        int number = content_number(c);
        if (came[number]++ == 0) {
            give_back(c, number);
        } else {
            finished++;
            finish(c);
        }
        if (finished == MANY)
            q->ops->wake(q, NULL);
    }
    return NULL;
}

START_TEST(threads_get_each_copy_once)
{
    pthread_t threads[PUTTERS + TAKERS];
    int numbers[PUTTERS + TAKERS];

    q->ops->close(q);
    window = _i == 0 ? 8 : 0;
    open_queue();
    for (int i = 0; i < PUTTERS + TAKERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, i < PUTTERS ? putter : taker, &numbers[i]), 0);
    }
    for (int i = 0; i < PUTTERS + TAKERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < MANY; i++)
        ck_assert_msg(came[i] == (i % 4 < 2 ? 2 : 1), "copy %d came %d times", i, came[i]);
    ck_assert_ptr_null(take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 0);
}
END_TEST

static void *wait_long(void *ctx)
{
    bool backlog;

    // cppcheck-suppress returnDanglingLifetime ; nothing of a copy points to its out-parameter
    return q->ops->next(q, ctx, 60000, &backlog);
}

START_TEST(who_waits_gets_a_new_copy_or_is_woken)
{
    char archive[] = "archive", backup[] = "backup";
    pthread_t threads[2];
    void *result;

    pthread_create(&threads[0], NULL, wait_long, archive);
    pthread_create(&threads[1], NULL, wait_long, backup);
    put_number(7);
    pthread_join(threads[0], &result);
    ck_assert_ptr_nonnull(result);
    ck_assert_int_eq(content_number(result), 7);
    finish(result);
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
START_TEST(who_waits_gets_what_becomes_due)
{
    char archive[] = "archive";
    pthread_t thread;
    void *result;

    put_number(7);
    q->ops->later(q, must_take("archive"), fake_now + 3600);
    fake_now += 3599;
    pthread_create(&thread, NULL, wait_long, archive);
    fake_now += 300; /* it looks again within a second or so of what the clock said */
    pthread_join(thread, &result);
    ck_assert_ptr_nonnull(result);
    finish(result);
}
END_TEST

/* Put a message, take its copies, and see that they hold this content. Returns how
 * many files wait in free/ while it is queued. */
static size_t pass_through(const char *const *destinations, size_t count, const char *content)
{
    static char text[400000];
    size_t len = strlen(content);

    put_to(destinations, count, content, NULL);
    size_t waiting = spool_unit_count(dir, "free");
    for (size_t i = 0; i < count; i++) {
        struct queue_copy *c = must_take(destinations[i]);
        ck_assert_uint_eq(c->message.size_bytes, len);
        ck_assert_int_eq(pread(c->content_fd, text, len, (off_t)c->content_offset), (ssize_t)len);
        ck_assert_int_eq(memcmp(text, content, len), 0);
        finish(c);
    }
    return waiting;
}

/* The file of a finished message serves a later one, of whatever length. */
START_TEST(files_are_used_again)
{
    static char large[300000];
    static const char *const contents[] = {"a long second message\r\n", "short\r\n", "",
                                           "longer than empty\r\n", large};
    static const char *const archive[] = {"archive"};

    memset(large, 'x', sizeof large - 1);
    ck_assert_uint_eq(pass_through(archive, 1, "the first\r\n"), 0);
    /* Its directory was not synced since it left: it waits for the next commit. */
    ck_assert_uint_eq(pass_through(archive, 1, "the second\r\n"), 1);
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 2);
    for (size_t i = 0; i < UNIT_COUNT(contents); i++) {
        ck_assert_uint_eq(pass_through(archive, 1, contents[i]), 1);
        ck_assert_uint_eq(spool_unit_count(dir, "free"), contents[i] == large ? 1 : 2);
    }
    reopen();
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 0);
}
END_TEST

/* A file that has had another name, which may be back after a power failure, is not kept. */
START_TEST(files_with_several_names_are_not_used_again)
{
    static const char *const both[] = {"archive", "new-mail"};
    static const char *const archive[] = {"archive"};

    ck_assert_uint_eq(pass_through(both, 2, "two copies\r\n"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
    put_to(archive, 1, "deferred\r\n", NULL);
    q->ops->later(q, must_take("archive"), fake_now + 10);
    fake_now += 20;
    finish(must_take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
}
END_TEST

/* When messages go to another directory nobody syncs the old one any more. */
START_TEST(files_from_old_directories_are_removed)
{
    static const char *const archive[] = {"archive"};

    for (int i = 0; i < 3; i++)
        pass_through(archive, 1, "x\r\n");
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 2);
    fake_now += 60;
    pass_through(archive, 1, "the next minute\r\n");
    pass_through(archive, 1, "and after\r\n");
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 2);
}
END_TEST

/* A copy that is due later than it can have been deferred to: it is tried now. */
START_TEST(the_clock_may_be_set_back)
{
    put_number(0);
    q->ops->later(q, must_take("archive"), fake_now + 100);
    fake_now -= DELAY_MAX_S + 3600;
    finish(must_take("archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "queue/archive"), 0);

    put_number(1);
    q->ops->later(q, must_take("archive"), fake_now + 100);
    fake_now -= DELAY_MAX_S - 3600;
    ck_assert_ptr_null(take("archive"));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("spool_queue");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_copy_comes_out_as_it_went_in);
    tcase_add_test(tests, stored_is_told_before_it_is_handed_out);
    tcase_add_test(tests, a_deferred_copy_waits_for_its_time);
    tcase_add_test(tests, what_was_accepted_is_not_pending_after_a_restart);
    tcase_add_loop_test(tests, what_does_not_fit_comes_from_disk, 0, 2);
    tcase_add_test(tests, older_ones_come_first_roughly);
    tcase_add_test(tests, arrivals_do_not_starve_a_backlog);
    tcase_add_test(tests, in_hand_and_overflown_copies_are_each_there_once);
    tcase_add_test(tests, backlog_says_whether_there_is_more);
    tcase_add_test(tests, deferred_copies_can_be_had_now);
    tcase_add_test(tests, many_deferred_groups_are_retried);
    tcase_add_test(tests, what_is_no_copy_goes_to_quarantine);
    tcase_add_test(tests, a_copy_that_cannot_be_deferred_stays);
    tcase_add_loop_test(tests, a_copy_that_cannot_be_removed_is_not_sent_again, 0, 2);
    tcase_add_loop_test(tests, a_copy_that_cannot_be_buried_stays_refused, 0, 2);
    tcase_add_test(tests, a_copy_that_cannot_be_opened_comes_later);
    tcase_add_test(tests, done_with_pending_recipients_is_no_loss);
    tcase_add_test(tests, a_copy_moved_in_by_hand_is_found);
    tcase_add_test(tests, a_copy_that_moves_while_it_is_in_hand_is_found);
    tcase_add_test(tests, a_dead_copy_is_never_handed_out);
    tcase_add_loop_test(tests, threads_get_each_copy_once, 0, 2);
    tcase_add_test(tests, who_waits_gets_a_new_copy_or_is_woken);
    tcase_add_test(tests, who_waits_gets_what_becomes_due);
    tcase_add_test(tests, the_clock_may_be_set_back);
    tcase_add_test(tests, files_are_used_again);
    tcase_add_test(tests, files_with_several_names_are_not_used_again);
    tcase_add_test(tests, files_from_old_directories_are_removed);
    return unit_run("spool_queue", tests);
}
