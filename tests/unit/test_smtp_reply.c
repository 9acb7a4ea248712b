/* SPDX-License-Identifier: ISC */
#include "mail/smtp_reply.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* Feed lines that end in LF, one by one. */
static int feed(struct smtp_reply *r, const char *text, struct err *err)
{
    while (*text != '\0') {
        const char *lf = strchr(text, '\n');
        size_t len = lf == NULL ? strlen(text) : (size_t)(lf - text) + 1;
        if (smtp_reply_add_line(r, text, len, err) != 0)
            return -1;
        text += len;
    }
    return 0;
}

static const struct {
    const char *input;
    int code;
    const char *dsn, *one_line;
} good[] = {
    {"250 2.1.5 Ok\r\n", 250, "2.1.5", "250 2.1.5 Ok"},
    {"250 2.1.5 Ok\n", 250, "2.1.5", "250 2.1.5 Ok"},
    {"250 Ok", 250, "2.0.0", "250 Ok"},
    {"250\r\n", 250, "2.0.0", "250"},
    {"250 \r\n", 250, "2.0.0", "250"},
    {"354 Go ahead\r\n", 354, "3.0.0", "354 Go ahead"},
    {"354 3.0.0 Go ahead\r\n", 354, "3.0.0", "354 3.0.0 Go ahead"},
    {"550-5.1.1 no such\r\n550 5.1.1 user\r\n", 550, "5.1.1", "550 5.1.1 no such 5.1.1 user"},
    {"550-no such\r\n550 5.1.1 user\r\n", 550, "5.1.1", "550 no such 5.1.1 user"},
    {"250-\r\n250-a\r\n250 b\r\n", 250, "2.0.0", "250  a b"},
    {"450 4.7.123 x\r\n", 450, "4.7.123", "450 4.7.123 x"},
    {"450 4.7.1\r\n", 450, "4.7.1", "450 4.7.1"},
    /* no enhanced codes */
    {"450 4.7.1234 x\r\n", 450, "4.0.0", "450 4.7.1234 x"},
    {"450 4..1 x\r\n", 450, "4.0.0", "450 4..1 x"},
    {"450 4.7 x\r\n", 450, "4.0.0", "450 4.7 x"},
    {"450 4.7.1x\r\n", 450, "4.0.0", "450 4.7.1x"},
    {"250 5.1.1 x\r\n", 250, "2.0.0", "250 5.1.1 x"},
    /* characters that must not get into a log */
    {"550 a\tb\x01\x1b\x7f\xff\rc\r\n", 550, "5.0.0", "550 a b?????c"},
    {"599 x\r\n", 599, "5.0.0", "599 x"},
    {"200 x\r\n", 200, "2.0.0", "200 x"},
};

START_TEST(parses)
{
    struct smtp_reply r;
    struct err err = {""};
    struct buf line = {0};
    char dsn[16];

    smtp_reply_init(&r);
    ck_assert_msg(feed(&r, good[_i].input, &err) == 0, "%s: %s", good[_i].input, err.text);
    ck_assert(r.is_complete);
    ck_assert_int_eq(r.code, good[_i].code);
    ck_assert_str_eq(smtp_reply_dsn(&r, dsn), good[_i].dsn);
    smtp_reply_one_line(&r, &line);
    ck_assert_str_eq(buf_str(&line), good[_i].one_line);
    buf_clear(&line);
    smtp_reply_clear(&r);
}
END_TEST

static const char *const malformed[] = {
    "\r\n",
    "25\r\n",
    "199 x\r\n",
    "600 x\r\n",
    "2x0 x\r\n",
    "25x x\r\n",
    "250_x\r\n",
    "250x\r\n",
    " 250 x\r\n",
    "HELO\r\n",
    "250-a\r\n\r\n",
    "250-a\r\nb\r\n",
    "+OK\r\n",
    "100-a\r\n",
    "250\t x\n",
    "250-a\n250\tx\n",
    "250 a\r\n250 b\r\n",
};

START_TEST(refuses_malformed)
{
    struct smtp_reply r;
    struct err err = {""};

    smtp_reply_init(&r);
    ck_assert_msg(feed(&r, malformed[_i], &err) == -1, "%s", malformed[_i]);
    ck_assert_str_ne(err.text, "");
    smtp_reply_clear(&r);
}
END_TEST

START_TEST(multi_line_is_incomplete_before_its_end)
{
    struct smtp_reply r;
    struct err err;

    smtp_reply_init(&r);
    ck_assert_int_eq(feed(&r, "250-mx\r\n250-SIZE 100\r\n", &err), 0);
    ck_assert(!r.is_complete);
    ck_assert_int_eq(feed(&r, "250 DSN\r\n", &err), 0);
    ck_assert(r.is_complete);
    ck_assert_str_eq(buf_str(&r.text), "mx\nSIZE 100\nDSN");
    ck_assert_uint_eq(r.lines, 3);
    smtp_reply_reset(&r);
    ck_assert_int_eq(r.code, 0);
    ck_assert_int_eq(feed(&r, "220 again\r\n", &err), 0);
    ck_assert_str_eq(buf_str(&r.text), "again");
    smtp_reply_clear(&r);
}
END_TEST

/* If the lines have different codes, the last one counts, and is_mixed is set. */
START_TEST(lines_with_different_codes)
{
    struct smtp_reply r;
    struct err err;
    struct buf line = {0};
    char dsn[16];

    smtp_reply_init(&r);
    ck_assert_int_eq(feed(&r, "220-2.0.0 mx\r\n521 5.7.1 go away\r\n", &err), 0);
    ck_assert(r.is_complete && r.is_mixed);
    ck_assert_int_eq(r.code, 521);
    ck_assert_str_eq(smtp_reply_dsn(&r, dsn), "5.7.1");
    smtp_reply_one_line(&r, &line);
    ck_assert_str_eq(buf_str(&line), "521 2.0.0 mx 5.7.1 go away");
    smtp_reply_reset(&r);
    ck_assert_int_eq(feed(&r, "250 Ok\r\n", &err), 0);
    ck_assert(!r.is_mixed);
    buf_clear(&line);
    smtp_reply_clear(&r);
}
END_TEST

START_TEST(caps)
{
    struct smtp_reply r;
    struct err err;
    struct buf line = {0};
    char big[3 * SMTP_REPLY_LINE_MAX];
    size_t count = SMTP_REPLY_BYTES_MAX / sizeof big;

    memset(big, 'x', sizeof big);
    memcpy(big, "250-2.0.0 ", 10);
    smtp_reply_init(&r);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(smtp_reply_add_line(&r, big, sizeof big, &err), 0);
    ck_assert_uint_le(r.text.len, SMTP_REPLY_TEXT_MAX);
    ck_assert_str_eq(r.enhanced, "2.0.0");
    ck_assert_int_eq(smtp_reply_skip(&r, SMTP_REPLY_BYTES_MAX - r.bytes - 5, &err), 0);
    ck_assert_int_eq(smtp_reply_skip(&r, 6, &err), -1);
    ck_assert_int_eq(smtp_reply_add_line(&r, "250 xx", 6, &err), -1);
    ck_assert(!r.is_complete);
    ck_assert_int_eq(smtp_reply_add_line(&r, "250 x", 5, &err), 0);
    ck_assert(r.is_complete);
    smtp_reply_one_line(&r, &line);
    ck_assert_uint_eq(line.len, 300);
    buf_clear(&line);
    smtp_reply_clear(&r);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("smtp_reply");

    tcase_add_loop_test(t, parses, 0, UNIT_COUNT(good));
    tcase_add_loop_test(t, refuses_malformed, 0, UNIT_COUNT(malformed));
    tcase_add_test(t, multi_line_is_incomplete_before_its_end);
    tcase_add_test(t, lines_with_different_codes);
    tcase_add_test(t, caps);
    return unit_run("smtp_reply", t);
}
