/* SPDX-License-Identifier: ISC */
/* trace_select: which lines a word selects, also those that do not mention it. */
#include "ctl/trace/trace_log.h"
#include "ctl/trace/trace_word.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define NOW 1796126400 /* 2026-12-01 12:00:00 UTC */
#define P "Nov 30 05:00:00 mx postfix/smtp[1]: "
#define TO(rest)                                                                                   \
    "4Xy1234567z: to=<a@a.test>, relay=127.0.0.1[127.0.0.1]:25, status=sent (" rest ")\n"
#define NEXT P "4Xy1234568z: client=c[192.0.2.1]\n"

static const struct {
    const char *log, *word;
    unsigned kept;
} rows[] = {
    {P TO("250 ok") NEXT, "a@a.test", 1},
    {P TO("250 ok") NEXT, "b@a.test", 0},
    {P TO("250 ok") NEXT, "4Xy1234568z", 1},
    /* ids that a reply names */
    {P TO("250 queued as 4Xy1234568z") NEXT, "a@a.test", 2},
    {NEXT P TO("250 queued as 4Xy1234568z"), "a@a.test", 2},
    {P TO("250 queued as 4Xy1234568z") NEXT, "4Xy1234568z", 2},
    {P TO("forwarded as 4Xy1234568z") NEXT, "a@a.test", 2},
    {P TO("250 2.0.0 4Xy1234568z Message accepted for delivery") NEXT, "a@a.test", 2},
    /* the receiver names the id of the sender */
    {P TO("250 ok") P "4Xy1234568z: client=c[192.0.2.1], orig_queue_id=4Xy1234567z\n", "a@a.test",
     2},
    {P TO("250 ok") "Nov 30 05:00:00 mx splitrelay[1]: 6A00000000000001: from=<s@s.test>, size=1, "
                    "nrcpt=1, dest=d, queue_id=4Xy1234567z, message-id=<1@x> (queued)\n",
     "a@a.test", 2},
    {P TO("250 ok") "Nov 30 05:00:00 mx postfix/pickup[1]: 4Xy1234568z: uid=1 from=<s@s.test> "
                    "orig_id=4Xy1234567z\n",
     "a@a.test", 2},
    /* amavis */
    {P TO("250 ok") NEXT "Nov 30 05:00:00 mx amavis[1]: (1-1) Passed CLEAN {x}, <s@s.test> -> "
                         "<b@a.test>, Queue-ID: 4Xy1234567z, Message-ID: <1@x>, mail_id: x, "
                         "queued_as: 4Xy1234569z/4Xy1234568z, 5 ms\n",
     "a@a.test", 3},
    /* notifications */
    {P TO("250 ok") NEXT "Nov 30 05:00:00 mx postfix/bounce[1]: 4Xy1234567z: sender non-delivery "
                         "notification: 4Xy1234568z\n",
     "a@a.test", 3},
    {"Nov 30 05:00:00 mx sm-mta[1]: 4AU500ab000123: to=a@a.test, delay=00:00:01, stat=User "
     "unknown\nNov 30 05:00:00 mx sm-mta[1]: 4AU500ab000123: 4AU500ab000124: DSN: User unknown\n"
     "Nov 30 05:00:00 mx sm-mta[1]: 4AU500ab000124: from=<>, size=1, nrcpts=1\n",
     "a@a.test", 3},
    /* the copies of one message of splitrelay, but not those of the next one */
    {"Nov 30 05:00:00 mx splitrelay[1]: 6A00000000000001: to=<a@a.test>, listener=l, status=sent "
     "(250)\nNov 30 05:00:00 mx splitrelay[1]: 6A00000000000002: to=<b@a.test>, dest=d, "
     "status=sent (250)\nNov 30 05:00:00 mx splitrelay[1]: 6A00000000000201: to=<b@a.test>, "
     "dest=d, status=sent (250)\n",
     "a@a.test", 2},
    {"Nov 30 05:00:00 mx splitrelay[1]: 6A0000000000000F: to=<b@a.test>, dest=d, status=sent "
     "(250)\n",
     "6a0000000000000f", 1},
    {P "0A1B2C3D4E: client=c[192.0.2.1]\n", "0a1b2c3d4e", 1},
    /* lower case is not the case of the ids of Postfix */
    {NEXT, "4xy1234568z", 0},
    /* a chain whose links come in the wrong order */
    {P "4Xy1234563z: client=c[192.0.2.1], orig_queue_id=4Xy1234562z\n" P
       "4Xy1234562z: client=c[192.0.2.1], orig_queue_id=4Xy1234561z\n" P
       "4Xy1234561z: client=c[192.0.2.1], orig_queue_id=4Xy1234567z\n" P TO("250 ok"),
     "a@a.test", 4},
};

static struct trace_words *words;

static struct trace_log *read_log(const char *text, char **word)
{
    words = trace_words_new(word, 1, "split.invalid");
    struct trace_log *log = trace_log_new(NOW, words);

    trace_log_begin_file(log, 0);
    for (; *text != '\0'; text += strcspn(text, "\n") + 1)
        trace_log_add(log, text, strcspn(text, "\n"));
    return log;
}

static void free_log(struct trace_log *log)
{
    trace_log_free(log);
    trace_words_free(words);
}

START_TEST(lines_are_selected)
{
    char *word = (char *)rows[_i].word;
    struct trace_log *log = read_log(rows[_i].log, &word);

    ck_assert_int_eq(trace_log_settle(log), rows[_i].kept > 0);
    ck_assert_uint_eq(log->kept.count, rows[_i].kept);
    ck_assert(!trace_log_settle(log));
    free_log(log);
}
END_TEST

/* What is selected first by another source, such as the queue. */
START_TEST(an_id_can_be_wanted)
{
    char word[] = "x@a.test", *list = word;
    struct trace_log *log = read_log(P TO("250 queued as 4Xy1234568z") NEXT, &list);

    ck_assert(!trace_log_settle(log));
    trace_select_want(log->select, (struct slice){"4Xy1234568z", 11});
    ck_assert(trace_log_settle(log));
    ck_assert_uint_eq(log->kept.count, 2);
    free_log(log);
}
END_TEST

/* Hosts and tags are found again when there are many. */
START_TEST(there_may_be_many_hosts)
{
    char word[] = "x@a.test", *list = word, line[100];
    struct trace_log *log = read_log("", &list);

    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof line, "Nov 30 05:00:00 mx%d postfix/smtp%d[1]: 4Xy1234567z: removed",
                 i % 100, i % 3);
        trace_log_add(log, line, strlen(line));
    }
    ck_assert_uint_eq(log->tag_count, 300);
    ck_assert_uint_eq(log->system_count, 100);
    free_log(log);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("trace_select");

    tcase_add_loop_test(tests, lines_are_selected, 0, UNIT_COUNT(rows));
    tcase_add_test(tests, an_id_can_be_wanted);
    tcase_add_test(tests, there_may_be_many_hosts);
    return unit_run("trace_select", tests);
}
