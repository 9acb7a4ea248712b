/* SPDX-License-Identifier: ISC */
#include "mail/content.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

struct result {
    struct buf out;
    size_t used;
    bool is_complete, has_bare_lf;
};

/* Feed data in pieces that end at the cuts. Each piece must be used whole, unless the content ends
 * in it. watches: may be NULL. */
static struct content *feed_watched(const char *data, size_t len, const size_t *cuts,
                                    size_t cut_count, struct content_watch *watches,
                                    size_t watch_count, struct result *r)
{
    struct content *c = content_new("relay.example");
    size_t at = 0;

    content_watch(c, watches, watch_count);

    buf_reset(&r->out);
    r->used = 0;
    for (size_t i = 0; i <= cut_count; i++) {
        size_t end = i < cut_count ? cuts[i] : len;
        size_t n = content_feed(c, data + at, end - at, &r->out);
        r->used += n;
        if (n < end - at) {
            ck_assert(content_is_complete(c));
            break;
        }
        at = end;
    }
    r->is_complete = content_is_complete(c);
    r->has_bare_lf = content_has_bare_lf(c);
    return c;
}

static struct content *feed(const char *data, size_t len, const size_t *cuts, size_t cut_count,
                            struct result *r)
{
    return feed_watched(data, len, cuts, cut_count, NULL, 0, r);
}

#define BARE 1
#define OPEN 2
#define LITERAL(s) s, sizeof s - 1

static const struct {
    const char *wire;
    size_t wire_len;
    const char *out;
    size_t out_len;
    unsigned flags;
    size_t left; /* bytes behind the end */
} cases[] = {
    {LITERAL(".\r\n"), LITERAL(""), 0, 0},
    {LITERAL("\r\n.\r\n"), LITERAL("\r\n"), 0, 0},
    {LITERAL("a\r\n.\r\nQUIT\r\n"), LITERAL("a\r\n"), 0, 6},
    {LITERAL("a\r\n.\r\n.\r\n"), LITERAL("a\r\n"), 0, 3},
    {LITERAL("..\r\n.\r\n"), LITERAL(".\r\n"), 0, 0},
    {LITERAL("..a\r\n...\r\n.b\r\na.\r\n.\r\n"), LITERAL(".a\r\n..\r\nb\r\na.\r\n"), 0, 0},
    {LITERAL("a\0b\r\n\0\r\n.\r\n"), LITERAL("a\0b\r\n\0\r\n"), 0, 0},
    {LITERAL("\xff\x80\r\n.\r\n"), LITERAL("\xff\x80\r\n"), 0, 0},
    /* a lone CR is data at any place */
    {LITERAL("a\rb\r\n\r\r\n.\r\n"), LITERAL("a\rb\r\n\r\r\n"), 0, 0},
    {LITERAL("a\r\n.\rb\r\n.\r\n"), LITERAL("a\r\n\rb\r\n"), 0, 0},
    {LITERAL("a\r\n.\r\r\n.\r\n"), LITERAL("a\r\n\r\r\n"), 0, 0},
    {LITERAL("a\r.\r\n.\r\n"), LITERAL("a\r.\r\n"), 0, 0},
    /* only CRLF.CRLF ends the content (smuggling) */
    {LITERAL("a\n.\nMAIL FROM:<x>\r\n.\r\n"), LITERAL("a\n.\nMAIL FROM:<x>\r\n"), BARE, 0},
    {LITERAL("a\r\n.\nb\r\n.\r\n"), LITERAL("a\r\n\nb\r\n"), BARE, 0},
    {LITERAL("a\n.\r\nb\r\n.\r\n"), LITERAL("a\n.\r\nb\r\n"), BARE, 0},
    {LITERAL("a\n..\r\n.\r\n"), LITERAL("a\n..\r\n"), BARE, 0},
    {LITERAL("\n.\r\n.\r\n"), LITERAL("\n.\r\n"), BARE, 0},
    {LITERAL("a\r.\r\nb\r\n.\r\n"), LITERAL("a\r.\r\nb\r\n"), 0, 0},
    {LITERAL("a\r\n\n.\r\n"), LITERAL("a\r\n\n.\r\n"), BARE | OPEN, 0},
    /* not at the end yet */
    {LITERAL("a\r\n."), LITERAL("a\r\n"), OPEN, 0},
    {LITERAL("a\r\n.\r"), LITERAL("a\r\n"), OPEN, 0},
    {LITERAL("a\r"), LITERAL("a\r"), OPEN, 0},
    {LITERAL(""), LITERAL(""), OPEN, 0},
    {LITERAL("Received: x\r\n.y\r\n.\r\nNOOP\r\n"), LITERAL("Received: x\r\ny\r\n"), 0, 6},
};

static void check_case(const size_t *cuts, size_t cut_count, int i, struct result *r)
{
    content_free(feed(cases[i].wire, cases[i].wire_len, cuts, cut_count, r));
    ck_assert_uint_eq(r->out.len, cases[i].out_len);
    ck_assert(r->out.len == 0 || memcmp(r->out.data, cases[i].out, r->out.len) == 0);
    ck_assert_uint_eq(r->used, cases[i].wire_len - cases[i].left);
    ck_assert_int_eq(r->is_complete, (cases[i].flags & OPEN) == 0);
    ck_assert_int_eq(r->has_bare_lf, (cases[i].flags & BARE) != 0);
}

/* In one piece, in every two and three pieces, and byte by byte. */
START_TEST(test_every_split)
{
    struct result r = {0};
    size_t len = cases[_i].wire_len;
    size_t each[64];

    ck_assert_uint_lt(len, 64);
    check_case(NULL, 0, _i, &r);
    for (size_t a = 0; a <= len; a++) {
        each[a] = a;
        for (size_t b = a; b <= len; b++)
            check_case((size_t[]){a, b}, 2, _i, &r);
    }
    check_case(each, len + 1, _i, &r);
    buf_clear(&r.out);
}
END_TEST

/* A header, the destinations (of a, b, c) for which it is a loop, and the number of Received:
 * fields that the test puts before it. */
static const struct {
    const char *text;
    const char *loops;
    unsigned received;
    bool is_loop;
} header_cases[] = {
    {"X-Split-Copy: destination=a; id=1; host=relay.example\r\n\r\nx\r\n", "a", 0, false},
    {"x-sPLIT-copy:destination=A;host=RELAY.example\r\n\r\n", "a", 0, false},
    {"X-Split-Copy : id=1;host=relay.example ; destination=b\r\n", "b", 0, false},
    {"X-Split-Copy:\r\n\tdestination=a;\r\n id=1;\r\n  host=relay.example\r\nTo: x\r\n", "a", 0,
     false},
    {"X-Split-Copy: destination=a; id=1; host=other.example\r\n\r\n", "", 0, false},
    {"X-Split-Copy: destination=a; id=1; host=relay.example.org\r\n\r\n", "", 0, false},
    {"X-Split-Copy: destination=a; id=1\r\n\r\n", "", 0, false},
    {"X-Split-Copy: destination=; host=relay.example\r\n\r\n", "", 0, false},
    {"X-Split-Copy: ;;=;destination\r\n\r\n", "", 0, false},
    {"X-Split-Copy2: destination=a; host=relay.example\r\n\r\n", "", 0, false},
    {"Subject: x\r\n X-Split-Copy: destination=a; host=relay.example\r\n\r\n", "", 0, false},
    {"To: x\r\n\r\nX-Split-Copy: destination=a; host=relay.example\r\n", "", 0, false},
    {"no field\r\nX-Split-Copy: destination=a; host=relay.example\r\n", "", 0, false},
    {"X-Split-Copy: destination=a; host=relay.example\r\n"
     "Received: x\r\n"
     "X-Split-Copy: destination=c; host=relay.example\r\n"
     "X-Split-Copy: destination=a; host=relay.example\r\n\r\n",
     "ac", 0, false},
    {"X-Split-Copy: destination=b; host=relay.example", "b", 0, false},
    {"\r\n", "", 50, false},
    {"RECEIVED: x\r\n\r\n", "", 50, true},
    {"Received : x\r\n\r\n", "", 50, true},
    {"\r\nReceived: x\r\n", "", 50, false},
    {"Received-SPF: x\r\n\r\n", "", 50, false},
    {"To: x\r\n Received: x\r\n\r\n", "", 50, false},
};

START_TEST(test_header)
{
    struct result r = {0};
    struct buf wire = {0};

    for (unsigned i = 0; i < header_cases[_i].received; i++)
        buf_adds(&wire, i % 2 ? "Received: from x\r\n\tby y\r\n" : "received:\r\n");
    size_t base = wire.len;
    buf_adds(&wire, header_cases[_i].text);
    if (wire.data[wire.len - 1] != '\n')
        buf_adds(&wire, "\r\n");
    buf_adds(&wire, ".\r\n");
    for (size_t cut = base; cut <= wire.len; cut++) {
        struct content *c = feed(wire.data, wire.len, &cut, 1, &r);
        ck_assert(r.is_complete);
        for (const char *d = "abc"; *d != '\0'; d++) {
            char name[2] = {*d, '\0'};
            ck_assert_int_eq(content_has_copy_for(c, name),
                             strchr(header_cases[_i].loops, *d) != NULL);
        }
        ck_assert_int_eq(content_has_too_many_hops(c), header_cases[_i].is_loop);
        content_free(c);
    }
    buf_clear(&wire);
    buf_clear(&r.out);
}
END_TEST

/* header, and the Message-ID that is found in it */
static const struct {
    const char *text;
    size_t len;
    const char *id;
} message_id_cases[] = {
    {LITERAL("Message-ID: <a@b>\r\n\r\nx\r\n"), "<a@b>"},
    {LITERAL("To: x\r\nmessage-id:<a@b>\r\n"), "<a@b>"},
    {LITERAL("Message-Id :\t <a@b>\t \r\n"), "<a@b>"},
    {LITERAL("Message-ID:\r\n <a@b>\r\nTo: x\r\n\r\n"), "<a@b>"},
    {LITERAL("Message-ID: <a\r\n\t@b>\r\n \r\nTo: x\r\n"), "<a @b>"},
    {LITERAL("Message-ID: first\r\nMessage-ID: <second@b>\r\n\r\n"), "first"},
    {LITERAL("Message-ID:\r\nMessage-ID: <second@b>\r\n\r\n"), ""},
    {LITERAL("Message-ID: <a\0b\x01\x7f\xff\xc3\xa4@b>\r\n\r\n"), "<a?b???\xc3\xa4@b>"},
    {LITERAL("Message-ID: <..@b>\r\n..\r\n"), "<..@b>"},
    {LITERAL("X-Split-Copy: x\r\nMessage-ID: <a@b>\r\nX-Split-Copy: y\r\n\r\n"), "<a@b>"},
    {LITERAL("Resent-Message-ID: <a@b>\r\nMessage-IDs: <a@b>\r\n\r\n"), ""},
    {LITERAL("Subject: x\r\n Message-ID: <a@b>\r\n\r\n"), ""},
    {LITERAL("To: x\r\n\r\nMessage-ID: <a@b>\r\n"), ""},
    {LITERAL("no field\r\nMessage-ID: <a@b>\r\n"), ""},
    {LITERAL(""), ""},
};

START_TEST(test_message_id)
{
    struct result r = {0};
    struct buf wire = {0};

    buf_add(&wire, message_id_cases[_i].text, message_id_cases[_i].len);
    buf_adds(&wire, ".\r\n");
    for (size_t cut = 0; cut <= wire.len; cut++) {
        struct content *c = feed(wire.data, wire.len, &cut, 1, &r);
        ck_assert(r.is_complete);
        ck_assert_str_eq(content_message_id(c), message_id_cases[_i].id);
        content_free(c);
    }
    buf_clear(&wire);
    buf_clear(&r.out);
}
END_TEST

/* Blanks before a Message-ID that is too long, and what is left of it and of the next lines. */
static const struct {
    unsigned blanks;
    size_t len;
    const char *rest;
} long_message_ids[] = {{0, 999, ""}, {41, 972, " 0 0 0 0 0"}};

/* It is cut off at the same place, however the bytes come. */
START_TEST(test_long_message_id)
{
    struct buf wire = {0};
    struct result r = {0};

    buf_adds(&wire, "Message-ID:");
    for (unsigned i = 0; i < long_message_ids[_i].blanks; i++)
        buf_addc(&wire, ' ');
    for (int i = 0; i < 3000; i++)
        buf_addc(&wire, (char)('a' + i % 26));
    buf_adds(&wire, "\r\n");
    for (int i = 0; i < 3000; i++)
        buf_adds(&wire, " 0\r\n");
    buf_adds(&wire, "To: x\r\n.\r\n");
    for (size_t cut = 0; cut < 1200; cut++) {
        struct content *c = feed(wire.data, wire.len, &cut, 1, &r);
        const char *id = content_message_id(c);
        for (size_t i = 0; i < long_message_ids[_i].len; i++)
            ck_assert_int_eq(id[i], 'a' + (int)(i % 26));
        ck_assert_str_eq(id + long_message_ids[_i].len, long_message_ids[_i].rest);
        content_free(c);
    }
    buf_clear(&wire);
    buf_clear(&r.out);
}
END_TEST

/* --- conditions --- */

static char spam_yes[] = "X-Spam-Flag: YES", spam_status[] = "x-spam-status: Yes, *",
            id_of_list[] = "Message-ID: *@list.test>", is_received[] = "Received: *",
            our_copy[] = "X-Split-Copy: *host=relay.example";
static char *spam_items[] = {spam_yes, spam_status};
static char *other_items[] = {id_of_list, is_received, our_copy};
static const struct string_list lists[] = {
    {.items = spam_items, .count = 2}, {.count = 0}, {.items = other_items, .count = 3}};

/* A header, and the conditions of the first and the last list that it meets. */
static const struct {
    const char *text;
    size_t len;
    const char *first, *last;
} watch_cases[] = {
    {LITERAL("X-Spam-Flag: YES\r\n\r\nx\r\n"), spam_yes, NULL},
    {LITERAL("To: x\r\nx-spam-FLAG:yes\r\nSubject: x\r\n\r\n"), spam_yes, NULL},
    {LITERAL("X-Spam-Flag : \t YES \t \r\n"), spam_yes, NULL},
    {LITERAL("X-Spam-Flag:\r\n\tYES\r\n\r\n"), spam_yes, NULL},
    {LITERAL("X-Spam-Flag:\r\n \r\n YES\r\n \r\n\r\n"), spam_yes, NULL},
    {LITERAL("X-Spam-Flag: YES"), spam_yes, NULL},
    {LITERAL("X-Spam-Flag: NO\r\nX-Spam-Flag: YES\r\nX-Spam-Flag: NO\r\n\r\n"), spam_yes, NULL},
    {LITERAL("X-Spam-Status: Yes,\r\n\tscore=9\r\nX-Spam-Flag: YES\r\n"), spam_status, NULL},
    {LITERAL("X-Spam-Flag: YES, very\r\n\r\n"), NULL, NULL},
    {LITERAL("X-Spam-Flag: YES\r\n very\r\n\r\n"), NULL, NULL},
    {LITERAL("X-Spam-Flag: Y\r\n ES\r\n\r\n"), NULL, NULL},
    {LITERAL("X-Spam-Flag: Y\0ES\r\nX-Spam-Flag: YES\0\r\n\r\n"), NULL, NULL},
    {LITERAL("X-Spam-Flag: YES\r\0\r\nX-Spam-Flag\0: YES\r\n\r\n"), NULL, NULL},
    {LITERAL("X-Spam-Flags: YES\r\nX-Spam: YES\r\n\r\n"), NULL, NULL},
    {LITERAL("Subject: x\r\n X-Spam-Flag: YES\r\n\r\n"), NULL, NULL},
    {LITERAL(" X-Spam-Flag: YES\r\n\r\n"), NULL, NULL},
    {LITERAL("\r\nX-Spam-Flag: YES\r\n\r\n"), NULL, NULL},
    {LITERAL("no field\r\nX-Spam-Flag: YES\r\n\r\n"), NULL, NULL},
    {LITERAL(": x\r\nX-Spam-Flag: YES\r\n\r\n"), NULL, NULL},
    {LITERAL("X-Spam-Flag\r\n: YES\r\n\r\n"), NULL, NULL},
    {LITERAL("..\r\nX-Spam-Flag: YES\r\n"), NULL, NULL},
    {LITERAL(""), NULL, NULL},
    /* fields that are collected for other purposes, too */
    {LITERAL("Message-ID: <a@list.test>\r\nX-Spam-Flag: YES\r\n\r\n"), spam_yes, id_of_list},
    {LITERAL("Message-ID: <a@x>\r\nMessage-ID: <b@LIST.test>\r\n\r\n"), NULL, id_of_list},
    {LITERAL("Received:\r\n\r\n"), NULL, is_received},
    {LITERAL("X-Split-Copy: destination=a;\r\n host=relay.example\r\n\r\n"), NULL, our_copy},
};

START_TEST(test_conditions)
{
    struct result r = {0};
    struct buf wire = {0};

    buf_add(&wire, watch_cases[_i].text, watch_cases[_i].len);
    if (wire.len > 0 && wire.data[wire.len - 1] != '\n')
        buf_adds(&wire, "\r\n");
    buf_adds(&wire, ".\r\n");
    for (size_t cut = 0; cut <= wire.len; cut++) {
        struct content_watch watches[] = {{&lists[0], NULL}, {&lists[1], NULL}, {&lists[2], NULL}};
        content_free(feed_watched(wire.data, wire.len, &cut, 1, watches, 3, &r));
        ck_assert(r.is_complete);
        ck_assert_ptr_eq(watches[0].met, watch_cases[_i].first);
        ck_assert_ptr_null(watches[1].met);
        ck_assert_ptr_eq(watches[2].met, watch_cases[_i].last);
    }
    buf_clear(&wire);
    buf_clear(&r.out);
}
END_TEST

/* A value whose line, or which as a whole, is longer than what is compared; lines of any length
 * before it; a header without end. */
START_TEST(test_conditions_of_long_fields)
{
    const bool has_long_line = _i % 2 == 1, is_at_end = _i / 2 == 1;
    struct buf wire = {0};
    struct result r = {0};

    buf_adds(&wire, "X-Long: ");
    for (int i = 0; i < 100000; i++)
        buf_addc(&wire, 'x');
    buf_adds(&wire, "\r\nX-Spam-Status: ");
    if (!is_at_end)
        buf_adds(&wire, "Yes, ");
    for (int i = 0; i < 3000; i++)
        buf_adds(&wire, has_long_line ? "y " : "y\r\n ");
    buf_adds(&wire, is_at_end ? "Yes, \r\n" : "\r\n");
    for (int i = 0; i < 20000; i++)
        buf_adds(&wire, "X-Spam-Flag: NO\r\n");
    buf_adds(&wire, "X-Spam-Flag: YES");
    for (int i = 0; i < 3000; i++)
        buf_adds(&wire, has_long_line ? " " : "\r\n ");
    buf_adds(&wire, "\r\n.\r\n");
    for (size_t cut = 100000; cut < 100200; cut += 7) {
        struct content_watch watch = {&lists[0], NULL};
        content_free(feed_watched(wire.data, wire.len, &cut, 1, &watch, 1, &r));
        ck_assert(r.is_complete);
        /* The blanks behind YES are in a line that is cut: what is behind them is not known. */
        ck_assert_ptr_eq(watch.met, !is_at_end ? spam_status : has_long_line ? NULL : spam_yes);
    }
    buf_clear(&wire);
    buf_clear(&r.out);
}
END_TEST

/* A header line of any length: what follows is still seen, the body is never. */
START_TEST(test_long_header_lines)
{
    struct buf wire = {0};
    struct result r = {0};

    buf_adds(&wire, "X-Long: ");
    for (int i = 0; i < 100000; i++)
        buf_addc(&wire, 'x');
    buf_adds(&wire, "\r\nX-Split-Copy: destination=a; host=relay.example; x=");
    for (int i = 0; i < 5000; i++)
        buf_adds(&wire, "y\r\n z");
    buf_adds(&wire, "\r\nX-Split-Copy: destination=b; host=relay.example\r\n.\r\n");
    for (size_t cut = 100000; cut < 100200; cut++) {
        struct content *c = feed(wire.data, wire.len, &cut, 1, &r);
        ck_assert(content_has_copy_for(c, "a"));
        ck_assert(content_has_copy_for(c, "b"));
        ck_assert_uint_eq(r.out.len, wire.len - 3);
        content_free(c);
    }
    buf_clear(&wire);
    buf_clear(&r.out);
}
END_TEST

START_TEST(test_more_copies_than_can_be_remembered)
{
    struct buf wire = {0};
    struct result r = {0};

    for (int i = 0; i < CONTENT_LOOP_DESTINATIONS; i++)
        buf_addf(&wire, "X-Split-Copy: destination=d%d; host=relay.example\r\n", i);
    struct content *c = feed(wire.data, wire.len, NULL, 0, &r);
    struct buf more = {0};
    ck_assert_uint_eq(
        content_feed(c, "X-Split-Copy: destination=d0; host=relay.example\r\n", 50, &more), 50);
    ck_assert_uint_eq(content_feed(c, "To: x\r\n", 7, &more), 7);
    ck_assert(!content_has_too_many_hops(c));
    ck_assert(content_has_copy_for(c, "d63"));
    ck_assert_uint_eq(
        content_feed(c, "X-Split-Copy: destination=x; host=relay.example\r\n.\r\n", 52, &more), 52);
    ck_assert(content_is_complete(c));
    ck_assert(content_has_too_many_hops(c));
    content_free(c);
    buf_clear(&more);
    buf_clear(&wire);
    buf_clear(&r.out);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("content");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_every_split, 0, UNIT_COUNT(cases));
    tcase_add_loop_test(tc, test_header, 0, UNIT_COUNT(header_cases));
    tcase_add_loop_test(tc, test_message_id, 0, UNIT_COUNT(message_id_cases));
    tcase_add_loop_test(tc, test_long_message_id, 0, UNIT_COUNT(long_message_ids));
    tcase_add_loop_test(tc, test_conditions, 0, UNIT_COUNT(watch_cases));
    tcase_add_loop_test(tc, test_conditions_of_long_fields, 0, 4);
    tcase_add_test(tc, test_long_header_lines);
    tcase_add_test(tc, test_more_copies_than_can_be_remembered);
    return unit_run("content", tc);
}
