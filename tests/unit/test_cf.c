/* SPDX-License-Identifier: ISC */
/* Parameter files of Postfix's external tables. */
#include "base/buf.h"
#include "base/mem.h"
#include "table/cf.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct cf_parameter parameters[] = {
    {.name = "user", .kind = CF_TEXT},
    {.name = "dbname", .kind = CF_TEXT, .is_required = true},
    {.name = "charset", .kind = CF_TEXT, .default_value = "utf8mb4", .is_required = true},
    {.name = "password", .kind = CF_SECRET},
    {.name = "verify", .kind = CF_BOOL, .default_value = "yes"},
    {.name = "limit", .kind = CF_NUMBER, .default_value = "7", .min = 2, .max = 9},
    {.name = "large", .kind = CF_NUMBER},
    {.name = "hosts", .kind = CF_LIST, .default_value = "localhost"},
    {.name = "port", .kind = CF_IGNORED, .reason = "write it after the host"},
    {.name = "cache", .kind = CF_REFUSED, .default_value = "no", .reason = "answers are not kept"},
    {.name = NULL},
};

/* The faults of a file, each as "LINE: text\n". */
static void add_fault(void *ctx, const char *path, unsigned line, const char *text)
{
    ck_assert_str_eq(path, "FILE");
    buf_addf(ctx, "%u: %s\n", line, text);
}

static struct cf *open_text(const char *text, struct buf *found, struct err *err)
{
    struct table_faults faults = {add_fault, found};

    return cf_open_text("FILE", text, strlen(text), parameters, found == NULL ? NULL : &faults,
                        err);
}

/* What a file means: all getters, as one text. */
static const struct {
    const char *text, *meaning;
} files[] = {
    {"dbname=d",
     "user=- dbname=d charset=utf8mb4 password=- verify=1 limit=7 large=0 hosts=localhost"},
    {"# comment\n\n  \t\n  # indented\nuser = a b\ndbname =\td  \n",
     "user=a b dbname=d charset=utf8mb4 password=- verify=1 limit=7 large=0 hosts=localhost"},
    {"user =\ndbname = x = y\npassword = #p%$x\nverify = No\nlimit = 9\nlarge = 2147483647\n",
     "user= dbname=x = y charset=utf8mb4 password=#p%$x verify=0 limit=9 large=2147483647 "
     "hosts=localhost"},
    {"dbname = SELECT a\n  FROM b\n# comment\n\n\tWHERE c\nhosts = a,b ,\tc\n unix:/d\n",
     "user=- dbname=SELECT a  FROM b\tWHERE c charset=utf8mb4 password=- verify=1 limit=7 large=0 "
     "hosts=a|b|c|unix:/d"},
    {"dbname = d\nhosts =\n",
     "user=- dbname=d charset=utf8mb4 password=- verify=1 limit=7 large=0 hosts="},
    {"dbname = d\ncache = no\n",
     "user=- dbname=d charset=utf8mb4 password=- verify=1 limit=7 large=0 hosts=localhost"},
    {"dbname = d\r\nuser = u\r\n",
     "user=u dbname=d charset=utf8mb4 password=- verify=1 limit=7 large=0 hosts=localhost"},
};

static void add_text(struct buf *out, const struct cf *cf, const char *name)
{
    const char *text = cf_text(cf, name);

    buf_addf(out, "%s%s=%s", out->len == 0 ? "" : " ", name, text == NULL ? "-" : text);
}

START_TEST(the_getters_return_values_and_defaults)
{
    struct err err;
    struct buf meaning = {0};
    const char *const *words;
    struct cf *cf = open_text(files[_i].text, NULL, &err);

    ck_assert_msg(cf != NULL, "%s", err.text);
    add_text(&meaning, cf, "user");
    add_text(&meaning, cf, "dbname");
    add_text(&meaning, cf, "charset");
    add_text(&meaning, cf, "password");
    buf_addf(&meaning, " verify=%d limit=%ld large=%ld hosts=", cf_bool(cf, "verify"),
             cf_number(cf, "limit"), cf_number(cf, "large"));
    size_t count = cf_list(cf, "hosts", &words);
    for (size_t i = 0; i < count; i++)
        buf_addf(&meaning, "%s%s", i == 0 ? "" : "|", words[i]);
    ck_assert_str_eq(buf_str(&meaning), files[_i].meaning);
    buf_clear(&meaning);
    cf_close(cf);
}
END_TEST

#define SECRET "hunter2"
#define KNOWN "user, dbname, charset, password, verify, limit, large, hosts"

static const struct {
    const char *text, *reason;
} bad[] = {
    {"", "FILE: dbname is missing"},
    {"user = u\ndbname =\n", "FILE:2: dbname is empty"},
    {"dbname = d\ncharset =\n", "FILE:2: charset is empty"},
    {"dbname = d\nhostss = x\n", "FILE:2: unknown parameter \"hostss\", known are: " KNOWN},
    {"dbname = d\npassword\n", "FILE:2: expected NAME = VALUE"},
    {"dbname = d\n= x\n", "FILE:2: expected NAME = VALUE"},
    {"dbname = d\npass word = x\n", "FILE:2: expected NAME = VALUE"},
    {"password = a\n" SECRET "!=x\n", "FILE:2: no parameter before \"=\", known are: " KNOWN},
    {"password = a\n" SECRET "\n", "FILE:2: expected NAME = VALUE"},
    {"# x\n\n password = " SECRET "\n", "FILE:3: white space before the first parameter"},
    {"\xef\xbb\xbf"
     "dbname = d\n",
     "FILE:1: the file begins with a byte order mark (BOM)"},
    {"dbname = d\nverify = true\n", "FILE:2: verify: \"true\" is not valid: allowed is yes or no"},
    {"dbname = d\nverify =\n", "FILE:2: verify: \"\" is not valid"},
    {"dbname = d\n\n limit = 3\n# c\nlimit=1\n",
     "FILE:5: limit: \"1\" is not valid: allowed is a number from 2 to 9"},
    {"dbname = d\nlimit = 10\n", "FILE:2: limit: \"10\""},
    {"dbname = d\nlimit = 3x\n", "FILE:2: limit: \"3x\""},
    {"dbname = d\nlimit = +3\n", "FILE:2: limit: \"+3\""},
    {"dbname = d\nlarge = 2147483648\n", "FILE:2: large: \"2147483648\""},
    {"dbname = d\nlarge = 99999999999999999999\n", "FILE:2: large: \"99999999999999999999\""},
    {"cache = yes\n", "FILE:1: cache is not supported: answers are not kept"},
};

START_TEST(a_fault_is_named_with_its_line_and_without_a_secret)
{
    struct err err;

    ck_assert_ptr_null(open_text(bad[_i].text, NULL, &err));
    ck_assert_msg(strstr(err.text, bad[_i].reason) == err.text, "%s", err.text);
    ck_assert_ptr_null(strstr(err.text, SECRET));
}
END_TEST

START_TEST(a_nul_is_refused)
{
    static const char text[] = "dbname = d\nuser = a\0b\n";
    struct err err;

    ck_assert_ptr_null(cf_open_text("FILE", text, sizeof text - 1, parameters, NULL, &err));
    ck_assert_str_eq(err.text, "FILE:2: NUL in the line");
}
END_TEST

START_TEST(faults_that_do_not_prevent_the_use_are_reported)
{
    struct buf found = {0};
    struct err err;
    struct cf *cf = open_text("dbname = d\nport = 3306\npassword = " SECRET "\npassword = x\n"
                              "dbname = d\n",
                              &found, &err);

    ck_assert_msg(cf != NULL, "%s", err.text);
    ck_assert_str_eq(buf_str(&found),
                     "2: port is ignored: write it after the host\n"
                     "4: password is set in line 3 already: the last one counts\n");
    ck_assert_str_eq(cf_text(cf, "password"), "x");
    ck_assert_uint_eq(cf_line(cf, "password"), 4);
    ck_assert_uint_eq(cf_line(cf, "user"), 0);
    ck_assert(cf_is_set(cf, "password") && !cf_is_set(cf, "user"));
    ck_assert(cf_takes(cf, "user") && !cf_takes(cf, "users"));
    ck_assert_str_eq(cf_path(cf), "FILE");
    cf_fault(cf, "password", &err, "no %s", "good");
    ck_assert_str_eq(err.text, "FILE:4: password: no good");
    cf_fault(cf, "hosts", &err, "none");
    ck_assert_str_eq(err.text, "FILE: hosts: none");
    buf_clear(&found);
    cf_close(cf);
}
END_TEST

static void note_mode(void *ctx, const char *path, unsigned line, const char *text)
{
    (void)path;
    ck_assert_uint_eq(line, 0);
    ck_assert_ptr_nonnull(strstr(text, "everybody can read it"));
    ++*(int *)ctx;
}

START_TEST(a_password_that_everybody_can_read_is_reported)
{
    static const struct {
        const char *text;
        mode_t mode;
        int faults;
    } modes[] = {
        {"dbname = d\npassword = " SECRET "\n", 0644, 1},
        {"dbname = d\npassword = " SECRET "\n", 0640, 0},
        {"dbname = d\npassword =\n", 0644, 0},
        {"dbname = d\n", 0644, 0},
        {"dbname = d\nhosts = h postgresql://u:" SECRET "@h:1/d\n", 0644, 1},
        {"dbname = d\nhosts = h:5432 postgresql://u@h:1/d\n", 0644, 0},
        {"dbname = host=h password=" SECRET "\n", 0644, 1},
        {"dbname = host=h dbname=d\n", 0644, 0},
        {"dbname = postgresql://u@h/d?password=" SECRET "\n", 0644, 1},
        {"dbname = postgresql://u:" SECRET "@h/d\n", 0644, 1},
    };
    char path[] = "/tmp/test_cf.XXXXXX";
    int fd = mkstemp(path), count = 0;
    struct table_faults faults = {note_mode, &count};
    struct err err;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, modes[_i].text, strlen(modes[_i].text)),
                     (ssize_t)strlen(modes[_i].text));
    ck_assert_int_eq(fchmod(fd, modes[_i].mode), 0);
    struct cf *cf = cf_open(path, parameters, &faults, &err);
    ck_assert_msg(cf != NULL, "%s", err.text);
    ck_assert_int_eq(count, modes[_i].faults);
    struct table_stamp stamp = cf_stamp(cf);
    ck_assert(stamp.exists && (size_t)stamp.size == strlen(modes[_i].text));
    cf_close(cf);
    close(fd);
    unlink(path);
    ck_assert_ptr_null(cf_open(path, parameters, NULL, &err));
    ck_assert_ptr_nonnull(strstr(err.text, path));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("cf");

    tcase_add_loop_test(tests, the_getters_return_values_and_defaults, 0, UNIT_COUNT(files));
    tcase_add_loop_test(tests, a_fault_is_named_with_its_line_and_without_a_secret, 0,
                        UNIT_COUNT(bad));
    tcase_add_test(tests, a_nul_is_refused);
    tcase_add_test(tests, faults_that_do_not_prevent_the_use_are_reported);
    tcase_add_loop_test(tests, a_password_that_everybody_can_read_is_reported, 0, 10);
    return unit_run("cf", tests);
}
