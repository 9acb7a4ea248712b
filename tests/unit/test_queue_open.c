/* SPDX-License-Identifier: ISC */
/* queue_open(): what it refuses, and what it makes of what is there. */
#include "queue/queue_id.h"
#include "queue_unit.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool has_no_space; /* for ".sync" */

/* In place of the C library's, also for the queue; which of the two is called depends on the
 * machine. */
int openat(int dir_fd, const char *path, int flags, ...);
int openat64(int dir_fd, const char *path, int flags, ...);

static int open_at(int dir_fd, const char *path, int flags, unsigned mode)
{
    if (has_no_space && strcmp(path, ".sync") == 0) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_openat, dir_fd, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    return open_at(dir_fd, path, flags, mode);
}

int openat64(int dir_fd, const char *path, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    return open_at(dir_fd, path, flags, mode);
}

static const char *path_of(const char *name)
{
    static char path[200];

    snprintf(path, sizeof path, "%s/%s", queue_unit_dir, name);
    return path;
}

static void make_file(const char *name)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void must_refuse(const char *text)
{
    struct err err = {""};

    ck_assert_ptr_null(queue_unit_try_open(&err));
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

/* The directory is made by queue_open(), for its owner alone. */
START_TEST(what_is_missing_is_made)
{
    char above[64];
    struct stat st;

    q->ops->close(q);
    strcpy(above, queue_unit_dir);
    strcat(queue_unit_dir, "/below");
    queue_unit_open();
    ck_assert_int_eq(stat(queue_unit_dir, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0700);
    ck_assert_int_eq(stat(path_of("queue.db"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    q->ops->close(q);
    strcpy(queue_unit_dir, above);
    queue_unit_open();
}
END_TEST

/* A start before may have created the directory and failed to sync its name. */
START_TEST(a_full_disk_is_borne_with_a_database_that_is_there)
{
    char above[64];

    q->ops->close(q);
    strcpy(above, queue_unit_dir);
    strcat(queue_unit_dir, "/below");
    ck_assert_int_eq(mkdir(queue_unit_dir, 0700), 0);
    has_no_space = true;
    must_refuse("cannot sync the directory above");
    has_no_space = false;
    queue_unit_open();
    q->ops->close(q);
    has_no_space = true;
    queue_unit_open();
    has_no_space = false;
    q->ops->close(q);
    strcpy(queue_unit_dir, above);
    queue_unit_open();
}
END_TEST

START_TEST(others_may_not_write_there)
{
    q->ops->close(q);
    ck_assert_int_eq(chmod(queue_unit_dir, 0730), 0);
    must_refuse("others than its owner may write there (mode 0730)");
    ck_assert_int_eq(chmod(queue_unit_dir, 0700), 0);
    queue_unit_open();
}
END_TEST

START_TEST(one_process_has_it)
{
    struct err err = {""};
    int status;

    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(queue_unit_try_open(&err) == NULL && strstr(err.text, "lock") != NULL ? 0 : 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

static const char *const old_files[] = {"queue/archive/1700000040/ID", "hold/archive/ID",
                                        "dead/archive/ID"};

/* Empty directories of version 0.1 do no harm; copies in them would be forgotten. */
START_TEST(a_spool_of_version_0_1_is_refused)
{
    char name[100];

    q->ops->close(q);
    for (char *p = strcpy(name, old_files[_i]); (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        ck_assert_int_eq(mkdir(path_of(name), 0700), 0);
    }
    queue_unit_open();
    q->ops->close(q);
    make_file(old_files[_i]);
    must_refuse("drain it with splitrelay 0.1");
    ck_assert_int_eq(unlink(path_of(old_files[_i])), 0);
    queue_unit_open();
}
END_TEST

/* After the highest id that was given out, whatever the clock says. */
START_TEST(ids_go_on)
{
    static const char *const archive[] = {"archive"};
    static const char *const future[] = {
        "UPDATE copy SET id = 5000000000000000001",
        "INSERT INTO history (copy, destination, time, sender, recipients, message_id,"
        " mta_queue_id, size, result, relay, reply, attempts) VALUES"
        " (5000000000000000001, 'a', 1700000000, '', '', '', '', 1, 'sent', '', '', 1)",
    };
    char id[1][QUEUE_ID_SIZE];
    int64_t number;

    queue_unit_put("archive", "x");
    q->ops->close(q);
    queue_unit_execute(future[_i]);
    queue_unit_open();
    queue_unit_put_to(archive, 1, "x", 1, id);
    ck_assert(queue_id_parse(id[0], &number));
    ck_assert_int_gt(number, 5000000000000000001);
}
END_TEST

/* What a crash may leave in large/: a file without a row. One that is not ours stays. */
START_TEST(large_files_without_a_row_are_removed)
{
    char name[40] = "large/";

    queue_id_format(0x330b9455c4e90000, name + strlen(name));
    make_file(name);
    make_file("large/README");
    queue_unit_reopen();
    ck_assert_int_eq(access(path_of(name), F_OK), -1);
    ck_assert_int_eq(access(path_of("large/README"), F_OK), 0);
}
END_TEST

static void damage(const char *bytes, off_t at)
{
    int fd = open(path_of("queue.db"), O_WRONLY | O_CLOEXEC);

    ck_assert_int_eq(pwrite(fd, bytes, strlen(bytes), at), (ssize_t)strlen(bytes));
    close(fd);
}

START_TEST(what_is_no_database_of_ours_is_refused)
{
    q->ops->close(q);
    damage("no database", 0);
    must_refuse("queue.db");
    ck_assert_int_eq(unlink(path_of("queue.db")), 0);
    queue_unit_open();
}
END_TEST

START_TEST(another_version_is_refused)
{
    q->ops->close(q);
    queue_unit_execute("UPDATE schema SET version = 99");
    must_refuse("version 99");
    ck_assert_int_eq(unlink(path_of("queue.db")), 0);
    queue_unit_open();
}
END_TEST

/* A page that is damaged while mail flows: nothing is taken, and nothing is sent, any more. */
START_TEST(a_damaged_database_takes_nothing)
{
    struct err err = {""};

    for (int i = 0; i < 50; i++)
        queue_unit_put("archive", "x");
    q->ops->close(q);
    off_t root =
        (queue_unit_number("SELECT rootpage FROM sqlite_master WHERE name = 'copy_due'") - 1) *
        queue_unit_number("PRAGMA page_size");
    damage("jjjjjjjjjjjjjjjj", root);
    queue_unit_open();
    ck_assert_int_eq(q->ops->has_room(q, 1, &err), QUEUE_PUT_OK);
    ck_assert_ptr_null(q->ops->next(q, "archive", 0));
    ck_assert_int_eq(q->ops->has_room(q, 1, &err), QUEUE_PUT_FAULT);
    ck_assert_msg(strstr(err.text, "queue.db is damaged") != NULL, "%s", err.text);
    ck_assert_ptr_null(q->ops->next(q, "other", 0));
}
END_TEST

static TCase *make(void)
{
    TCase *tests = queue_unit_case("queue_open");

    tcase_add_test(tests, others_may_not_write_there);
    tcase_add_test(tests, one_process_has_it);
    tcase_add_loop_test(tests, a_spool_of_version_0_1_is_refused, 0, UNIT_COUNT(old_files));
    tcase_add_loop_test(tests, ids_go_on, 0, 2);
    tcase_add_test(tests, large_files_without_a_row_are_removed);
    if (queue_unit_is_shared()) /* the others are about the file */
        return tests;
    tcase_add_test(tests, what_is_missing_is_made);
    tcase_add_test(tests, a_full_disk_is_borne_with_a_database_that_is_there);
    tcase_add_test(tests, what_is_no_database_of_ours_is_refused);
    tcase_add_test(tests, another_version_is_refused);
    tcase_add_test(tests, a_damaged_database_takes_nothing);
    return tests;
}

int main(void)
{
    return queue_unit_run("queue_open", make);
}
