/* SPDX-License-Identifier: ISC */
#include "base/log.h"
#include "base/log_thread.h"
#include "fake_syslog.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The pipe to which stderr of the (forked) test is redirected. All lines fit into its buffer. */
static int pipe_fds[2];

static void capture_stderr(void)
{
    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
}

/* The text that was written since the last call, "" for none. */
static const char *captured(void)
{
    static char text[65536];
    ssize_t n = read(pipe_fds[0], text, sizeof text - 1);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

/* The same. Checks that it begins with "IDENT[PID]: ", and returns the text behind that. */
static const char *captured_from(const char *ident)
{
    char head[100];
    const char *text = captured();
    int len = snprintf(head, sizeof head, "%s[%ld]: ", ident, (long)getpid());

    ck_assert_msg(strncmp(text, head, (size_t)len) == 0, "not from %s: %s", ident, text);
    return text + len;
}

static void open_stderr(const char *level)
{
    struct err err;

    capture_stderr();
    ck_assert_int_eq(log_open("prog", "stderr", "mail", level, &err), 0);
}

START_TEST(lines_have_postfix_shape)
{
    open_stderr("debug");
    log_info("%s: to=<%s>, filter=%s", "4Q2", "a@b", "x");
    ck_assert_str_eq(captured_from("prog"), "4Q2: to=<a@b>, filter=x\n");
    log_warning("odd");
    ck_assert_str_eq(captured_from("prog"), "warning: odd\n");
    log_error("bad %d", 5);
    ck_assert_str_eq(captured_from("prog"), "error: bad 5\n");
    log_debug("detail");
    ck_assert_str_eq(captured_from("prog"), "detail\n");
}
END_TEST

static const struct {
    const char *level;
    const char *expect; /* e, w, i, d: what passes */
} levels[] = {{"error", "e"}, {"warning", "ew"}, {"info", "ewi"}, {"debug", "ewid"}};

START_TEST(levels_drop_what_is_above)
{
    open_stderr(levels[_i].level);
    log_error("x");
    ck_assert_int_eq(strchr(levels[_i].expect, 'e') != NULL, *captured() != '\0');
    log_warning("x");
    ck_assert_int_eq(strchr(levels[_i].expect, 'w') != NULL, *captured() != '\0');
    log_info("x");
    ck_assert_int_eq(strchr(levels[_i].expect, 'i') != NULL, *captured() != '\0');
    log_debug("x");
    ck_assert_int_eq(strchr(levels[_i].expect, 'd') != NULL, *captured() != '\0');
}
END_TEST

START_TEST(before_the_first_open_it_is_stderr_at_info)
{
    capture_stderr();
    log_debug("no");
    ck_assert_str_eq(captured(), "");
    log_info("yes");
    ck_assert_str_eq(captured_from(program_invocation_short_name), "yes\n");
}
END_TEST

static const struct {
    const char *target, *facility, *level;
    const char *expect; /* the error, NULL if fine */
} words[] = {
    {"stderr", "mail", "info", NULL},
    {"stderr", "not looked at", "info", NULL},
    {"file", "mail", "info", "unknown log target \"file\", allowed are: syslog, stderr"},
    {"stderr", "mail", "loud",
     "unknown log level \"loud\", allowed are: error, warning, info, debug"},
    {"syslog", "cron", "info",
     "unknown log facility \"cron\", allowed are: mail, daemon, user, local0, local1, local2, "
     "local3, "
     "local4, local5, local6, local7"},
    {"", "mail", "info", "unknown log target \"\", allowed are: syslog, stderr"},
    {"syslog", "local7", "debug", NULL},
};

START_TEST(unknown_words_are_explained_and_change_nothing)
{
    struct err err = {""};

    open_stderr("warning");
    int rc = log_open("other", words[_i].target, words[_i].facility, words[_i].level, &err);
    if (words[_i].expect == NULL) {
        ck_assert_int_eq(rc, 0);
        return;
    }
    ck_assert_int_eq(rc, -1);
    ck_assert_str_eq(err.text, words[_i].expect);
    log_info("dropped still");
    ck_assert_str_eq(captured(), "");
    log_warning("here still");
    ck_assert_str_eq(captured_from("prog"), "warning: here still\n");
}
END_TEST

static const struct {
    const char *text, *expect;
} dirty[] = {
    {"", ""},
    {"plain text", "plain text"},
    {"a\r\nsplitrelay[1]: forged", "a??splitrelay[1]: forged"},
    {"tab\tesc\x1b[31m\x7f", "tab?esc?[31m?"},
    {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
     "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"latin\xfc", "latin?"},
    {"cut\xe2\x82", "cut??"},
    {"\xe2\x82(\xc3\xa4", "?"
                          "?(\xc3\xa4"},
    {"overlong \xc0\x8a", "overlong ??"},
    {"surrogate \xed\xa0\x80", "surrogate ???"},
    {"c1 \xc2\x85\xc2\x9b end", "c1 ???? end"},
    {"\xc2\xa0", "\xc2\xa0"},
    {"line \xe2\x80\xa8\xe2\x80\xa9.", "line ??????."},
    {"451 \xe2\x80\xae"
     "retal",
     "451 ???retal"},
    {"\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad\xe2\x80\xaf", "????????????\xe2\x80\xaf"},
    {"\xe2\x81\xa5\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9\xe2\x81\xaa",
     "\xe2\x81\xa5????????????\xe2\x81\xaa"},
    {"\xe2\x80\x8d\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c\xd8\xa7", "\xe2\x80\x8d????????\xd8\xa7"},
    {"\xf5\x80\x80\x80\xff\xfe", "??????"},
};

START_TEST(text_from_outside_is_made_printable)
{
    char text[200];

    snprintf(text, sizeof text, "%s", dirty[_i].text);
    log_sanitize(text);
    ck_assert_str_eq(text, dirty[_i].expect);

    open_stderr("info");
    log_info("<%s>", dirty[_i].text);
    snprintf(text, sizeof text, "<%s>\n", dirty[_i].expect);
    ck_assert_str_eq(captured_from("prog"), text);
}
END_TEST

START_TEST(long_lines_are_cut_between_characters)
{
    char text[3 * LOG_LINE_MAX + 4] = "";

    open_stderr("info");
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        log_info("%s", text);
        const char *line = captured();
        size_t len = strlen(line);
        ck_assert_uint_le(len, LOG_LINE_MAX + 1);
        ck_assert_uint_ge(len, LOG_LINE_MAX - 2);
        ck_assert_ptr_null(strchr(line, '?'));
        ck_assert_ptr_eq(strchr(line, '\n'), line + len - 1);
    }
}
END_TEST

START_TEST(a_service_is_part_of_the_tag)
{
    open_stderr("info");
    log_as(LOG_LEVEL_INFO, "archive/smtp", "%s: to=<%s>", "4Q2", "a@b");
    ck_assert_str_eq(captured_from("prog/archive/smtp"), "4Q2: to=<a@b>\n");
    log_as(LOG_LEVEL_WARNING, "smtpd", "4Q2: reject: a\nb");
    ck_assert_str_eq(captured_from("prog/smtpd"), "4Q2: reject: a?b\n");
    log_as(LOG_LEVEL_DEBUG, "smtpd", "dropped");
    ck_assert_str_eq(captured(), "");
    log_info("after it");
    ck_assert_str_eq(captured_from("prog"), "after it\n");
}
END_TEST

/* --- syslog(3) --- */

static void open_syslog(const char *facility)
{
    struct err err;

    capture_stderr();
    ck_assert_int_eq(log_open("prog", "syslog", facility, "info", &err), 0);
}

START_TEST(syslog_gets_the_tag_the_priority_and_the_facility)
{
    static char service[200];

    open_syslog("local3");
    log_info("100%% %s", "a\rb");
    ck_assert_str_eq(fake_syslog_last(), "prog local3 info 100% a?b");
    log_as(LOG_LEVEL_WARNING, "smtpd", "NOQUEUE: %s", "x");
    ck_assert_str_eq(fake_syslog_last(), "prog/smtpd local3 warn NOQUEUE: x");
    log_error("bad");
    ck_assert_str_eq(fake_syslog_last(), "prog local3 err error: bad");
    memset(service, 'x', sizeof service - 1);
    log_as(LOG_LEVEL_INFO, service, "text");
    service[80] = '\0';
    ck_assert_int_eq(strncmp(fake_syslog_last() + 5, service, 80), 0);
    ck_assert_str_eq(fake_syslog_last() + 85, " local3 info text");
    ck_assert_str_eq(captured(), "");
}
END_TEST

#define LINES_EACH 2000

static void *log_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        log_as(LOG_LEVEL_INFO, arg, "of prog/%s", (char *)arg);
    return NULL;
}

START_TEST(no_thread_gets_the_tag_of_another)
{
    static char services[][8] = {"smtpd", "a/smtp", "b/lmtp", "c/qmgr"};
    pthread_t threads[UNIT_COUNT(services)];

    open_syslog("mail");
    for (size_t i = 0; i < UNIT_COUNT(services); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_lines, services[i]), 0);
    for (int i = 0; i < LINES_EACH; i++)
        log_info("of prog");
    for (size_t i = 0; i < UNIT_COUNT(services); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(fake_syslog_lines(), LINES_EACH * (UNIT_COUNT(services) + 1));
    ck_assert_uint_eq(fake_syslog_mixed_up(), 0);
}
END_TEST

/* --- the log's thread --- */

static void start_log_thread(void)
{
    struct err err;

    open_syslog("mail");
    ck_assert_int_eq(log_thread_start(&err), 0);
}

START_TEST(the_thread_passes_lines_on)
{
    start_log_thread();
    for (int i = 0; i < LINES_EACH; i++)
        log_as(LOG_LEVEL_INFO, "smtpd", "of prog/smtpd");
    log_warning("last");
    log_thread_stop(10000);
    ck_assert_uint_eq(fake_syslog_lines(), LINES_EACH + 1);
    ck_assert_uint_eq(fake_syslog_mixed_up(), 0);
    ck_assert_str_eq(fake_syslog_last(), "prog mail warn warning: last");
    log_info("in place");
    ck_assert_str_eq(fake_syslog_last(), "prog mail info in place");
    ck_assert_str_eq(captured(), "");
}
END_TEST

/* Logging does not block while syslog(3) does, and the lines that were lost are counted. */
START_TEST(a_stuck_syslog_stops_nobody)
{
    static char text[1000];
    size_t sent = LOG_QUEUE_MAX / sizeof text + 1000, lost = 0;

    memset(text, 'x', sizeof text - 1);
    start_log_thread();
    fake_syslog_block(true);
    for (size_t i = 0; i < sent; i++)
        log_as(LOG_LEVEL_INFO, "a/smtp", "%s", text);
    fake_syslog_block(false);
    log_thread_stop(10000);
    ck_assert_int_eq(sscanf(fake_syslog_last(), "prog mail warn warning: %zu lines", &lost), 1);
    ck_assert_uint_gt(lost, 1000);
    ck_assert_uint_eq(fake_syslog_lines() - 1 + lost, sent);
    ck_assert_str_eq(captured(), "");
}
END_TEST

START_TEST(the_end_does_not_wait_for_a_stuck_syslog)
{
    char expect[200];

    start_log_thread();
    fake_syslog_block(true);
    for (int i = 0; i < 10; i++)
        log_info("%d", i);
    log_thread_stop(50);
    snprintf(expect, sizeof expect,
             "%s: 10 lines of the log are lost: the system's log does not take them\n",
             program_invocation_short_name);
    ck_assert_str_eq(captured(), expect);
}
END_TEST

START_TEST(errno_survives)
{
    open_stderr("info");
    close(STDERR_FILENO);
    errno = ENOENT;
    log_info("nobody hears");
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("log");

    tcase_add_test(tests, lines_have_postfix_shape);
    tcase_add_loop_test(tests, levels_drop_what_is_above, 0, (int)UNIT_COUNT(levels));
    tcase_add_test(tests, before_the_first_open_it_is_stderr_at_info);
    tcase_add_loop_test(tests, unknown_words_are_explained_and_change_nothing, 0,
                        (int)UNIT_COUNT(words));
    tcase_add_loop_test(tests, text_from_outside_is_made_printable, 0, (int)UNIT_COUNT(dirty));
    tcase_add_test(tests, long_lines_are_cut_between_characters);
    tcase_add_test(tests, a_service_is_part_of_the_tag);
    tcase_add_test(tests, syslog_gets_the_tag_the_priority_and_the_facility);
    tcase_add_test(tests, no_thread_gets_the_tag_of_another);
    tcase_add_test(tests, the_thread_passes_lines_on);
    tcase_add_test(tests, a_stuck_syslog_stops_nobody);
    tcase_add_test(tests, the_end_does_not_wait_for_a_stuck_syslog);
    tcase_add_test(tests, errno_survives);
    return unit_run("log", tests);
}
