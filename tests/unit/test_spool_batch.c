/* SPDX-License-Identifier: ISC */
/* Group commit: messages that share a file are copies like all others. */
#include "queue/spool_private.h"
#include "spool_unit.h"
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#define MEMBERS 6

static char dir[64];
static struct spool *s;
static const struct spool_due due = {1700000040, 0};

/* One message, put by a thread of its own. */
static struct member {
    pthread_t thread;
    const char *destination;
    char content[3000];
    size_t len;
    enum queue_put_status status;
    char id[QUEUE_ID_SIZE];
    struct err err;
    struct queue_message message;
    struct queue_recipient recipients[2];
    struct queue_new_copy copies[2];
    struct spool_put *put; /* prepared only */
} members[MEMBERS];

static void set_up(void)
{
    struct err err = {""};

    strcpy(dir, "/tmp/split-spool-batch-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    s = spool_open(dir, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    memset(members, 0, sizeof members);
    for (int i = 0; i < MEMBERS; i++) {
        members[i].destination = "archive";
        members[i].len = (size_t)i * 500;
        memset(members[i].content, 'a' + i, members[i].len);
    }
}

static void tear_down(void)
{
    spool_close(s);
    spool_unit_remove(dir);
}

static void *put(void *ctx)
{
    struct member *m = ctx;
    struct queue_message message = spool_unit_message();
    struct queue_recipient r = spool_unit_recipient("a@b.test");
    struct queue_new_copy copy = {
        .destination = m->destination, .recipients = &r, .recipient_count = 1};
    struct spool_put *p;

    m->status = spool_put_begin(s, &message, &copy, 1, 0, &p, &m->err);
    if (m->status == QUEUE_PUT_OK)
        m->status = spool_put_data(p, m->content, m->len, &m->err);
    if (m->status == QUEUE_PUT_OK)
        m->status = spool_put_commit(p, &due, &m->err);
    strcpy(m->id, copy.id);
    return NULL;
}

/* Two copies, the second one for a destination of its own; up to the sync of the content. */
static void *prepare(void *ctx)
{
    struct member *m = ctx;

    m->message = spool_unit_message();
    for (int i = 0; i < 2; i++) {
        m->recipients[i] = spool_unit_recipient("a@b.test");
        m->copies[i] = (struct queue_new_copy){.destination = i == 0 ? m->destination : "other",
                                               .recipients = &m->recipients[i],
                                               .recipient_count = 1};
    }
    m->status = spool_put_begin(s, &m->message, m->copies, 2, 0, &m->put, &m->err);
    if (m->status == QUEUE_PUT_OK)
        m->status = spool_put_data(m->put, m->content, m->len, &m->err);
    if (m->status == QUEUE_PUT_OK)
        m->status = spool_put_prepare(m->put, &m->err);
    strcpy(m->id, m->copies[0].id);
    return NULL;
}

static unsigned waiting(void)
{
    unsigned count = 0;

    pthread_mutex_lock(&s->batch_lock);
    for (const struct spool_batch_member *m = s->batch_waiting; m != NULL; m = m->next)
        count++;
    pthread_mutex_unlock(&s->batch_lock);
    return count;
}

static void set_leader(bool is_there)
{
    pthread_mutex_lock(&s->batch_lock);
    s->has_batch_leader = is_there;
    pthread_mutex_unlock(&s->batch_lock);
}

/* All in one group, in this order: as if somebody was at work until the last came. */
static void do_together(void *(*run)(void *))
{
    set_leader(true);
    for (int i = 0; i + 1 < MEMBERS; i++) {
        ck_assert_int_eq(pthread_create(&members[i].thread, NULL, run, &members[i]), 0);
        for (int tries = 0; waiting() <= (unsigned)i && tries < 10000; tries++)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        ck_assert_uint_eq(waiting(), (unsigned)i + 1);
    }
    set_leader(false);
    run(&members[MEMBERS - 1]);
    for (int i = 0; i + 1 < MEMBERS; i++)
        pthread_join(members[i].thread, NULL);
    for (int i = 0; i < MEMBERS; i++)
        ck_assert_msg(members[i].status == QUEUE_PUT_OK, "%s", members[i].err.text);
}

static void put_together(void)
{
    do_together(put);
}

static struct spool_copy *open_copy(const struct member *m, const struct spool_due *where)
{
    struct spool_copy *c = NULL;
    struct err err = {""};

    ck_assert_msg(spool_copy_open(s, m->destination, where, m->id, &c, &err) == SPOOL_OK, "%s: %s",
                  m->id, err.text);
    return c;
}

static void check_copy(const struct member *m, const struct spool_copy *c)
{
    char text[sizeof m->content];

    ck_assert_uint_eq(c->copy.message.size_bytes, m->len);
    ck_assert_int_eq(pread(c->copy.content_fd, text, m->len, (off_t)c->copy.content_offset),
                     (ssize_t)m->len);
    ck_assert_int_eq(memcmp(text, m->content, m->len), 0);
    ck_assert_str_eq(c->copy.recipients[0].address, "a@b.test");
    ck_assert_int_eq(c->copy.recipients[0].state, QUEUE_PENDING);
}

static struct stat file_of(const struct member *m, const struct spool_due *where)
{
    char path[256], name[SPOOL_DUE_NAME_SIZE];
    struct stat st;

    spool_due_name(where, name);
    snprintf(path, sizeof path, "%s/queue/%s/%s/%s", dir, m->destination, name, m->id);
    ck_assert_msg(stat(path, &st) == 0, "%s", path);
    return st;
}

static void remove_copy(const struct member *m, const struct spool_due *where)
{
    struct spool_copy *c = open_copy(m, where);
    struct err err = {""};

    check_copy(m, c);
    ck_assert_msg(spool_copy_remove(s, c, &err) == 0, "%s", err.text);
    spool_copy_close(c);
}

/* As long as padding can be: a message that ends one byte into a unit. */
START_TEST(padding_is_empty)
{
    char between[SPOOL_GROUP_UNIT], empty[SPOOL_GROUP_UNIT] = {0};

    put(&members[0]);
    struct spool_copy *lone = open_copy(&members[0], &due);
    uint64_t head = lone->copy.content_offset;
    spool_copy_close(lone);
    for (int i = 0; i < MEMBERS; i++) {
        members[i].len = SPOOL_GROUP_UNIT + 1 - head % SPOOL_GROUP_UNIT;
        memset(members[i].content, 'a' + i, members[i].len);
    }
    put_together();
    for (int i = 0; i < MEMBERS - 1; i++) {
        struct spool_copy *c = open_copy(&members[i], &due);
        uint64_t end = c->copy.content_offset + members[i].len;
        uint64_t next = (uint64_t)spool_id_unit(members[i + 1].id) * SPOOL_GROUP_UNIT;
        check_copy(&members[i], c);
        ck_assert_uint_eq(next - end, SPOOL_GROUP_UNIT - 1);
        ck_assert_int_eq(pread(c->copy.content_fd, between, next - end, (off_t)end),
                         SPOOL_GROUP_UNIT - 1);
        ck_assert_int_eq(memcmp(between, empty, next - end), 0);
        spool_copy_close(c);
    }
}
END_TEST

START_TEST(one_file_holds_all)
{
    put_together();
    struct stat first = file_of(&members[0], &due);
    ck_assert_uint_eq(first.st_nlink, MEMBERS);
    for (int i = 0; i < MEMBERS; i++) {
        ck_assert_uint_eq(file_of(&members[i], &due).st_ino, first.st_ino);
        ck_assert_uint_gt(spool_id_unit(members[i].id),
                          i == 0 ? 0 : spool_id_unit(members[i - 1].id));
        struct spool_copy *c = open_copy(&members[i], &due);
        check_copy(&members[i], c);
        spool_copy_close(c);
    }
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    for (int i = 0; i < MEMBERS; i++) {
        ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
        remove_copy(&members[i], &due);
    }
    /* the last one leaves a file that serves again */
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 1);
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    put(&members[3]);
    put(&members[4]);
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
    remove_copy(&members[3], &due);
    remove_copy(&members[4], &due);
}
END_TEST

START_TEST(a_lone_one_has_its_own_file)
{
    put(&members[2]);
    ck_assert_uint_eq(spool_id_unit(members[2].id), 0);
    ck_assert_uint_eq(file_of(&members[2], &due).st_nlink, 1);
    remove_copy(&members[2], &due);
}
END_TEST

START_TEST(a_mark_touches_no_other)
{
    put_together();
    struct spool_copy *c = open_copy(&members[2], &due);
    struct err err = {""};

    c->copy.attempts = 7;
    strcpy(c->copy.recipients[0].reason, "450 later");
    ck_assert_msg(spool_copy_mark(c, &err) == 0, "%s", err.text);
    spool_copy_close(c);
    for (int i = 0; i < MEMBERS; i++) {
        c = open_copy(&members[i], &due);
        check_copy(&members[i], c);
        ck_assert_uint_eq(c->copy.attempts, i == 2 ? 7 : 0);
        ck_assert_str_eq(c->copy.recipients[0].reason, i == 2 ? "450 later" : "");
        spool_copy_close(c);
    }
}
END_TEST

/* Its name in the other directory might be back after a power failure. */
START_TEST(after_a_move_the_file_is_not_used_again)
{
    static const struct spool_due later = {1700000100, 0};
    struct err err = {""};

    put_together();
    struct spool_copy *c = open_copy(&members[1], &due);
    ck_assert_msg(spool_copy_move(s, c, &later, &err) == 0, "%s", err.text);
    spool_copy_close(c);
    remove_copy(&members[1], &later);
    for (int i = 0; i < MEMBERS; i++)
        if (i != 1)
            remove_copy(&members[i], &due);
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
}
END_TEST

START_TEST(nor_is_one_with_names_in_two_directories)
{
    members[3].destination = "newmail";
    put_together();
    ck_assert_uint_eq(file_of(&members[0], &due).st_ino, file_of(&members[3], &due).st_ino);
    for (int i = 0; i < MEMBERS; i++)
        remove_copy(&members[i], &due);
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
}
END_TEST

START_TEST(a_requeued_one_has_its_own_file)
{
    struct spool_place from = spool_place_queue("archive", &due);
    struct err err = {""};

    put_together();
    ck_assert_msg(spool_duplicate(s, &from, members[2].id, "newmail", &due, 0, &err) == SPOOL_OK,
                  "%s", err.text);
    remove_copy(&members[2], &due);
    members[2].destination = "newmail";
    ck_assert_uint_eq(file_of(&members[2], &due).st_nlink, 1);
    for (int i = 0; i < MEMBERS; i++)
        remove_copy(&members[i], &due);
}
END_TEST

START_TEST(a_cut_file_spoils_only_what_is_cut)
{
    char path[256];
    struct spool_copy *c;
    struct err err = {""};

    put_together();
    snprintf(path, sizeof path, "%s/queue/archive/1700000040/%s", dir, members[0].id);
    ck_assert_int_eq(truncate(path, file_of(&members[0], &due).st_size - 1), 0);
    for (int i = 0; i + 1 < MEMBERS; i++)
        spool_copy_close(open_copy(&members[i], &due));
    ck_assert_int_eq(spool_copy_open(s, "archive", &due, members[MEMBERS - 1].id, &c, &err),
                     SPOOL_INVALID);
}
END_TEST

static void finish(struct member *m, const struct spool_due *where)
{
    ck_assert_msg(spool_put_commit(m->put, where, &m->err) == QUEUE_PUT_OK, "%s", m->err.text);
}

static struct member second_copy(const struct member *m)
{
    struct member second = *m;

    second.destination = "other";
    strcpy(second.id, m->copies[1].id);
    return second;
}

/* What is written and waits for a word has no name in the queue; what becomes of one does not touch
 * the others. */
START_TEST(written_together_placed_one_by_one)
{
    static const struct spool_due later = {1700000100, 0};

    do_together(prepare);
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 1);
    finish(&members[4], &due);
    finish(&members[0], &later);
    members[2].recipients[0].state = QUEUE_SENT; /* as LMTP has it */
    finish(&members[2], &due);
    spool_put_abort(members[1].put);
    spool_put_abort(members[5].put);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 1);
    members[3].recipients[0].state = members[3].recipients[1].state = QUEUE_SENT;
    finish(&members[3], &due); /* nothing is left of it, and it is the last one */
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 5);
    for (int i = 0; i <= 4; i += 2) {
        const struct spool_due *where = i == 0 ? &later : &due;
        struct member second = second_copy(&members[i]);
        remove_copy(&second, where);
        if (i != 2)
            remove_copy(&members[i], where);
    }
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0); /* it had names in several directories */
}
END_TEST

START_TEST(the_last_one_placed_takes_the_name)
{
    do_together(prepare);
    for (int i = 0; i < MEMBERS; i++) {
        ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 1);
        finish(&members[i], &due);
    }
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    ck_assert_uint_eq(file_of(&members[0], &due).st_nlink, 2 * MEMBERS);
    for (int i = 0; i < MEMBERS; i++) {
        struct member second = second_copy(&members[i]);
        remove_copy(&members[i], &due);
        remove_copy(&second, &due);
    }
}
END_TEST

/* Its place is taken: it goes on alone, with what it had at first. */
START_TEST(what_cannot_be_placed_goes_on_alone)
{
    char path[256];

    do_together(prepare);
    snprintf(path, sizeof path, "%s/queue/archive/1700000040", dir);
    finish(&members[0], &due);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", members[1].id);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    members[1].recipients[1].state = QUEUE_SENT;
    finish(&members[1], &due);
    ck_assert_str_ne(members[1].copies[0].id, members[1].id);
    ck_assert_uint_eq(spool_id_unit(members[1].copies[0].id), 0);
    strcpy(members[1].id, members[1].copies[0].id);
    remove_copy(&members[1], &due);
    for (int i = 2; i < MEMBERS; i++)
        spool_put_abort(members[i].put);
    remove_copy(&members[0], &due);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
}
END_TEST

/* What makes a group fail is told by each message alone. */
START_TEST(without_a_directory_each_says_why)
{
    char path[256];

    snprintf(path, sizeof path, "%s/queue/archive", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    put(&members[1]);
    ck_assert_int_eq(members[1].status, QUEUE_PUT_FAULT);
    ck_assert_ptr_nonnull(strstr(members[1].err.text, "archive"));
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "free"), 0);
}
END_TEST

START_TEST(an_id_says_where)
{
    char id[QUEUE_ID_SIZE];

    spool_new_id(s, id);
    ck_assert_uint_eq(spool_id_unit(id), 0);
    for (unsigned unit = 0; unit <= SPOOL_GROUP_MAX / SPOOL_GROUP_UNIT; unit += 61) {
        spool_id_set_unit(id, unit);
        ck_assert(spool_id_is_valid(id));
        ck_assert_uint_eq(spool_id_unit(id), unit);
    }
    ck_assert_uint_eq(spool_id_unit("8DlXlavk8oP2yx"), 0); /* as they were before */
    ck_assert_uint_eq(spool_id_unit(""), 0);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("spool_batch");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, one_file_holds_all);
    tcase_add_test(tests, padding_is_empty);
    tcase_add_test(tests, a_lone_one_has_its_own_file);
    tcase_add_test(tests, a_mark_touches_no_other);
    tcase_add_test(tests, after_a_move_the_file_is_not_used_again);
    tcase_add_test(tests, nor_is_one_with_names_in_two_directories);
    tcase_add_test(tests, a_requeued_one_has_its_own_file);
    tcase_add_test(tests, a_cut_file_spoils_only_what_is_cut);
    tcase_add_test(tests, written_together_placed_one_by_one);
    tcase_add_test(tests, the_last_one_placed_takes_the_name);
    tcase_add_test(tests, what_cannot_be_placed_goes_on_alone);
    tcase_add_test(tests, without_a_directory_each_says_why);
    tcase_add_test(tests, an_id_says_where);
    return unit_run("spool_batch", tests);
}
