/* SPDX-License-Identifier: ISC */
#include "base/fdio.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { BIG = 300000 }; /* more than a pipe and a chunk hold */

static char big[BIG];

static int file_with(const char *text)
{
    char path[] = "/tmp/test_fdio.XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(fdio_write_all(fd, text, strlen(text)), 0);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void *write_big(void *fd)
{
    bool is_written = fdio_write_all(*(int *)fd, big, sizeof big) == 0;

    close(*(int *)fd);
    return is_written ? fd : NULL;
}

/* A pipe transfers only a part of the data with each call. */
START_TEST(parts_are_put_together)
{
    static char got[BIG + 1];
    pthread_t thread;
    int fds[2];
    void *is_written;

    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31 >> 3);
    ck_assert_int_eq(pipe(fds), 0);
    pthread_create(&thread, NULL, write_big, &fds[1]);
    ck_assert_int_eq(fdio_read_full(fds[0], got, sizeof got), BIG);
    pthread_join(thread, &is_written);
    ck_assert_ptr_nonnull(is_written);
    ck_assert_int_eq(memcmp(got, big, sizeof big), 0);
    ck_assert_int_eq(fdio_read_full(fds[0], got, 1), 0);
    close(fds[0]);
}
END_TEST

START_TEST(faults_of_writes_are_reported)
{
    int fds[2];

    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(fdio_write_all(fds[1], "", 0), 0);
    close(fds[0]);
    ck_assert_int_eq(fdio_write_all(fds[1], "x", 1), -1);
    ck_assert_int_eq(errno, EPIPE);
    close(fds[1]);
    int fd = open("/dev/full", O_WRONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fdio_write_all(fd, "x", 1), -1);
    ck_assert_int_eq(errno, ENOSPC);
    close(fd);
}
END_TEST

START_TEST(reads_are_full_or_end_at_the_end)
{
    char text[8] = "";
    int fd = file_with("abcdef");

    ck_assert_int_eq(fdio_read_full(fd, text, 4), 4);
    ck_assert_mem_eq(text, "abcd", 4);
    ck_assert_int_eq(fdio_read_full(fd, text, sizeof text), 2);
    ck_assert_mem_eq(text, "ef", 2);
    ck_assert_int_eq(fdio_pread_full(fd, text, 3, 1), 3);
    ck_assert_mem_eq(text, "bcd", 3);
    ck_assert_int_eq(fdio_pread_full(fd, text, 3, 5), 1);
    ck_assert_int_eq(fdio_pread_full(fd, text, 3, 6), 0);
    close(fd);
    ck_assert_int_eq(fdio_read_full(-1, text, 1), -1);
    ck_assert_int_eq(errno, EBADF);
    ck_assert_int_eq(fdio_pread_full(-1, text, 1, 0), -1);
    ck_assert_int_eq(errno, EBADF);
}
END_TEST

START_TEST(the_rest_is_read_up_to_a_limit)
{
    struct buf out = {0};
    int fd = file_with("abcdef");

    buf_adds(&out, "before ");
    ck_assert_int_eq(fdio_read_rest(fd, &out, 6), 0);
    ck_assert_str_eq(out.data, "before abcdef");
    ck_assert_int_eq(fdio_read_rest(fd, &out, 0), 0);
    ck_assert_str_eq(out.data, "before abcdef");
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ck_assert_int_eq(fdio_read_rest(fd, &out, 5), 1);
    close(fd);
    buf_reset(&out);
    ck_assert_int_eq(fdio_read_rest(-1, &out, 5), -1);
    ck_assert_int_eq(errno, EBADF);
    ck_assert_str_eq(out.data, "");
    buf_clear(&out);
}
END_TEST

START_TEST(a_descriptor_becomes_nonblocking)
{
    char c;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(fdio_set_nonblocking(fds[0]), 0);
    ck_assert_int_eq(fdio_set_nonblocking(fds[0]), 0);
    ck_assert_int_eq(read(fds[0], &c, 1), -1);
    ck_assert_int_eq(errno, EAGAIN);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(fdio_set_nonblocking(-1), -1);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("fdio");

    tcase_add_test(tests, parts_are_put_together);
    tcase_add_test(tests, faults_of_writes_are_reported);
    tcase_add_test(tests, reads_are_full_or_end_at_the_end);
    tcase_add_test(tests, the_rest_is_read_up_to_a_limit);
    tcase_add_test(tests, a_descriptor_becomes_nonblocking);
    return unit_run("fdio", tests);
}
