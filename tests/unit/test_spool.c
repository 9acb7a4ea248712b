/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "base/process.h"
#include "queue/spool.h"
#include "spool_unit.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64];
static struct spool *s;
static struct err err;
static const struct spool_due due = {1700000040, 0};

static void set_up(void)
{
    strcpy(dir, "/tmp/split-spool-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    err.text[0] = '\0';
    s = spool_open(dir, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
}

static void tear_down(void)
{
    spool_close(s);
    spool_unit_remove(dir);
}

/* A path in the spool, below + id; valid until the fourth call from here. */
static const char *in_spool(const char *below, const char *id)
{
    static char paths[4][512];
    static unsigned at;
    char *path = paths[at++ % 4];

    snprintf(path, sizeof paths[0], "%.60s/%.100s%.300s", dir, below, id);
    return path;
}

static void write_file(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
    return st.st_mode & 07777;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static struct queue_recipient recipient;
static struct queue_new_copy copies[2];

/* Begin a message with one copy for "archive", or one more for "backup". */
static struct spool_put *begin(size_t copy_count)
{
    struct queue_message m = spool_unit_message();
    struct spool_put *p;

    recipient = spool_unit_recipient("a@b.test");
    copies[0] = (struct queue_new_copy){
        .destination = "archive", .recipients = &recipient, .recipient_count = 1};
    copies[1] = (struct queue_new_copy){
        .destination = "backup", .recipients = &recipient, .recipient_count = 1};
    ck_assert_msg(spool_put_begin(s, &m, copies, copy_count, 0, &p, &err) == QUEUE_PUT_OK, "%s",
                  err.text);
    return p;
}

static void data(struct spool_put *p, const void *text, size_t len)
{
    ck_assert_msg(spool_put_data(p, text, len, &err) == QUEUE_PUT_OK, "%s", err.text);
}

static void commit(struct spool_put *p)
{
    ck_assert_msg(spool_put_commit(p, &due, &err) == QUEUE_PUT_OK, "%s", err.text);
}

static const char *put(const char *content)
{
    struct spool_put *p = begin(1);

    data(p, content, strlen(content));
    commit(p);
    return copies[0].id;
}

static enum spool_result open_copy(const char *id, struct spool_copy **out)
{
    err.text[0] = '\0';
    return spool_copy_open(s, "archive", &due, id, out, &err);
}

START_TEST(names_of_times)
{
    static const struct {
        const char *name;
        struct spool_due due;
    } good[] = {{"1700000000", {1700000000, 0}},
                {"1700000000.1", {1700000000, 1}},
                {"0000000000", {0, 0}},
                {"0000000060", {60, 0}},
                {"10000000000", {10000000000, 0}},
                {"1700000000.999999999", {1700000000, 999999999}}};
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "170000000",
                                      "01700000000",
                                      "1700000000.",
                                      "1700000000.0",
                                      "1700000000.01",
                                      "1700000000.1.1",
                                      "1700000000x",
                                      "-170000000",
                                      "1700000000 ",
                                      "1234567890123",
                                      "1700000000.9999999999"};
    struct spool_due parsed;
    char name[SPOOL_DUE_NAME_SIZE];

    for (size_t i = 0; i < UNIT_COUNT(good); i++) {
        ck_assert_msg(spool_due_parse(good[i].name, &parsed), "%s", good[i].name);
        ck_assert_int_eq(spool_due_compare(&parsed, &good[i].due), 0);
        spool_due_name(&parsed, name);
        ck_assert_str_eq(name, good[i].name);
    }
    for (size_t i = 0; i < UNIT_COUNT(bad); i++)
        ck_assert_msg(!spool_due_parse(bad[i], &parsed), "%s", bad[i]);
    ck_assert_int_lt(spool_due_compare(&good[0].due, &good[1].due), 0);
    ck_assert_int_gt(spool_due_compare(&good[4].due, &good[1].due), 0);
}
END_TEST

START_TEST(directories_are_private_and_tmp_is_emptied)
{
    static const char *const names[] = {"tmp", "queue", "dead", "quarantine"};

    for (size_t i = 0; i < UNIT_COUNT(names); i++)
        ck_assert_uint_eq(mode_of(in_spool(names[i], "")), 0700);
    write_file(in_spool("tmp/x", ""), "x", 1);
    spool_close(s);
    s = spool_open(dir, &err);
    ck_assert_ptr_nonnull(s);
    ck_assert(!is_there(in_spool("tmp/x", "")));

    spool_close(s);
    char below[80];
    snprintf(below, sizeof below, "%s/new", dir);
    s = spool_open(below, &err); /* made as well */
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(mode_of(below), 0700);
}
END_TEST

START_TEST(a_second_process_is_kept_out)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(spool_open(dir, &err) == NULL && strstr(err.text, "already running") != NULL ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(what_cannot_be_opened_is_said)
{
    char path[100], expect[200];

    snprintf(path, sizeof path, "%s/none/below", dir);
    ck_assert_ptr_null(spool_open(path, &err));
    snprintf(expect, sizeof expect, "cannot create %s: No such file or directory", path);
    ck_assert_str_eq(err.text, expect);

    snprintf(path, sizeof path, "%s/other", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    write_file(in_spool("other/queue", ""), "", 0);
    ck_assert_ptr_null(spool_open(path, &err));
    snprintf(expect, sizeof expect, "cannot open %s/queue: Not a directory", path);
    ck_assert_str_eq(err.text, expect);
}
END_TEST

/* Chunks of different sizes, below and above what is held in memory; the whole file is compared. */
START_TEST(contents_of_all_sizes)
{
    static const struct {
        size_t total, chunk;
    } cases[] = {{0, 1},          {1, 1},          {4096, 100},     {60000, 60000},
                 {65536, 65536},  {65537, 65537},  {70000, 1000},   {200000, 65536},
                 {300000, 70000}, {300000, 33333}, {9000000, 50000}};
    size_t total = cases[_i].total;
    struct spool_put *p = begin(2);
    struct spool_copy *c;

    char *content = mem_zalloc(total + 1);
    for (size_t i = 0; i < total; i++)
        content[i] = (char)(i * 7 + i / 251);
    for (size_t at = 0; at < total;) {
        size_t n = total - at < cases[_i].chunk ? total - at : cases[_i].chunk;
        data(p, content + at, n);
        at += n;
    }
    commit(p);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    /* SPOOL_MOVED_MODE: its names are in two directories */
    ck_assert_uint_eq(mode_of(in_spool("queue/archive/1700000040/", copies[0].id)) & ~0100U, 0600);
    ck_assert_msg(open_copy(copies[0].id, &c) == SPOOL_OK, "%s", err.text);
    ck_assert_uint_eq(c->copy.message.size_bytes, total);
    char *again = mem_zalloc(total + 1);
    ck_assert_int_eq(pread(c->copy.content_fd, again, total + 1, (off_t)c->copy.content_offset),
                     (ssize_t)total);
    ck_assert_int_eq(memcmp(content, again, total), 0);
    ck_assert_int_eq(spool_copy_remove(s, c, &err), 0);
    spool_copy_close(c);
    ck_assert_int_eq(open_copy(copies[0].id, &c), SPOOL_GONE);
    ck_assert(is_there(in_spool("queue/backup/1700000040/", copies[1].id)));
    free(content);
    free(again);
}
END_TEST

START_TEST(an_aborted_message_leaves_nothing)
{
    static char large[200000];

    spool_put_abort(begin(1));
    struct spool_put *p = begin(2);
    data(p, large, sizeof large);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 1);
    spool_put_abort(p);
    ck_assert_uint_eq(spool_unit_count(dir, ""), 1); /* lock */
}
END_TEST

START_TEST(copies_are_links_to_one_file)
{
    struct stat a, b;

    struct spool_put *p = begin(2);
    copies[1].is_dead = true;
    data(p, "x", 1);
    commit(p);
    ck_assert_int_eq(stat(in_spool("queue/archive/1700000040/", copies[0].id), &a), 0);
    ck_assert_int_eq(stat(in_spool("dead/backup/", copies[1].id), &b), 0);
    ck_assert_uint_eq(a.st_ino, b.st_ino);
    ck_assert_uint_eq(a.st_nlink, 2);
}
END_TEST

START_TEST(ids_increase)
{
    char last[QUEUE_ID_SIZE] = "";

    for (int i = 0; i < 1000; i++) {
        spool_put_abort(begin(2));
        ck_assert_int_lt(strcmp(last, copies[0].id), 0);
        ck_assert_int_lt(strcmp(copies[0].id, copies[1].id), 0);
        strcpy(last, copies[1].id);
    }
}
END_TEST

/* The ids of a message are known from begin on: take their names before the commit. */
START_TEST(a_taken_name_is_never_overwritten)
{
    struct spool_copy *c;
    char ids[2][QUEUE_ID_SIZE];

    put("first");
    struct spool_put *p = begin(2);
    for (int i = 0; i < 2; i++)
        strcpy(ids[i], copies[i].id);
    ck_assert_int_eq(mkdir(in_spool("queue/backup", ""), 0700), 0);
    ck_assert_int_eq(mkdir(in_spool("queue/backup/1700000040", ""), 0700), 0);
    write_file(in_spool("queue/archive/1700000040/", ids[0]), "old", 3);
    write_file(in_spool("queue/backup/1700000040/", ids[1]), "old", 3);
    data(p, "new", 3);
    commit(p);
    ck_assert_str_ne(copies[0].id, ids[0]);
    ck_assert_str_ne(copies[1].id, ids[1]);
    ck_assert_int_eq(open_copy(ids[0], &c), SPOOL_INVALID);
    ck_assert_msg(open_copy(copies[0].id, &c) == SPOOL_OK, "%s", err.text);
    spool_copy_close(c);
    ck_assert_int_eq(spool_copy_open(s, "backup", &due, copies[1].id, &c, &err), SPOOL_OK);
    spool_copy_close(c);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
}
END_TEST

START_TEST(a_removed_directory_is_made_again)
{
    struct spool_copy *c;

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(open_copy(put("x"), &c), SPOOL_OK);
        ck_assert_int_eq(spool_copy_remove(s, c, &err), 0);
        spool_copy_close(c);
        ck_assert(is_there(in_spool("queue/archive/1700000040", "")));
        spool_remove_due(s, "archive", &due);
        ck_assert(!is_there(in_spool("queue/archive/1700000040", "")));
        if (i == 1)
            ck_assert_int_eq(rmdir(in_spool("queue/archive", "")), 0);
    }
}
END_TEST

START_TEST(a_failed_commit_leaves_nothing)
{
    struct spool_put *p = begin(2);

    write_file(in_spool("queue/backup", ""), "", 0); /* no directory can be made here */
    data(p, "x", 1);
    ck_assert_int_eq(spool_put_commit(p, &due, &err), QUEUE_PUT_FAULT);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "queue/archive"), 0);
}
END_TEST

/* Between prepare and commit a recipient, or all of a copy, may turn out to be done with. */
START_TEST(who_is_sent_at_commit_gets_nothing)
{
    struct queue_message m = spool_unit_message();
    struct queue_recipient both[2] = {spool_unit_recipient("a@b.test"),
                                      spool_unit_recipient("c@b.test")};
    struct queue_recipient alone = spool_unit_recipient("c@b.test");
    struct queue_new_copy three[3] = {
        {.destination = "archive", .recipients = both, .recipient_count = 2},
        {.destination = "backup", .recipients = &alone, .recipient_count = 1},
        {.destination = "newmail", .recipients = &alone, .recipient_count = 1}};
    static const char content[] = "0123456789";
    struct spool_copy *c;
    struct spool_put *p;
    char text[16] = "";

    ck_assert_int_eq(spool_put_begin(s, &m, three, 3, 0, &p, &err), QUEUE_PUT_OK);
    data(p, content, sizeof content);
    ck_assert_int_eq(spool_put_prepare(p, &err), QUEUE_PUT_OK);
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 1);
    both[1].state = alone.state = QUEUE_SENT;
    ck_assert(!spool_put_is_left_out(&three[0]) && spool_put_is_left_out(&three[1]));
    commit(p);
    ck_assert_msg(open_copy(three[0].id, &c) == SPOOL_OK, "%s", err.text);
    ck_assert_int_eq(c->copy.recipients[0].state, QUEUE_PENDING);
    ck_assert_int_eq(c->copy.recipients[1].state, QUEUE_SENT);
    ck_assert_uint_eq(c->copy.message.size_bytes, sizeof content);
    ck_assert_int_eq(pread(c->copy.content_fd, text, sizeof text, (off_t)c->copy.content_offset),
                     sizeof content);
    ck_assert_str_eq(text, content);
    spool_copy_close(c);
    ck_assert(!is_there(in_spool("queue/backup", "")) && !is_there(in_spool("queue/newmail", "")));
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
}
END_TEST

START_TEST(a_message_without_any_copy_left_is_nothing)
{
    struct spool_put *p = begin(2);

    data(p, "x", 1);
    ck_assert_int_eq(spool_put_prepare(p, &err), QUEUE_PUT_OK);
    recipient.state = QUEUE_SENT;
    copies[0].recipients = copies[1].recipients = &recipient;
    struct queue_message m = spool_unit_message();
    spool_put_abort(p);
    ck_assert_int_eq(spool_put_begin(s, &m, copies, 2, 0, &p, &err), QUEUE_PUT_OK);
    commit(p);
    ck_assert_uint_eq(spool_unit_count(dir, "tmp"), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "queue/archive"), 0);
}
END_TEST

START_TEST(room_is_what_is_free)
{
    ck_assert_int_eq(spool_has_room(s, 0, 0, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(spool_has_room(s, 1000, 1000, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(spool_has_room(s, 0, UINT64_MAX, &err), QUEUE_PUT_FULL);
    ck_assert_int_eq(spool_has_room(s, UINT64_MAX, 1, &err), QUEUE_PUT_FULL);
    ck_assert_int_eq(spool_has_room(s, UINT64_MAX, UINT64_MAX, &err), QUEUE_PUT_FULL);
}
END_TEST

START_TEST(marks_and_moves)
{
    struct spool_due later = {1700003600, 0};
    struct spool_copy *c;
    const char *id = put("content");

    ck_assert_int_eq(open_copy(id, &c), SPOOL_OK);
    c->copy.recipients[0].state = QUEUE_DEAD;
    strcpy(c->copy.recipients[0].reason, "550 no");
    c->copy.attempts = 3;
    ck_assert_int_eq(spool_copy_mark(c, &err), 0);
    ck_assert_msg(spool_copy_move(s, c, &later, &err) == 0, "%s", err.text);
    ck_assert(is_there(in_spool("queue/archive/1700003600/", id)));
    spool_copy_park(c);
    ck_assert_int_eq(spool_copy_unpark(s, c, &err), SPOOL_OK);
    ck_assert_int_eq(spool_copy_bury(s, c, &err), 0);
    spool_copy_close(c);
    ck_assert_int_eq(open_copy(id, &c), SPOOL_GONE);
    ck_assert(is_there(in_spool("dead/archive/", id)));
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 0);

    struct spool_walk *w = spool_walk_open(dir, "archive", &err);
    struct spool_entry e;
    ck_assert_ptr_nonnull(w);
    ck_assert_int_eq(spool_walk_next(w, &e, &err), 1);
    ck_assert_int_eq(e.base, SPOOL_DEAD);
    ck_assert_uint_eq(e.attempts, 3);
    ck_assert_int_eq(e.recipients[0].state, QUEUE_DEAD);
    ck_assert_str_eq(e.recipients[0].reason, "550 no");
    ck_assert_int_eq(spool_walk_next(w, &e, &err), 0);
    spool_walk_close(w);
}
END_TEST

START_TEST(a_copy_that_is_gone_is_no_fault)
{
    struct spool_due later = {1700003600, 0};
    struct spool_copy *c;

    ck_assert_int_eq(open_copy(put("x"), &c), SPOOL_OK);
    ck_assert_int_eq(spool_copy_remove(s, c, &err), 0);
    ck_assert_int_eq(spool_copy_mark(c, &err), 0);
    ck_assert_int_eq(spool_copy_move(s, c, &later, &err), 0);
    ck_assert_int_eq(spool_copy_bury(s, c, &err), 0);
    ck_assert_int_eq(spool_copy_remove(s, c, &err), 0);
    spool_copy_park(c);
    ck_assert_int_eq(spool_copy_unpark(s, c, &err), SPOOL_GONE);
    spool_copy_close(c);
}
END_TEST

START_TEST(what_is_no_copy_is_invalid)
{
    struct spool_copy *c;
    char id[QUEUE_ID_SIZE];

    strcpy(id, put("content"));
    const char *good = in_spool("queue/archive/1700000040/", id);
    ck_assert_int_eq(truncate(good, 100), 0);
    ck_assert_int_eq(open_copy(id, &c), SPOOL_INVALID);
    ck_assert_str_eq(err.text, "the head has no end");
    ck_assert_int_eq(truncate(good, 0), 0);
    ck_assert_int_eq(open_copy(id, &c), SPOOL_INVALID);

    strcpy(id, put("content"));
    good = in_spool("queue/archive/1700000040/", id);
    struct stat st;
    ck_assert_int_eq(stat(good, &st), 0);
    ck_assert_int_eq(truncate(good, st.st_size - 1), 0);
    ck_assert_int_eq(open_copy(id, &c), SPOOL_INVALID);
    ck_assert_str_eq(err.text, "the file has not the length that its head says");
    ck_assert_int_eq(truncate(good, st.st_size + 1), 0);
    ck_assert_int_eq(open_copy(id, &c), SPOOL_INVALID);
    ck_assert_int_eq(truncate(good, st.st_size), 0);
    ck_assert_int_eq(open_copy(id, &c), SPOOL_OK);
    spool_copy_close(c);

    ck_assert_int_eq(rename(good, in_spool("queue/archive/1700000040/other", "")), 0);
    ck_assert_int_eq(open_copy("other", &c), SPOOL_INVALID);
    ck_assert_str_eq(err.text, "no copy other in it");
    ck_assert_int_eq(symlink("other", in_spool("queue/archive/1700000040/link", "")), 0);
    ck_assert_int_eq(open_copy("link", &c), SPOOL_INVALID);
    ck_assert_int_eq(mkfifo(in_spool("queue/archive/1700000040/fifo", ""), 0600), 0);
    ck_assert_int_eq(open_copy("fifo", &c), SPOOL_INVALID);
    ck_assert_int_eq(mkdir(in_spool("queue/archive/1700000040/dir", ""), 0700), 0);
    ck_assert_int_eq(open_copy("dir", &c), SPOOL_INVALID);
}
END_TEST

START_TEST(a_head_of_many_recipients)
{
    static struct queue_recipient many[QUEUE_RECIPIENTS_MAX];
    struct queue_message m = spool_unit_message();
    struct queue_new_copy copy = {
        .destination = "archive", .recipients = many, .recipient_count = QUEUE_RECIPIENTS_MAX};
    struct spool_put *p;
    struct spool_copy *c;

    for (size_t i = 0; i < QUEUE_RECIPIENTS_MAX; i++)
        many[i] = spool_unit_recipient("somebody.with.a.name@example.com");
    ck_assert_int_eq(spool_put_begin(s, &m, &copy, 1, 0, &p, &err), QUEUE_PUT_OK);
    data(p, "content", 7);
    commit(p);
    for (int round = 0; round < 2; round++) {
        ck_assert_msg(open_copy(copy.id, &c) == SPOOL_OK, "%s", err.text);
        ck_assert_uint_eq(c->copy.recipient_count, QUEUE_RECIPIENTS_MAX);
        ck_assert_uint_eq(c->copy.message.size_bytes, 7);
        for (size_t i = 0; i < QUEUE_RECIPIENTS_MAX; i++) {
            ck_assert_int_eq(c->copy.recipients[i].state, round == 0 ? QUEUE_PENDING : QUEUE_SENT);
            c->copy.recipients[i].state = QUEUE_SENT;
        }
        ck_assert_int_eq(spool_copy_mark(c, &err), 0);
        spool_copy_close(c);
    }
}
END_TEST

/* What is no directory cannot take copies; behind a symbolic link nobody would look for them. And
 * whatever is left in tmp/ must not keep splitrelay from starting. */
START_TEST(rubbish_above_the_copies_goes_to_quarantine)
{
    char **names;
    size_t count;

    put("x");
    write_file(in_spool("queue/file", ""), "x", 1);
    ck_assert_int_eq(symlink("/tmp", in_spool("queue/link", "")), 0);
    ck_assert_int_eq(symlink("/tmp", in_spool("dead/archive", "")), 0);
    ck_assert_int_eq(spool_list_destinations(s, &names, &count, &err), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(names[0], "archive");
    free(names[0]);
    free(names);
    ck_assert(!is_there(in_spool("queue/file", "")));
    ck_assert(!is_there(in_spool("queue/link", "")));
    ck_assert(!is_there(in_spool("dead/archive", "")));

    spool_close(s);
    ck_assert_int_eq(mkdir(in_spool("tmp/directory", ""), 0700), 0);
    write_file(in_spool("tmp/directory/file", ""), "x", 1);
    ck_assert_int_eq(symlink("/tmp", in_spool("tmp/link", "")), 0);
    s = spool_open(dir, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert(!is_there(in_spool("tmp/directory", "")));
    ck_assert(!is_there(in_spool("tmp/link", "")));
    ck_assert(is_there("/tmp"));
}
END_TEST

START_TEST(rubbish_goes_to_quarantine)
{
    struct spool_due *list;
    char **names, id[QUEUE_ID_SIZE], long_name[252];
    struct spool_scan *scan;
    size_t count;

    put("x");
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    write_file(in_spool("queue/Rubbish", ""), "x", 1);
    write_file(in_spool("queue/archive/rubbish", ""), "x", 1);
    write_file(in_spool("queue/archive/1700000041", ""), "x", 1);
    ck_assert_int_eq(mkdir(in_spool("queue/archive/1700000040/a.b", ""), 0700), 0);
    write_file(in_spool("queue/archive/1700000040/", long_name), "x", 1);

    ck_assert_int_eq(spool_list_destinations(s, &names, &count, &err), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(names[0], "archive");
    free(names[0]);
    free(names);
    ck_assert_int_eq(spool_list_due(s, "archive", &list, &count, &err), 0);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(spool_scan_open(s, "archive", &list[1], &scan, &err), SPOOL_INVALID);
    ck_assert_int_eq(spool_scan_open(s, "archive", &list[0], &scan, &err), SPOOL_OK);
    ck_assert_int_eq(spool_scan_next(scan, id, &err), 1);
    ck_assert_str_eq(id, copies[0].id);
    ck_assert_int_eq(spool_scan_next(scan, id, &err), 0);
    spool_scan_close(scan);
    free(list);
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 4); /* and a directory */
    ck_assert_uint_eq(spool_unit_count(dir, "queue"), 1);
    ck_assert_int_eq(spool_list_due(s, "none", &list, &count, &err), 0);
    ck_assert_uint_eq(count, 0);
    free(list);
    ck_assert_int_eq(spool_scan_open(s, "archive", &(struct spool_due){1, 0}, &scan, &err),
                     SPOOL_GONE);
}
END_TEST

static bool has_copy(const struct spool_due *when, const char *id)
{
    struct spool_place place = spool_place_queue("archive", when);

    return spool_place_has(s, &place, id);
}

START_TEST(a_directory_of_deferred_copies_is_renamed)
{
    struct spool_due to = {1700000000, 1}, next = {1700000000, 1};
    struct spool_due other = {1700009999, 0};
    const char *id = put("x");

    ck_assert_int_eq(spool_rename_due(s, "archive", &due, &to, &err), SPOOL_OK);
    ck_assert_uint_eq(to.number, 1);
    ck_assert(is_there(in_spool("queue/archive/1700000000.1/", id)));
    ck_assert_int_eq(spool_rename_due(s, "archive", &due, &next, &err), SPOOL_GONE);
    put("y");
    ck_assert_int_eq(spool_rename_due(s, "archive", &due, &next, &err), SPOOL_OK);
    ck_assert_uint_eq(next.number, 2);
    id = copies[0].id;
    ck_assert(has_copy(&next, id));
    ck_assert(!has_copy(&to, id));
    ck_assert_int_eq(spool_move_id(s, "archive", &to, &next, id, &err), SPOOL_GONE);
    ck_assert_int_eq(spool_move_id(s, "archive", &next, &other, id, &err), SPOOL_OK);
    ck_assert(has_copy(&other, id));
}
END_TEST

START_TEST(a_walk_sees_all_and_changes_nothing)
{
    struct spool_due later = {1700003600, 0};
    struct spool_entry e;
    struct spool_copy *c;
    char seen[8][160];
    size_t count = 0;

    struct spool_put *p = begin(2);
    data(p, "content", 7);
    commit(p);
    ck_assert_int_eq(open_copy(copies[0].id, &c), SPOOL_OK);
    ck_assert_int_eq(spool_copy_move(s, c, &later, &err), 0);
    spool_copy_close(c);
    p = begin(2);
    copies[0].is_dead = true;
    commit(p);
    write_file(in_spool("queue/archive/1700003600/rubbish", ""), "x", 1);
    write_file(in_spool("queue/archive/rubbish", ""), "x", 1);
    write_file(in_spool("queue/Rubbish", ""), "x", 1);
    write_file(in_spool("dead/archive/a.b", ""), "x", 1);
    ck_assert_int_eq(mkdir(in_spool("queue/archive/1700000099", ""), 0700), 0);

    struct spool_walk *w = spool_walk_open(dir, NULL, &err);
    ck_assert_ptr_nonnull(w);
    while (spool_walk_next(w, &e, &err) == 1) {
        ck_assert_uint_lt(count, UNIT_COUNT(seen));
        snprintf(seen[count++], sizeof seen[0], "%s %s %lld %s %s", spool_base_name(e.base),
                 e.destination, (long long)e.due, e.message == NULL ? "-" : e.recipients[0].address,
                 e.problem);
        if (e.message != NULL)
            ck_assert_str_eq(e.problem, "");
    }
    spool_walk_close(w);
    ck_assert_uint_eq(count, 6);
    if (strstr(seen[0], "a@b.test") == NULL) { /* no order within a directory */
        char other[160];
        strcpy(other, seen[0]);
        strcpy(seen[0], seen[1]);
        strcpy(seen[1], other);
    }
    ck_assert_str_eq(seen[0], "queue archive 1700003600 a@b.test ");
    ck_assert_str_eq(seen[1], "queue archive 1700003600 - the head has no end");
    ck_assert_str_eq(seen[2], "queue backup 1700000040 a@b.test ");
    ck_assert_str_eq(seen[3], "queue backup 1700000040 a@b.test ");
    ck_assert_int_eq(strncmp(seen[4], "dead archive 0 ", 15), 0);
    ck_assert_int_eq(strncmp(seen[5], "dead archive 0 ", 15), 0);
    ck_assert_uint_eq(spool_unit_count(dir, "quarantine"), 0);

    w = spool_walk_open(dir, "backup", &err);
    for (count = 0; spool_walk_next(w, &e, &err) == 1; count++)
        ck_assert_str_eq(e.destination, "backup");
    ck_assert_uint_eq(count, 2);
    spool_walk_close(w);
}
END_TEST

/* What goes away between two steps of a walk is skipped. */
START_TEST(a_walk_survives_what_vanishes)
{
    struct spool_entry e;

    for (int i = 0; i < 3; i++)
        commit(begin(2));
    struct spool_walk *w = spool_walk_open(dir, NULL, &err);
    ck_assert_int_eq(spool_walk_next(w, &e, &err), 1);
    ck_assert_str_eq(e.destination, "archive");
    spool_unit_remove(in_spool("queue", ""));
    ck_assert_int_eq(spool_walk_next(w, &e, &err), 0);
    ck_assert_int_eq(spool_walk_next(w, &e, &err), 0);
    spool_walk_close(w);

    w = spool_walk_open(dir, NULL, &err); /* no queue directory at all */
    ck_assert_ptr_nonnull(w);
    ck_assert_int_eq(spool_walk_next(w, &e, &err), 0);
    spool_walk_close(w);
    ck_assert_ptr_null(spool_walk_open("/nonexistent/spool", NULL, &err));
    ck_assert_ptr_null(spool_walk_open(dir, "../x", &err));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("spool");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, names_of_times);
    tcase_add_test(tests, directories_are_private_and_tmp_is_emptied);
    tcase_add_test(tests, a_second_process_is_kept_out);
    tcase_add_test(tests, what_cannot_be_opened_is_said);
    tcase_add_loop_test(tests, contents_of_all_sizes, 0, 11);
    tcase_add_test(tests, an_aborted_message_leaves_nothing);
    tcase_add_test(tests, copies_are_links_to_one_file);
    tcase_add_test(tests, ids_increase);
    tcase_add_test(tests, a_taken_name_is_never_overwritten);
    tcase_add_test(tests, a_removed_directory_is_made_again);
    tcase_add_test(tests, a_failed_commit_leaves_nothing);
    tcase_add_test(tests, who_is_sent_at_commit_gets_nothing);
    tcase_add_test(tests, a_message_without_any_copy_left_is_nothing);
    tcase_add_test(tests, room_is_what_is_free);
    tcase_add_test(tests, marks_and_moves);
    tcase_add_test(tests, a_copy_that_is_gone_is_no_fault);
    tcase_add_test(tests, what_is_no_copy_is_invalid);
    tcase_add_test(tests, a_head_of_many_recipients);
    tcase_add_test(tests, rubbish_above_the_copies_goes_to_quarantine);
    tcase_add_test(tests, rubbish_goes_to_quarantine);
    tcase_add_test(tests, a_directory_of_deferred_copies_is_renamed);
    tcase_add_test(tests, a_walk_sees_all_and_changes_nothing);
    tcase_add_test(tests, a_walk_survives_what_vanishes);
    return unit_run("spool", tests);
}
