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
    size_t begin = put_packet(buf, (struct bytes)P(OPTIONS));
    size_t len = begin + put_packet(buf + begin, b);

    ck_assert_int_eq(milter_packets_check(&m, buf, begin, err), (ptrdiff_t)begin);
    ptrdiff_t whole = milter_packets_check(&m, buf + begin, len - begin, err);
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

    for (size_t i = 0; i < UNIT_COUNT(first); i++) {
        struct milter_packets m = {0};
        size_t len = put_packet(buf, first[i]);
        ck_assert_int_eq(milter_packets_check(&m, buf, len, &err), -1);
    }
}
END_TEST

/* For any cut of the bytes, packets are counted as soon as they are whole. */
START_TEST(partial_packets_wait)
{
    char buf[128];
    size_t len = put_packet(buf, (struct bytes)P(OPTIONS)), first = len;
    struct err err;

    len += put_packet(buf + len, (struct bytes)P("DMi\0x\0"));
    size_t second = len;
    len += put_packet(buf + len, (struct bytes)P("Q"));
    for (size_t n = 0; n <= len; n++) {
        struct milter_packets m = {0};
        size_t whole = n == len ? len : n >= second ? second : n >= first ? first : 0;
        ck_assert_int_eq(milter_packets_check(&m, buf, n, &err), (ptrdiff_t)whole);
        ck_assert_int_eq(milter_packets_check(&m, buf + whole, len - whole, &err),
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

    for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
        struct milter_packets m = {.has_begun = true};
        ck_assert_int_eq(milter_packets_check(&m, (const char *)lengths[i], 4, &err), -1);
    }
    struct milter_packets m = {.has_begun = true};
    memcpy(large, (char[]){0, 1, 0, 0, 'B'}, 5);
    ck_assert_int_eq(milter_packets_check(&m, large, sizeof large, &err), sizeof large);
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
    return unit_run("milter_packet", tcase);
}
