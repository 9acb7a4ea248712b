/* SPDX-License-Identifier: ISC */
#include "mail/milter_packet.h"
#include "unit.h"

#include <string.h>

#define OPTIONS "O\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"
#define P(s)                                                                                       \
    {                                                                                              \
        (s), sizeof(s) - 1                                                                         \
    }

struct bytes {
    const char *data;
    size_t len;
};

static size_t put_packet(char *out, struct bytes b)
{
    memcpy(out, (char[]){0, 0, (char)(b.len >> 8), (char)b.len}, 4);
    memcpy(out + 4, b.data, b.len);
    return 4 + b.len;
}

/* The result for this packet behind a negotiation. */
static ptrdiff_t check(struct bytes b, struct err *err)
{
    struct milter_packets m = {0};
    char buf[256];
    size_t begin = put_packet(buf, (struct bytes)P(OPTIONS)), due;
    size_t len = begin + put_packet(buf + begin, b);

    ck_assert_int_eq(milter_packets_check(&m, buf, begin, &due, err), (ptrdiff_t)begin);
    ptrdiff_t whole = milter_packets_check(&m, buf + begin, len - begin, &due, err);
    ck_assert(whole == -1 || whole == (ptrdiff_t)(len - begin));
    return whole;
}

static const struct bytes good[] = {
    P("DC"),
    P("DMi\0QUEUEID\0v\0Postfix 3.7\0"),
    P("DR\0\0"),
    P("C[192.0.2.1]\0004\0\x19"
      "192.0.2.1\0"),
    P("Clocalhost\0U"),
    P("Hmx.test\0"),
    P("M<s@x.test>\0SIZE=1\0"),
    P("R<>\0"),
    P("LSubject\0x\0"),
    P("UX\0"),
    P("N"),
    P("T"),
    P("Bany bytes"),
    P("E"),
    P("A"),
    P("K"),
    P("Q"),
};

START_TEST(what_mtas_send_passes)
{
    struct err err;

    ck_assert_msg(check(good[_i], &err) > 0, "%s", err.text);
}
END_TEST

static const struct bytes bad[] = {
    P("D"),    P("DMi\0"),       P("DMi\0v\0x\0"), P("DMi\0v"),  P("DMi"),
    P("DM\0"), P("C"),           P("Chost"),       P("Chost\0"), P("H"),
    P("M"),    P("M<s@x.test>"), P("R<a@b>\0X"),   P("Lx"),      P("U"),
    P("z"),    P("\0"),          P("\xff"),        P(OPTIONS),
};

START_TEST(faults_end_the_connection)
{
    struct err err;

    ck_assert_int_eq(check(bad[_i], &err), -1);
    ck_assert_str_ne(err.text, "");
}
END_TEST

START_TEST(negotiation_comes_first_and_is_long_enough)
{
    static const struct bytes first[] = {P("M<s@x.test>\0"), P("DMi\0x\0"), P("O\0\0\0\6"), P("Q")};
    struct err err;
    char buf[64];
    size_t due;

    for (size_t i = 0; i < UNIT_COUNT(first); i++) {
        struct milter_packets m = {0};
        size_t len = put_packet(buf, first[i]);
        ck_assert_int_eq(milter_packets_check(&m, buf, len, &due, &err), -1);
    }
}
END_TEST

/* For any cut of the bytes, packets are counted as soon as they are whole. */
START_TEST(partial_packets_wait)
{
    char buf[128];
    size_t len = put_packet(buf, (struct bytes)P(OPTIONS)), first = len, due;
    struct err err;

    len += put_packet(buf + len, (struct bytes)P("DMi\0x\0"));
    size_t second = len;
    len += put_packet(buf + len, (struct bytes)P("Q"));
    for (size_t n = 0; n <= len; n++) {
        struct milter_packets m = {0};
        size_t whole = n == len ? len : n >= second ? second : n >= first ? first : 0;
        ck_assert_int_eq(milter_packets_check(&m, buf, n, &due, &err), (ptrdiff_t)whole);
        ck_assert_int_eq(milter_packets_check(&m, buf + whole, len - whole, &due, &err),
                         (ptrdiff_t)(len - whole));
    }
}
END_TEST

START_TEST(lengths_have_a_limit)
{
    static const unsigned char lengths[][4] = {
        {0, 0, 0, 0}, {0, 1, 0, 1}, {0x7f, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xff}};
    static char large[4 + MILTER_PACKET_MAX];
    struct err err;
    size_t due;

    for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
        struct milter_packets m = {.has_begun = true};
        ck_assert_int_eq(milter_packets_check(&m, (const char *)lengths[i], 4, &due, &err), -1);
    }
    struct milter_packets m = {.has_begun = true};
    memcpy(large, (char[]){0, 1, 0, 0, 'B'}, 5);
    ck_assert_int_eq(milter_packets_check(&m, large, sizeof large, &due, &err), sizeof large);
}
END_TEST

#define ALL_STEPS "\0\x1f\xff\xff"
#define ANSWER(steps) "O\0\0\0\6\0\0\1\xff" steps "\0\0\0\2i\0"

/* Behind this answer of the milter: does the packet get a reply? */
static bool has_reply(struct bytes answer, char command)
{
    struct milter_packets m = {0};
    char buf[64];
    struct err err;
    size_t due, len = put_packet(buf, (struct bytes)P(OPTIONS));

    ck_assert_int_eq(milter_packets_check(&m, buf, len, &due, &err), (ptrdiff_t)len);
    ck_assert_uint_eq(due, len);
    milter_packets_learn(&m, buf, put_packet(buf, answer));
    len = put_packet(buf, (struct bytes){(char[]){command, command == 'D' ? 'C' : 'x', 0, 0, 0},
                                         command == 'L' ? 3 : 4});
    if (command == 'D')
        len = put_packet(buf, (struct bytes)P("DMi\0x\0"));
    ck_assert_int_eq(milter_packets_check(&m, buf, len, &due, &err), (ptrdiff_t)len);
    ck_assert(due == 0 || due == len);
    return due > 0;
}

START_TEST(replies_follow_the_negotiation)
{
    static const struct {
        char command;
        struct bytes without; /* an answer that has just the step of this command */
    } cases[] = {
        {'L', P(ANSWER("\0\0\0\x80"))}, {'C', P(ANSWER("\0\0\x10\0"))},
        {'H', P(ANSWER("\0\0\x20\0"))}, {'M', P(ANSWER("\0\0\x40\0"))},
        {'R', P(ANSWER("\0\0\x80\0"))}, {'T', P(ANSWER("\0\1\0\0"))},
        {'U', P(ANSWER("\0\2\0\0"))},   {'N', P(ANSWER("\0\4\0\0"))},
        {'B', P(ANSWER("\0\x8\0\0"))},
    };
    static const struct bytes none = P(ANSWER("\0\0\0\0")), all = P(ANSWER(ALL_STEPS)),
                              half = P("O\0\0\0\6\0\0\1\xff\0\x1f\xff");

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        ck_assert(has_reply(none, cases[i].command));
        ck_assert(has_reply(half, cases[i].command));
        ck_assert(!has_reply(all, cases[i].command));
        for (size_t j = 0; j < UNIT_COUNT(cases); j++)
            ck_assert(has_reply(cases[j].without, cases[i].command) == (i != j));
    }
    for (const char *c = "DAKQ"; *c != '\0'; c++)
        ck_assert(!has_reply(none, *c));
    ck_assert(has_reply(all, 'E'));
}
END_TEST

/* What waits for a reply is due with all that comes before it, and what comes after it is not. */
START_TEST(packets_up_to_the_last_reply_are_due)
{
    static const struct bytes packets[] = {P(OPTIONS),    P("DMi\0x\0"), P("M<>\0"),
                                           P("R<a@b>\0"), P("DE"),       P("A")};
    struct milter_packets m = {0};
    char buf[256];
    size_t len = 0, due, ends[UNIT_COUNT(packets)];
    struct err err;

    for (size_t i = 0; i < UNIT_COUNT(packets); i++)
        ends[i] = len += put_packet(buf + len, packets[i]);
    for (size_t i = 0; i < UNIT_COUNT(packets); i++) {
        m = (struct milter_packets){.steps = 0x4000};
        ck_assert_int_eq(milter_packets_check(&m, buf, ends[i], &due, &err), (ptrdiff_t)ends[i]);
        ck_assert_uint_eq(due, i < 3 ? ends[0] : ends[3]);
        ck_assert(!m.has_ended);
    }
    len = put_packet(buf, (struct bytes)P("Q"));
    ck_assert_int_eq(milter_packets_check(&m, buf, len, &due, &err), (ptrdiff_t)len);
    ck_assert_uint_eq(due, 0);
    ck_assert(m.has_ended);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("milter_packet");

    tcase_add_loop_test(tcase, what_mtas_send_passes, 0, (int)UNIT_COUNT(good));
    tcase_add_loop_test(tcase, faults_end_the_connection, 0, (int)UNIT_COUNT(bad));
    tcase_add_test(tcase, negotiation_comes_first_and_is_long_enough);
    tcase_add_test(tcase, partial_packets_wait);
    tcase_add_test(tcase, lengths_have_a_limit);
    tcase_add_test(tcase, replies_follow_the_negotiation);
    tcase_add_test(tcase, packets_up_to_the_last_reply_are_due);
    return unit_run("milter_packet", tcase);
}
