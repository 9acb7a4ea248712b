/* SPDX-License-Identifier: ISC */
/* Log lines in Postfix's style. test_delivery.c and test_session.c have those of the own style. */
#include "deliver/maillog.h"
#include "base/log.h"
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int pipe_fds[2];

static void setup(void)
{
    struct err err;

    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(log_open("relay", "stderr", "mail", "info", &err), 0);
    maillog_set_style("postfix");
}

/* The log lines without the pid: "relay/smtpd: ...\n". */
static const char *logged(void)
{
    static char text[8192];
    char pid[32];
    ssize_t n = read(pipe_fds[0], text, sizeof text - 1);
    int len = snprintf(pid, sizeof pid, "[%ld]: ", (long)getpid());

    text[n < 0 ? 0 : n] = '\0';
    for (char *at = text; (at = strstr(at, pid)) != NULL;)
        memmove(at, at + len - 2, strlen(at + len - 2) + 1);
    return text;
}

static char none[] = "";
static char sender[] = "s@x", odd_sender[] = "\"a>, size=1\"@x";

static struct queue_message message_of(char *from)
{
    return (struct queue_message){.sender = from,
                                  .client_name = none,
                                  .client_addr = none,
                                  .helo = none,
                                  .protocol = none,
                                  .mta_queue_id = none,
                                  .message_id = none,
                                  .size_bytes = 4123};
}

/* --- arrival --- */

START_TEST(a_copy_that_was_taken)
{
    static char addr[] = "2001:db8::1", name[] = "mx.test", queue_id[] = "4Abc";
    static char id[] = "<a.b@x>", odd_id[] = "x>, to=<y@z>";
    struct queue_message m = message_of(sender);
    struct queue_new_copy copy = {.destination = "archive", .recipient_count = 0, .id = "ID1"};

    maillog_taken(&m, &copy, 2, 4123);
    ck_assert_str_eq(logged(), "relay/smtpd: ID1: client=unknown[unknown], dest=archive\n"
                               "relay/cleanup: ID1: message-id=<>\n"
                               "relay/qmgr: ID1: from=<s@x>, size=4123, nrcpt=2 (queue active)\n");
    m = message_of(odd_sender);
    m.client_addr = addr;
    m.client_name = name;
    m.mta_queue_id = queue_id;
    m.message_id = id;
    maillog_taken(&m, &copy, 1, 5);
    ck_assert_str_eq(
        logged(),
        "relay/smtpd: ID1: client=mx.test[2001:db8::1], orig_queue_id=4Abc, dest=archive\n"
        "relay/cleanup: ID1: message-id=<a.b@x>\n"
        "relay/qmgr: ID1: from=<\"a?, size=1\"@x>, size=5, nrcpt=1 (queue active)\n");
    maillog_set_style("splitmilter");
    maillog_taken(&m, &copy, 1, 5);
    ck_assert_str_eq(logged(), "relay: ID1: from=<\"a>, size=1\"@x>, size=5, nrcpt=1, "
                               "dest=archive, queue_id=4Abc, message-id=<a.b@x> (queued)\n");
    m.message_id = odd_id;
    maillog_taken(&m, &copy, 1, 5);
    ck_assert_str_eq(logged(),
                     "relay: ID1: from=<\"a>, size=1\"@x>, size=5, nrcpt=1, dest=archive, "
                     "queue_id=4Abc, message-id=<x?, to=?y@z?> (queued)\n");
}
END_TEST

START_TEST(dead_on_arrival)
{
    static char a[] = "a@b";
    struct queue_message m = message_of(sender);
    struct queue_recipient r = {.address = a, .orcpt = none, .state = QUEUE_DEAD, .reason = "loop"};
    struct queue_new_copy copy = {.destination = "archive",
                                  .recipients = &r,
                                  .recipient_count = 1,
                                  .is_dead = true,
                                  .id = "ID1"};

    maillog_taken(&m, &copy, 1, 5);
    ck_assert_str_eq(logged(), "relay/smtpd: ID1: client=unknown[unknown], dest=archive\n"
                               "relay/cleanup: ID1: message-id=<>\n"
                               "relay/qmgr: ID1: from=<s@x>, size=5, nrcpt=1 (queue active)\n"
                               "relay/archive/error: ID1: to=<a@b>, relay=none, delay=0, "
                               "delays=0/0/0/0, dsn=5.4.6, status=bounced (loop)\n");
}
END_TEST

START_TEST(skipped_on_arrival)
{
    static char a[] = "a@b", odd_address[] = "\"c>, to=<d\"@e";
    struct queue_message m = message_of(sender);
    struct queue_recipient r[] = {{.address = a, .orcpt = none, .state = QUEUE_PENDING},
                                  {.address = a, .orcpt = none, .state = QUEUE_SENT},
                                  {.address = odd_address, .orcpt = none, .state = QUEUE_PENDING}};
    struct queue_new_copy copy = {.destination = "archive",
                                  .recipients = r,
                                  .recipient_count = 3,
                                  .skip = QUEUE_SKIP_UNLESS_HEADER,
                                  .skip_reason = "unless_header \"X: =<*\"",
                                  .id = "ID1"};

    maillog_taken(&m, &copy, 2, 5);
    ck_assert_str_eq(logged(),
                     "relay/smtpd: ID1: client=unknown[unknown], dest=archive\n"
                     "relay/cleanup: ID1: message-id=<>\n"
                     "relay/qmgr: ID1: from=<s@x>, size=5, nrcpt=2 (queue active)\n"
                     "relay/archive/discard: ID1: to=<a@b>, relay=none, delay=0, "
                     "delays=0/0/0/0, dsn=2.0.0, status=skipped (unless_header \"X: ?<*\")\n"
                     "relay/archive/discard: ID1: to=<\"c?, to=?d\"@e>, relay=none, delay=0, "
                     "delays=0/0/0/0, dsn=2.0.0, status=skipped (unless_header \"X: ?<*\")\n");
    maillog_set_style("splitmilter");
    copy.recipient_count = 1;
    maillog_taken(&m, &copy, 1, 5);
    ck_assert_str_eq(logged(), "relay: ID1: from=<s@x>, size=5, nrcpt=1, dest=archive, queue_id=-, "
                               "message-id=<> (skipped)\n"
                               "relay: ID1: to=<a@b>, dest=archive, relay=none, delay=0, "
                               "delays=0/0/0/0, dsn=2.0.0, status=skipped "
                               "(unless_header \"X: =<*\")\n");
}
END_TEST

/* --- attempts --- */

static char plain[] = "a@b", odd[] = "\"x>, relay=z\"@y", fixed[] = "box@f", name[] = "archive";

static const struct {
    char *address;
    enum config_protocol protocol;
    enum endpoint_kind kind;
    bool is_fixed;
    unsigned conn_use;
    enum queue_recipient_state state;
    const char *reason;
    const char *line; /* behind "relay/archive/" */
} outcomes[] = {
    {plain, CONFIG_SMTP, ENDPOINT_INET, false, 1, QUEUE_SENT, "250 Ok",
     "smtp: ID1: to=<a@b>, relay=h[1.2.3.4]:25, delay=0.4, delays=0/0/0/0.4, dsn=2.0.0, "
     "status=sent (250 Ok)\n"},
    {plain, CONFIG_LMTP, ENDPOINT_UNIX, true, 3, QUEUE_PENDING, "450 later",
     "lmtp: ID1: to=<box@f>, orig_to=<a@b>, relay=h[1.2.3.4]:25, conn_use=3, delay=0.4, "
     "delays=0/0/0/0.4, dsn=2.0.0, status=deferred (450 later)\n"},
    {odd, CONFIG_SMTP, ENDPOINT_MAILDIR, false, 0, QUEUE_DEAD, "550 <a@b> to=<c@d>, from=<e@f>",
     "local: ID1: to=<\"x?, relay=z\"@y>, relay=h[1.2.3.4]:25, delay=0.4, delays=0/0/0/0.4, "
     "dsn=2.0.0, status=bounced (550 <a@b> to?<c@d>, from?<e@f>)\n"},
    {odd, CONFIG_SMTP, ENDPOINT_INET, true, 1, QUEUE_SENT, "250 a\r\nrelay/smtpd[1]: =<=<",
     "smtp: ID1: to=<box@f>, orig_to=<\"x?, relay=z\"@y>, relay=h[1.2.3.4]:25, delay=0.4, "
     "delays=0/0/0/0.4, dsn=2.0.0, status=sent (250 a??relay/smtpd[1]: ?<?<)\n"},
};

START_TEST(outcomes_have_the_destination_in_the_tag)
{
    struct endpoint target = {.kind = outcomes[_i].kind};
    struct config_destination d = {.name = name,
                                   .relay_to = &target,
                                   .relay_to_count = 1,
                                   .protocol = outcomes[_i].protocol,
                                   .recipient = outcomes[_i].is_fixed ? CONFIG_ADDRESS_FIXED
                                                                      : CONFIG_ADDRESS_ORIGINAL,
                                   .recipient_address = fixed};
    struct queue_recipient r = {
        .address = outcomes[_i].address, .orcpt = none, .state = outcomes[_i].state};
    struct queue_copy c = {
        .id = "ID1", .destination = name, .recipients = &r, .recipient_count = 1};
    struct maillog_attempt a = {.relay = "h[1.2.3.4]:25",
                                .conn_use = outcomes[_i].conn_use,
                                .delay = "0.4",
                                .delays = "0/0/0/0.4",
                                .dsn = "2.0.0"};

    snprintf(r.reason, sizeof r.reason, "%s", outcomes[_i].reason);
    maillog_outcome(&c, 0, &d, &a);
    const char *text = logged();
    ck_assert_int_eq(strncmp(text, "relay/archive/", 14), 0);
    ck_assert_str_eq(text + 14, outcomes[_i].line);
}
END_TEST

START_TEST(a_later_attempt_says_again_what_it_is_about)
{
    struct queue_recipient r[] = {{.address = plain, .state = QUEUE_SENT},
                                  {.address = plain, .state = QUEUE_PENDING}};
    struct queue_copy c = {.id = "ID1",
                           .destination = name,
                           .message = message_of(sender),
                           .recipients = r,
                           .recipient_count = 2};

    maillog_active(&c);
    ck_assert_str_eq(logged(), "relay/qmgr: ID1: from=<s@x>, size=4123, nrcpt=1 (queue active)\n");
    maillog_set_style("splitmilter");
    maillog_active(&c);
    ck_assert_str_eq(logged(), "");
}
END_TEST

/* --- fields --- */

/* The members of the next line, from the first one that not every line has. Its level is checked.
 */
static const char *members(const char **lines, const char *level)
{
    char head[50];
    int len = snprintf(head, sizeof head, ",\"level\":\"%s\",", level);
    const char *begin = strstr(*lines, head);

    ck_assert_msg(begin != NULL && begin < strchrnul(*lines, '\n'), "%s: %s", level, *lines);
    *lines = strchrnul(*lines, '\n') + 1;
    return begin + len;
}

static void assert_members(const char **lines, const char *level, const char *expect)
{
    const char *text = members(lines, level);

    ck_assert_msg(strncmp(text, expect, strlen(expect)) == 0, "not %s: %s", expect, text);
    ck_assert_int_eq(text[strlen(expect)], '\n');
}

/* They are the same in both styles. */
static const char *const styles[] = {"splitmilter", "postfix"};

START_TEST(fields_of_a_dead_copy)
{
    static char a[] = "a@b", queue_id[] = "4Abc", id[] = "<m@x>";
    bool is_postfix = _i == 1;
    struct queue_message m = message_of(sender);
    struct queue_recipient r = {.address = a, .orcpt = none, .state = QUEUE_DEAD, .reason = "loop"};
    struct queue_new_copy copy = {.destination = "archive",
                                  .recipients = &r,
                                  .recipient_count = 1,
                                  .is_dead = true,
                                  .id = "ID1"};

    m.mta_queue_id = queue_id;
    m.message_id = id;
    maillog_set_style(styles[_i]);
    log_set_json(true);
    maillog_taken(&m, &copy, 1, 5);
    const char *lines = logged();
    if (is_postfix) {
        assert_members(&lines, "info", "\"copy_id\":\"ID1\"}");
        assert_members(&lines, "info", "\"copy_id\":\"ID1\"}");
    }
    assert_members(
        &lines, "info",
        "\"copy_id\":\"ID1\",\"dest\":\"archive\",\"size\":5,\"nrcpt\":1,\"status\":\"dead\","
        "\"queue_id\":\"4Abc\",\"mta_queue_id\":\"4Abc\",\"from\":\"s@x\",\"message_id\":\"m@x\"}");
    assert_members(
        &lines, "warning",
        "\"copy_id\":\"ID1\",\"dest\":\"archive\",\"relay\":\"none\",\"delay\":0,"
        "\"delays\":\"0/0/0/0\",\"dsn\":\"5.4.6\",\"status\":\"dead\",\"reason\":\"loop\","
        "\"to\":\"a@b\"}");
}
END_TEST

START_TEST(fields_of_a_refusal)
{
    struct maillog_reject r = {.stage = "RCPT",
                               .client_addr = "192.0.2.1",
                               .text = "550 5.7.1 No",
                               .detail = "why",
                               .sender = "",
                               .to = "<a@b>",
                               .protocol = "ESMTP",
                               .helo = "h\"x"};

    maillog_set_style(styles[_i]);
    log_set_json(true);
    maillog_reject(&r);
    r.to = "";
    r.detail = "";
    maillog_reject(&r);
    const char *lines = logged();
    assert_members(
        &lines, "warning",
        "\"status\":\"rejected\",\"stage\":\"RCPT\",\"client\":\"192.0.2.1\",\"proto\":\"ESMTP\","
        "\"reason\":\"550 5.7.1 No\",\"detail\":\"why\",\"from\":\"\",\"to\":\"a@b\","
        "\"helo\":\"h\\\"x\"}");
    assert_members(
        &lines, "warning",
        "\"status\":\"rejected\",\"stage\":\"RCPT\",\"client\":\"192.0.2.1\",\"proto\":\"ESMTP\","
        "\"reason\":\"550 5.7.1 No\",\"from\":\"\",\"helo\":\"h\\\"x\"}");
}
END_TEST

/* What a client sends leaves room for what splitrelay says. */
START_TEST(fields_of_a_refusal_with_long_texts)
{
    char text[991];
    struct maillog_reject r = {.stage = "RCPT",
                               .client_addr = "192.0.2.1",
                               .text = "550 5.7.1 No",
                               .detail = "why",
                               .sender = text,
                               .to = text,
                               .protocol = "ESMTP",
                               .helo = text};

    memset(text, '\\', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    maillog_set_style(styles[_i]);
    log_set_json(true);
    maillog_reject(&r);
    const char *line = logged();
    ck_assert_ptr_nonnull(strstr(line, "\"reason\":\"550 5.7.1 No\",\"detail\":\"why\",\"from\":"));
    for (const char *member = "from\0to\0helo\0"; *member != '\0'; member += strlen(member) + 1) {
        char begin[20];
        snprintf(begin, sizeof begin, "\"%s\":\"", member);
        const char *value = strstr(line, begin);
        ck_assert_msg(value != NULL, "no %s in %s", member, line);
        ck_assert_uint_ge(strspn(value + strlen(begin), "\\"), 600);
    }
    ck_assert_ptr_nonnull(strstr(line, "\"truncated\":true}"));
}
END_TEST

/* --- refusals --- */

static const struct {
    struct maillog_reject reject; /* without the fields that are the same in all */
    const char *line;             /* up to "proto=" */
} rejects[] = {
    {{.stage = "RCPT", .text = "550 5.7.1 No", .detail = "", .sender = "s@x", .to = "<a@b>"},
     "RCPT from unknown[192.0.2.1]: 550 5.7.1 <a@b>: Recipient address rejected: No; from=<s@x> "
     "to=<a@b> "},
    {{.stage = "RCPT", .text = "550-a\r\nb", .detail = "", .sender = "", .to = "<\"a>b\"@c>"},
     "RCPT from unknown[192.0.2.1]: 550 <\"a?b\"@c>: Recipient address rejected: a??b; from=<> "
     "to=<\"a?b\"@c> "},
    {{.stage = "MAIL", .text = "452 4.3.1 Full", .detail = "", .sender = "", .to = ""},
     "MAIL from unknown[192.0.2.1]: 452 4.3.1 Full; from=<> "},
    {{.stage = "END-OF-MESSAGE",
      .text = "451 4.3.0 Later",
      .detail = "why",
      .sender = "s",
      .to = ""},
     "DATA from unknown[192.0.2.1]: 451 4.3.0 <DATA>: Later (why); from=<s> "},
    {{.stage = "EHLO", .text = "421 4.7.0 TLS to=<x>", .detail = "", .sender = "", .to = ""},
     "CONNECT from unknown[192.0.2.1]: 421 4.7.0 <unknown[192.0.2.1]>: Client host rejected: TLS "
     "to?<x>; from=<> "},
    {{.stage = "RCPT", .text = "550", .detail = "", .sender = "", .to = "<"},
     "RCPT from unknown[192.0.2.1]: 550 <>: Recipient address rejected:; from=<> to=<> "},
};

START_TEST(refusals_have_their_reason_where_it_is_looked_for)
{
    struct maillog_reject r = rejects[_i].reject;
    char expected[500];

    r.client_addr = "192.0.2.1";
    r.protocol = "ESMTP";
    r.helo = "a> to=<b";
    maillog_reject(&r);
    snprintf(expected, sizeof expected,
             "relay/smtpd: NOQUEUE: reject: %sproto=ESMTP helo=<a? to=?b>\n", rejects[_i].line);
    ck_assert_str_eq(logged(), expected);
}
END_TEST

START_TEST(long_texts_are_cut)
{
    char text[3000];
    struct maillog_reject r = {.stage = "RCPT",
                               .client_addr = text,
                               .text = text,
                               .detail = text,
                               .sender = text,
                               .to = text,
                               .protocol = text,
                               .helo = text};

    memset(text, '<', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    maillog_reject(&r);
    ck_assert_uint_le(strlen(logged()), LOG_LINE_MAX + 1);
}
END_TEST

/* A client cannot fill the log: after a number of lines only a notice is logged. */
START_TEST(floods_are_cut_off)
{
    struct maillog_reject r = rejects[0].reject;
    static const char notice[] = "from here on they are not logged";
    unsigned lines = 0;
    bool is_said = false;
    const char *text;

    r.client_addr = "192.0.2.1";
    r.protocol = "ESMTP";
    r.helo = "mta";

    for (int i = 0; i < 20000; i++) {
        maillog_reject(&r);
        if (i % 20 != 0) /* 20 lines fit into the pipe */
            continue;
        for (text = logged(); *text != '\0'; text += strcspn(text, "\n") + 1) {
            lines++;
            size_t len = strcspn(text, "\n");
            is_said = is_said || memmem(text, len, notice, sizeof notice - 1) != NULL;
        }
    }
    ck_assert(is_said);
    ck_assert_uint_ge(lines, 1001);
    ck_assert_uint_lt(lines, 2500); /* a slow machine logs 20 more for each second */
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("maillog");

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, a_copy_that_was_taken);
    tcase_add_test(t, dead_on_arrival);
    tcase_add_test(t, skipped_on_arrival);
    tcase_add_loop_test(t, outcomes_have_the_destination_in_the_tag, 0, UNIT_COUNT(outcomes));
    tcase_add_test(t, a_later_attempt_says_again_what_it_is_about);
    tcase_add_loop_test(t, fields_of_a_dead_copy, 0, (int)UNIT_COUNT(styles));
    tcase_add_loop_test(t, fields_of_a_refusal, 0, (int)UNIT_COUNT(styles));
    tcase_add_loop_test(t, fields_of_a_refusal_with_long_texts, 0, (int)UNIT_COUNT(styles));
    tcase_add_loop_test(t, refusals_have_their_reason_where_it_is_looked_for, 0,
                        UNIT_COUNT(rejects));
    tcase_add_test(t, long_texts_are_cut);
    tcase_add_test(t, floods_are_cut_off);
    return unit_run("maillog", t);
}
