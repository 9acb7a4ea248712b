/* SPDX-License-Identifier: ISC */
#include "format/trace.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct queue_copy copy_of(char *helo, char *name, char *addr, char *protocol, char *mta_id)
{
    static char empty[] = "";
    struct queue_copy c = {.id = "0a1B2c", .destination = "archive", .content_fd = -1};

    c.message = (struct queue_message){.sender = empty,
                                       .client_name = name,
                                       .client_addr = addr,
                                       .helo = helo,
                                       .protocol = protocol,
                                       .mta_queue_id = mta_id,
                                       .message_id = (char *)"",
                                       .arrival = {1700000000, 999999999}};
    return c;
}

static void set_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

START_TEST(usual)
{
    char helo[] = "mail.example.com", name[] = "mx.example.net", addr[] = "192.0.2.7";
    char protocol[] = "ESMTP", mta_id[] = "4R9zXk0Qz1zABC";
    struct queue_copy c = copy_of(helo, name, addr, protocol, mta_id);
    struct buf out = {0};

    set_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    trace_header(&c, "relay.example.org", &out);
    ck_assert_str_eq(buf_str(&out),
                     "Received: from mail.example.com (mx.example.net [192.0.2.7])\r\n"
                     "\tby relay.example.org (splitrelay) with ESMTP id 0a1B2c\r\n"
                     "\t(MTA queue id 4R9zXk0Qz1zABC);\r\n"
                     "\tTue, 14 Nov 2023 23:13:20 +0100\r\n"
                     "X-Split-Copy: destination=archive; id=0a1B2c; host=relay.example.org\r\n");
    buf_clear(&out);
}
END_TEST

START_TEST(nothing_known)
{
    char empty[] = "";
    struct queue_copy c = copy_of(empty, empty, empty, empty, empty);
    struct buf out = {0};

    set_zone("UTC0");
    trace_header(&c, "h", &out);
    ck_assert_str_eq(buf_str(&out), "Received: from unknown (unknown)\r\n"
                                    "\tby h (splitrelay) with SMTP id 0a1B2c;\r\n"
                                    "\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
                                    "X-Split-Copy: destination=archive; id=0a1B2c; host=h\r\n");
    buf_clear(&out);
}
END_TEST

static const char *const hostile[] = {
    "a\r\nBcc: x@y\r\n\r\nbody",
    "a\nX: y",
    "a\rb",
    "((((",
    "))))",
    "\\\\\\(",
    "\"quoted",
    "<a@b>;",
    "\xc3\xa4\xff\xfe",
    "[1.2.3.4] (fake)",
    "a b\tc",
    "x;y=z",
    "\x01\x7f",
};

/* Check that header lines have less than 78 columns, and no byte that could end a comment, a field
 * or a line. */
static void assert_harmless(const char *text)
{
    int lines = 0;

    ck_assert_int_eq(strncmp(text, "Received: from ", 15), 0);
    for (const char *at = text; *at != '\0'; lines++) {
        const char *end = strstr(at, "\r\n");
        ck_assert_ptr_nonnull(end);
        size_t columns = (size_t)(end - at) + (*at == '\t' ? 7 : 0);
        ck_assert_msg(columns < 78 || strncmp(at, "X-Split-Copy: ", 14) == 0, "%s", at);
        ck_assert_msg(lines == 0 || *at == '\t' || strncmp(at, "X-Split-Copy: ", 14) == 0, "%s",
                      at);
        for (const char *p = at; p < end; p++)
            ck_assert_msg((*p >= ' ' && *p <= '~') || (p == at && *p == '\t'), "%s", at);
        at = end + 2;
    }
    ck_assert_int_le(lines, 8);
    /* The comments are (name [addr]) (splitrelay) (MTA queue id ...), and no others. */
    int open = 0;
    int closed = 0;
    for (const char *p = text; *p != '\0'; p++) {
        open += *p == '(';
        closed += *p == ')';
    }
    ck_assert_int_eq(open, 3);
    ck_assert_int_eq(closed, 3);
    ck_assert_ptr_null(strchr(text, '\\'));
    ck_assert_ptr_null(strchr(text, '"'));
    ck_assert_ptr_null(strchr(text, '<'));
}

START_TEST(hostile_text_is_reduced)
{
    char *text = strdup(hostile[_i]);
    struct queue_copy c = copy_of(text, text, text, text, text);
    struct buf out = {0};

    trace_header(&c, "relay.example.org", &out);
    assert_harmless(buf_str(&out));
    buf_clear(&out);
    free(text);
}
END_TEST

START_TEST(long_text_is_cut)
{
    char text[1001];
    struct buf out = {0};

    memset(text, 'a', 1000);
    text[1000] = '\0';
    struct queue_copy c = copy_of(text, text, text, text, text);
    trace_header(&c, "relay.example.org", &out);
    assert_harmless(buf_str(&out));
    ck_assert_uint_lt(out.len, 500);
    buf_clear(&out);
}
END_TEST

static const struct {
    const char *content, *end;
} ends[] = {
    {"", ""},      {"Subject: x\r\n", ""}, {"\r\n", ""}, {"text\r\n", ""},
    {" ", "\r\n"}, {"\ttext\r\n", "\r\n"}, {"\r x", ""}, {"\v x", ""},
};

START_TEST(content_does_not_continue_a_field)
{
    struct buf out = {0};

    trace_end(ends[_i].content, strlen(ends[_i].content), &out);
    ck_assert_str_eq(buf_str(&out), ends[_i].end);
    buf_clear(&out);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("trace");

    tcase_add_test(t, usual);
    tcase_add_test(t, nothing_known);
    tcase_add_loop_test(t, hostile_text_is_reduced, 0, UNIT_COUNT(hostile));
    tcase_add_test(t, long_text_is_cut);
    tcase_add_loop_test(t, content_does_not_continue_a_field, 0, UNIT_COUNT(ends));
    return unit_run("trace", t);
}
