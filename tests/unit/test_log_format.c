/* SPDX-License-Identifier: ISC */
/* Log lines as JSON objects, and as datagrams for systemd's journal. */
#include "base/log.h"
#include "base/log_format.h"
#include "base/log_thread.h"
#include "fake_syslog.h"
#include "unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int pipe_fds[2];

static void open_stderr(void)
{
    struct err err;

    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(log_open("prog", "stderr", "mail", "info", &err), 0);
    log_set_json(true);
}

/* Parse the line, which has to be one object, and check the members that each line has. */
static json_t *parse(const char *text)
{
    json_error_t error;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    int microseconds, end = 0;

    ck_assert_msg(json_is_object(o), "%s: %s", error.text, text);
    ck_assert_ptr_null(strchr(text, '\n'));
    ck_assert_uint_le(strlen(text), LOG_JSON_MAX);
    const char *time = json_string_value(json_object_get(o, "time"));
    ck_assert_int_eq(sscanf(time, "20%*2d-%*2d-%*2dT%*2d:%*2d:%*2d.%6dZ%n", &microseconds, &end),
                     1);
    ck_assert_uint_eq(strlen(time), (size_t)end);
    ck_assert_str_eq(json_string_value(json_object_get(o, "program")), "prog");
    ck_assert_int_eq(json_integer_value(json_object_get(o, "pid")), getpid());
    return o;
}

static json_t *captured(void)
{
    static char text[65536];
    ssize_t n = read(pipe_fds[0], text, sizeof text - 1);

    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(text[n - 1], '\n');
    text[n - 1] = '\0';
    return parse(text);
}

static const char *text_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));

    return text == NULL ? "(missing)" : text;
}

START_TEST(a_line_without_fields_has_a_message)
{
    open_stderr();
    log_warning("odd \"%s\"", "a\\b");
    json_t *o = captured();
    ck_assert_str_eq(text_of(o, "level"), "warning");
    ck_assert_str_eq(text_of(o, "message"), "odd \"a\\b\"");
    ck_assert_uint_eq(json_object_size(o), 5);
    json_decref(o);
    log_set_json(false);
    log_info("plain");
    char expect[100], text[100];
    int len = snprintf(expect, sizeof expect, "prog[%ld]: plain\n", (long)getpid());
    ck_assert_int_eq(read(pipe_fds[0], text, sizeof text), len);
    ck_assert_mem_eq(text, expect, (size_t)len);
}
END_TEST

START_TEST(fields_are_members)
{
    const struct log_field fields[] = {LOG_TEXT("copy_id", "4Q2"),
                                       LOG_TEXT("from", ""),
                                       LOG_TEXT("orig_to", NULL),
                                       LOG_NUMBER("size", "4123"),
                                       LOG_NUMBER("delay", "0.4"),
                                       LOG_NUMBER("conn_use", NULL),
                                       LOG_END};

    open_stderr();
    log_event(LOG_LEVEL_INFO, NULL, fields, "4Q2: from=<>, size=%d", 4123);
    json_t *o = captured();
    ck_assert_str_eq(text_of(o, "level"), "info");
    ck_assert_str_eq(text_of(o, "copy_id"), "4Q2");
    ck_assert_str_eq(text_of(o, "from"), "");
    ck_assert(json_is_integer(json_object_get(o, "size")));
    ck_assert_int_eq(json_integer_value(json_object_get(o, "size")), 4123);
    ck_assert(json_real_value(json_object_get(o, "delay")) > 0.39);
    ck_assert_uint_eq(json_object_size(o), 8); /* no orig_to, conn_use, message */
    json_decref(o);
}
END_TEST

static const struct {
    const char *text, *expect;
} hostile[] = {
    {"\"}\n{\"to\":\"forged", "\"}?{\"to\":\"forged"},
    {"\\", "\\"},
    {"\\\"\\", "\\\"\\"},
    {"a\tb\x01\x1b[31m\x7f", "a?b??[31m?"},
    {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"},
    {"latin\xfc \xe2\x82", "latin? ??"},
    {"line\xe2\x80\xa8.", "line???."},
    {"\xed\xa0\x80", "???"},
};

START_TEST(text_from_outside_stays_in_its_member)
{
    const struct log_field fields[] = {LOG_TEXT("to", hostile[_i].text), LOG_TEXT("status", "sent"),
                                       LOG_END};

    open_stderr();
    log_event(LOG_LEVEL_INFO, NULL, fields, "x");
    json_t *o = captured();
    ck_assert_str_eq(text_of(o, "to"), hostile[_i].expect);
    ck_assert_str_eq(text_of(o, "status"), "sent");
    json_decref(o);
    log_info("%s", hostile[_i].text);
    o = captured();
    ck_assert_str_eq(text_of(o, "message"), hostile[_i].expect);
    json_decref(o);
}
END_TEST

/* Fill a text with this character. */
static void fill(char *text, size_t size, const char *character)
{
    size_t len = strlen(character), at = 0;

    for (; at + len < size; at += len)
        memcpy(text + at, character, len);
    text[at] = '\0';
}

START_TEST(a_long_member_is_cut_between_characters)
{
    static const char *const characters[] = {"x",        "\"",           "\\",
                                             "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    char text[3000];
    const struct log_field fields[] = {LOG_TEXT("reason", text), LOG_TEXT("status", "sent"),
                                       LOG_END};

    open_stderr();
    fill(text, sizeof text, characters[_i]);
    log_event(LOG_LEVEL_INFO, NULL, fields, "x");
    json_t *o = captured();
    const char *reason = text_of(o, "reason");
    ck_assert_uint_le(strlen(reason), LOG_VALUE_MAX);
    ck_assert_uint_gt(strlen(reason), LOG_VALUE_MAX - 4);
    ck_assert_ptr_null(strchr(reason, '?'));
    ck_assert_str_eq(text_of(o, "status"), "sent");
    ck_assert(json_is_true(json_object_get(o, "truncated")));
    json_decref(o);
}
END_TEST

START_TEST(an_object_with_too_much_text_is_still_an_object)
{
    char text[LOG_VALUE_MAX + 1];
    const struct log_field fields[] = {LOG_TEXT("copy_id", "4Q2"), LOG_TEXT("a", text),
                                       LOG_TEXT("b", text),        LOG_TEXT("c", text),
                                       LOG_TEXT("d", text),        LOG_TEXT("e", text),
                                       LOG_NUMBER("size", "1"),    LOG_END};

    open_stderr();
    for (size_t len = LOG_VALUE_MAX - 300; len <= LOG_VALUE_MAX; len++) {
        memset(text, len % 2 == 0 ? '"' : 'x', len);
        text[len] = '\0';
        log_event(LOG_LEVEL_INFO, NULL, fields, "x");
        json_t *o = captured();
        ck_assert_str_eq(text_of(o, "copy_id"), "4Q2");
        bool is_whole = json_object_get(o, "size") != NULL && json_object_get(o, "e") != NULL &&
                        strcmp(text_of(o, "e"), text) == 0;
        ck_assert_int_eq(json_is_true(json_object_get(o, "truncated")), !is_whole);
        json_decref(o);
    }
}
END_TEST

START_TEST(syslog_gets_objects)
{
    const struct log_field fields[] = {LOG_TEXT("to", "a@b"), LOG_END};
    static const char head[] = "prog mail info ";
    struct err err;

    ck_assert_int_eq(log_open("prog", "syslog", "mail", "info", &err), 0);
    log_set_json(true);
    log_event(LOG_LEVEL_INFO, NULL, fields, "x");
    ck_assert_mem_eq(fake_syslog_last(), head, sizeof head - 1);
    json_t *o = parse(fake_syslog_last() + sizeof head - 1);
    ck_assert_str_eq(text_of(o, "to"), "a@b");
    json_decref(o);
}
END_TEST

START_TEST(lost_lines_are_told_in_an_object)
{
    static char text[1000];
    static const char head[] = "prog mail warn ";
    size_t lost = 0;
    struct err err;

    memset(text, 'x', sizeof text - 1);
    ck_assert_int_eq(log_open("prog", "syslog", "mail", "info", &err), 0);
    log_set_json(true);
    ck_assert_int_eq(log_thread_start(&err), 0);
    fake_syslog_block(true);
    for (size_t i = 0; i < LOG_QUEUE_MAX / sizeof text + 100; i++)
        log_info("%s", text);
    fake_syslog_block(false);
    log_thread_stop(10000);
    ck_assert_mem_eq(fake_syslog_last(), head, sizeof head - 1);
    json_t *o = parse(fake_syslog_last() + sizeof head - 1);
    ck_assert_int_eq(sscanf(text_of(o, "message"), "%zu lines of the log were lost", &lost), 1);
    ck_assert_uint_gt(lost, 100);
    ck_assert_str_eq(text_of(o, "level"), "warning");
    json_decref(o);
}
END_TEST

/* --- the journal --- */

static char directory[] = "/tmp/test_log_format.XXXXXX";
static char device[sizeof directory + 20], outside[sizeof directory + 20];
static int journal;

static void make_journal(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[100];

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/run", directory);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/run/socket", directory);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
    snprintf(path, sizeof path, "%s/run/dev-log", directory);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(device, sizeof device, "%s/log", directory);
    ck_assert_int_eq(symlink("run/dev-log", device), 0);
    snprintf(outside, sizeof outside, "%s/runaway", directory);
    close(open(outside, O_CREAT | O_WRONLY, 0600));
}

static void remove_journal(void)
{
    static const char *const names[] = {"run/dev-log", "run/socket", "run", "log", "runaway", ""};
    char path[100];

    close(journal);
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        (void)remove(path);
    }
}

/* The datagram that the journal has got, "" for none. */
static const char *received(void)
{
    static char text[65536];
    ssize_t n = recv(journal, text, sizeof text - 1, 0);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static void open_journal(void)
{
    char run[100];
    struct err err;

    snprintf(run, sizeof run, "%s/run", directory);
    ck_assert_int_eq(log_open("prog", "syslog", "local3", "info", &err), 0);
    log_use_journal(device, run);
}

START_TEST(the_journal_gets_fields)
{
    const struct log_field fields[] = {LOG_TEXT("copy_id", "4Q2"), LOG_TEXT("orig_to", NULL),
                                       LOG_TEXT("reason", "a\nSPLIT_TO=forged\xff"),
                                       LOG_NUMBER("size", "5"), LOG_END};
    char expect[500];

    make_journal();
    open_journal();
    log_set_json(true); /* makes no difference */
    log_event(LOG_LEVEL_WARNING, "archive/smtp", fields, "4Q2: a%sb", "\n");
    snprintf(expect, sizeof expect,
             "PRIORITY=4\nSYSLOG_FACILITY=19\nSYSLOG_IDENTIFIER=prog/archive/smtp\n"
             "SYSLOG_PID=%ld\nMESSAGE=4Q2: a?b\nSPLIT_COPY_ID=4Q2\n"
             "SPLIT_REASON=a?SPLIT_TO=forged?\nSPLIT_SIZE=5\n",
             (long)getpid());
    ck_assert_str_eq(received(), expect);
    log_error("bad");
    snprintf(expect, sizeof expect,
             "PRIORITY=3\nSYSLOG_FACILITY=19\nSYSLOG_IDENTIFIER=prog\nSYSLOG_PID=%ld\n"
             "MESSAGE=error: bad\n",
             (long)getpid());
    ck_assert_str_eq(received(), expect);
    ck_assert_uint_eq(fake_syslog_lines(), 0);
    remove_journal();
}
END_TEST

START_TEST(the_thread_passes_datagrams_on)
{
    const struct log_field fields[] = {LOG_TEXT("copy_id", "4Q2"), LOG_END};
    struct err err;

    make_journal();
    open_journal();
    ck_assert_int_eq(log_thread_start(&err), 0);
    log_event(LOG_LEVEL_INFO, NULL, fields, "one");
    log_thread_stop(10000);
    ck_assert_ptr_nonnull(strstr(received(), "\nMESSAGE=one\nSPLIT_COPY_ID=4Q2\n"));
    ck_assert_str_eq(received(), "");
    remove_journal();
}
END_TEST

static void remove_socket(void)
{
    char path[100];

    snprintf(path, sizeof path, "%s/run/socket", directory);
    ck_assert_int_eq(unlink(path), 0);
    close(journal);
}

static void bind_again(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%s/run/socket", directory);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
}

START_TEST(lines_that_the_journal_does_not_take_are_counted)
{
    make_journal();
    open_journal();
    remove_socket();
    for (int i = 0; i < 3; i++)
        log_info("lost");
    bind_again();
    log_info("found");
    ck_assert_ptr_nonnull(strstr(received(), "\nMESSAGE=found\n"));
    ck_assert_uint_eq(fake_syslog_lines(), 1);
    ck_assert_ptr_nonnull(strstr(fake_syslog_last(), "3 lines of the log were lost here"));
    log_info("again");
    ck_assert_uint_eq(fake_syslog_lines(), 1);
    remove_journal();
}
END_TEST

START_TEST(the_thread_counts_them_too)
{
    struct err err;

    char text[500];

    open_stderr();
    make_journal();
    open_journal();
    ck_assert_int_eq(log_thread_start(&err), 0);
    remove_socket();
    log_info("lost");
    log_info("lost");
    log_thread_stop(10000);
    ssize_t n = read(pipe_fds[0], text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    ck_assert_msg(strstr(text, ": 2 lines of the log are lost") != NULL, "%s", text);
    ck_assert_uint_eq(fake_syslog_lines(), 0); /* the journal has /dev/log, too */
    remove_journal();
}
END_TEST

/* Lines go to syslog(3) where another program has /dev/log, and where there is no journal. */
START_TEST(without_a_journal_it_is_syslog)
{
    char run[100], socket_path[120];

    make_journal();
    open_journal();
    snprintf(run, sizeof run, "%s/run", directory);
    log_use_journal(outside, run);
    log_info("one");
    ck_assert_str_eq(fake_syslog_last(), "prog local3 info one");
    log_use_journal("/nonexistent", run);
    log_info("two");
    ck_assert_str_eq(fake_syslog_last(), "prog local3 info two");
    ck_assert_str_eq(received(), "");
    log_use_journal(device, run);
    log_info("three");
    ck_assert_ptr_nonnull(strstr(received(), "MESSAGE=three\n"));
    /* A journal that is gone loses the line, but the line does no harm. */
    snprintf(socket_path, sizeof socket_path, "%s/socket", run);
    ck_assert_int_eq(unlink(socket_path), 0);
    log_info("four");
    ck_assert_str_eq(fake_syslog_last(), "prog local3 info two");
    remove_journal();
}
END_TEST

START_TEST(a_journal_that_does_not_run_is_not_used)
{
    char run[100], socket_path[120];

    make_journal();
    snprintf(run, sizeof run, "%s/run", directory);
    snprintf(socket_path, sizeof socket_path, "%s/socket", run);
    ck_assert_int_eq(unlink(socket_path), 0);
    open_journal();
    log_info("one");
    ck_assert_str_eq(fake_syslog_last(), "prog local3 info one");
    remove_journal();
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("log_format");

    tcase_add_test(t, a_line_without_fields_has_a_message);
    tcase_add_test(t, fields_are_members);
    tcase_add_loop_test(t, text_from_outside_stays_in_its_member, 0, (int)UNIT_COUNT(hostile));
    tcase_add_loop_test(t, a_long_member_is_cut_between_characters, 0, 6);
    tcase_add_test(t, an_object_with_too_much_text_is_still_an_object);
    tcase_add_test(t, syslog_gets_objects);
    tcase_add_test(t, lost_lines_are_told_in_an_object);
    tcase_add_test(t, the_journal_gets_fields);
    tcase_add_test(t, the_thread_passes_datagrams_on);
    tcase_add_test(t, lines_that_the_journal_does_not_take_are_counted);
    tcase_add_test(t, the_thread_counts_them_too);
    tcase_add_test(t, without_a_journal_it_is_syslog);
    tcase_add_test(t, a_journal_that_does_not_run_is_not_used);
    return unit_run("log_format", t);
}
