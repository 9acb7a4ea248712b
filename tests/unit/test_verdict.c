/* SPDX-License-Identifier: ISC */
#include "base/verdict.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/split-verdict-XXXXXX";
static char lock[sizeof dir + 10], path[sizeof dir + 20];

static void make_dir(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(lock, sizeof lock, "%s/pid", dir);
    snprintf(path, sizeof path, "%s/pid.reload", dir);
}

static void remove_dir(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else was left behind */
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
}

static const struct {
    enum verdict_outcome outcome;
    const char *text, *read;
} verdicts[] = {{VERDICT_STARTED, "", ""},
                {VERDICT_RELOADED, "", ""},
                {VERDICT_RESTART, "relay.listen, relay.metrics", "relay.listen, relay.metrics"},
                {VERDICT_FAILED, "/etc/x:3: a\nb \x1b[31m \xff", "/etc/x:3: a?b ?[31m ?"}};

START_TEST(it_reads_as_it_was_written)
{
    struct verdict v;
    struct err err = {""};
    struct stat st;
    time_t begin = time(NULL);

    verdict_write(lock, 17, VERDICT_FAILED, "what was before");
    verdict_write(lock, 4711, verdicts[_i].outcome, verdicts[_i].text);
    ck_assert_msg(verdict_read(lock, &v, &err) == 0, "%s", err.text);
    ck_assert_int_eq(v.pid, getpid());
    ck_assert_int_eq(v.begun_us, 4711);
    ck_assert(v.at >= begin && v.at <= time(NULL));
    ck_assert_int_eq(v.outcome, verdicts[_i].outcome);
    ck_assert_str_eq(v.text.text, verdicts[_i].read);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 022, 0);
}
END_TEST

START_TEST(the_longest_text)
{
    char text[3000];
    struct verdict v;
    struct err err = {""};

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    verdict_write(lock, INT64_MAX, VERDICT_FAILED, text);
    ck_assert_msg(verdict_read(lock, &v, &err) == 0, "%s", err.text);
    ck_assert_int_eq(v.begun_us, INT64_MAX);
    ck_assert_uint_eq(strlen(v.text.text), sizeof v.text.text - 1);
}
END_TEST

static const char *const damaged[] = {"",
                                      "\n",
                                      "splitmilter-verdict 1",
                                      "splitmilter-verdict 1 1 2 3",
                                      "splitmilter-verdict 2 1 2 3 failed x",
                                      "splitmilter-verdict 1 a 2 3 failed x",
                                      "splitmilter-verdict 1 1 2 3 unknown x",
                                      "splitmilter-verdict 1 1 2 3 failedfailedfailedfailed x"};

START_TEST(what_is_damaged_is_none)
{
    struct verdict v;
    struct err err = {""};
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(damaged[_i], f);
    fclose(f);
    ck_assert_int_eq(verdict_read(lock, &v, &err), -1);
    ck_assert_str_ne(err.text, "");
}
END_TEST

START_TEST(none)
{
    struct verdict v;
    struct err err = {""};

    ck_assert_int_eq(verdict_read(lock, &v, &err), -1);
    ck_assert_int_eq(errno, ENOENT);
    /* a symbolic link, which another user may have made, is not followed */
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert_int_eq(verdict_read(lock, &v, &err), -1);
    verdict_write(lock, 1, VERDICT_RELOADED, "");
    ck_assert_int_eq(verdict_read(lock, &v, &err), 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("verdict");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_add_loop_test(t, it_reads_as_it_was_written, 0, sizeof verdicts / sizeof verdicts[0]);
    tcase_add_test(t, the_longest_text);
    tcase_add_loop_test(t, what_is_damaged_is_none, 0, sizeof damaged / sizeof damaged[0]);
    tcase_add_test(t, none);
    return unit_run("verdict", t);
}
