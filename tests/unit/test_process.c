/* SPDX-License-Identifier: ISC */
#include "base/process.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/split-process-XXXXXX";
static char path[sizeof dir + 10];

static void make_dir(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/pid", dir);
}

static void remove_dir(void)
{
    unlink(path);
    rmdir(dir);
}

/* Returns 0 if `expect` owns the lock. Checked in a child, because a process cannot query its own
 * lock. */
static int check_owner(pid_t expect)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct err err;
        _exit(process_lock_owner(path, &err) == expect ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

START_TEST(a_lock_shows_its_owner_and_dies_with_the_descriptor)
{
    struct err err = {""};
    char text[32] = "", expect[32];

    int fd = process_lock(path, &err);
    ck_assert_msg(fd >= 0, "%s", err.text);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    snprintf(expect, sizeof expect, "%ld\n", (long)getpid());
    ck_assert_int_gt(pread(fd, text, sizeof text - 1, 0), 0);
    ck_assert_str_eq(text, expect);
    ck_assert_int_eq(check_owner(getpid()), 0);
    close(fd);
    ck_assert_int_eq(check_owner(0), 0);
}
END_TEST

START_TEST(a_second_process_is_told_who_has_it)
{
    struct err err = {""};
    int status;

    int fd = process_lock(path, &err);
    ck_assert_int_ge(fd, 0);
    pid_t child = fork();
    if (child == 0) {
        char expect[300];
        snprintf(expect, sizeof expect, "%s is locked by process %ld: already running", path,
                 (long)getppid());
        _exit(process_lock(path, &err) == -1 && strcmp(err.text, expect) == 0 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    close(fd);
}
END_TEST

START_TEST(an_old_file_is_taken_over)
{
    struct err err = {""};
    char text[32] = "", expect[32];
    FILE *old = fopen(path, "w");

    ck_assert_ptr_nonnull(old);
    ck_assert_int_gt(fprintf(old, "123456789012345\nmore\n"), 0);
    ck_assert_int_eq(fclose(old), 0);
    int fd = process_lock(path, &err);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_gt(pread(fd, text, sizeof text - 1, 0), 0);
    snprintf(expect, sizeof expect, "%ld\n", (long)getpid());
    ck_assert_str_eq(text, expect);
    close(fd);
}
END_TEST

START_TEST(faults_name_the_path)
{
    struct err err = {""};

    ck_assert_int_eq(process_lock("/nonexistent/pid", &err), -1);
    ck_assert_str_eq(err.text, "cannot open /nonexistent/pid: No such file or directory");
    err_set(&err, "x");
    ck_assert_int_eq(process_lock_owner("/nonexistent/pid", &err), -1);
    ck_assert_str_eq(err.text, "cannot open /nonexistent/pid: No such file or directory");
    ck_assert_int_eq(symlink("/dev/null", path), 0);
    ck_assert_int_eq(process_lock(path, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, path));
}
END_TEST

START_TEST(readiness_reaches_the_service_manager)
{
#ifdef HAVE_SYSTEMD
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    char text[200];
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
    process_notify_ready();
    process_notify_reloading();
    process_notify_stopping();
    static const char *const expect[] = {"READY=1", "RELOADING=1\nMONOTONIC_USEC=", "STOPPING=1"};
    for (size_t i = 0; i < UNIT_COUNT(expect); i++) {
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        ck_assert_int_gt(n, 0);
        text[n] = '\0';
        ck_assert_int_eq(strncmp(text, expect[i], strlen(expect[i])), 0);
    }
    close(fd);
#endif
    ck_assert_int_eq(unsetenv("NOTIFY_SOCKET"), 0);
    errno = 0;
    process_notify_ready();
    process_notify_reloading();
    process_notify_stopping();
}
END_TEST

START_TEST(batch_where_nothing_else_was_chosen)
{
    static const struct sched_param none;

    ck_assert_int_eq(sched_setscheduler(0, SCHED_OTHER, &none), 0);
    process_prefer_batch();
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    ck_assert_int_eq(sched_setscheduler(0, SCHED_IDLE, &none), 0);
    process_prefer_batch();
    ck_assert_int_eq(sched_getscheduler(0), SCHED_IDLE);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("process");

    tcase_add_checked_fixture(tests, make_dir, remove_dir);
    tcase_add_test(tests, batch_where_nothing_else_was_chosen);
    tcase_add_test(tests, a_lock_shows_its_owner_and_dies_with_the_descriptor);
    tcase_add_test(tests, a_second_process_is_told_who_has_it);
    tcase_add_test(tests, an_old_file_is_taken_over);
    tcase_add_test(tests, faults_name_the_path);
    tcase_add_test(tests, readiness_reaches_the_service_manager);
    return unit_run("process", tests);
}
