/* SPDX-License-Identifier: ISC */
#include "deliver/delivery.h"
#include "base/log.h"
#include "deliver/maillog.h"
#include "unit.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW 1700000000

/* A queue that records how a copy was given back. */
struct fake_queue {
    struct queue queue;
    const char *last;                         /* "done", "later", "release" */
    char relay[64], reply[QUEUE_REASON_SIZE]; /* of done */
    time_t when;
};

static void fake_done(struct queue *base, struct queue_copy *c,
                      const struct queue_delivery *delivery)
{
    struct fake_queue *q = (struct fake_queue *)base;

    (void)c;
    q->last = "done";
    snprintf(q->relay, sizeof q->relay, "%s", delivery->relay);
    snprintf(q->reply, sizeof q->reply, "%s", delivery->reply);
}

static void fake_later(struct queue *q, struct queue_copy *c, time_t when)
{
    (void)c;
    ((struct fake_queue *)q)->last = "later";
    ((struct fake_queue *)q)->when = when;
}

static void fake_release(struct queue *q, struct queue_copy *c)
{
    (void)c;
    ((struct fake_queue *)q)->last = "release";
}

static const struct queue_ops fake_ops = {
    .done = fake_done, .later = fake_later, .release = fake_release};

/* --- the schedule --- */

static const struct {
    unsigned retry_min_s, retry_max_s, attempts;
    uint32_t random;
    unsigned delay_s;
} delays[] = {
    {60, 3600, 1, UINT32_MAX / 2, 59}, /* the middle, rounded down */
    {60, 3600, 1, 0, 48},
    {60, 3600, 1, UINT32_MAX, 72},
    {60, 3600, 2, UINT32_MAX, 144},
    {60, 3600, 3, UINT32_MAX, 288},
    {60, 3600, 6, 0, 1536},
    {60, 3600, 7, 0, 2880},
    {60, 3600, 8, UINT32_MAX, 3600},
    {60, 3600, 4000000000U, 0, 2880},
    {60, 60, 5, 0, 48},
    {1, 1, 1, 0, 1},
    {0, 0, 1, 0, 1},
    {0, 0, 4000000000U, 0, 1},
    {60, 3600, 7, UINT32_MAX / 2, 3239},
    {60, 60, 1, UINT32_MAX, 60},
    {3000000000U, 4000000000U, 2, UINT32_MAX, 4000000000U},
};

START_TEST(retry_delay)
{
    struct config_destination d = {.retry_min_s = delays[_i].retry_min_s,
                                   .retry_max_s = delays[_i].retry_max_s};

    ck_assert_uint_eq(delivery_retry_delay_s(&d, delays[_i].attempts, delays[_i].random),
                      delays[_i].delay_s);
}
END_TEST

/* --- from the outcomes of the recipients to the state of the copy --- */

static const struct {
    const char *before;   /* states of two recipients */
    const char *outcomes; /* o, r, x; '-' for one that was not tried */
    bool is_host_fault, is_connection_fault;
    int age_s;
    const char *after, *given_back;
} cases[] = {
    {"qq", "oo", false, false, 1, "ss", "done"},
    {"qq", "ox", false, false, 1, "sd", "done"},
    {"qq", "xx", false, false, 1, "dd", "done"},
    {"qq", "or", false, false, 1, "sq", "later"},
    {"qq", "xr", false, false, 1, "dq", "later"},
    {"qq", "rr", false, false, 1, "qq", "later"},
    {"sq", "-o", false, false, 1, "ss", "done"},
    {"dq", "-o", false, false, 1, "ds", "done"},
    {"sq", "-r", false, false, 1, "sq", "later"},
    {"qq", "rr", true, false, 1, "qq", "release"},
    {"sq", "-r", true, false, 1, "sq", "release"},
    {"qq", "or", true, false, 1, "sq", "later"},
    {"qq", "rr", false, true, 1, "qq", "later"},
    /* exactly max_age old */
    {"qq", "rr", false, false, 432000, "qq", "later"},
    {"qq", "rr", false, false, 432001, "dd", "done"},
    {"qq", "or", false, false, 432001, "sd", "done"},
    {"qq", "rr", true, false, 432001, "dd", "done"},
    /* a clock that was set back */
    {"qq", "rr", false, false, -100, "qq", "later"},
};

static struct outcome outcome_of(char letter)
{
    struct outcome o = {0};

    o.result = letter == 'o' ? OUTCOME_OK : letter == 'x' ? OUTCOME_REFUSED : OUTCOME_RETRY;
    snprintf(o.dsn, sizeof o.dsn, "%s",
             letter == 'o'   ? "2.0.0"
             : letter == 'x' ? "5.1.1"
                             : "4.4.2");
    snprintf(o.reason, sizeof o.reason, "%s",
             letter == 'o'   ? "250 2.0.0 Ok"
             : letter == 'x' ? "host h[1.2.3.4]:25 said: 550 5.1.1 no"
                             : "conversation timed out");
    return o;
}

struct setup {
    struct fake_queue queue;
    struct config_destination destination;
    struct queue_recipient recipients[2];
    struct queue_copy copy;
    struct outcome outcomes[2];
    struct outcome_report report;
    struct timespec now;
};

static void setup_init(struct setup *s, const char *states, const char *outcomes)
{
    static char a[] = "a@b", b[] = "c@d", fixed[] = "box@f", none[] = "", name[] = "archive";

    memset(s, 0, sizeof *s);
    s->queue.queue.ops = &fake_ops;
    s->destination = (struct config_destination){.name = name,
                                                 .recipient_address = fixed,
                                                 .retry_min_s = 60,
                                                 .retry_max_s = 3600,
                                                 .max_age_s = 432000};
    for (size_t i = 0; i < 2; i++) {
        s->recipients[i] = (struct queue_recipient){.address = i == 0 ? a : b,
                                                    .orcpt = none,
                                                    .state = (enum queue_recipient_state)states[i]};
        if (outcomes[i] != '-')
            s->outcomes[i] = outcome_of(outcomes[i]);
    }
    s->now = (struct timespec){NOW, 500000000};
    s->copy = (struct queue_copy){.id = "ID1",
                                  .destination = name,
                                  .recipients = s->recipients,
                                  .recipient_count = 2,
                                  .content_fd = -1};
    s->copy.message.arrival = (struct timespec){NOW, 100000000};
    s->report = (struct outcome_report){.outcomes = s->outcomes, .conn_use = 1};
    snprintf(s->report.relay, sizeof s->report.relay, "h[1.2.3.4]:25");
}

START_TEST(outcomes_become_policy)
{
    struct setup s;

    setup_init(&s, cases[_i].before, cases[_i].outcomes);
    s.report.is_host_fault = cases[_i].is_host_fault;
    s.report.is_connection_fault = cases[_i].is_connection_fault;
    s.copy.message.arrival.tv_sec = NOW - cases[_i].age_s;
    s.copy.attempts = 2;
    delivery_finish(&s.queue.queue, &s.copy, &s.destination, &s.report, &s.now, 0);
    ck_assert_str_eq(s.queue.last, cases[_i].given_back);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq((char)s.recipients[i].state, cases[_i].after[i]);
        if (cases[_i].outcomes[i] == '-')
            ck_assert_str_eq(s.recipients[i].reason, "");
        else if (cases[_i].age_s > 432000 && cases[_i].outcomes[i] == 'r')
            ck_assert_str_eq(s.recipients[i].reason, "too old; last: conversation timed out");
        else
            ck_assert_str_eq(s.recipients[i].reason, s.outcomes[i].reason);
    }
    if (strcmp(cases[_i].given_back, "done") == 0) { /* the history gets what was tried last */
        size_t last = cases[_i].outcomes[1] == '-' ? 0 : 1;
        ck_assert_str_eq(s.queue.relay, "h[1.2.3.4]:25");
        ck_assert_str_eq(s.queue.reply, s.recipients[last].reason);
    }
    if (strcmp(cases[_i].given_back, "later") == 0)
        ck_assert_int_eq(s.queue.when, NOW + 192); /* the third failure: 240 s - 20 % */
}
END_TEST

/* --- the log --- */

/* The log lines of delivery_finish(), which begin with the name of the program. */
static char *logged(struct setup *s)
{
    static char text[4096];
    int fds[2];
    int saved = dup(STDERR_FILENO);

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_ne(dup2(fds[1], STDERR_FILENO), -1);
    delivery_finish(&s->queue.queue, &s->copy, &s->destination, &s->report, &s->now, 0);
    ck_assert_int_ne(dup2(saved, STDERR_FILENO), -1);
    close(saved);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    close(fds[0]);
    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    return text;
}

static void assert_line(const char *text, size_t nth, const char *expected)
{
    for (size_t i = 0; i < nth; i++) {
        text = strchr(text, '\n');
        ck_assert_ptr_nonnull(text);
        text++;
    }
    char *line = strndup(text, strcspn(text, "\n"));
    const char *at = strstr(line, "ID1: ");
    ck_assert_ptr_nonnull(at);
    ck_assert_str_eq(at, expected);
    free(line);
}

START_TEST(log_lines)
{
    struct setup s;

    setup_init(&s, "qq", "ox");
    s.report.conn_use = 3;
    s.report.wait_ms = 4;
    s.report.setup_ms = 101;
    s.report.transmit_ms = 60;
    const char *text = logged(&s);
    assert_line(text, 0,
                "ID1: to=<a@b>, dest=archive, relay=h[1.2.3.4]:25, conn_use=3, delay=0.4, "
                "delays=0.24/0/0.1/0.06, dsn=2.0.0, status=sent (250 2.0.0 Ok)");
    assert_line(text, 1,
                "ID1: to=<c@d>, dest=archive, relay=h[1.2.3.4]:25, conn_use=3, delay=0.4, "
                "delays=0.24/0/0.1/0.06, dsn=5.1.1, status=dead (host h[1.2.3.4]:25 said: 550 "
                "5.1.1 no)");
}
END_TEST

START_TEST(log_lines_of_a_fixed_recipient)
{
    struct setup s;

    setup_init(&s, "qs", "r-");
    s.destination.recipient = CONFIG_ADDRESS_FIXED;
    s.report.conn_use = 0;
    snprintf(s.report.relay, sizeof s.report.relay, "none");
    const char *text = logged(&s);
    assert_line(text, 0,
                "ID1: to=<box@f>, orig_to=<a@b>, dest=archive, relay=none, delay=0.4, "
                "delays=0.4/0/0/0, dsn=4.4.2, status=deferred (conversation timed out)");
    ck_assert_ptr_null(strstr(text, "c@d"));
}
END_TEST

static const struct {
    unsigned attempts;
    int age_s;
    bool is_said;
} late_attempts[] = {{0, 0, false}, {1, 0, true}, {0, 59, false}, {0, 61, true}, {2, 500000, true}};

/* In Postfix's style a late attempt logs the line with the size again. */
START_TEST(a_late_attempt_begins_with_the_size)
{
    struct setup s;

    setup_init(&s, "qs", "o-");
    s.copy.attempts = late_attempts[_i].attempts;
    s.copy.message.arrival.tv_sec = NOW - late_attempts[_i].age_s;
    s.copy.message.sender = s.destination.name;
    s.copy.message.size_bytes = 77;
    maillog_set_style("postfix");
    const char *text = logged(&s);
    maillog_set_style("splitmilter");
    const char *first = "ID1: from=<archive>, size=77, nrcpt=1 (queue active)";
    if (late_attempts[_i].is_said)
        assert_line(text, 0, first);
    ck_assert_int_eq(strstr(text, "from=") != NULL, late_attempts[_i].is_said);
    ck_assert_ptr_nonnull(strstr(text, ": ID1: to=<a@b>, relay=h[1.2.3.4]:25, delay="));
}
END_TEST

static const struct {
    int64_t ms;
    const char *text;
} seconds[] = {
    {0, "0"},        {4, "0"},      {5, "0.01"},  {10, "0.01"},        {94, "0.09"},
    {400, "0.4"},    {994, "0.99"}, {995, "1"},   {1049, "1"},         {1050, "1.1"},
    {1234, "1.2"},   {9949, "9.9"}, {9950, "10"}, {12499, "12"},       {12500, "13"},
    {100000, "100"}, {-5, "0"},     {1999, "2"},  {86400000, "86400"},
};

START_TEST(delays_have_two_significant_digits)
{
    struct setup s;
    char expected[64];

    setup_init(&s, "qs", "o-");
    s.report.transmit_ms = seconds[_i].ms;
    const char *text = logged(&s);
    snprintf(expected, sizeof expected, "/0/0/%s, dsn", seconds[_i].text);
    ck_assert_msg(strstr(text, expected) != NULL, "%s is not in %s", expected, text);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("delivery");

    tcase_add_loop_test(t, retry_delay, 0, UNIT_COUNT(delays));
    tcase_add_loop_test(t, outcomes_become_policy, 0, UNIT_COUNT(cases));
    tcase_add_test(t, log_lines);
    tcase_add_test(t, log_lines_of_a_fixed_recipient);
    tcase_add_loop_test(t, a_late_attempt_begins_with_the_size, 0, UNIT_COUNT(late_attempts));
    tcase_add_loop_test(t, delays_have_two_significant_digits, 0, UNIT_COUNT(seconds));
    return unit_run("delivery", t);
}
