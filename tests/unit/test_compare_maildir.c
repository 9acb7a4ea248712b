/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "base/mem.h"
#include "ctl/compare/compare_maildir.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char top[] = "/tmp/test_compare.XXXXXX";

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

/* Each test begins in an empty directory, which is the working directory. */
static void setup(void)
{
    strcpy(top + strlen(top) - 6, "XXXXXX");
    ck_assert(mkdtemp(top) != NULL && chdir(top) == 0);
}

static void teardown(void)
{
    ck_assert(chdir("/") == 0 && nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static void make_maildir(const char *path)
{
    static const char *const folders[] = {"", "/cur", "/new", "/tmp"};

    for (size_t i = 0; i < UNIT_COUNT(folders); i++) {
        char *folder = mem_printf("%s%s", path, folders[i]);
        ck_assert(mkdir(folder, 0700) == 0 || errno == EEXIST);
        free(folder);
    }
}

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    ck_assert_msg(fd != -1, "%s", path);
    close(fd);
}

struct seen {
    unsigned opened, gone, others;
    char names[1000];                    /* " FOLDER/NAME" of each that was opened */
    void (*between)(const char *folder); /* called once, before the first file of a folder */
    unsigned called;                     /* bits: new, cur */
    bool moves_first;                    /* have the first file moved before the second is taken */
};

static bool take(void *ctx, const struct compare_file *f)
{
    struct seen *s = ctx;
    const bool is_new = strcmp(f->folder_path + strlen(f->folder_path) - 3, "new") == 0;
    struct stat st;
    int fd;

    if (s->between != NULL && (s->called & (is_new ? 1U : 2U)) == 0) {
        s->called |= is_new ? 1U : 2U;
        s->between(is_new ? "new" : "cur");
    }
    if (s->moves_first && s->opened == 1) {
        s->moves_first = false;
        ck_assert_msg(rename(s->names + 1, "mail/cur/moved") == 0, "%s", s->names);
    }
    switch (compare_maildir_open(f, &fd, &st)) {
    case COMPARE_OPENED:
        close(fd);
        s->opened++;
        snprintf(s->names + strlen(s->names), sizeof s->names - strlen(s->names), " %s/%s",
                 f->folder_path, f->name);
        return true;
    case COMPARE_GONE:
        s->gone++;
        return false;
    case COMPARE_NO_FILE:
    case COMPARE_UNREADABLE:
        break;
    }
    s->others++;
    return true;
}

static int walk(struct compare_walk *w, struct seen *s, struct err *err)
{
    err_clear(err);
    w->take = take;
    w->ctx = s;
    return compare_maildir_walk(w, err);
}

START_TEST(all_maildirs_below_are_walked)
{
    struct compare_walk w = {.path = "mail/"};
    struct seen s = {0};
    struct err err;

    make_maildir("mail");
    make_maildir("mail/.Spam");
    ck_assert(mkdir("mail/more", 0700) == 0);
    make_maildir("mail/more/one");
    make_maildir("mail/more/one/two");
    make_file("mail/new/a");
    make_file("mail/cur/b");
    make_file("mail/tmp/no");
    make_file("mail/new/.no");
    make_file("mail/no");
    make_file("mail/more/no");
    make_file("mail/.Spam/cur/c");
    make_file("mail/more/one/two/new/d");
    ck_assert_msg(walk(&w, &s, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(w.maildir_count, 4);
    ck_assert_uint_eq(s.opened, 4);
    ck_assert(strstr(s.names, " mail/new/a") != NULL && strstr(s.names, " mail/cur/b") != NULL &&
              strstr(s.names, " mail/.Spam/cur/c") != NULL &&
              strstr(s.names, " mail/more/one/two/new/d") != NULL);
}
END_TEST

START_TEST(what_is_no_file_is_not_opened)
{
    struct compare_walk w = {.path = "mail"};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "mail/new/socket"};
    struct seen s = {0};
    struct err err;

    make_maildir("mail");
    make_maildir("elsewhere");
    make_file("elsewhere/new/secret");
    ck_assert(mkfifo("mail/new/fifo", 0600) == 0);
    ck_assert(mkdir("mail/new/directory", 0700) == 0);
    ck_assert(symlink("../../elsewhere/new/secret", "mail/new/link") == 0);
    ck_assert(symlink("../elsewhere", "mail/linked") == 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    close(fd);
    ck_assert_msg(walk(&w, &s, &err) == 0, "%s", err.text);
    ck_assert_msg(s.opened == 0 && s.gone == 0, "%s", s.names);
    ck_assert_uint_eq(w.maildir_count, 1);
    /* The path itself may be a link. */
    ck_assert(symlink("elsewhere", "start") == 0);
    w.path = "start";
    ck_assert(walk(&w, &s, &err) == 0 && s.opened == 1);
}
END_TEST

/* The same where the file system does not say what its entries are. */
START_TEST(what_is_no_file_is_not_opened_by_its_name)
{
    static const char *const names[] = {"fifo", "link", "directory", "missing", "file"};
    static const enum compare_open expected[] = {COMPARE_NO_FILE, COMPARE_NO_FILE, COMPARE_NO_FILE,
                                                 COMPARE_GONE, COMPARE_OPENED};
    struct stat st;
    int fd;

    ck_assert(mkfifo("fifo", 0600) == 0 && mkdir("directory", 0700) == 0);
    make_file("file");
    ck_assert(symlink("file", "link") == 0);
    int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        const struct compare_file f = {folder, ".", names[i], 0};
        enum compare_open opened = compare_maildir_open(&f, &fd, &st);
        ck_assert_msg(opened == expected[i], "%s", names[i]);
        if (opened == COMPARE_OPENED)
            close(fd);
    }
    close(folder);
}
END_TEST

/* What a mail reader does to all files while the first one is looked at. */
static void read_mail(const char *folder)
{
    char from[64], to[64];

    for (int i = 0; i < 5; i++) {
        snprintf(from, sizeof from, "mail/%s/%d%s", folder, i,
                 strcmp(folder, "new") == 0 ? "" : ":2,");
        snprintf(to, sizeof to, "mail/cur/%d:2,%s", i, strcmp(folder, "new") == 0 ? "" : "S");
        ck_assert_msg(rename(from, to) == 0, "%s", from);
    }
}

/* Each file is taken once, although all are renamed twice. */
START_TEST(renamed_files_are_found)
{
    struct compare_walk w = {.path = "mail"};
    struct seen s = {.between = read_mail};
    struct err err;

    make_maildir("mail");
    for (int i = 0; i < 5; i++) {
        char path[64];
        snprintf(path, sizeof path, "mail/new/%d", i);
        make_file(path);
    }
    ck_assert_msg(walk(&w, &s, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(s.opened, 5);
    ck_assert_uint_gt(s.gone, 5);
}
END_TEST

/* A file that was read in new and is moved to cur before cur is listed is not taken again. */
START_TEST(moved_files_are_taken_once)
{
    struct compare_walk w = {.path = "mail"};
    struct seen s = {.moves_first = true};
    struct err err;

    make_maildir("mail");
    make_file("mail/new/a");
    make_file("mail/new/b");
    ck_assert(walk(&w, &s, &err) == 0);
    ck_assert(!s.moves_first && access("mail/cur/moved", F_OK) == 0);
    ck_assert_uint_eq(s.opened, 2);
}
END_TEST

static const struct {
    const char *pattern, *base;
    const char *inside[5], *outside[5]; /* Maildirs below `top` */
} templates[] = {
    {"/%d", "", {"a.test", "b.test", "b.test/.Spam"}, {"sub/a.test"}},
    {"/old-%d/mail", "", {"old-a.test/mail"}, {"old-a.test", "new-a.test/mail", "old-a.test/x"}},
    {"/%d/{%Y-%m}",
     "",
     {"a.test/2026-11", "b.test/2026-12", "b.test/2026-12/.Spam"},
     {"a.test", "a.test/x"}},
};

/* Maildirs count if the template can make their path, and those in them. */
START_TEST(templates_select)
{
    char *base = mem_printf("%s%s", top, templates[_i].base);
    char *pattern = mem_printf("%s%s", top, templates[_i].pattern);
    struct compare_walk w = {.path = base, .pattern = pattern};
    struct seen s = {0};
    struct err err;
    unsigned count = 0;

    for (int outside = 0; outside < 2; outside++) {
        const char *const *paths = outside != 0 ? templates[_i].outside : templates[_i].inside;
        for (; *paths != NULL; paths++) {
            char *path = mem_strdup(*paths);
            for (char *slash = path; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
                *slash = '\0';
                ck_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
            }
            make_maildir(path);
            char *file = mem_printf("%s/new/%s", path, outside != 0 ? "outside" : "inside");
            make_file(file);
            count += outside == 0;
            free(file);
            free(path);
        }
    }
    ck_assert_msg(walk(&w, &s, &err) == 0, "%s", err.text);
    ck_assert_msg(s.opened == count && strstr(s.names, "outside") == NULL, "%s", s.names);
    free(base);
    free(pattern);
}
END_TEST

static void fails(struct compare_walk *w, const char *why)
{
    struct seen s = {0};
    struct err err;

    ck_assert(walk(w, &s, &err) == -1);
    ck_assert_msg(strstr(err.text, why) != NULL, "%s", err.text);
}

START_TEST(failures_have_a_reason)
{
    struct compare_walk w = {.path = "missing"};

    fails(&w, "missing: No such file or directory");
    make_file("file");
    w.path = "file";
    fails(&w, "file: Not a directory");
    ck_assert(mkdir("empty", 0700) == 0 && mkdir("empty/new", 0700) == 0);
    w.path = "empty";
    fails(&w, "empty: there is no Maildir");
    /* a Maildir without cur; one whose new is a link */
    ck_assert(symlink("new", "empty/cur") == 0);
    fails(&w, "empty: there is no Maildir");
    if (geteuid() == 0)
        return;
    make_maildir("mail");
    w.path = "mail";
    ck_assert(chmod("mail/cur", 0) == 0);
    fails(&w, "mail/cur: Permission denied");
    ck_assert(chmod("mail/cur", 0700) == 0);
}
END_TEST

START_TEST(depth_has_a_limit)
{
    struct compare_walk w = {.path = "deep"};
    struct buf path = {0};
    struct seen s = {0};
    struct err err;

    buf_adds(&path, "deep");
    ck_assert(mkdir("deep", 0700) == 0);
    for (int i = 0; i < COMPARE_DEPTH_MAX - 2; i++) {
        buf_adds(&path, "/d");
        ck_assert(mkdir(buf_str(&path), 0700) == 0);
    }
    buf_adds(&path, "/mail");
    make_maildir(buf_str(&path));
    ck_assert_msg(walk(&w, &s, &err) == 0, "%s", err.text);
    for (int i = 0; i < 2; i++) {
        buf_adds(&path, "/d");
        ck_assert(mkdir(buf_str(&path), 0700) == 0);
    }
    fails(&w, "more than 16 levels");
    buf_clear(&path);
}
END_TEST

START_TEST(a_maildir_is_on_one_side_only)
{
    struct trace_keys own = {0};
    struct compare_walk a = {.path = "a", .own = &own}, b = {.path = "b", .other = &own};
    struct seen s = {0};
    struct err err;

    make_maildir("a");
    make_maildir("b");
    make_maildir("b/.Spam");
    ck_assert(walk(&a, &s, &err) == 0 && walk(&b, &s, &err) == 0 && !b.has_other);
    trace_keys_clear(&own);
    a.path = "b/.Spam";
    ck_assert(walk(&a, &s, &err) == 0);
    fails(&b, "b/.Spam: this Maildir belongs to both sides");
    ck_assert(b.has_other);
    trace_keys_clear(&own);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("compare_maildir");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, all_maildirs_below_are_walked);
    tcase_add_test(tests, what_is_no_file_is_not_opened);
    tcase_add_test(tests, what_is_no_file_is_not_opened_by_its_name);
    tcase_add_test(tests, renamed_files_are_found);
    tcase_add_test(tests, moved_files_are_taken_once);
    tcase_add_loop_test(tests, templates_select, 0, (int)UNIT_COUNT(templates));
    tcase_add_test(tests, failures_have_a_reason);
    tcase_add_test(tests, depth_has_a_limit);
    tcase_add_test(tests, a_maildir_is_on_one_side_only);
    return unit_run("compare_maildir", tests);
}
