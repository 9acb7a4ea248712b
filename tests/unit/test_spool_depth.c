/* SPDX-License-Identifier: ISC */
#include "queue/spool_depth.h"
#include "queue/spool_queue.h"
#include "spool_unit.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define NOW 1700000000

static char dir[64];
static int root_fd;
static struct spool_depth *depth;
static struct queue_depths found;

static void set_up(void)
{
    strcpy(dir, "/tmp/split-spool-depth-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(root_fd, 0);
    depth = spool_depth_new();
    memset(&found, 0, sizeof found);
}

static void tear_down(void)
{
    free(found.items);
    spool_depth_free(depth);
    close(root_fd);
    spool_unit_remove(dir);
}

/* Every directory of the path but the last name. */
static void make_directories(const char *path)
{
    char part[256];

    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        ck_assert(mkdirat(root_fd, part, 0700) == 0 || errno == EEXIST);
    }
}

static void make(const char *path, size_t size, time_t when)
{
    const struct timespec times[] = {{when, 0}, {when, 0}};

    make_directories(path);
    int fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    ck_assert_int_eq(futimens(fd, times), 0);
    close(fd);
}

static void read_all(void)
{
    struct err err = {""};

    free(found.items);
    int rc = spool_depth_read(depth, root_fd, NOW, NULL, &found, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
}

static void check(const struct queue_amount *a, uint64_t copies, uint64_t bytes, time_t oldest)
{
    ck_assert_uint_eq(a->copies, copies);
    ck_assert_uint_eq(a->bytes, bytes);
    ck_assert_int_eq(a->oldest, oldest);
}

START_TEST(nothing_is_there)
{
    read_all();
    ck_assert_uint_eq(found.count, 0);
    check(&found.quarantine, 0, 0, 0);
}
END_TEST

START_TEST(places_are_told_apart)
{
    make("queue/archive/1699999980/A1", 100, NOW - 30);
    make("queue/archive/1700000000/A2", 10, NOW - 90);
    make("queue/archive/1700000001/A3", 1, NOW - 5);
    make("hold/archive/A4", 7, NOW - 500);
    make("dead/newmail/A5", 8, NOW - 600);
    make("dead/newmail/A6", 8, NOW - 700);
    make("queue/empty/x", 0, NOW);
    ck_assert_int_eq(unlinkat(root_fd, "queue/empty/x", 0), 0);
    make("quarantine/a b", 9, NOW - 800);
    /* not counted: no copies, or where none can be */
    make("queue/archive/1700000000/a.b", 1, NOW);
    make("queue/archive/yesterday/A7", 1, NOW);
    make("queue/archive/file", 1, NOW);
    make("queue/Archive/1700000000/A8", 1, NOW);
    make("tmp/A9", 1, NOW);
    read_all();
    ck_assert_uint_eq(found.count, 3);
    ck_assert_str_eq(found.items[0].destination, "archive");
    check(&found.items[0].due, 2, 110, NOW - 90);
    check(&found.items[0].deferred, 1, 1, NOW - 5);
    check(&found.items[0].held, 1, 7, NOW - 500);
    check(&found.items[0].dead, 0, 0, 0);
    ck_assert_str_eq(found.items[1].destination, "empty");
    check(&found.items[1].due, 0, 0, 0);
    ck_assert_str_eq(found.items[2].destination, "newmail");
    check(&found.items[2].dead, 2, 16, NOW - 700);
    check(&found.quarantine, 1, 9, NOW - 800);
}
END_TEST

/* The time that the directory says it was changed at. */
static void set_changed(const char *path, time_t when)
{
    const struct timespec times[] = {{when, 0}, {when, 0}};

    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(only_what_changed_is_read_again)
{
    char path[128];
    time_t long_ago = time(NULL) - 1000;

    snprintf(path, sizeof path, "%s/dead/archive", dir);
    make("dead/archive/A1", 5, NOW);
    make("hold/archive/B1", 5, NOW);
    set_changed(path, long_ago);
    read_all();
    check(&found.items[0].dead, 1, 5, NOW);
    /* hidden by the time that we set; a fresh directory is always read */
    make("dead/archive/A2", 5, NOW);
    set_changed(path, long_ago);
    make("hold/archive/B2", 5, NOW);
    read_all();
    check(&found.items[0].dead, 1, 5, NOW);
    check(&found.items[0].held, 2, 10, NOW);
    set_changed(path, long_ago + 1);
    read_all();
    check(&found.items[0].dead, 2, 10, NOW);
    ck_assert_int_eq(unlinkat(root_fd, "dead/archive/A1", 0), 0);
    ck_assert_int_eq(unlinkat(root_fd, "dead/archive/A2", 0), 0);
    ck_assert_int_eq(unlinkat(root_fd, "dead/archive", AT_REMOVEDIR), 0);
    read_all();
    check(&found.items[0].dead, 0, 0, 0);
}
END_TEST

START_TEST(it_can_be_stopped)
{
    atomic_bool stop = true;
    struct err err = {""};

    make("dead/archive/A1", 5, NOW);
    ck_assert_int_eq(spool_depth_read(depth, root_fd, NOW, &stop, &found, &err), -1);
    ck_assert_str_eq(err.text, "stopped");
}
END_TEST

/* An id tells when its message arrived, whatever became of the file since. */
START_TEST(the_queue_counts_itself)
{
    struct spool_queue_options options = {.directory = dir};
    struct queue_message m = spool_unit_message();
    struct queue_recipient r = spool_unit_recipient("a@b.test");
    struct queue_new_copy copy = {.destination = "archive", .recipients = &r, .recipient_count = 1};
    struct queue_put *p;
    struct err err = {""};
    time_t before = time(NULL);

    struct queue *q = spool_queue_open(&options, &err);
    ck_assert_msg(q != NULL, "%s", err.text);
    ck_assert_int_eq(q->ops->put_begin(q, &m, &copy, 1, &p, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_data(p, "xyz", 3, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(q->ops->put_commit(p, NULL, NULL, &err), QUEUE_PUT_OK);
    ck_assert_msg(q->ops->depths(q, &found, &err) == 0, "%s", err.text);
    q->ops->close(q);
    ck_assert_uint_eq(found.count, 1);
    ck_assert_str_eq(found.items[0].destination, "archive");
    ck_assert_uint_eq(found.items[0].due.copies, 1);
    ck_assert_uint_gt(found.items[0].due.bytes, 300);
    ck_assert_int_ge(found.items[0].due.oldest, before);
    ck_assert_int_le(found.items[0].due.oldest, time(NULL));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("spool_depth");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, nothing_is_there);
    tcase_add_test(tc, places_are_told_apart);
    tcase_add_test(tc, only_what_changed_is_read_again);
    tcase_add_test(tc, it_can_be_stopped);
    tcase_add_test(tc, the_queue_counts_itself);
    return unit_run("spool_depth", tc);
}
