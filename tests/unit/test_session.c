/* SPDX-License-Identifier: ISC */
/*
 * Whole dialogues: the client's commands, the replies, and the queue afterwards. The client's bytes
 * come through a transport that returns them in pieces of a given size. So each dialogue is run
 * pipelined in one piece and byte by byte, without threads.
 */
#include "receive/session.h"
#include "fake_queue.h"
#include "base/log.h"
#include "mail/smtp_command.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIMIT 2000

static char spam_flag[] = "X-Spam-Flag: YES", spam_status[] = "X-Spam-Status: Yes*";
static char *spam[] = {spam_flag, spam_status};
static struct config_destination destinations[] = {
    {.name = "archive"},
    {.name = "newmail"},
    {.name = "clean", .unless_header = {.items = spam, .count = 2}, .max_size_bytes = 1024},
};
static char tag_domain[] = "split.invalid", hostname[] = "relay.test";
static struct config config = {
    .tag_domain = tag_domain,
    .relay = {.hostname = hostname, .message_size_limit_bytes = LIMIT},
    .destinations = destinations,
    .destination_count = 3,
};
static struct snapshot snapshot = {.config = &config, .refs = 1};
static struct runtime runtime = {.snapshot = &snapshot, .refs = 1};

struct wire {
    const char *in;
    size_t in_len, at, piece;
    struct buf out;
};

static ssize_t wire_read(void *state, void *data, size_t len)
{
    struct wire *w = state;
    size_t n = w->in_len - w->at;

    n = n < w->piece ? n : w->piece;
    n = n < len ? n : len;
    memcpy(data, w->in + w->at, n);
    w->at += n;
    return (ssize_t)n;
}

static ssize_t wire_write(void *state, const void *data, size_t len)
{
    struct wire *w = state;

    buf_add(&w->out, data, len);
    return (ssize_t)len;
}

static short wire_wants(void *state)
{
    (void)state;
    return POLLIN;
}

static void wire_close(void *state)
{
    (void)state;
}

static const struct stream_transport transport = {wire_read, wire_write, wire_wants, wire_close};

static void talk(struct wire *w, struct fake_queue *f, bool is_trusted, bool is_stopping)
{
    atomic_bool stopping = is_stopping;
    struct session_presence presence = {0};
    struct session_options o = {
        .runtime = &runtime,
        .queue = &f->queue,
        .client_addr = "192.0.2.1",
        .is_trusted = is_trusted,
        .is_stopping = &stopping,
        .presence = &presence,
        .command_timeout_ms = 10000,
    };
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct stream *s = stream_new(fds[0]);
    stream_set_transport(s, &transport, w);
    session_run(s, &o);
    stream_free(s);
    close(fds[1]);
    ck_assert(!presence.is_in_message);
    ck_assert_int_eq(presence.idle_since_ms, 0);
}

#define GREETING "220 relay.test ESMTP splitrelay\r\n"
#define EHLO_REPLY                                                                                 \
    "250-relay.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"             \
    "250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n"                                                       \
    "250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n"
#define OK "250 2.0.0 Ok\r\n"
#define MAIL_OK "250 2.1.0 Ok\r\n"
#define RCPT_OK "250 2.1.5 Ok\r\n"
#define GO "354 End data with <CR><LF>.<CR><LF>\r\n"
#define BYE "221 2.0.0 Bye\r\n"
#define A "RCPT TO:<a@x.test.archive.copy.split.invalid>"
#define C "RCPT TO:<c@y.clean.copy.split.invalid>"
#define START "EHLO mta\r\nMAIL FROM:<s@x>\r\n" A "\r\n"
#define STARTED EHLO_REPLY MAIL_OK RCPT_OK
#define SENT(id) GO "250 2.0.0 Ok: queued as " id "\r\n"
#define QUEUED(id, content)                                                                        \
    "from=s@x client=[192.0.2.1] helo=mta proto=ESMTP ident= flags=\n" id                          \
    " archive a@x.test()\ncontent:" content
#define DEAD(id, content)                                                                          \
    "from=s@x client=[192.0.2.1] helo=mta proto=ESMTP ident= flags=\n" id                          \
    " archive! a@x.test()\ncontent:" content

/* replies: those after the greeting. fault: the step of the queue that fails ('h'as_room, 'b'egin,
 * 'd'ata, 'c'ommit) with QUEUE_PUT_FULL, or in upper case with QUEUE_PUT_FAULT. */
static const struct {
    const char *in, *replies, *queue;
    char fault;
} cases[] = {
    {"QUIT\r\n", BYE, "", 0},
    {"", "", "", 0},
    {"NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nquit\r\nNOOP\r\n",
     OK OK "252 2.0.0 Send mail and see\r\n214 2.0.0 RFC 5321, RFC 2033\r\n" BYE, "", 0},
    {"HELO mta\r\nMAIL FROM:<s@x>\r\n" A "\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
     "250 relay.test\r\n" MAIL_OK RCPT_OK SENT("C1a") BYE,
     "from=s@x client=[192.0.2.1] helo=mta proto=SMTP ident= flags=\nC1a archive "
     "a@x.test()\ncontent:x\r\n",
     0},
    {START "DATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n", STARTED SENT("C1a") BYE,
     QUEUED("C1a", "Subject: x\r\n\r\n.\r\n"), 0},
    {START "DATA\r\n.\r\nQUIT\r\n", STARTED SENT("C1a") BYE, QUEUED("C1a", ""), 0},
    /* two messages in one session, the null sender, words of every extension */
    {START
     "DATA\r\n1\r\n.\r\nMAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb\r\n" A
     " NOTIFY=NEVER ORCPT=rfc822;o+2B@x\r\nDATA\r\n2\r\n.\r\nQUIT\r\n",
     STARTED SENT("C1a") MAIL_OK RCPT_OK SENT("C2a") BYE,
     QUEUED("C1a", "1\r\n") "from= client=[192.0.2.1] helo=mta proto=ESMTP ident= flags=8u\nC2a "
                            "archive a@x.test(rfc822;o+2B@x)\ncontent:2\r\n",
     0},
    /* recipients are grouped by destination; doubles are one */
    {"EHLO mta\r\nMAIL FROM:<s@x>\r\n" A "\r\nRCPT TO:<b@y.newmail.COPY.split.invalid>\r\n"
     "RCPT TO:<c@y.archive.copy.split.invalid>\r\nRCPT TO:<a@X.test.Archive.copy.Split.Invalid>\r\n"
     "RCPT TO:<A@x.test.archive.copy.split.invalid>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
     EHLO_REPLY MAIL_OK RCPT_OK RCPT_OK RCPT_OK RCPT_OK RCPT_OK SENT("C1a C1b") BYE,
     "from=s@x client=[192.0.2.1] helo=mta proto=ESMTP ident= flags=\n"
     "C1a archive a@x.test() c@y() A@x.test()\nC1b newmail b@y()\ncontent:x\r\n",
     0},
    /* LMTP: one reply for each recipient that was accepted, doubles included */
    {"LHLO mta\r\nMAIL FROM:<s@x>\r\n" A "\r\n" A
     "\r\nRCPT TO:<z@x>\r\nRCPT TO:<b@y.newmail.copy.split.invalid>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
     EHLO_REPLY MAIL_OK RCPT_OK RCPT_OK
     "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n" RCPT_OK SENT(
         "C1a C1b") "250 2.0.0 Ok: queued as C1a C1b\r\n250 2.0.0 Ok: queued as C1a C1b\r\n" BYE,
     "from=s@x client=[192.0.2.1] helo=mta proto=LMTP ident= flags=\nC1a archive a@x.test()\n"
     "C1b newmail b@y()\ncontent:x\r\n",
     0},
    {"LHLO mta\r\nMAIL FROM:<s@x>\r\n" A "\r\n" A "\r\nDATA\r\nx\ny\r\n.\r\nQUIT\r\n",
     EHLO_REPLY MAIL_OK RCPT_OK RCPT_OK GO
     "550 5.5.2 Bare <LF> received\r\n550 5.5.2 Bare <LF> received\r\n" BYE,
     "", 0},
    {"LHLO mta\r\nMAIL FROM:<s@x>\r\nRCPT TO:<z@x>\r\nDATA\r\nQUIT\r\n",
     EHLO_REPLY MAIL_OK "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "503 5.5.1 No valid recipients\r\n" BYE,
     "", 0},
    /* conditions of a destination: the copy is skipped, which is no refusal */
    {"LHLO mta\r\nMAIL FROM:<s@x>\r\n" A "\r\n" C "\r\nDATA\r\nx-SPAM-flag:\r\n yes\r\n\r\n.\r\n"
     "QUIT\r\n",
     EHLO_REPLY MAIL_OK RCPT_OK RCPT_OK SENT("C1a") "250 2.0.0 Ok: queued as C1a\r\n" BYE,
     "from=s@x client=[192.0.2.1] helo=mta proto=LMTP ident= flags=\nC1a archive a@x.test()\n"
     "C1b clean~(unless_header \"X-Spam-Flag: YES\") c@y()\n"
     "content:x-SPAM-flag:\r\n yes\r\n\r\n",
     0},
    /* XFORWARD is for one message */
    {"EHLO mta\r\nXFORWARD NAME=n+2Bx ADDR=IPV6:2001:db8::1 PORT=7\r\n"
     "XFORWARD HELO==h+3D PROTO=SMTP IDENT=4ABC SOURCE=REMOTE\r\n"
     "MAIL FROM:<s@x>\r\nXFORWARD NAME=late\r\n" A "\r\nDATA\r\n1\r\n.\r\n"
     "MAIL FROM:<s@x>\r\n" A "\r\nDATA\r\n2\r\n.\r\nQUIT\r\n",
     EHLO_REPLY OK OK MAIL_OK "503 5.5.1 MAIL transaction in progress\r\n" RCPT_OK SENT("C1a")
         MAIL_OK RCPT_OK SENT("C2a") BYE,
     "from=s@x client=n+x[2001:db8::1] helo==h= proto=SMTP ident=4ABC flags=\nC1a archive "
     "a@x.test()\ncontent:1\r\n" QUEUED("C2a", "2\r\n"),
     0},
    {"EHLO mta\r\nXFORWARD FOO=x\r\nXFORWARD NAME\r\nXFORWARD NAME=+\r\nXFORWARD "
     "IDENT=+00\r\nXFORWARD "
     "ADDR=12345678901234567890123456789012345678901234567890123456789012345\r\n"
     "MAIL FROM:<s@x>\r\n" A "\r\nDATA\r\n1\r\n.\r\nQUIT\r\n",
     EHLO_REPLY
     "501 5.5.4 Bad XFORWARD: unknown attribute\r\n"
     "501 5.5.4 Bad XFORWARD: attribute without value\r\n"
     "501 5.5.4 Bad XFORWARD: malformed attribute value\r\n"
     "501 5.5.4 Bad XFORWARD: malformed attribute value\r\n" OK MAIL_OK RCPT_OK SENT("C1a") BYE,
     "from=s@x client=[123456789012345678901234567890123456789012345678901234567890123] helo= "
     "proto=ESMTP ident= flags=\nC1a archive a@x.test()\ncontent:1\r\n",
     0},
    /* an odd sender or an odd word prevents no copy, because the MTA has accepted it */
    {"EHLO mta\r\nMAIL FROM:<@> ENVID=+\r\n" A
     " NOTIFY=NEVER,DELAY ORCPT=rfc822\r\nDATA\r\n1\r\n.\r\n"
     "MAIL FROM:<\"s\x01\xc2\x85\"@x>\r\n" A "\r\nDATA\r\n2\r\n.\r\nQUIT\r\n",
     EHLO_REPLY MAIL_OK RCPT_OK SENT("C1a") MAIL_OK RCPT_OK SENT("C2a") BYE,
     "from=@ client=[192.0.2.1] helo=mta proto=ESMTP ident= flags=\nC1a archive a@x.test()\n"
     "content:1\r\nfrom=\"s???\"@x client=[192.0.2.1] helo=mta proto=ESMTP ident= flags=\nC2a "
     "archive "
     "a@x.test()\ncontent:2\r\n",
     0},
    /* never an open relay */
    {"EHLO mta\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@x.test>\r\nRCPT "
     "TO:<a@x.test.archive.filter.split.invalid>\r\nRCPT TO:<a@archive.copy.split.invalid>\r\n"
     "RCPT TO:<a@split.invalid>\r\nRCPT TO:<a>\r\n"
     "RCPT TO:<a@x.y.filter.split.invalid.archive.copy.split.invalid>\r\n"
     "RCPT TO:<a%x.copy.split.invalid@x.archive.copy.split.invalid>\r\n"
     "RCPT TO:<a@x.test.other.copy.split.invalid>\r\nRCPT TO:<>\r\nDATA\r\nQUIT\r\n",
     EHLO_REPLY MAIL_OK "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "550 5.7.1 Relay access denied: not below .copy.split.invalid\r\n"
                        "451 4.3.5 Destination other is not configured\r\n"
                        "501 5.1.3 Bad recipient: address is empty\r\n"
                        "554 5.5.1 No valid recipients\r\n" BYE,
     "", 0},
    /* order of commands */
    {"MAIL FROM:<s@x>\r\nEHLO\r\nEHLO mta\r\n" A
     "\r\nDATA\r\nMAIL FROM:<s@x>\r\nMAIL FROM:<t@x>\r\nRSET\r\n" A
     "\r\nMAIL FROM:<s@x>\r\nEHLO mta\r\n" A "\r\nSTARTTLS\r\nFOO\r\nQUIT\r\n",
     "503 5.5.1 Send EHLO or LHLO first\r\n501 5.5.4 Host name expected\r\n" EHLO_REPLY
     "503 5.5.1 Need MAIL command\r\n503 5.5.1 Need MAIL command\r\n" MAIL_OK
     "503 5.5.1 Nested MAIL command\r\n" OK "503 5.5.1 Need MAIL command\r\n" MAIL_OK EHLO_REPLY
     "503 5.5.1 Need MAIL command\r\n502 5.5.1 Not offered\r\n"
     "500 5.5.2 Command not recognized\r\n" BYE,
     "", 0},
    /* words of MAIL and RCPT */
    {"EHLO mta\r\nMAIL FROM:<s@x> SIZE=x\r\nMAIL FROM:<s@x> SIZE=1 SIZE=1\r\nMAIL FROM:<s@x> "
     "BODY=BINARYMIME\r\nMAIL FROM:<s@x> SMTPUTF8=1\r\nMAIL FROM:<s@x> RET=NO\r\nMAIL FROM:<s@x> "
     "ENVID=a ENVID=b\r\nMAIL FROM:<s@x> AUTH=<>\r\nMAIL FROM <s@x>\r\n"
     "MAIL FROM:<s@x> SIZE=99999999999999999999\r\nMAIL FROM:<s@x> SIZE=2001\r\n"
     "MAIL FROM:<s@x> SIZE=2000\r\n" A " FOO=x\r\nQUIT\r\n",
     EHLO_REPLY "501 5.5.4 Bad SIZE\r\n501 5.5.4 Duplicate SIZE\r\n501 5.5.4 Bad BODY\r\n"
                "501 5.5.4 Bad SMTPUTF8\r\n501 5.5.4 Bad RET\r\n501 5.5.4 Duplicate ENVID\r\n"
                "555 5.5.4 Unsupported parameter\r\n"
                "501 5.5.4 syntax: MAIL FROM:<address>\r\n"
                "452 4.3.4 Message size exceeds message_size_limit of splitrelay\r\n"
                "452 4.3.4 Message size exceeds message_size_limit of splitrelay\r\n" MAIL_OK
                "555 5.5.4 Unsupported parameter\r\n" BYE,
     "", 0},
    /* smuggling */
    {START "DATA\r\nx\n.\nMAIL FROM:<evil@x>\r\n.\r\nQUIT\r\n",
     STARTED GO "550 5.5.2 Bare <LF> received\r\n" BYE, "", 0},
    {START "DATA\r\nx\r\n.\nMAIL FROM:<evil@x>\n\r\n.\r\nQUIT\r\n",
     STARTED GO "550 5.5.2 Bare <LF> received\r\n" BYE, "", 0},
    {"EHLO mta\nMAIL FROM:<s@x>\r\n", "500 5.5.2 Bare <LF> received\r\n", "", 0},
    {"NOOP\r\n\nQUIT\r\n", OK "500 5.5.2 Bare <LF> received\r\n", "", 0},
    {"NOOP \rQUIT\r\nQUIT\r\n", "500 5.5.2 control character in a command\r\n" BYE, "", 0},
    {"POST / HTTP/1.1\r\nHost: x\r\n\r\n" START, "421 4.7.0 relay.test This is no web server\r\n",
     "", 0},
    /* loops */
    {START "DATA\r\nX-Split-Copy: destination=archive; id=1; host=relay.test\r\n\r\n.\r\nQUIT\r\n",
     STARTED GO "554 5.4.6 Mail loops back to this host\r\n" BYE,
     DEAD("C1a", "X-Split-Copy: destination=archive; id=1; host=relay.test\r\n\r\n"), 0},
    {START "DATA\r\nX-Split-Copy: destination=newmail; id=1; host=relay.test\r\n.\r\nQUIT\r\n",
     STARTED SENT("C1a") BYE,
     QUEUED("C1a", "X-Split-Copy: destination=newmail; id=1; host=relay.test\r\n"), 0},
    {START "RCPT TO:<b@y.newmail.copy.split.invalid>\r\nDATA\r\n"
           "X-Split-Copy: destination=archive; id=1; host=relay.test\r\n.\r\nQUIT\r\n",
     STARTED RCPT_OK SENT("C1a C1b") BYE,
     "from=s@x client=[192.0.2.1] helo=mta proto=ESMTP ident= flags=\n"
     "C1a archive! a@x.test()\nC1b newmail b@y()\n"
     "content:X-Split-Copy: destination=archive; id=1; host=relay.test\r\n",
     0},
    /* faults of the queue; the session lives on */
    {"EHLO mta\r\nMAIL FROM:<s@x> SIZE=77\r\n" A "\r\nDATA\r\nQUIT\r\n",
     EHLO_REPLY "452 4.3.1 Insufficient system storage\r\n503 5.5.1 Need MAIL command\r\n"
                "503 5.5.1 Need MAIL command\r\n" BYE,
     "", 'h'},
    {"EHLO mta\r\nMAIL FROM:<s@x>\r\nQUIT\r\n",
     EHLO_REPLY "451 4.3.0 Local fault, try again later\r\n" BYE, "", 'H'},
    {START "DATA\r\nRSET\r\nQUIT\r\n", STARTED "452 4.3.1 Insufficient system storage\r\n" OK BYE,
     "", 'b'},
    {START "DATA\r\nRSET\r\nQUIT\r\n", STARTED "451 4.3.0 Local fault, try again later\r\n" OK BYE,
     "", 'B'},
    {START "DATA\r\nx\r\n.\r\nQUIT\r\n", STARTED GO "452 4.3.1 Insufficient system storage\r\n" BYE,
     "", 'd'},
    {START "DATA\r\nx\r\n.\r\nQUIT\r\n",
     STARTED GO "451 4.3.0 Local fault, try again later\r\n" BYE, "", 'D'},
    {START "DATA\r\nx\r\n.\r\nQUIT\r\n", STARTED GO "452 4.3.1 Insufficient system storage\r\n" BYE,
     "", 'c'},
    {START "DATA\r\nx\r\n.\r\nQUIT\r\n",
     STARTED GO "451 4.3.0 Local fault, try again later\r\n" BYE, "", 'C'},
    /* the connection ends within the message: nothing is queued */
    {START "DATA\r\nx\r\n.\r", STARTED GO, "", 0},
    {START "DATA\r\nx\r\n", STARTED GO, "", 0},
    {START "QUI", STARTED, "", 0},
};

static void set_fault(struct fake_queue *f, char fault)
{
    enum queue_put_status status = fault < 'a' ? QUEUE_PUT_FAULT : QUEUE_PUT_FULL;

    if (fault == 'h' || fault == 'H')
        f->has_room_status = status;
    else if (fault == 'b' || fault == 'B')
        f->begin_status = status;
    else if (fault == 'd' || fault == 'D')
        f->data_status = status;
    else if (fault == 'c' || fault == 'C')
        f->commit_status = status;
}

START_TEST(test_dialogues)
{
    static const size_t pieces[] = {100000, 1, 2, 3, 5, 64};

    for (size_t i = 0; i < UNIT_COUNT(pieces); i++) {
        struct wire w = {.in = cases[_i].in, .in_len = strlen(cases[_i].in), .piece = pieces[i]};
        struct fake_queue f;

        fake_queue_init(&f);
        set_fault(&f, cases[_i].fault);
        talk(&w, &f, true, false);
        ck_assert_msg(strncmp(buf_str(&w.out), GREETING, sizeof GREETING - 1) == 0, "%s",
                      buf_str(&w.out));
        ck_assert_str_eq(buf_str(&w.out) + sizeof GREETING - 1, cases[_i].replies);
        ck_assert_str_eq(buf_str(&f.text), cases[_i].queue);
        ck_assert_uint_eq(f.begun,
                          f.committed + f.aborted + (f.commit_status != QUEUE_PUT_OK ? 1 : 0));
        fake_queue_clear(&f);
        buf_clear(&w.out);
    }
}
END_TEST

/* Send `in` as one piece; returns the replies behind the greeting. */
static char *replies_to(const struct buf *in, struct fake_queue *f)
{
    struct wire w = {.in = in->data, .in_len = in->len, .piece = in->len};

    talk(&w, f, true, false);
    ck_assert_uint_ge(w.out.len, sizeof GREETING - 1);
    buf_consume(&w.out, sizeof GREETING - 1);
    return buf_take(&w.out);
}

START_TEST(test_size_limit_of_the_content)
{
    static const struct {
        size_t size;
        const char *reply;
    } sizes[] = {
        {LIMIT, SENT("C1a")},
        {LIMIT + 1, GO "452 4.3.4 Message size exceeds message_size_limit of splitrelay\r\n"},
        {LIMIT * 200, GO "452 4.3.4 Message size exceeds message_size_limit of splitrelay\r\n"}};
    struct buf in = {0}, expect = {0};
    struct fake_queue f;

    fake_queue_init(&f);
    buf_adds(&in, START "DATA\r\n");
    for (size_t i = 0; i < sizes[_i].size - 2; i++)
        buf_addc(&in, 'x');
    buf_adds(&in, "\r\n.\r\nQUIT\r\n");
    buf_addf(&expect, "%s%s%s", STARTED, sizes[_i].reply, BYE);
    char *got = replies_to(&in, &f);
    ck_assert_str_eq(got, buf_str(&expect));
    ck_assert_uint_eq(f.committed, _i == 0 ? 1 : 0);
    free(got);
    buf_clear(&in);
    buf_clear(&expect);
    fake_queue_clear(&f);
}
END_TEST

/* A message to `clean`: below its header, so many bytes in one line. */
static const struct {
    const char *header;
    size_t body;
    const char *skipped; /* "": it is queued; NULL: it is refused */
    char fault;
} skip_cases[] = {
    {"Subject: x\r\n", 1008, "", 0},
    {"Subject: x\r\n", 1009, "max_size 1k: 1025 bytes", 0},
    {"X-Spam-Flag: YES\r\n", 0, "unless_header \"X-Spam-Flag: YES\"", 0},
    {"X-Spam-Status: yes, 9\r\n", 1200, "unless_header \"X-Spam-Status: Yes*\"", 0},
    {"X-Spam-Status: No\r\n\r\nX-Spam-Flag: YES\r\n", 0, "", 0},
    {"X-Spam-Flag: YES\r\n", 0, NULL, 'c'},
    {"X-Spam-Flag: YES\r\n", 0, NULL, 'D'},
    /* what is not wanted is no dead letter, and no loop */
    {"X-Split-Copy: destination=clean; id=1; host=relay.test\r\nX-Spam-Flag: YES\r\n", 0,
     "unless_header \"X-Spam-Flag: YES\"", 0},
};

START_TEST(test_copies_that_are_not_wanted)
{
    const char *skipped = skip_cases[_i].skipped;
    struct buf in = {0}, expected = {0};
    struct fake_queue f;

    fake_queue_init(&f);
    set_fault(&f, skip_cases[_i].fault);
    buf_adds(&in, "EHLO mta\r\nMAIL FROM:<s@x>\r\n" C "\r\nDATA\r\n");
    buf_adds(&in, skip_cases[_i].header);
    buf_adds(&in, "\r\n");
    for (size_t i = 0; i < skip_cases[_i].body; i++)
        buf_addc(&in, 'x');
    buf_adds(&in, "\r\n.\r\nQUIT\r\n");
    char *replies = replies_to(&in, &f);
    buf_adds(&expected, EHLO_REPLY MAIL_OK RCPT_OK GO);
    if (skip_cases[_i].fault == 'c')
        buf_adds(&expected, "452 4.3.1 Insufficient system storage\r\n");
    else if (skip_cases[_i].fault == 'D')
        buf_adds(&expected, "451 4.3.0 Local fault, try again later\r\n");
    else if (skipped != NULL && skipped[0] == '\0')
        buf_adds(&expected, "250 2.0.0 Ok: queued as C1a\r\n");
    else
        buf_adds(&expected, "250 2.0.0 Ok: no destination wants a copy\r\n");
    buf_adds(&expected, BYE);
    ck_assert_str_eq(replies, buf_str(&expected));
    buf_reset(&expected);
    if (skipped != NULL && skipped[0] != '\0')
        buf_addf(&expected, "C1a clean~(%s) c@y()\n", skipped);
    else if (skipped != NULL)
        buf_adds(&expected, "C1a clean c@y()\n");
    ck_assert_uint_eq(f.committed, skipped != NULL);
    ck_assert_msg(strstr(buf_str(&f.text), buf_str(&expected)) != NULL, "%s", buf_str(&f.text));
    free(replies);
    buf_clear(&in);
    buf_clear(&expected);
    fake_queue_clear(&f);
}
END_TEST

START_TEST(test_too_many_received)
{
    struct buf in = {0};
    struct fake_queue f;

    fake_queue_init(&f);
    buf_adds(&in, START "DATA\r\n");
    for (int i = 0; i < 51; i++)
        buf_adds(&in, "Received: by x\r\n");
    buf_adds(&in, ".\r\n");
    char *got = replies_to(&in, &f);
    ck_assert_str_eq(got, STARTED GO "554 5.4.6 Too many hops\r\n");
    /* A forged header must not keep a message out of an archive: the copy is a dead letter. */
    ck_assert_uint_eq(f.committed, 1);
    ck_assert_ptr_nonnull(strstr(buf_str(&f.text), "archive!"));
    free(got);
    buf_clear(&in);
    fake_queue_clear(&f);
}
END_TEST

START_TEST(test_too_many_recipients)
{
    struct buf in = {0}, expect = {0};
    struct fake_queue f;

    fake_queue_init(&f);
    buf_adds(&in, "EHLO mta\r\nMAIL FROM:<s@x>\r\n");
    buf_adds(&expect, EHLO_REPLY MAIL_OK);
    for (int i = 0; i < QUEUE_RECIPIENTS_MAX + 1; i++) {
        buf_addf(&in, "RCPT TO:<r%d@x.archive.copy.split.invalid>\r\n", i);
        buf_adds(&expect, i < QUEUE_RECIPIENTS_MAX ? RCPT_OK : "452 4.5.3 Too many recipients\r\n");
    }
    buf_adds(&in, "RCPT TO:<r7@x.archive.copy.split.invalid>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n");
    buf_adds(&expect, RCPT_OK SENT("C1a") BYE);
    char *got = replies_to(&in, &f);
    ck_assert_str_eq(got, buf_str(&expect));
    ck_assert_ptr_nonnull(strstr(f.text.data, " r1999@x()\ncontent:x\r\n"));
    free(got);
    buf_clear(&in);
    buf_clear(&expect);
    fake_queue_clear(&f);
}
END_TEST

START_TEST(test_too_many_errors)
{
    struct buf in = {0}, expect = {0};
    struct fake_queue f;

    fake_queue_init(&f);
    /* Nineteen errors, then a message, then nineteen errors: a message resets the count. */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 19; i++) {
            buf_adds(&in, "FOO\r\n");
            buf_adds(&expect, "500 5.5.2 Command not recognized\r\n");
        }
        if (round == 0) {
            buf_adds(&in, START "DATA\r\n.\r\n");
            buf_adds(&expect, STARTED SENT("C1a"));
        }
    }
    buf_adds(&in, "FOO\r\nNOOP\r\n");
    buf_adds(&expect, "421 4.7.0 relay.test Too many errors\r\n");
    char *got = replies_to(&in, &f);
    ck_assert_str_eq(got, buf_str(&expect));
    free(got);
    buf_clear(&in);
    buf_clear(&expect);
    fake_queue_clear(&f);
}
END_TEST

START_TEST(test_long_lines)
{
    static const struct {
        size_t len;
        const char *replies;
    } lines[] = {{SMTP_COMMAND_LINE_MAX - 1, OK BYE},
                 {SMTP_COMMAND_LINE_MAX, "500 5.5.2 Line too long\r\n"},
                 {SMTP_COMMAND_LINE_MAX + 1, "500 5.5.2 Line too long\r\n"},
                 {300000, "500 5.5.2 Line too long\r\n"}};
    struct buf in = {0};
    struct fake_queue f;

    fake_queue_init(&f);
    buf_adds(&in, "NOOP ");
    while (in.len < lines[_i].len)
        buf_addc(&in, 'x');
    buf_adds(&in, "\r\nQUIT\r\n");
    char *got = replies_to(&in, &f);
    ck_assert_str_eq(got, lines[_i].replies);
    free(got);
    buf_clear(&in);
    fake_queue_clear(&f);
}
END_TEST

START_TEST(test_untrusted_and_stopping)
{
    struct wire w = {.in = START, .in_len = sizeof START - 1, .piece = 1000};
    struct fake_queue f;

    fake_queue_init(&f);
    talk(&w, &f, false, false);
    ck_assert_str_eq(buf_str(&w.out), "554 5.7.1 Access denied: not in trusted_networks\r\n");
    buf_reset(&w.out);
    w.at = 0;
    talk(&w, &f, true, true);
    ck_assert_str_eq(buf_str(&w.out), "421 4.3.2 relay.test Service is shutting down\r\n");
    buf_clear(&w.out);
    fake_queue_clear(&f);
}
END_TEST

/* A session with a real socket, for tests in which it waits. */

struct served {
    struct stream *stream;
    struct fake_queue queue;
    atomic_bool stopping;
    struct session_presence presence;
    unsigned timeout_ms;
    int client;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct served *v = arg;
    struct session_options o = {
        .runtime = &runtime,
        .queue = &v->queue.queue,
        .client_addr = "192.0.2.1",
        .is_trusted = true,
        .is_stopping = &v->stopping,
        .presence = &v->presence,
        .command_timeout_ms = v->timeout_ms,
    };

    session_run(v->stream, &o);
    shutdown(stream_fd(v->stream), SHUT_RDWR);
    return NULL;
}

static void begin(struct served *v, unsigned timeout_ms)
{
    int fds[2];

    memset(v, 0, sizeof *v);
    fake_queue_init(&v->queue);
    v->timeout_ms = timeout_ms;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    v->stream = stream_new(fds[0]);
    v->client = fds[1];
    ck_assert_int_eq(pthread_create(&v->thread, NULL, serve, v), 0);
}

static void send_text(struct served *v, const char *text)
{
    ck_assert_int_eq(write(v->client, text, strlen(text)), (ssize_t)strlen(text));
}

/* Read as many bytes as the text has, and compare. */
static void expect_text(struct served *v, const char *text)
{
    char got[4096];
    size_t len = strlen(text), have = 0;

    ck_assert_uint_lt(len, sizeof got);
    while (have < len) {
        ssize_t n = read(v->client, got + have, len - have);
        ck_assert_int_gt(n, 0);
        have += (size_t)n;
    }
    got[have] = '\0';
    ck_assert_str_eq(got, text);
}

static void finish(struct served *v)
{
    char more;

    ck_assert_int_eq(read(v->client, &more, 1), 0);
    pthread_join(v->thread, NULL);
    stream_free(v->stream);
    close(v->client);
    fake_queue_clear(&v->queue);
}

START_TEST(test_replies_come_while_the_client_waits)
{
    struct served v;

    begin(&v, 10000);
    expect_text(&v, GREETING);
    send_text(&v, "NOOP\r\nNO"); /* half a command is no reason to hold a reply back */
    expect_text(&v, OK);
    send_text(&v, "OP\r\n" START "DATA\r\n");
    expect_text(&v, OK STARTED GO);
    send_text(&v, "x\r\n.\r\n");
    expect_text(&v, "250 2.0.0 Ok: queued as C1a\r\n");
    send_text(&v, "QUIT\r\n");
    expect_text(&v, BYE);
    finish(&v);
}
END_TEST

START_TEST(test_timeouts)
{
    static const char *const sent[] = {"", "NOO", START, START "DATA\r\nhalf"};
    static const char *const replies[] = {"", "", STARTED, STARTED GO};
    struct served v;

    begin(&v, 100);
    send_text(&v, sent[_i]);
    expect_text(&v, GREETING);
    expect_text(&v, replies[_i]);
    expect_text(&v, "421 4.4.2 relay.test Timeout exceeded\r\n");
    ck_assert_uint_eq(v.queue.committed, 0);
    ck_assert_uint_eq(v.queue.aborted, _i == 3 ? 1 : 0);
    finish(&v);
}
END_TEST

/* A session that repeats a command without use ends with 421: the configuration's limit, the
 * commands before, the repeated command, and the number of replies before the 421. */
static const struct {
    unsigned hard_error_limit;
    const char *start, *again;
    unsigned count;
} flood_cases[] = {
    {3, "EHLO mta\r\nMAIL FROM:<s@x>\r\n", "RCPT TO:<a@y>\r\n", 3},
    {30, "EHLO mta\r\nMAIL FROM:<s@x>\r\n", "RCPT TO:<a@y>\r\n", 30},
    {0, "EHLO mta\r\n", "NOOP\r\n", 100 - 1 + 20},
    {5, "EHLO mta\r\n", "RSET\r\n", 100 - 1 + 20},
    {5, "", "EHLO x\r\n", 100 + 20},
};

START_TEST(test_floods)
{
    struct buf in = {0};
    struct fake_queue f;
    unsigned replies = 0;

    fake_queue_init(&f);
    config.relay.hard_error_limit = flood_cases[_i].hard_error_limit;
    buf_adds(&in, flood_cases[_i].start);
    for (unsigned i = 0; i < 300; i++)
        buf_adds(&in, flood_cases[_i].again);
    struct wire w = {.in = buf_str(&in), .in_len = in.len, .piece = 1000};
    talk(&w, &f, true, false);
    config.relay.hard_error_limit = 0;
    const char *end = "421 4.7.0 relay.test Too many errors\r\n";
    ck_assert_uint_ge(w.out.len, strlen(end));
    ck_assert_str_eq(buf_str(&w.out) + w.out.len - strlen(end), end);
    for (const char *p = buf_str(&w.out); *p != '\0'; p += strcspn(p, "\n") + 1)
        replies += p[3] == ' ';
    unsigned before = 1; /* the greeting, and one reply for each line of the start */
    for (const char *p = flood_cases[_i].start; *p != '\0'; p += strcspn(p, "\n") + 1)
        before++;
    ck_assert_uint_eq(replies, before + flood_cases[_i].count + 1);
    buf_clear(&w.out);
    buf_clear(&in);
    fake_queue_clear(&f);
}
END_TEST

/* A recipient that is refused temporarily does not count as an error of the client. */
START_TEST(test_refused_for_now)
{
    struct buf in = {0};
    struct fake_queue f;

    fake_queue_init(&f);
    config.relay.hard_error_limit = 3;
    buf_adds(&in, "EHLO mta\r\nMAIL FROM:<s@x>\r\n");
    for (unsigned i = 0; i < 300; i++)
        buf_adds(&in, "RCPT TO:<a@x.nowhere.copy.split.invalid>\r\n");
    buf_adds(&in, "QUIT\r\n");
    struct wire w = {.in = buf_str(&in), .in_len = in.len, .piece = 1000};
    talk(&w, &f, true, false);
    config.relay.hard_error_limit = 0;
    ck_assert_ptr_nonnull(strstr(buf_str(&w.out), "\r\n451 4.3.5"));
    ck_assert_ptr_null(strstr(buf_str(&w.out), "\r\n421"));
    ck_assert_str_eq(buf_str(&w.out) + w.out.len - strlen(BYE), BYE);
    buf_clear(&w.out);
    buf_clear(&in);
    fake_queue_clear(&f);
}
END_TEST

/* first_command_timeout is for the first command only. */
START_TEST(test_first_command)
{
    struct served v;

    config.relay.first_command_timeout_ms = 100;
    begin(&v, 100000);
    expect_text(&v, GREETING);
    if (_i == 0) {
        expect_text(&v, "421 4.4.2 relay.test Timeout exceeded\r\n");
    } else {
        send_text(&v, "NOOP\r\n");
        expect_text(&v, OK);
        struct pollfd p = {.fd = v.client, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 300), 0);
        send_text(&v, "QUIT\r\n");
        expect_text(&v, BYE);
    }
    config.relay.first_command_timeout_ms = 0;
    finish(&v);
}
END_TEST

/* A content that arrives more slowly than min_data_rate ends the session, although each byte
 * arrives before the timeout. Without the option it is accepted. */
START_TEST(test_slow_content)
{
    struct served v;
    struct pollfd p = {.events = POLLIN};
    unsigned bytes = 0;

    config.relay.min_data_rate = _i == 0 ? 500 : 0;
    begin(&v, 1000);
    expect_text(&v, GREETING);
    send_text(&v, START "DATA\r\n");
    expect_text(&v, STARTED GO);
    p.fd = v.client;
    while (bytes < 20 && poll(&p, 1, 100) == 0) {
        send_text(&v, "x");
        bytes++;
    }
    if (_i == 0) {
        ck_assert_uint_lt(bytes, 20);
        expect_text(&v, "421 4.4.2 relay.test Timeout exceeded\r\n");
        ck_assert_uint_eq(v.queue.committed, 0);
    } else {
        send_text(&v, "\r\n.\r\nQUIT\r\n");
        expect_text(&v, "250 2.0.0 Ok: queued as C1a\r\n" BYE);
    }
    config.relay.min_data_rate = 0;
    finish(&v);
}
END_TEST

/* A session whose place is needed ends with 421. */
START_TEST(test_eviction)
{
    static const char *const sent[] = {"", START, START "DATA\r\nhalf"};
    static const char *const replies[] = {"", STARTED, STARTED GO};
    struct served v;

    begin(&v, 100000);
    send_text(&v, sent[_i]);
    expect_text(&v, GREETING);
    expect_text(&v, replies[_i]);
    while (atomic_load(&v.presence.idle_since_ms) == 0)
        sched_yield();
    atomic_store(&v.presence.is_evicted, true);
    stream_shutdown_read(v.stream);
    expect_text(&v, "421 4.3.2 relay.test Too many connections\r\n");
    ck_assert_uint_eq(v.queue.committed, 0);
    finish(&v);
}
END_TEST

START_TEST(test_stop)
{
    struct served v;

    begin(&v, 10000);
    expect_text(&v, GREETING);
    if (_i == 0) {
        /* A session that waits is woken up. */
        atomic_store(&v.stopping, true);
        ck_assert(!atomic_load(&v.presence.is_in_message));
        stream_shutdown_read(v.stream);
    } else {
        /* A message that has begun is finished. */
        send_text(&v, START);
        expect_text(&v, STARTED);
        ck_assert(atomic_load(&v.presence.is_in_message));
        atomic_store(&v.stopping, true);
        send_text(&v, "DATA\r\nx\r\n.\r\nMAIL FROM:<s@x>\r\n");
        expect_text(&v, SENT("C1a"));
        ck_assert_uint_eq(v.queue.committed, 1);
    }
    expect_text(&v, "421 4.3.2 relay.test Service is shutting down\r\n");
    finish(&v);
}
END_TEST

/* The log lines of one dialogue, without the program's name and pid. */
static const struct {
    const char *in, *log;
    char fault;
} log_cases[] = {
    {"EHLO mta\r\nXFORWARD IDENT=4ABC\r\nMAIL FROM:<s@x>\r\n" A
     "\r\nRCPT TO:<b@y.newmail.copy.split.invalid>\r\nDATA\r\n"
     "X-Split-Copy: destination=newmail; host=relay.test\r\nMessage-ID: <1@x>\r\n.\r\n",
     "C1a: from=<s@x>, size=71, nrcpt=1, dest=archive, queue_id=4ABC, message-id=<1@x> (queued)\n"
     "C1b: from=<s@x>, size=71, nrcpt=1, dest=newmail, queue_id=4ABC, message-id=<1@x> (dead)\n"
     "warning: C1b: to=<b@y>, dest=newmail, relay=none, delay=0, delays=0/0/0/0, dsn=5.4.6, "
     "status=dead (554 5.4.6 mail loops: it carries X-Split-Copy of this host)\n",
     0},
    {"EHLO a\xff\r\nMAIL FROM:<s@x>\r\nRCPT TO:<a@y>\r\nQUIT\r\n",
     "warning: NOQUEUE: reject: RCPT from [192.0.2.1]: 550 5.7.1 Relay access denied: not below "
     ".copy.split.invalid; from=<s@x> to=<a@y> proto=ESMTP helo=<a?>\n",
     0},
    {"LHLO mta\r\nMAIL FROM:<s@x>\r\n" A "\r\n" A "\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<s@x>\r\n"
     "RCPT TO:<a@y>\r\nQUIT\r\n",
     "warning: NOQUEUE: reject: END-OF-MESSAGE from [192.0.2.1]: 452 4.3.1 Insufficient system "
     "storage (spool is unwell); from=<s@x> proto=LMTP helo=<mta>\n"
     "warning: NOQUEUE: reject: RCPT from [192.0.2.1]: 550 5.7.1 Relay access denied: not below "
     ".copy.split.invalid; from=<s@x> to=<a@y> proto=LMTP helo=<mta>\n",
     'c'},
    {START "DATA\r\nx", "lost connection after DATA from [192.0.2.1]\n", 0},
    {START, "lost connection after RCPT from [192.0.2.1]\n", 0},
    {"EHLO mta\r\nQUIT\r\n", "", 0},
    {"EHLO mta\r\n", "", 0},
    {"EHLO mta\r\nNOOP\n", "warning: bare <LF> after EHLO from [192.0.2.1]\n", 0},
};

START_TEST(test_log)
{
    struct buf in = {0}, got = {0};
    struct fake_queue f;
    struct err err;
    FILE *file = tmpfile();
    char line[LOG_LINE_MAX + 1];

    ck_assert_ptr_nonnull(file);
    int terminal = dup(STDERR_FILENO);
    ck_assert_int_eq(dup2(fileno(file), STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(log_open("relay", "stderr", "mail", "info", &err), 0);
    fake_queue_init(&f);
    set_fault(&f, log_cases[_i].fault);
    buf_adds(&in, log_cases[_i].in);
    free(replies_to(&in, &f));
    ck_assert_int_eq(dup2(terminal, STDERR_FILENO), STDERR_FILENO);
    close(terminal);

    rewind(file);
    while (fgets(line, sizeof line, file) != NULL) {
        const char *text = strstr(line, "]: ");
        ck_assert_ptr_nonnull(text);
        buf_adds(&got, text + 3);
    }
    fclose(file);
    ck_assert_str_eq(buf_str(&got), log_cases[_i].log);
    buf_clear(&in);
    buf_clear(&got);
    fake_queue_clear(&f);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("session");
    struct err err;

    if (log_open("test_session", "stderr", "mail", "error", &err) != 0)
        return EXIT_FAILURE;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_dialogues, 0, UNIT_COUNT(cases));
    tcase_add_loop_test(tc, test_size_limit_of_the_content, 0, 3);
    tcase_add_loop_test(tc, test_copies_that_are_not_wanted, 0, UNIT_COUNT(skip_cases));
    tcase_add_test(tc, test_too_many_received);
    tcase_add_test(tc, test_too_many_recipients);
    tcase_add_test(tc, test_too_many_errors);
    tcase_add_loop_test(tc, test_long_lines, 0, 4);
    tcase_add_loop_test(tc, test_log, 0, UNIT_COUNT(log_cases));
    tcase_add_test(tc, test_untrusted_and_stopping);
    tcase_add_test(tc, test_replies_come_while_the_client_waits);
    tcase_add_loop_test(tc, test_timeouts, 0, 4);
    tcase_add_loop_test(tc, test_floods, 0, UNIT_COUNT(flood_cases));
    tcase_add_test(tc, test_refused_for_now);
    tcase_add_loop_test(tc, test_first_command, 0, 2);
    tcase_add_loop_test(tc, test_slow_content, 0, 2);
    tcase_add_loop_test(tc, test_eviction, 0, 3);
    tcase_add_loop_test(tc, test_stop, 0, 2);
    return unit_run("session", tc);
}
