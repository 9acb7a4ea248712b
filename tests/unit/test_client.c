/* SPDX-License-Identifier: ISC */
#include "smtp/client.h"
#include "format/trace.h"
#include "base/mem.h"
#include "smtp_peer.h"
#include "unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LONG_MS 8000 /* a timeout that no test waits for */
#define SHORT_MS 250 /* one that is waited for */

static char nothing[] = "";

/* The message of all copies. */
static const struct queue_message message = {.client_name = nothing,
                                             .client_addr = nothing,
                                             .helo = nothing,
                                             .protocol = nothing,
                                             .mta_queue_id = nothing,
                                             .message_id = nothing,
                                             .arrival = {.tv_sec = 1700000000}};

/* The header fields above each content. */
static const char *trace(void)
{
    static struct buf text;
    const struct queue_copy copy = {.id = "ID1", .destination = "archive", .message = message};

    buf_reset(&text);
    trace_header(&copy, "me.test", &text);
    return buf_str(&text);
}

/* A destination, a copy with recipients a@x, b@x, ..., and the report of an attempt. */
struct setup {
    struct endpoint endpoints[2];
    struct config_destination destination;
    struct queue_copy copy;
    struct outcome_report report;
    struct client *client;
    int fds; /* descriptors that were open before the client existed */
};

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int memfd_of(const void *content, size_t len)
{
    int fd = memfd_create("copy", MFD_CLOEXEC);

    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(write(fd, content, len), (ssize_t)len);
    return fd;
}

static void set_content(struct setup *s, const void *content, size_t len)
{
    if (s->copy.content_fd != -1)
        close(s->copy.content_fd);
    s->copy.content_fd = memfd_of(content, len);
    s->copy.message.size_bytes = len;
}

/* The same, in memory: borrowed. */
static void set_content_in_memory(struct setup *s, const char *content, size_t len)
{
    set_content(s, content, len);
    close(s->copy.content_fd);
    s->copy.content_fd = -1;
    s->copy.content = content;
}

static void set_recipients(struct setup *s, size_t n)
{
    s->copy.recipients = mem_zalloc(n * sizeof *s->copy.recipients);
    s->copy.recipient_count = n;
    s->report.outcomes = mem_zalloc(n * sizeof *s->report.outcomes);
    for (size_t i = 0; i < n; i++) {
        s->copy.recipients[i].address =
            i < 26 ? mem_printf("%c@x.test", 'a' + (char)i) : mem_printf("r%zu@x.test", i);
        s->copy.recipients[i].orcpt =
            mem_printf("rfc822;%s", i < 26 ? "o+2Bo@x.test" : s->copy.recipients[i].address);
        s->copy.recipients[i].state = QUEUE_PENDING;
    }
}

static void setup_init(struct setup *s, uint16_t port, size_t recipients)
{
    memset(s, 0, sizeof *s);
    s->copy.content_fd = -1;
    s->endpoints[0] = (struct endpoint){.kind = ENDPOINT_INET, .host = "127.0.0.1", .port = port};
    s->destination = (struct config_destination){.name = mem_strdup("archive"),
                                                 .relay_to = s->endpoints,
                                                 .relay_to_count = 1,
                                                 .concurrency = 1,
                                                 .recipient_address = mem_strdup("fixed@y.test"),
                                                 .sender_address = mem_strdup("bounce@y.test"),
                                                 .connect_timeout_ms = LONG_MS,
                                                 .command_timeout_ms = LONG_MS};
    s->copy.message = message;
    s->copy.message.sender = mem_strdup("sender@s.test");
    snprintf(s->copy.id, sizeof s->copy.id, "ID1");
    s->copy.destination = s->destination.name;
    set_recipients(s, recipients);
    set_content(s, "Subject: x\r\n\r\nbody\r\n", 20);
    s->fds = count_fds();
    s->client = client_new(&s->destination, NULL, "me.test", NULL);
}

/* Also checks that the client leaves no descriptor open. The peer may close its side later. */
static void setup_clear(struct setup *s)
{
    client_free(s->client);
    for (int i = 0; i < 10000 && count_fds() != s->fds; i++)
        poll(NULL, 0, 1);
    ck_assert_int_eq(count_fds(), s->fds);
    close(s->copy.content_fd);
    for (size_t i = 0; i < s->copy.recipient_count; i++) {
        free(s->copy.recipients[i].address);
        free(s->copy.recipients[i].orcpt);
    }
    free(s->copy.recipients);
    free(s->report.outcomes);
    free(s->copy.message.sender);
    free(s->destination.name);
    free(s->destination.recipient_address);
    free(s->destination.sender_address);
}

static void deliver(struct setup *s)
{
    memset(s->report.outcomes, 0xff, s->copy.recipient_count * sizeof *s->report.outcomes);
    client_deliver(s->client, &s->copy, &s->report);
}

static char letter_of(enum outcome_result r)
{
    switch (r) {
    case OUTCOME_OK:
        return 'o';
    case OUTCOME_RETRY:
        return 'r';
    case OUTCOME_REFUSED:
        return 'x';
    }
    return '?';
}

/* Check the outcomes of the recipients in order ("oxr"), each with a matching code and a reason. */
static void assert_outcomes(const struct setup *s, const char *expected)
{
    char got[64] = "";

    for (size_t i = 0; i < s->copy.recipient_count && i < sizeof got - 1; i++) {
        const struct outcome *o = &s->report.outcomes[i];
        got[i] = letter_of(o->result);
        ck_assert_int_eq(o->dsn[0], got[i] == 'o' ? '2' : got[i] == 'r' ? '4' : '5');
        ck_assert_uint_gt(strlen(o->reason), 2);
        for (const char *p = o->reason; *p != '\0'; p++)
            ck_assert(*p >= ' ' && *p <= '~');
    }
    ck_assert_msg(strcmp(got, expected) == 0, "got %s, expected %s: %s", got, expected,
                  s->report.outcomes[0].reason);
}

static void assert_reason(const struct setup *s, size_t i, const char *format)
{
    char expected[QUEUE_REASON_SIZE];
    char peer[64];

    snprintf(peer, sizeof peer, "127.0.0.1[127.0.0.1]:%u", (unsigned)s->endpoints[0].port);
    const char *at = strchr(format, '@');
    if (at == NULL)
        snprintf(expected, sizeof expected, "%s", format);
    else
        snprintf(expected, sizeof expected, "%.*s%s%s", (int)(at - format), format, peer, at + 1);
    ck_assert_str_eq(s->report.outcomes[i].reason, expected);
}

/* --- the matrix: every fault at every step --- */

enum fault { F_4XX, F_5XX, F_421, F_GARBAGE, F_LONG, F_HALF, F_SILENT, F_SLOW, F_RESET, F_CLOSE };

static const struct {
    enum peer_action action;
    const char *reply;
    bool takes_time; /* the client waits until a timeout */
} fault_kinds[] = {
    [F_4XX] = {PEER_REPLY, "450 4.7.1 later\r\n", false},
    [F_5XX] = {PEER_REPLY, "550-5.7.1 no\r\n550 5.7.1 never\r\n", false},
    [F_421] = {PEER_REPLY_BYE, "421 4.3.2 going down\r\n", false},
    [F_GARBAGE] = {PEER_GARBAGE, NULL, false},
    [F_LONG] = {PEER_LONG_LINE, NULL, false},
    [F_HALF] = {PEER_HALF_LINE, NULL, true},
    [F_SILENT] = {PEER_SILENCE, NULL, true},
    [F_SLOW] = {PEER_SLOW, NULL, true},
    [F_RESET] = {PEER_RESET, NULL, false},
    [F_CLOSE] = {PEER_CLOSE, NULL, false},
};

/* For each step: the reply that is replaced, and the outcomes of three recipients after 4xx, after
 * 5xx, and after all other faults. */
static const struct {
    enum peer_step step;
    unsigned nth;
    const char *after_4xx, *after_5xx, *after_fault;
    bool is_before_mail, breaks_on_4xx;
} steps[] = {
    {PEER_GREETING, 0, "rrr", "rrr", "rrr", true, true},
    {PEER_HELLO, 0, "rrr", "ooo", "rrr", true, true}, /* 5xx: HELO is tried */
    {PEER_MAIL, 0, "rrr", "xxx", "rrr", false, false},
    {PEER_RCPT, 1, "oro", "oxo", "rrr", false, false},
    {PEER_DATA, 0, "rrr", "xxx", "rrr", false, false},
    {PEER_DOT, 0, "rrr", "xxx", "rrr", false, false},
};

/* LMTP differs: it has no HELO, and each recipient has a result of its own. */
static const char *expected_outcomes(size_t at, enum fault kind, bool is_lmtp)
{
    if (is_lmtp && steps[at].step == PEER_HELLO)
        return "rrr";
    if (is_lmtp && steps[at].step == PEER_DOT)
        return kind == F_4XX ? "oro" : kind == F_5XX ? "oxo" : "orr";
    return kind == F_4XX   ? steps[at].after_4xx
           : kind == F_5XX ? steps[at].after_5xx
                           : steps[at].after_fault;
}

#define MATRIX_SIZE (UNIT_COUNT(steps) * UNIT_COUNT(fault_kinds) * 4)

START_TEST(matrix)
{
    enum fault kind = (enum fault)((size_t)_i % UNIT_COUNT(fault_kinds));
    size_t at = (size_t)_i / UNIT_COUNT(fault_kinds) % UNIT_COUNT(steps);
    bool is_lmtp = (size_t)_i / UNIT_COUNT(fault_kinds) / UNIT_COUNT(steps) % 2 == 1;
    bool pipelining = (size_t)_i / UNIT_COUNT(fault_kinds) / UNIT_COUNT(steps) / 2 == 1;
    struct peer_fault fault = {steps[at].step, steps[at].nth, fault_kinds[kind].action,
                               fault_kinds[kind].reply};
    if (is_lmtp && fault.step == PEER_DOT)
        fault.nth = 1;
    struct peer_script script = {.is_lmtp = is_lmtp,
                                 .extensions = pipelining ? "PIPELINING\r\nDSN\r\n" : "DSN\r\n",
                                 .faults = &fault,
                                 .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 3);
    s.destination.protocol = is_lmtp ? CONFIG_LMTP : CONFIG_SMTP;
    if (fault_kinds[kind].takes_time)
        s.destination.command_timeout_ms = SHORT_MS;
    deliver(&s);
    const char *expected = expected_outcomes(at, kind, is_lmtp);
    assert_outcomes(&s, expected);

    bool is_reply = kind == F_4XX || kind == F_5XX;
    bool is_fault = !is_reply && !steps[at].is_before_mail;
    bool is_host_fault = steps[at].is_before_mail && strcmp(expected, "ooo") != 0;
    ck_assert_int_eq(s.report.is_connection_fault, is_fault);
    ck_assert_int_eq(s.report.is_host_fault, is_host_fault);
    ck_assert_int_eq(client_is_connected(s.client), !is_fault && !is_host_fault);
    ck_assert_uint_eq(s.report.conn_use, is_host_fault ? 0 : 1);

    /* After any fault the next copy is delivered: over the same connection if that still works. */
    s.destination.command_timeout_ms = LONG_MS;
    deliver(&s);
    assert_outcomes(&s, "ooo");
    ck_assert_uint_eq(s.report.conn_use, is_fault || is_host_fault ? 1 : 2);
    ck_assert_uint_eq(peer_connections(p), is_fault || is_host_fault ? 2 : 1);
    setup_clear(&s);
    peer_stop(p);
    const char *content = buf_str(peer_content(p));
    ck_assert_uint_gt(strlen(content), strlen(trace()));
    ck_assert_int_eq(strncmp(content, trace(), strlen(trace())), 0);
    ck_assert_str_eq(content + strlen(trace()), "Subject: x\r\n\r\nbody\r\n");
    bool wants_helo = steps[at].step == PEER_HELLO && kind == F_5XX && !is_lmtp;
    ck_assert_int_eq(strstr(peer_commands(p), "\nHELO ") != NULL, wants_helo);
    peer_free(p);
}
END_TEST

/* --- codes and reasons in the report --- */

static const struct {
    enum peer_step step;
    enum peer_action action;
    const char *reply;
    const char *dsn, *reason;
} reasons[] = {
    {PEER_GREETING, PEER_REPLY_BYE, "554 go away\r\n", "4.0.0",
     "host @ refused to talk to me: 554 go away"},
    {PEER_GREETING, PEER_CLOSE, NULL, "4.4.2",
     "lost connection with @ while receiving the initial server greeting"},
    {PEER_GREETING, PEER_REPLY_BYE, "421 4.7.0 busy\r\n", "4.7.0",
     "host @ refused to talk to me: 421 4.7.0 busy"},
    /* replies whose lines have different codes: the last code counts */
    {PEER_GREETING, PEER_REPLY_BYE, "220-peer\r\n521 5.7.1 go away\r\n", "4.7.1",
     "host @ refused to talk to me: 521 peer 5.7.1 go away"},
    {PEER_DOT, PEER_REPLY, "250-2.0.0 Ok\r\n554 5.6.0 no\r\n", "4.6.0",
     "host @ said: 554 2.0.0 Ok 5.6.0 no (in reply to end of DATA command)"},
    {PEER_DOT, PEER_REPLY, "554-5.6.0 no\r\n250 2.0.0 Ok\r\n", "4.0.0",
     "host @ said: 250 5.6.0 no 2.0.0 Ok (in reply to end of DATA command)"},
    {PEER_HELLO, PEER_RESET, NULL, "4.4.2",
     "lost connection with @ while performing the EHLO handshake"},
    {PEER_HELLO, PEER_SILENCE, NULL, "4.4.2",
     "conversation with @ timed out while performing the EHLO handshake"},
    {PEER_MAIL, PEER_REPLY, "550 5.1.8 bad sender\r\n", "5.1.8",
     "host @ said: 550 5.1.8 bad sender (in reply to MAIL FROM command)"},
    {PEER_MAIL, PEER_REPLY, "354 what\r\n", "4.0.0",
     "host @ said: 354 what (in reply to MAIL FROM command)"},
    {PEER_RCPT, PEER_REPLY, "550-5.1.1 no\r\n550 5.1.1 user\r\n", "5.1.1",
     "host @ said: 550 5.1.1 no 5.1.1 user (in reply to RCPT TO command)"},
    {PEER_RCPT, PEER_REPLY, "452 too many\r\n", "4.0.0",
     "host @ said: 452 too many (in reply to RCPT TO command)"},
    {PEER_RCPT, PEER_GARBAGE, NULL, "4.5.0",
     "host @ sent a malformed reply: not a reply line (in reply to RCPT TO command)"},
    {PEER_RCPT, PEER_LONG_LINE, NULL, "4.5.0",
     "host @ sent a malformed reply: reply too long (in reply to RCPT TO command)"},
    {PEER_DATA, PEER_REPLY, "250 no 354\r\n", "4.0.0",
     "host @ said: 250 no 354 (in reply to DATA command)"},
    {PEER_DATA, PEER_REPLY, "354 go\r\n250 thanks already\r\n", "4.5.0",
     "host @ said more than its reply to DATA"},
    {PEER_DATA, PEER_CLOSE, NULL, "4.4.2", "lost connection with @ while sending DATA command"},
    {PEER_DOT, PEER_CLOSE, NULL, "4.4.2",
     "lost connection with @ while sending end of data -- message may be sent more than once"},
    {PEER_DOT, PEER_SILENCE, NULL, "4.4.2",
     "conversation with @ timed out while sending end of data -- message may be sent more than "
     "once"},
    {PEER_DOT, PEER_REPLY, "354 what\r\n", "4.0.0",
     "host @ said: 354 what (in reply to end of DATA command)"},
    {PEER_DOT, PEER_REPLY, "554 5.6.0 \x1b[31mspam\r\n", "5.6.0",
     "host @ said: 554 5.6.0 ?[31mspam (in reply to end of DATA command)"},
    {PEER_DOT, PEER_REPLY, "250 2.6.0 Ok: queued as 4711\r\n", "2.6.0",
     "250 2.6.0 Ok: queued as 4711"},
    {PEER_DOT, PEER_REPLY, "250\r\n", "2.0.0", "250"},
};

START_TEST(reasons_are_worded_as_postfix_does)
{
    struct peer_fault fault = {reasons[_i].step, 0, reasons[_i].action, reasons[_i].reply};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    if (fault.action == PEER_SILENCE)
        s.destination.command_timeout_ms = SHORT_MS;
    deliver(&s);
    assert_reason(&s, 0, reasons[_i].reason);
    ck_assert_str_eq(s.report.outcomes[0].dsn, reasons[_i].dsn);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

START_TEST(long_reply_keeps_what_it_replies_to)
{
    char reply[1000];
    struct peer_fault fault = {PEER_RCPT, 0, PEER_REPLY, reply};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct setup s;

    memset(reply, 'z', sizeof reply);
    memcpy(reply, "550 5.1.1 ", 10);
    memcpy(reply + sizeof reply - 3, "\r\n", 3);
    struct peer *p = peer_start(&script);
    setup_init(&s, peer_port(p), 1);
    deliver(&s);
    assert_outcomes(&s, "x");
    const char *reason = s.report.outcomes[0].reason;
    ck_assert_uint_eq(strlen(reason), QUEUE_REASON_SIZE - 1);
    ck_assert_ptr_nonnull(strstr(reason, "said: 550 5.1.1 zzz"));
    ck_assert_ptr_nonnull(strstr(reason, "zzz (in reply to RCPT TO command)"));
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* A reply 2xx of any length is an acceptance, and the connection is used again. */
START_TEST(long_acceptance_is_one)
{
    struct buf reply = {0};
    size_t pad = _i == 0 ? 2040 : 100000; /* around SMTP_REPLY_LINE_MAX, and far beyond */

    buf_adds(&reply, _i == 2 ? "250-2.0.0 first\r\n250 " : "250 2.0.0 Ok ");
    for (size_t i = 0; i < pad; i++)
        buf_addc(&reply, 'x');
    buf_adds(&reply, "\r\n");
    struct peer_fault fault = {PEER_DOT, PEER_ALWAYS, PEER_REPLY, buf_str(&reply)};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    for (unsigned i = 1; i <= 2; i++) {
        deliver(&s);
        assert_outcomes(&s, "o");
        ck_assert_str_eq(s.report.outcomes[0].dsn, "2.0.0");
        ck_assert_uint_eq(s.report.conn_use, i);
    }
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
    buf_clear(&reply);
}
END_TEST

/* --- commands that the client sends --- */

static const struct {
    const char *extensions;
    enum config_address sender, recipient;
    bool is_8bit, is_utf8, is_lmtp;
    const char *from, *to_a, *to_b;
    const char *expected; /* outcomes */
    const char *commands; /* without QUIT */
} dialogues[] = {
    {"PIPELINING\r\nSIZE 1000\r\n8BITMIME\r\nSMTPUTF8\r\nDSN\r\n", 0, 0, true, false, false,
     "s@s.test", "a@x.test", "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test> SIZE=189 BODY=8BITMIME\n"
     "RCPT TO:<a@x.test> NOTIFY=NEVER ORCPT=rfc822;o+2Bo@x.test\n"
     "RCPT TO:<b@x.test> NOTIFY=NEVER ORCPT=rfc822;o+2Bo@x.test\nDATA\n"},
    /* the server offers no extension, so no ESMTP word is sent; 8-bit content goes unchanged */
    {"", 0, 0, true, true, false, "s@s.test", "a@x.test", "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test>\nRCPT TO:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    {"size\r\n8bitmime\r\n", 0, 0, false, false, false, "s@s.test", "a@x.test", "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test> SIZE=189\nRCPT TO:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    /* the same address twice */
    {"PIPELINING\r\nDSN\r\n", 0, 0, false, false, false, "", "a@x.test", "a@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<>\nRCPT TO:<a@x.test> NOTIFY=NEVER ORCPT=rfc822;o+2Bo@x.test\n"
     "DATA\n"},
    {"PIPELINING\r\nDSN\r\n", CONFIG_ADDRESS_FIXED, CONFIG_ADDRESS_FIXED, false, false, false,
     "s@s.test", "a@x.test", "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<bounce@y.test>\nRCPT TO:<fixed@y.test> NOTIFY=NEVER\nDATA\n"},
    {"PIPELINING\r\n", CONFIG_ADDRESS_NULL, CONFIG_ADDRESS_CANONICAL, false, false, true,
     "s@s.test", "a@x.test", "b@x.test", "oo",
     "LHLO me.test\nMAIL FROM:<>\nRCPT TO:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    /* SMTPUTF8 */
    {"PIPELINING\r\nSMTPUTF8\r\n", 0, 0, false, true, false, "s@s.test", "a@x.test", "b@x.test",
     "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test> SMTPUTF8\nRCPT TO:<a@x.test>\nRCPT TO:<b@x.test>\n"
     "DATA\n"},
    {"PIPELINING\r\nSMTPUTF8\r\n", 0, 0, false, false, false, "s@s.test", "\xc3\xa4@x.test",
     "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test> SMTPUTF8\nRCPT TO:<\xc3\xa4@x.test>\n"
     "RCPT TO:<b@x.test>\nDATA\n"},
    {"PIPELINING\r\n", 0, 0, false, true, false, "s@s.test", "\xc3\xa4@x.test", "b@x.test", "ro",
     "EHLO me.test\nMAIL FROM:<s@s.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    {"PIPELINING\r\n", 0, 0, false, true, false, "\xc3\xa4@s.test", "a@x.test", "b@x.test", "rr",
     "EHLO me.test\n"},
    /* larger than announced */
    {"SIZE 188\r\n", 0, 0, false, false, false, "s@s.test", "a@x.test", "b@x.test", "xx",
     "EHLO me.test\n"},
    {"SIZE 189\r\n", 0, 0, false, false, false, "s@s.test", "a@x.test", "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test> SIZE=189\nRCPT TO:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    {"SIZE 0\r\n", 0, 0, false, false, false, "s@s.test", "a@x.test", "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test> SIZE=189\nRCPT TO:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    {"SIZE 99999999999999999999999\r\n", 0, 0, false, false, false, "s@s.test", "a@x.test",
     "b@x.test", "oo",
     "EHLO me.test\nMAIL FROM:<s@s.test> SIZE=189\nRCPT TO:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    /* the text of an edited spool file must not become commands */
    {"PIPELINING\r\n", 0, 0, false, false, false, "s@s.test", "a@x.test>\r\nRCPT TO:<c@x.test",
     "b@x.test", "ro", "EHLO me.test\nMAIL FROM:<s@s.test>\nRCPT TO:<b@x.test>\nDATA\n"},
    {"PIPELINING\r\n", 0, 0, false, false, false, "s\n@s.test", "a@x.test", "b@x.test", "rr",
     "EHLO me.test\n"},
};

static void replace(char **text, const char *with)
{
    free(*text);
    *text = mem_strdup(with);
}

START_TEST(dialogue)
{
    struct peer_script script = {.extensions = dialogues[_i].extensions,
                                 .is_lmtp = dialogues[_i].is_lmtp};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 2);
    s.destination.sender = dialogues[_i].sender;
    s.destination.recipient = dialogues[_i].recipient;
    s.destination.protocol = dialogues[_i].is_lmtp ? CONFIG_LMTP : CONFIG_SMTP;
    s.copy.message.is_8bit = dialogues[_i].is_8bit;
    s.copy.message.is_utf8 = dialogues[_i].is_utf8;
    replace(&s.copy.message.sender, dialogues[_i].from);
    replace(&s.copy.recipients[0].address, dialogues[_i].to_a);
    replace(&s.copy.recipients[1].address, dialogues[_i].to_b);
    deliver(&s);
    assert_outcomes(&s, dialogues[_i].expected);
    ck_assert(client_is_connected(s.client));
    setup_clear(&s);
    peer_stop(p);
    char *commands = mem_printf("%sQUIT\n", dialogues[_i].commands);
    ck_assert_str_eq(peer_commands(p), commands);
    free(commands);
    peer_free(p);
}
END_TEST

START_TEST(orcpt_is_made_when_there_is_none)
{
    struct peer_script script = {.extensions = "PIPELINING\r\nDSN\r\nSMTPUTF8\r\n"};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 2);
    replace(&s.copy.recipients[0].address, "a+b@x.test");
    replace(&s.copy.recipients[0].orcpt, "");
    s.copy.recipients[1].state = QUEUE_SENT;
    client_deliver(s.client, &s.copy, &s.report);
    ck_assert_int_eq(s.report.outcomes[0].result, OUTCOME_OK);
    ck_assert_str_eq(s.report.outcomes[1].dsn, ""); /* not touched */
    setup_clear(&s);
    peer_stop(p);
    ck_assert_str_eq(peer_commands(p),
                     "EHLO me.test\nMAIL FROM:<sender@s.test>\n"
                     "RCPT TO:<a+b@x.test> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@x.test\nDATA\nQUIT\n");
    peer_free(p);
}
END_TEST

/* --- content --- */

static const struct {
    const char *content;
    const char *arrives; /* NULL: the same */
} contents[] = {
    {"", NULL},
    {".\r\n", NULL},
    {".\r\n.\r\n", NULL},
    {"..\r\n.a\r\n...\r\n", NULL},
    {"a\r\n.b\r\nc.d\r\n", NULL},
    {"a\r\n\r\n.\r\nMAIL FROM:<x>\r\n", NULL},
    {"a\n.\nb\r\n", NULL},
    {"a\r.\rb\r\n", NULL},
    {"a\n.\r\nb\r\n", NULL},
    {"a\r\r\n.\r\n", NULL},
    {"\r\n", NULL},
    {"no end", "no end\r\n"},
    {"ends in CR\r", "ends in CR\r\r\n"},
    {"ends in LF\n", "ends in LF\n\r\n"},
    {"ends in dot\r\n.", "ends in dot\r\n.\r\n"},
};

START_TEST(content_arrives_as_it_is)
{
    struct peer_script script = {.extensions = "PIPELINING\r\n"};
    struct peer *p = peer_start(&script);
    struct setup s;
    const char *content = contents[_i / 2].content, *arrives = contents[_i / 2].arrives;

    setup_init(&s, peer_port(p), 1);
    if (_i % 2 == 0)
        set_content(&s, content, strlen(content));
    else
        set_content_in_memory(&s, content, strlen(content));
    s.fds = count_fds();
    deliver(&s);
    assert_outcomes(&s, "o");
    deliver(&s);
    assert_outcomes(&s, "o");
    setup_clear(&s);
    peer_stop(p);
    char *expected = mem_printf("%s%s", trace(), arrives == NULL ? content : arrives);
    ck_assert_str_eq(buf_str(peer_content(p)), expected);
    ck_assert_uint_eq(peer_content(p)->len, strlen(expected));
    ck_assert_uint_eq(peer_messages(p), 2);
    free(expected);
    peer_free(p);
}
END_TEST

/* The header does not list refused recipients. SIZE= is at least the size of the content that is
 * sent. */
START_TEST(envelope_headers_name_who_was_accepted)
{
    struct peer_fault fault = {PEER_RCPT, 1, PEER_REPLY, "550 5.1.1 no\r\n"};
    struct peer_script script = {.extensions = "SIZE\r\n", .faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 3);
    s.destination.format = CONFIG_FORMAT_ENVELOPE;
    s.destination.sender = CONFIG_ADDRESS_NULL;
    deliver(&s);
    assert_outcomes(&s, "oxo");
    setup_clear(&s);
    peer_stop(p);
    char *expected = mem_printf("X-Envelope-From: <sender@s.test>\r\n"
                                "X-Envelope-To: <a@x.test>,\r\n\t<c@x.test>\r\n"
                                "%sSubject: x\r\n\r\nbody\r\n",
                                trace());
    ck_assert_str_eq(buf_str(peer_content(p)), expected);
    char *mail =
        mem_printf("MAIL FROM:<> SIZE=%zu\n", strlen(expected) + strlen(",\r\n\t<b@x.test>"));
    ck_assert_ptr_nonnull(strstr(peer_commands(p), mail));
    free(mail);
    free(expected);
    peer_free(p);
}
END_TEST

/* With a fixed recipient the header lists the recipients of the copy. */
START_TEST(envelope_headers_with_a_fixed_recipient)
{
    struct peer_script script = {.extensions = "PIPELINING\r\nSMTPUTF8\r\n8BITMIME\r\n"};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 2);
    s.destination.format = CONFIG_FORMAT_ENVELOPE;
    s.destination.recipient = CONFIG_ADDRESS_FIXED;
    replace(&s.copy.recipients[0].address, "\xc3\xa4@x.test");
    replace(&s.copy.message.sender, "");
    deliver(&s);
    assert_outcomes(&s, "oo");
    setup_clear(&s);
    peer_stop(p);
    ck_assert_ptr_nonnull(strstr(peer_commands(p), "MAIL FROM:<> BODY=8BITMIME SMTPUTF8\n"));
    ck_assert_ptr_nonnull(strstr(peer_commands(p), "RCPT TO:<fixed@y.test>\nDATA\n"));
    static const char head[] = "X-Envelope-From: <>\r\n"
                               "X-Envelope-To: <\xc3\xa4@x.test>,\r\n\t<b@x.test>\r\nReceived: ";
    ck_assert_int_eq(strncmp(buf_str(peer_content(p)), head, sizeof head - 1), 0);
    peer_free(p);
}
END_TEST

/* A content that is larger than any buffer, with CRLF and dots around the borders of blocks. */
START_TEST(large_content_arrives_as_it_is)
{
    struct peer_script script = {.extensions = "PIPELINING\r\n"};
    struct peer *p = peer_start(&script);
    struct setup s;
    struct buf content = {0};

    /* "\r\n." begins at each distance from the end of a block, from -3 to +1 */
    buf_add(&content, "Subject: ", 9);
    for (size_t block = 1; block <= 5; block++) {
        while (content.len < block * 65536 - 4 + block)
            buf_addc(&content, 'x');
        buf_adds(&content, "\r\n..\r\n.");
    }
    while (content.len < 3000000)
        buf_addf(&content, ".%zu.\r\n\r\n..\r\nx%c\xff\r\n", content.len, '\0');
    setup_init(&s, peer_port(p), 1);
    if (_i == 0)
        set_content(&s, content.data, content.len);
    else
        set_content_in_memory(&s, content.data, content.len);
    s.fds = count_fds();
    deliver(&s);
    assert_outcomes(&s, "o");
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_content(p)->len, strlen(trace()) + content.len);
    ck_assert_int_eq(memcmp(peer_content(p)->data + strlen(trace()), content.data, content.len), 0);
    buf_clear(&content);
    peer_free(p);
}
END_TEST

static const struct {
    enum peer_action action;
    const char *reason;
} body_faults[] = {
    {PEER_RESET, "lost connection with @ while sending message body"},
    {PEER_CLOSE, "lost connection with @ while sending message body"},
};

START_TEST(connection_lost_within_the_content)
{
    struct peer_fault fault = {PEER_BODY, 0, body_faults[_i].action, NULL};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;
    char *content = mem_zalloc(30000000);

    for (size_t i = 0; i < 30000000; i += 100)
        memcpy(content + i + 98, "\r\n", 2);
    setup_init(&s, peer_port(p), 2);
    set_content(&s, content, 30000000);
    s.fds = count_fds();
    deliver(&s);
    assert_outcomes(&s, "rr");
    assert_reason(&s, 1, body_faults[_i].reason);
    ck_assert(s.report.is_connection_fault);
    free(content);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* Replies that a server sends before the end of a content that is larger than all buffers. */
static const struct {
    enum peer_action action;
    const char *reply, *smtp, *lmtp; /* outcomes of two recipients */
    bool is_connection_fault;        /* with SMTP */
    const char *reason;              /* of the first */
} body_replies[] = {
    {PEER_REPLY_BYE, "552 5.3.4 too big\r\n", "xx", "xr", false,
     "host @ said: 552 5.3.4 too big (in reply to message body)"},
    {PEER_REPLY_BYE, "552-5.3.4 too big\r\n552 5.3.4 by far\r\n", "xx", "xr", false,
     "host @ said: 552 5.3.4 too big 5.3.4 by far (in reply to message body)"},
    {PEER_REPLY_BYE, "550 5.3.4 one\r\n452 4.2.2 two\r\n", "xx", "xr", false,
     "host @ said: 550 5.3.4 one (in reply to message body)"},
    {PEER_REPLY_BYE, "452 4.3.1 full\r\n", "rr", "rr", false,
     "host @ said: 452 4.3.1 full (in reply to message body)"},
    {PEER_REPLY_BYE, "421 4.3.2 enough\r\n", "rr", "rr", true,
     "host @ said: 421 4.3.2 enough (in reply to message body)"},
    /* half a reply is no reply, and neither is 2xx for half a message */
    {PEER_REPLY_BYE, "552 5.3.4 too", "rr", "rr", true,
     "lost connection with @ while sending message body"},
    {PEER_REPLY_BYE, "552-5.3.4 too big\r\n", "rr", "rr", true,
     "lost connection with @ while sending message body"},
    {PEER_REPLY_BYE, "250 2.0.0 taken\r\n", "rr", "rr", true,
     "lost connection with @ while sending message body"},
    {PEER_REPLY, "250 2.0.0 taken\r\n", "rr", "rr", true,
     "host @ said 250 before the end of the message was sent"},
    /* with LMTP it may be the reply for the first recipient, and a 2xx behind it cannot be assigned
     * to a recipient */
    {PEER_REPLY, "554 5.7.1 spam\r\n", "xx", "xr", false,
     "host @ said: 554 5.7.1 spam (in reply to end of DATA command)"},
};

START_TEST(reply_within_the_content)
{
    bool is_lmtp = (size_t)_i >= UNIT_COUNT(body_replies);
    size_t at = (size_t)_i % UNIT_COUNT(body_replies);
    struct peer_fault fault = {PEER_BODY, 0, body_replies[at].action, body_replies[at].reply};
    struct peer_script script = {.is_lmtp = is_lmtp, .faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;
    char *content = mem_zalloc(30000000);

    for (size_t i = 0; i < 30000000; i += 100)
        memcpy(content + i + 98, "\r\n", 2);
    setup_init(&s, peer_port(p), 2);
    s.destination.protocol = is_lmtp ? CONFIG_LMTP : CONFIG_SMTP;
    set_content(&s, content, 30000000);
    s.fds = count_fds();
    deliver(&s);
    assert_outcomes(&s, is_lmtp ? body_replies[at].lmtp : body_replies[at].smtp);
    assert_reason(&s, 0, body_replies[at].reason);
    if (!is_lmtp)
        ck_assert_int_eq(s.report.is_connection_fault, body_replies[at].is_connection_fault);
    bool is_kept =
        !is_lmtp && body_replies[at].action == PEER_REPLY && body_replies[at].reply[0] == '5';
    ck_assert_int_eq(client_is_connected(s.client), is_kept);
    free(content);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* The file is shorter than the queue says: no final dot may be sent. */
START_TEST(unreadable_content_is_no_message)
{
    struct peer_script script = {.extensions = "PIPELINING\r\n"};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    s.copy.message.size_bytes += 1;
    deliver(&s);
    assert_outcomes(&s, "r");
    assert_reason(&s, 0, "cannot read the spool: file too short");
    ck_assert(!s.report.is_connection_fault && !s.report.is_host_fault);
    ck_assert(!client_is_connected(s.client));
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), 0);
    peer_free(p);
}
END_TEST

/* --- recipients --- */

START_TEST(no_recipient_accepted)
{
    const struct peer_fault faults[] = {
        {PEER_RCPT, 0, PEER_REPLY, "550 5.1.1 no\r\n"},
        {PEER_RCPT, 1, PEER_REPLY, "450 4.2.0 later\r\n"},
    };
    struct peer_script script = {.extensions = _i == 0 ? "PIPELINING\r\n" : "",
                                 .is_lmtp = _i == 2,
                                 .faults = faults,
                                 .fault_count = 2};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 2);
    s.destination.protocol = script.is_lmtp ? CONFIG_LMTP : CONFIG_SMTP;
    deliver(&s);
    assert_outcomes(&s, "xr");
    ck_assert(!s.report.is_connection_fault);
    deliver(&s);
    assert_outcomes(&s, "oo");
    ck_assert_uint_eq(s.report.conn_use, 2);
    setup_clear(&s);
    peer_stop(p);
    /* With PIPELINING the peer replied 354 and got only the dot, which made no message. */
    ck_assert_uint_eq(peer_messages(p), 1);
    ck_assert_uint_eq(peer_count(p, PEER_DOT), _i == 1 ? 1 : 2);
    peer_free(p);
}
END_TEST

START_TEST(two_thousand_recipients)
{
    const struct peer_fault faults[] = {
        {PEER_RCPT, 777, PEER_REPLY, "550 5.1.1 no\r\n"},
        {PEER_RCPT, 1999, PEER_REPLY, "452 4.5.3 too many\r\n"},
    };
    struct peer_script script = {
        .extensions = _i == 0 ? "PIPELINING\r\nDSN\r\n" : "", .faults = faults, .fault_count = 2};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 2000);
    deliver(&s);
    for (size_t i = 0; i < 2000; i++) {
        enum outcome_result expected = i == 777 ? OUTCOME_REFUSED : OUTCOME_OK;
        ck_assert_int_eq(s.report.outcomes[i].result, expected);
    }
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_count(p, PEER_RCPT), 2001); /* the last one twice */
    ck_assert_uint_eq(peer_messages(p), 2);
    peer_free(p);
}
END_TEST

START_TEST(fixed_recipient_refused_is_refused_for_all)
{
    struct peer_fault fault = {PEER_RCPT, 0, PEER_REPLY, "550 5.1.1 no\r\n"};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 3);
    s.destination.recipient = CONFIG_ADDRESS_FIXED;
    deliver(&s);
    assert_outcomes(&s, "xxx");
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_count(p, PEER_RCPT), 1);
    peer_free(p);
}
END_TEST

/* --- connections --- */

static const struct {
    enum peer_step step; /* of the second message */
    enum peer_action action;
    const char *reply;
} reuse_faults[] = {
    {PEER_MAIL, PEER_REPLY_BYE, "421 4.4.2 too many messages\r\n"},
    {PEER_MAIL, PEER_CLOSE, NULL},
    {PEER_MAIL, PEER_RESET, NULL},
    {PEER_DATA, PEER_CLOSE, NULL},
    {PEER_RCPT, PEER_REPLY_BYE, "421 4.4.2 bye\r\n"},
};

START_TEST(kept_connection_that_ends_is_replaced)
{
    struct peer_fault fault = {reuse_faults[_i].step, 1, reuse_faults[_i].action,
                               reuse_faults[_i].reply};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    deliver(&s);
    assert_outcomes(&s, "o");
    deliver(&s);
    assert_outcomes(&s, "o");
    ck_assert_uint_eq(s.report.conn_use, 1);
    ck_assert(!s.report.is_connection_fault);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), 2);
    ck_assert_uint_eq(peer_connections(p), 2);
    peer_free(p);
}
END_TEST

/* Servers limit the messages on a connection, and not all of them reply 421 at the limit. */
START_TEST(mail_deferred_on_a_kept_connection_is_tried_anew)
{
    const struct peer_fault faults[] = {
        {PEER_MAIL, _i == 0 ? 1 : PEER_ALWAYS, PEER_REPLY, "452 4.5.3 Too many messages sent\r\n"}};
    struct peer_script script = {
        .extensions = _i == 2 ? "" : NULL, .faults = faults, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    for (unsigned i = 0; i < 2; i++) {
        deliver(&s);
        assert_outcomes(&s, _i == 0 ? "o" : "r");
        ck_assert_uint_eq(s.report.conn_use, 1);
        ck_assert(!s.report.is_connection_fault);
    }
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), _i == 0 ? 2 : 0);
    ck_assert_uint_eq(peer_connections(p), 2);
    ck_assert_uint_eq(peer_count(p, PEER_MAIL), 3);
    peer_free(p);
}
END_TEST

/* The server has closed the connection, or sent a reply to no command. */
START_TEST(stale_connection_is_not_used)
{
    struct peer_fault fault = {PEER_DOT, 0, PEER_REPLY_BYE, "250 2.0.0 taken\r\n"};
    if (_i == 1)
        fault =
            (struct peer_fault){PEER_DOT, 0, PEER_REPLY, "250 2.0.0 taken\r\n421 4.4.2 idle\r\n"};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    deliver(&s);
    assert_outcomes(&s, "o");
    deliver(&s);
    assert_outcomes(&s, "o");
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_connections(p), 2);
    peer_free(p);
}
END_TEST

START_TEST(reused_connection_lost_after_the_dot_is_not_sent_again)
{
    struct peer_fault fault = {PEER_DOT, 1, PEER_CLOSE, NULL};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    deliver(&s);
    deliver(&s);
    assert_outcomes(&s, "r");
    ck_assert(s.report.is_connection_fault);
    ck_assert_uint_eq(s.report.conn_use, 2);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_count(p, PEER_DOT), 2);
    peer_free(p);
}
END_TEST

/* A port at which no process listens. */
static uint16_t closed_port(void)
{
    struct peer_script script = {0};
    struct peer *p = peer_start(&script);
    uint16_t port = peer_port(p);

    peer_stop(p);
    peer_free(p);
    return port;
}

START_TEST(connection_refused)
{
    struct setup s;

    setup_init(&s, closed_port(), 2);
    deliver(&s);
    assert_outcomes(&s, "rr");
    assert_reason(&s, 0, "connect to @: Connection refused");
    ck_assert_str_eq(s.report.outcomes[0].dsn, "4.4.1");
    ck_assert_str_eq(s.report.relay, "none");
    ck_assert_uint_eq(s.report.conn_use, 0);
    ck_assert(s.report.is_host_fault);
    setup_clear(&s);
}
END_TEST

START_TEST(next_address_is_tried)
{
    struct peer_fault fault = {PEER_GREETING, 0, PEER_REPLY_BYE, "554 5.3.2 not me\r\n"};
    struct peer_script bad_script = {.faults = &fault, .fault_count = 1};
    struct peer_script good_script = {.extensions = ""};
    struct peer *good = peer_start(&good_script);
    struct peer *bad = peer_start(&bad_script);
    struct setup s;

    setup_init(&s, _i == 0 ? closed_port() : peer_port(bad), 1);
    s.endpoints[1] = s.endpoints[0];
    s.endpoints[1].port = peer_port(good);
    s.destination.relay_to_count = 2;
    deliver(&s);
    assert_outcomes(&s, "o");
    char relay[64];
    snprintf(relay, sizeof relay, "127.0.0.1[127.0.0.1]:%u", (unsigned)peer_port(good));
    ck_assert_str_eq(s.report.relay, relay);
    setup_clear(&s);
    peer_stop(good);
    peer_free(good);
    peer_stop(bad);
    peer_free(bad);
}
END_TEST

static enum resolver_status find_no_mx(const struct resolver_query *q,
                                       struct resolver_mx **list_out, size_t *count_out,
                                       struct err *err)
{
    (void)q;
    *list_out = NULL;
    *count_out = 0;
    err_set(err, "no MX");
    return RESOLVER_NOT_FOUND;
}

static enum resolver_status fail_mx(const struct resolver_query *q, struct resolver_mx **list_out,
                                    size_t *count_out, struct err *err)
{
    (void)find_no_mx(q, list_out, count_out, err);
    err_set(err, "Host not found, try again");
    return RESOLVER_TRY_AGAIN;
}

static enum resolver_status find_nothing(const struct resolver_query *q,
                                         struct resolver_addresses *out, struct err *err)
{
    (void)q;
    out->count = 0;
    err_set(err, "Host not found, try again");
    return RESOLVER_TRY_AGAIN;
}

/* Two addresses, of which the first refuses connections. */
static enum resolver_status find_two(const struct resolver_query *q, struct resolver_addresses *out,
                                     struct err *err)
{
    (void)err;
    ck_assert_str_eq(q->name, "mx.test");
    ck_assert_int_ge(q->wake_fd, 0);
    for (out->count = 0; out->count < 2; out->count++) {
        struct sockaddr_in sa = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(0x7f000002 - (uint32_t)out->count)};
        memcpy(&out->items[out->count].sa, &sa, sizeof sa);
        out->items[out->count].len = sizeof sa;
    }
    return RESOLVER_FOUND;
}

START_TEST(host_has_several_addresses)
{
    static const struct resolver resolver = {find_two, find_no_mx};
    struct peer_script script = {.extensions = ""};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    client_free(s.client);
    snprintf(s.endpoints[0].host, sizeof s.endpoints[0].host, "mx.test");
    s.client = client_new(&s.destination, NULL, "me.test", &resolver);
    deliver(&s);
    assert_outcomes(&s, "o");
    char relay[64];
    snprintf(relay, sizeof relay, "mx.test[127.0.0.1]:%u", (unsigned)peer_port(p));
    ck_assert_str_eq(s.report.relay, relay);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

START_TEST(host_is_not_found)
{
    static const struct resolver resolver = {find_nothing, fail_mx};
    struct setup s;

    setup_init(&s, 25, 1);
    client_free(s.client);
    snprintf(s.endpoints[0].host, sizeof s.endpoints[0].host, "mx.test");
    s.client = client_new(&s.destination, NULL, "me.test", &resolver);
    deliver(&s);
    assert_outcomes(&s, "r");
    ck_assert_str_eq(s.report.outcomes[0].dsn, "4.4.3");
    ck_assert_str_eq(s.report.outcomes[0].reason,
                     "Host or domain name not found. Name service error for name=mx.test type=MX: "
                     "Host not found, try again");
    ck_assert(s.report.is_host_fault);
    setup_clear(&s);
}
END_TEST

static atomic_bool looks_up;

/* A name server that never answers. */
static enum resolver_status wait_for_ever(const struct resolver_query *q,
                                          struct resolver_mx **list_out, size_t *count_out,
                                          struct err *err)
{
    struct pollfd p = {.fd = q->wake_fd, .events = POLLIN};

    (void)find_no_mx(q, list_out, count_out, err);
    atomic_store(&looks_up, true);
    ck_assert_int_eq(poll(&p, 1, LONG_MS), 1);
    return RESOLVER_TRY_AGAIN;
}

static void *interrupt_lookup(void *arg)
{
    for (int i = 0; i < LONG_MS && !atomic_load(&looks_up); i++)
        poll(NULL, 0, 1);
    client_interrupt(arg);
    return NULL;
}

START_TEST(lookup_is_interrupted)
{
    static const struct resolver resolver = {find_nothing, wait_for_ever};
    struct setup s;
    pthread_t thread;

    setup_init(&s, 25, 1);
    client_free(s.client);
    snprintf(s.endpoints[0].host, sizeof s.endpoints[0].host, "mx.test");
    s.client = client_new(&s.destination, NULL, "me.test", &resolver);
    ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_lookup, s.client), 0);
    deliver(&s);
    pthread_join(thread, NULL);
    assert_outcomes(&s, "r");
    ck_assert_str_eq(s.report.outcomes[0].reason, "delivery interrupted: shutting down");
    ck_assert(s.report.is_host_fault);
    setup_clear(&s);
}
END_TEST

/* No process accepts. The kernel completes connections up to the backlog; further ones hang. */
START_TEST(connect_times_out)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t size = sizeof sa;
    int fillers[8];
    struct setup s;

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &size), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    for (size_t i = 0; i < UNIT_COUNT(fillers); i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int r = connect(fillers[i], (struct sockaddr *)&sa, size);
        ck_assert(r == 0 || r == -1);
    }
    setup_init(&s, ntohs(sa.sin_port), 1);
    s.destination.connect_timeout_ms = SHORT_MS;
    deliver(&s);
    assert_outcomes(&s, "r");
    assert_reason(&s, 0, "connect to @: Connection timed out");
    setup_clear(&s);
    for (size_t i = 0; i < UNIT_COUNT(fillers); i++)
        close(fillers[i]);
    close(fd);
}
END_TEST

START_TEST(lmtp_over_a_unix_socket)
{
    char dir[] = "/tmp/test_client.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    char *path = mem_printf("%s/lmtp", dir);
    struct peer_script script = {.is_lmtp = true, .unix_path = path};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, 0, 2);
    s.destination.protocol = CONFIG_LMTP;
    s.endpoints[0].kind = ENDPOINT_UNIX;
    snprintf(s.endpoints[0].path, sizeof s.endpoints[0].path, "%s", path);
    deliver(&s);
    assert_outcomes(&s, "oo");
    char *relay = mem_printf("me.test[%s]", path);
    ck_assert_str_eq(s.report.relay, relay);
    free(relay);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
    unlink(path);
    rmdir(dir);
    free(path);
}
END_TEST

static void *deliver_in_thread(void *arg)
{
    deliver(arg);
    return NULL;
}

static const enum peer_step silent_steps[] = {PEER_GREETING, PEER_HELLO, PEER_RCPT, PEER_DOT};

/* What has begun a message goes on. */
START_TEST(interrupting_the_setup_spares_a_message)
{
    struct peer_fault fault = {silent_steps[_i], 0, PEER_SILENCE, NULL};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    const bool has_message = silent_steps[_i] != PEER_GREETING && silent_steps[_i] != PEER_HELLO;
    struct peer *p = peer_start(&script);
    struct setup s;
    pthread_t thread;
    struct timespec until;

    setup_init(&s, peer_port(p), 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, deliver_in_thread, &s), 0);
    ck_assert(peer_wait(p, silent_steps[_i], 1));
    client_interrupt_setup(s.client);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += has_message ? 1 : LONG_MS / 1000;
    ck_assert_int_eq(pthread_timedjoin_np(thread, NULL, &until), has_message ? ETIMEDOUT : 0);
    client_interrupt(s.client);
    if (has_message)
        pthread_join(thread, NULL);
    assert_reason(&s, 0, "delivery interrupted: shutting down");
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

START_TEST(interrupt_ends_a_delivery)
{
    struct peer_fault fault = {silent_steps[_i], 0, PEER_SILENCE, NULL};
    struct peer_script script = {.faults = &fault, .fault_count = 1};
    struct peer *p = peer_start(&script);
    struct setup s;
    pthread_t thread;
    struct timespec begin, end;

    setup_init(&s, peer_port(p), 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, deliver_in_thread, &s), 0);
    ck_assert(peer_wait(p, silent_steps[_i], 1));
    clock_gettime(CLOCK_MONOTONIC, &begin);
    client_interrupt(s.client);
    pthread_join(thread, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    ck_assert_int_le(end.tv_sec - begin.tv_sec, LONG_MS / 2000);
    assert_outcomes(&s, "r");
    assert_reason(&s, 0, "delivery interrupted: shutting down");
    ck_assert(s.report.is_host_fault);
    deliver(&s); /* and it stays so */
    assert_outcomes(&s, "r");
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

static void add_connection_tests(TCase *t)
{
    tcase_add_loop_test(t, kept_connection_that_ends_is_replaced, 0, UNIT_COUNT(reuse_faults));
    tcase_add_loop_test(t, mail_deferred_on_a_kept_connection_is_tried_anew, 0, 3);
    tcase_add_loop_test(t, stale_connection_is_not_used, 0, 2);
    tcase_add_test(t, reused_connection_lost_after_the_dot_is_not_sent_again);
    tcase_add_test(t, connection_refused);
    tcase_add_loop_test(t, next_address_is_tried, 0, 2);
    tcase_add_test(t, host_has_several_addresses);
    tcase_add_test(t, host_is_not_found);
    tcase_add_test(t, lookup_is_interrupted);
    tcase_add_test(t, connect_times_out);
    tcase_add_test(t, lmtp_over_a_unix_socket);
    tcase_add_loop_test(t, interrupt_ends_a_delivery, 0, UNIT_COUNT(silent_steps));
    tcase_add_loop_test(t, interrupting_the_setup_spares_a_message, 0, UNIT_COUNT(silent_steps));
}

/* --- recipients in several transactions --- */

static const struct {
    unsigned limit, recipients;
    struct peer_fault faults[3];
    const char *outcomes;
    unsigned messages, connections;
    const char *rcpts; /* letters of RCPT in order, '|' at each MAIL */
    bool is_connection_fault;
} batches[] = {
    {2, 5, {{0}}, "ooooo", 3, 1, "|ab|cd|e", false},
    {2, 4, {{0}}, "oooo", 2, 1, "|ab|cd", false},
    {5, 5, {{0}}, "ooooo", 1, 1, "|abcde", false},
    /* the server takes two recipients, then one more in the next transaction */
    {0,
     4,
     {{PEER_RCPT, 2, PEER_REPLY, "452 4.5.3 Too many\r\n"},
      {PEER_RCPT, 3, PEER_REPLY, "552 Too many recipients\r\n"},
      {PEER_RCPT, 5, PEER_REPLY, "452 no more\r\n"}},
     "oooo",
     3,
     1,
     "|abcd|cd|d",
     false},
    /* without an accepted recipient before it, 452 is about this recipient */
    {0, 2, {{PEER_RCPT, 0, PEER_REPLY, "452 4.5.3 Too many\r\n"}}, "ro", 1, 1, "|ab", false},
    {0,
     3,
     {{PEER_RCPT, 1, PEER_REPLY, "452 4.2.2 full\r\n"},
      {PEER_RCPT, 3, PEER_REPLY, "452 4.2.2 full\r\n"}},
     "oro",
     1,
     1,
     "|abc|b",
     false},
    /* other refusals are final for this attempt */
    {2, 3, {{PEER_RCPT, 1, PEER_REPLY, "450 4.2.0 later\r\n"}}, "oro", 2, 1, "|ab|c", false},
    {2, 3, {{PEER_MAIL, 0, PEER_REPLY, "550 5.7.1 no\r\n"}}, "xxx", 0, 1, "|ab", false},
    {2, 3, {{PEER_DATA, 0, PEER_REPLY, "451 4.3.0 no\r\n"}}, "rro", 1, 1, "|ab|c", false},
    {2, 3, {{PEER_DOT, 0, PEER_REPLY, "554 5.6.0 no\r\n"}}, "xxo", 1, 1, "|ab|c", false},
    /* one message for each connection: the rest goes over another one */
    {2,
     4,
     {{PEER_MAIL, 1, PEER_REPLY_BYE, "421 4.7.0 enough\r\n"}},
     "oooo",
     2,
     2,
     "|ab|cd|cd",
     false},
    {2, 4, {{PEER_MAIL, 1, PEER_CLOSE, NULL}}, "oooo", 2, 2, "|ab|cd|cd", false},
    /* a fault that is not caused by the age of the connection */
    {2, 4, {{PEER_DOT, 1, PEER_CLOSE, NULL}}, "oorr", 1, 1, "|ab|cd", true},
};

/* "|ab|c" from the commands that the peer got. */
static void summarize(const char *commands, char *out, size_t size)
{
    size_t len = 0;

    for (const char *line = commands; *line != '\0' && len + 2 < size; line++) {
        if (strncmp(line, "MAIL", 4) == 0)
            out[len++] = '|';
        if (strncmp(line, "RCPT TO:<", 9) == 0)
            out[len++] = line[9];
        line += strcspn(line, "\n");
        if (*line == '\0')
            break;
    }
    out[len] = '\0';
}

START_TEST(recipients_in_several_transactions)
{
    struct peer_script script = {.faults = batches[_i].faults};
    struct setup s;
    char rcpts[64];

    for (size_t i = 0; i < 3; i++)
        if (batches[_i].faults[i].reply != NULL || batches[_i].faults[i].action != PEER_REPLY)
            script.fault_count = i + 1;
    struct peer *p = peer_start(&script);
    setup_init(&s, peer_port(p), batches[_i].recipients);
    s.destination.recipient_limit = batches[_i].limit;
    deliver(&s);
    assert_outcomes(&s, batches[_i].outcomes);
    ck_assert(s.report.is_connection_fault == batches[_i].is_connection_fault);
    ck_assert(!s.report.is_host_fault);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), batches[_i].messages);
    ck_assert_uint_eq(peer_connections(p), batches[_i].connections);
    summarize(peer_commands(p), rcpts, sizeof rcpts);
    if (batches[_i].connections == 1)
        ck_assert_str_eq(rcpts, batches[_i].rcpts);
    peer_free(p);
}
END_TEST

/* --- templates --- */

/* The recipients are a@x.test, "a b"@y.test, A@X.test, one whose local part is too long, and
 * a@y.test. */
static const struct {
    const char *recipient, *sender; /* NULL: as the MTA gave it */
    enum config_format format;
    struct peer_fault fault;
    const char *outcomes;
    const char *commands; /* of MAIL and RCPT */
} templates[] = {
    {"%u.%d@z.test",
     NULL,
     CONFIG_FORMAT_RAW,
     {0},
     "oooxo",
     "MAIL FROM:<sender@s.test>\nRCPT TO:<a.x.test@z.test>\nRCPT TO:<\"a b.y.test\"@z.test>\n"
     "RCPT TO:<A.x.test@z.test>\nRCPT TO:<a.y.test@z.test>\n"},
    /* an address that several recipients have is sent once */
    {"%d@z.test",
     NULL,
     CONFIG_FORMAT_RAW,
     {0},
     "ooooo",
     "MAIL FROM:<sender@s.test>\nRCPT TO:<x.test@z.test>\nRCPT TO:<y.test@z.test>\n"},
    /* a transaction for each sender */
    {NULL,
     "%d@s.test",
     CONFIG_FORMAT_RAW,
     {0},
     "ooooo",
     "MAIL FROM:<x.test@s.test>\nRCPT TO:<a@x.test>\nRCPT TO:<A@X.test>\n"
     "RCPT TO:<l123456789l123456789l123456789l123456789l123456789l123456789@x.test>\n"
     "MAIL FROM:<y.test@s.test>\nRCPT TO:<\"a b\"@y.test>\nRCPT TO:<a@y.test>\n"},
    /* the same address with different senders is sent once for each */
    {"one@z.test",
     "%d@s.test",
     CONFIG_FORMAT_RAW,
     {PEER_MAIL, 0, PEER_REPLY, "550 5.1.8 no such sender\r\n"},
     "xoxxo",
     "MAIL FROM:<x.test@s.test>\nRCPT TO:<one@z.test>\n"
     "MAIL FROM:<y.test@s.test>\nRCPT TO:<one@z.test>\n"},
    /* a header that names recipients goes to their own address alone */
    {"%d@z.test",
     NULL,
     CONFIG_FORMAT_ENVELOPE,
     {PEER_RCPT, 0, PEER_REPLY, "451 4.2.1 later\r\n"},
     "rorro",
     "MAIL FROM:<sender@s.test>\nRCPT TO:<x.test@z.test>\n"
     "MAIL FROM:<sender@s.test>\nRCPT TO:<y.test@z.test>\n"},
};

/* The lines of MAIL and RCPT, without parameters. The caller frees them. */
static char *envelope_of(const char *commands)
{
    struct buf out = {0};

    for (const char *end; *commands != '\0'; commands = end) {
        end = strchrnul(commands, '\n');
        if (strncmp(commands, "MAIL", 4) == 0 || strncmp(commands, "RCPT", 4) == 0) {
            const char *bracket = memrchr(commands, '>', (size_t)(end - commands));
            buf_add(&out, commands, (size_t)(bracket + 1 - commands));
            buf_addc(&out, '\n');
        }
        end += *end == '\n';
    }
    return buf_take(&out);
}

START_TEST(addresses_are_made_from_recipients)
{
    struct peer_script script = {.extensions = "PIPELINING\r\n",
                                 .faults = &templates[_i].fault,
                                 .fault_count = templates[_i].fault.reply == NULL ? 0 : 1};
    static const char *const recipients[] = {
        "a@x.test", "\"a b\"@y.test", "A@X.test",
        "l123456789l123456789l123456789l123456789l123456789l123456789@x.test", "a@y.test"};
    bool has_recipient = templates[_i].recipient != NULL;
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), UNIT_COUNT(recipients));
    for (size_t i = 0; i < UNIT_COUNT(recipients); i++)
        replace(&s.copy.recipients[i].address, recipients[i]);
    s.destination.format = templates[_i].format;
    if (has_recipient) {
        bool is_template = strchr(templates[_i].recipient, '%') != NULL;
        s.destination.recipient = is_template ? CONFIG_ADDRESS_TEMPLATE : CONFIG_ADDRESS_FIXED;
        replace(&s.destination.recipient_address, templates[_i].recipient);
    }
    if (templates[_i].sender != NULL) {
        s.destination.sender = CONFIG_ADDRESS_TEMPLATE;
        replace(&s.destination.sender_address, templates[_i].sender);
    }
    deliver(&s);
    assert_outcomes(&s, templates[_i].outcomes);
    ck_assert(!s.report.is_untried);
    setup_clear(&s);
    peer_stop(p);
    char *got = envelope_of(peer_commands(p));
    ck_assert_str_eq(got, templates[_i].commands);
    if (templates[_i].format == CONFIG_FORMAT_ENVELOPE) {
        ck_assert_ptr_nonnull(
            strstr(buf_str(peer_content(p)),
                   "X-Envelope-To: <\"a b\"@y.test>,\r\n\t<a@y.test>\r\nReceived"));
        ck_assert_ptr_null(strstr(buf_str(peer_content(p)), "@x.test"));
    }
    free(got);
    peer_free(p);
}
END_TEST

/* Nothing is offered to the server if no address can be made. */
START_TEST(no_address_can_be_made)
{
    struct peer_script script = {0};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 2);
    s.destination.recipient = CONFIG_ADDRESS_TEMPLATE;
    replace(&s.destination.recipient_address, "%d@z.test");
    replace(&s.copy.recipients[0].address, "postmaster");
    s.copy.recipients[1].state = QUEUE_SENT;
    snprintf(s.copy.recipients[1].reason, sizeof s.copy.recipients[1].reason, "as it was");
    deliver(&s);
    ck_assert_int_eq(s.report.outcomes[0].result, OUTCOME_REFUSED);
    ck_assert_str_eq(s.report.outcomes[0].dsn, "5.1.3");
    ck_assert_str_eq(s.report.outcomes[0].reason, "the template of \"recipient\" makes no address: "
                                                  "the recipient has no domain");
    ck_assert(s.report.is_untried && !s.report.is_host_fault && !s.report.is_connection_fault);
    ck_assert_str_eq(s.report.relay, "none");
    ck_assert_uint_eq(peer_connections(p), 0);
    setup_clear(&s);
    peer_stop(p);
    peer_free(p);
}
END_TEST

/* The same without PIPELINING, and with LMTP. */
START_TEST(enough_recipients_in_other_dialogues)
{
    struct peer_fault faults[] = {{PEER_RCPT, 2, PEER_REPLY, "452 4.5.3 Too many\r\n"},
                                  {PEER_RCPT, 3, PEER_REPLY, "452 4.5.3 Too many\r\n"}};
    struct peer_script script = {
        .is_lmtp = _i == 1, .extensions = "", .faults = faults, .fault_count = 2};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 4);
    s.destination.protocol = _i == 1 ? CONFIG_LMTP : CONFIG_SMTP;
    deliver(&s);
    assert_outcomes(&s, "oooo");
    ck_assert_uint_eq(s.report.conn_use, 2);
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_messages(p), 2);
    ck_assert_uint_eq(peer_connections(p), 1);
    peer_free(p);
}
END_TEST

START_TEST(connection_carries_so_many_messages)
{
    struct peer_script script = {0};
    struct peer *p = peer_start(&script);
    struct setup s;

    setup_init(&s, peer_port(p), 1);
    s.destination.max_messages_per_connection = 2;
    for (unsigned i = 0; i < 5; i++) {
        deliver(&s);
        assert_outcomes(&s, "o");
        ck_assert_uint_eq(s.report.conn_use, i % 2 + 1);
    }
    setup_clear(&s);
    peer_stop(p);
    ck_assert_uint_eq(peer_connections(p), 3);
    ck_assert_uint_eq(peer_count(p, PEER_QUIT), 3);
    peer_free(p);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("client");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, matrix, 0, (int)MATRIX_SIZE);
    tcase_add_loop_test(t, reasons_are_worded_as_postfix_does, 0, UNIT_COUNT(reasons));
    tcase_add_test(t, long_reply_keeps_what_it_replies_to);
    tcase_add_loop_test(t, long_acceptance_is_one, 0, 3);
    tcase_add_loop_test(t, dialogue, 0, UNIT_COUNT(dialogues));
    tcase_add_test(t, orcpt_is_made_when_there_is_none);
    tcase_add_loop_test(t, content_arrives_as_it_is, 0, 2 * UNIT_COUNT(contents));
    tcase_add_loop_test(t, large_content_arrives_as_it_is, 0, 2);
    tcase_add_test(t, envelope_headers_name_who_was_accepted);
    tcase_add_test(t, envelope_headers_with_a_fixed_recipient);
    tcase_add_loop_test(t, connection_lost_within_the_content, 0, UNIT_COUNT(body_faults));
    tcase_add_loop_test(t, reply_within_the_content, 0, 2 * UNIT_COUNT(body_replies));
    tcase_add_test(t, unreadable_content_is_no_message);
    tcase_add_loop_test(t, no_recipient_accepted, 0, 3);
    tcase_add_loop_test(t, two_thousand_recipients, 0, 2);
    tcase_add_test(t, fixed_recipient_refused_is_refused_for_all);
    tcase_add_loop_test(t, recipients_in_several_transactions, 0, UNIT_COUNT(batches));
    tcase_add_loop_test(t, enough_recipients_in_other_dialogues, 0, 2);
    tcase_add_loop_test(t, addresses_are_made_from_recipients, 0, UNIT_COUNT(templates));
    tcase_add_test(t, no_address_can_be_made);
    tcase_add_test(t, connection_carries_so_many_messages);
    add_connection_tests(t);
    return unit_run("client", t);
}
