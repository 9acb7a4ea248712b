/* SPDX-License-Identifier: ISC */
/* Files of large contents: what is synced when, and what each failure leaves. */
#include "queue/large.h"

#include "base/fdio.h"
#include "base/log.h"
#include "base/mem.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ID = 0x6A8C2F01, OTHER = 0x6A8C2F02 };

static char spool[64];
static struct large *large;
static struct err err;
static char synced[256]; /* last parts of the paths that were synced, each with a space */
static int fail_sync;    /* the n-th from now on fails with EIO */
static int fail_write_with;

int fdatasync(int fd);
int fsync(int fd);
ssize_t write(int fd, const void *data, size_t len);

static int sync_fd(int fd)
{
    char link[64], path[256];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    ck_assert_int_gt(n, 0);
    path[n] = '\0';
    size_t len = strlen(synced);
    snprintf(synced + len, sizeof synced - len, "%s ", strrchr(path, '/') + 1);
    errno = EIO;
    return fail_sync > 0 && --fail_sync == 0 ? -1 : 0;
}

int fdatasync(int fd)
{
    return sync_fd(fd);
}

int fsync(int fd)
{
    return sync_fd(fd);
}

ssize_t write(int fd, const void *data, size_t len)
{
    if (fail_write_with == 0)
        return syscall(SYS_write, fd, data, len);
    errno = fail_write_with;
    return -1;
}

static void set_up(void)
{
    mem_copy_string(spool, sizeof spool, "/tmp/test_large.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(spool));
    large = large_open(spool, true, &err);
    ck_assert_ptr_nonnull(large);
    synced[0] = '\0';
}

static void tear_down(void)
{
    char *command = mem_printf("rm -rf %s", spool);

    large_close(large);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

static bool is_there(const char *name)
{
    char *path = mem_printf("%s/large/%s", spool, name);
    bool is = access(path, F_OK) == 0;

    free(path);
    return is;
}

static struct large_file *begin(int64_t id, const char *data)
{
    struct large_file *f;

    ck_assert_int_eq(large_begin(large, id, &f, &err), QUEUE_PUT_OK);
    ck_assert_int_eq(large_write(f, data, strlen(data), &err), QUEUE_PUT_OK);
    return f;
}

START_TEST(a_content_and_its_name_are_synced)
{
    struct large_file *f = begin(ID, "first ");
    char data[32] = "";
    struct stat st;

    ck_assert_int_eq(large_write(f, "second", 6, &err), QUEUE_PUT_OK);
    ck_assert_str_eq(synced, "");
    ck_assert_int_eq(large_finish(f, &err), QUEUE_PUT_OK);
    ck_assert_str_eq(synced, "6A8C2F01 large ");
    large_keep(f);
    int fd = large_read(large, ID, 12, &err);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fdio_read_full(fd, data, sizeof data), 12);
    ck_assert_str_eq(data, "first second");
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    close(fd);
    large_remove(large, ID);
    ck_assert(!is_there("6A8C2F01"));
    large_remove(large, ID); /* done before a crash, and again after it */
}
END_TEST

START_TEST(a_file_that_is_dropped_is_gone)
{
    struct large_file *f = begin(ID, "text");

    ck_assert(is_there("6A8C2F01"));
    large_drop(f);
    ck_assert(!is_there("6A8C2F01"));
}
END_TEST

START_TEST(a_sync_that_fails_is_a_fault)
{
    struct large_file *f = begin(ID, "text");

    fail_sync = _i; /* of the file; of the directory */
    ck_assert_int_eq(large_finish(f, &err), QUEUE_PUT_FAULT);
    ck_assert_ptr_nonnull(strstr(err.text, "large/6A8C2F01"));
    ck_assert_ptr_nonnull(strstr(err.text, strerror(EIO)));
    large_drop(f);
    ck_assert(!is_there("6A8C2F01"));
}
END_TEST

static const struct {
    int error;
    enum queue_put_status status;
} write_errors[] = {{ENOSPC, QUEUE_PUT_FULL}, {EDQUOT, QUEUE_PUT_FULL}, {EIO, QUEUE_PUT_FAULT}};

START_TEST(a_write_that_fails_says_why)
{
    struct large_file *f = begin(ID, "text");

    fail_write_with = write_errors[_i].error;
    enum queue_put_status status = large_write(f, "more", 4, &err);
    fail_write_with = 0;
    ck_assert_int_eq(status, write_errors[_i].status);
    large_drop(f);
}
END_TEST

/* An id is never given out twice. If it were: what is there is not touched. */
START_TEST(an_existing_file_is_not_written_to)
{
    struct large_file *f = begin(ID, "text"), *again;

    ck_assert_int_eq(large_begin(large, ID, &again, &err), QUEUE_PUT_FAULT);
    ck_assert_ptr_nonnull(strstr(err.text, strerror(EEXIST)));
    large_keep(f);
    ck_assert(is_there("6A8C2F01"));
}
END_TEST

START_TEST(a_file_of_another_size_is_not_read)
{
    struct large_file *f = begin(ID, "text");

    large_keep(f);
    ck_assert_int_eq(large_read(large, ID, 5, &err), -1);
    ck_assert_int_eq(errno, EBADMSG);
    ck_assert_ptr_nonnull(strstr(err.text, "4 bytes instead of 5"));
    ck_assert_int_eq(large_read(large, OTHER, 5, &err), -1);
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

static bool is_other(void *ctx, int64_t id)
{
    ++*(int *)ctx;
    return id == OTHER;
}

START_TEST(files_without_a_row_are_removed)
{
    int asked = 0;
    char *path = mem_printf("%s/large/notes.txt", spool);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    ck_assert_int_ge(fd, 0);
    close(fd);
    large_keep(begin(ID, "text"));
    large_keep(begin(OTHER, "text"));
    ck_assert_int_eq(large_clean(large, is_other, &asked, &err), 0);
    ck_assert_int_eq(asked, 2);
    ck_assert(!is_there("6A8C2F01"));
    ck_assert(is_there("6A8C2F02"));
    ck_assert(is_there("notes.txt"));
    free(path);
}
END_TEST

/* The directory may be there because an earlier attempt failed at the sync of its name. */
START_TEST(the_directory_is_synced_at_each_start)
{
    char name[64];

    large_close(large);
    fail_sync = 1;
    large = large_open(spool, true, &err);
    ck_assert_ptr_null(large);
    synced[0] = '\0';
    large = large_open(spool, true, &err);
    ck_assert_ptr_nonnull(large);
    snprintf(name, sizeof name, "%s ", strrchr(spool, '/') + 1);
    ck_assert_str_eq(synced, name);
}
END_TEST

START_TEST(a_reader_creates_nothing)
{
    char *path = mem_printf("%s/large", spool);

    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_ptr_null(large_open(spool, false, &err));
    ck_assert_int_ne(access(path, F_OK), 0);
    free(path);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("large");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_content_and_its_name_are_synced);
    tcase_add_test(tests, a_file_that_is_dropped_is_gone);
    tcase_add_loop_test(tests, a_sync_that_fails_is_a_fault, 1, 3);
    tcase_add_loop_test(tests, a_write_that_fails_says_why, 0, UNIT_COUNT(write_errors));
    tcase_add_test(tests, an_existing_file_is_not_written_to);
    tcase_add_test(tests, a_file_of_another_size_is_not_read);
    tcase_add_test(tests, files_without_a_row_are_removed);
    tcase_add_test(tests, the_directory_is_synced_at_each_start);
    tcase_add_test(tests, a_reader_creates_nothing);
    return unit_run("large", tests);
}
