/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "queue/spool_envelope.h"
#include "spool_unit.h"
#include "unit.h"

#define REASON_WIDTH (QUEUE_REASON_SIZE - 1)

static struct buf head;
static struct err err;
static size_t id_at[4];

static void set_up(void)
{
    buf_init(&head);
    err.text[0] = '\0';
}

static void tear_down(void)
{
    buf_clear(&head);
}

static struct queue_recipient recipients[3];
static struct queue_new_copy copies[2];

/* Two copies, with two recipients and one. */
static void format(void)
{
    struct queue_message m = spool_unit_message();

    m.size_bytes = 4123;
    recipients[0] = spool_unit_recipient("a b@x.test");
    recipients[1] = spool_unit_recipient("-");
    recipients[1].orcpt = (char *)"";
    recipients[1].state = QUEUE_DEAD;
    strcpy(recipients[1].reason, "550 no\r\nsuch user");
    recipients[2] = spool_unit_recipient("c@x.test");
    copies[0] = (struct queue_new_copy){"archive", recipients, 2, false, "1aZ"};
    copies[1] = (struct queue_new_copy){"new-mail", recipients + 2, 1, false, "1aa"};
    ck_assert_msg(spool_envelope_format(&m, copies, 2, &head, id_at, &err) == 0, "%s", err.text);
}

START_TEST(the_text_is_as_documented)
{
    char expect[4096], pad[REASON_WIDTH + 1];

    format();
    memset(pad, ' ', REASON_WIDTH);
    pad[REASON_WIDTH] = '\0';
    snprintf(expect, sizeof expect,
             "splitrelay-spool 1\n"
             "size 00000000000000004123\n"
             "time 1700000000.123456\n"
             "sender s@x.test\n"
             "client_name c.test\n"
             "client_addr 192.0.2.1\n"
             "helo helo.test\n"
             "protocol ESMTP\n"
             "mta_queue_id 4ABC\n"
             "flags -\n"
             "copy 1aZ archive 0000\n"
             "rcpt q a+20b@x.test rfc822;o+2B2Bx@y.test %s\n"
             "rcpt d +2D - 550 no??such user%.*s\n"
             "copy 1aa new-mail 0000\n"
             "rcpt q c@x.test rfc822;o+2B2Bx@y.test %s\n"
             "END\n",
             pad, REASON_WIDTH - 17, pad, pad);
    ck_assert_str_eq(buf_str(&head), expect);
    ck_assert_int_eq(memcmp(head.data + id_at[0], "1aZ ", 4), 0);
    ck_assert_int_eq(memcmp(head.data + id_at[1], "1aa ", 4), 0);
    ck_assert_int_eq(memcmp(head.data + SPOOL_SIZE_AT, "00000000000000004123\n", 21), 0);
}
END_TEST

START_TEST(parsing_gives_back_what_was_formatted)
{
    struct spool_envelope e;

    format();
    ck_assert_msg(spool_envelope_parse(head.data, head.len, NULL, &e, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(e.head_len, head.len);
    ck_assert_str_eq(e.message.sender, "s@x.test");
    ck_assert_str_eq(e.message.client_name, "c.test");
    ck_assert_str_eq(e.message.client_addr, "192.0.2.1");
    ck_assert_str_eq(e.message.helo, "helo.test");
    ck_assert_str_eq(e.message.protocol, "ESMTP");
    ck_assert_str_eq(e.message.mta_queue_id, "4ABC");
    ck_assert_uint_eq(e.message.size_bytes, 4123);
    ck_assert_int_eq(e.message.arrival.tv_sec, 1700000000);
    ck_assert_int_eq(e.message.arrival.tv_nsec, 123456000);
    ck_assert_uint_eq(e.copy_count, 2);
    ck_assert_str_eq(e.copies[0].id, "1aZ");
    ck_assert_str_eq(e.copies[0].destination, "archive");
    ck_assert_uint_eq(e.copies[0].recipient_count, 2);
    ck_assert_str_eq(e.copies[0].recipients[0].address, "a b@x.test");
    ck_assert_str_eq(e.copies[0].recipients[0].orcpt, "rfc822;o+2Bx@y.test");
    ck_assert_str_eq(e.copies[0].recipients[0].reason, "");
    ck_assert_str_eq(e.copies[0].recipients[1].address, "-");
    ck_assert_str_eq(e.copies[0].recipients[1].orcpt, "");
    ck_assert_int_eq(e.copies[0].recipients[1].state, QUEUE_DEAD);
    ck_assert_str_eq(e.copies[0].recipients[1].reason, "550 no??such user");
    ck_assert_str_eq(e.copies[1].destination, "new-mail");
    ck_assert_uint_eq(e.copies[1].recipient_count, 1);
    spool_envelope_clear(&e);
}
END_TEST

START_TEST(flags_go_round)
{
    static const char *const text[] = {"flags -\n",
                                       "flags 8bit\n",
                                       "flags utf8\n",
                                       "flags 8bit,utf8\n",
                                       "flags requiretls\n",
                                       "flags 8bit,requiretls\n",
                                       "flags utf8,requiretls\n",
                                       "flags 8bit,utf8,requiretls\n"};
    struct queue_message m = spool_unit_message();
    struct spool_envelope e;

    recipients[0] = spool_unit_recipient("a@x.test");
    copies[0] = (struct queue_new_copy){"archive", recipients, 1, false, "1"};
    m.is_8bit = _i & 1;
    m.is_utf8 = _i & 2;
    m.needs_requiretls = _i & 4;
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), 0);
    ck_assert_ptr_nonnull(strstr(buf_str(&head), text[_i]));
    ck_assert_int_eq(spool_envelope_parse(head.data, head.len, NULL, &e, &err), 0);
    ck_assert_int_eq(e.message.is_8bit, m.is_8bit);
    ck_assert_int_eq(e.message.is_utf8, m.is_utf8);
    ck_assert_int_eq(e.message.needs_requiretls, m.needs_requiretls);
    spool_envelope_clear(&e);
}
END_TEST

START_TEST(odd_values_go_round)
{
    static const char *const values[] = {
        "",      "-",    "+",    "=",           "a b",          "\xc3\xbc@\xc3\xa4.test",
        "\n",    "\r\n", "\x7f", "\xff\xfe",    "\"a\\\"b\"@x", "--",
        "END\n", "+2D",  "\t",   "q x\nrcpt s",
    };
    struct queue_message m = spool_unit_message();
    struct spool_envelope e;

    for (size_t i = 0; i < UNIT_COUNT(values); i++) {
        buf_reset(&head);
        m.sender = m.helo = (char *)values[i];
        recipients[0] = spool_unit_recipient(values[i]);
        recipients[0].orcpt = (char *)values[i];
        copies[0] = (struct queue_new_copy){"archive", recipients, 1, false, "1"};
        ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), 0);
        ck_assert_uint_eq(spool_envelope_length(head.data, head.len), head.len);
        ck_assert_int_eq(spool_envelope_parse(head.data, head.len, "1", &e, &err), 0);
        ck_assert_str_eq(e.message.sender, values[i]);
        ck_assert_str_eq(e.message.helo, values[i]);
        ck_assert_str_eq(e.copies[0].recipients[0].address, values[i]);
        ck_assert_str_eq(e.copies[0].recipients[0].orcpt, values[i]);
        spool_envelope_clear(&e);
    }
}
END_TEST

START_TEST(only_the_copy_asked_for_is_kept)
{
    struct spool_envelope e;

    format();
    ck_assert_int_eq(spool_envelope_parse(head.data, head.len, "1aa", &e, &err), 0);
    ck_assert_uint_eq(e.copy_count, 1);
    ck_assert_str_eq(e.copies[0].id, "1aa");
    spool_envelope_clear(&e);
    ck_assert_int_eq(spool_envelope_parse(head.data, head.len, "1ab", &e, &err), -1);
    ck_assert_str_eq(err.text, "no copy 1ab in it");
}
END_TEST

START_TEST(a_patch_changes_one_section_in_place)
{
    struct spool_envelope e;

    format();
    size_t len = head.len;
    char *before = mem_strndup(head.data, head.len);
    ck_assert_int_eq(spool_envelope_parse(head.data, head.len, "1aZ", &e, &err), 0);
    struct spool_envelope_copy *c = &e.copies[0];
    c->attempts = 12345;
    c->recipients[0].state = QUEUE_SENT;
    memset(c->recipients[0].reason, 'x', REASON_WIDTH);
    c->recipients[0].reason[REASON_WIDTH] = '\0';
    c->recipients[1].reason[0] = '\0';
    spool_envelope_patch(c, head.data + c->section_at);
    ck_assert_uint_eq(head.len, len);
    ck_assert_int_eq(memcmp(before, head.data, c->section_at), 0);
    size_t behind = c->section_at + c->section_len;
    ck_assert_int_eq(memcmp(before + behind, head.data + behind, len - behind), 0);
    ck_assert_int_eq(memcmp(head.data + behind, "copy 1aa", 8), 0);
    spool_envelope_clear(&e);

    ck_assert_int_eq(spool_envelope_parse(head.data, head.len, "1aZ", &e, &err), 0);
    c = &e.copies[0];
    ck_assert_uint_eq(c->attempts, SPOOL_ATTEMPTS_MAX);
    ck_assert_int_eq(c->recipients[0].state, QUEUE_SENT);
    ck_assert_uint_eq(strlen(c->recipients[0].reason), REASON_WIDTH);
    ck_assert_int_eq(c->recipients[1].state, QUEUE_DEAD);
    ck_assert_str_eq(c->recipients[1].reason, "");
    spool_envelope_clear(&e);
    free(before);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    static char long_text[SPOOL_VALUE_MAX + 2];
    static struct queue_recipient many[QUEUE_RECIPIENTS_MAX + 1];
    struct queue_message m = spool_unit_message();

    recipients[0] = spool_unit_recipient("a@x.test");
    copies[0] = (struct queue_new_copy){"archive", recipients, 1, false, "1"};
    memset(long_text, 'a', SPOOL_VALUE_MAX + 1);

    ck_assert_int_eq(spool_envelope_format(&m, copies, 0, &head, id_at, &err), -1);
    m.helo = long_text;
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);
    ck_assert_str_eq(err.text, "helo is longer than 2048 bytes");
    m.helo = long_text + 1;
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), 0);
    buf_reset(&head);

    recipients[0].orcpt = long_text;
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);
    recipients[0].orcpt = (char *)"";
    recipients[0].state = (enum queue_recipient_state)'x';
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);
    recipients[0].state = QUEUE_PENDING;
    copies[0].destination = "../x";
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);
    copies[0].destination = "archive";
    strcpy(copies[0].id, "1/2");
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);
    strcpy(copies[0].id, "12");
    copies[0].recipient_count = 0;
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);

    for (size_t i = 0; i < UNIT_COUNT(many); i++)
        many[i] = spool_unit_recipient("a@x.test");
    copies[0].recipients = many;
    copies[0].recipient_count = UNIT_COUNT(many);
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);
    ck_assert_str_eq(err.text, "message has more than 2000 recipients");
    copies[0].recipient_count--;
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), 0);
    buf_reset(&head);

    /* 2,000 of them with everything as long as it can be */
    memset(long_text, '+', SPOOL_VALUE_MAX);
    for (size_t i = 0; i < UNIT_COUNT(many); i++)
        many[i].address = many[i].orcpt = long_text + 1;
    ck_assert_int_eq(spool_envelope_format(&m, copies, 1, &head, id_at, &err), -1);
    ck_assert_str_eq(err.text, "envelope is larger than 8388608 bytes");
    ck_assert_uint_eq(head.len, 0);
}
END_TEST

/* Each replaces the first occurrence in a valid head. */
static const struct {
    const char *old, *new, *error;
} faults[] = {
    {"splitrelay-spool 1", "splitrelay-spool 2", "line 1: no spool file of version 1"},
    {"size 0000", "size 000", "line 2: size is not valid"},
    {"size 0000", "size 9999", "line 2: size is not valid"},
    {"size 0000", "size -000", "line 2: size is not valid"},
    {"size 0", "size\t0", "line 2: expected \"size\""},
    {"time 17", "time 1x", "line 3: time is not valid"},
    {".123456", ".12345", "line 3: time is not valid"},
    {".123456", "x123456", "line 3: time is not valid"},
    {"time 17", "time 1234567", "line 3: time is not valid"},
    {"sender s@", "sender s @", "line 4: value is not xtext"},
    {"sender s@x.test", "sender ", "line 4: value is not xtext"},
    {"sender s@", "sender +00", "line 4: value is too long or holds a NUL"},
    {"sender s@", "sender +0", "line 4: value is not xtext"},
    {"sender s@x.test\n", "", "line 4: expected \"sender\""},
    {"flags -", "flags 7bit", "line 10: flags are not valid"},
    {"flags -", "flags ", "line 10: flags are not valid"},
    {"flags -", "flags 8bit,", "line 10: flags are not valid"},
    {"flags -", "flags -,8bit", "line 10: flags are not valid"},
    {"flags -", "flags utf8,8bit", "line 10: flags are not valid"},
    {"flags -", "flags 8bit,8bit", "line 10: flags are not valid"},
    {"flags -", "flags requiretlsx", "line 10: flags are not valid"},
    {"copy 1aZ archive", "copy ../aZ archive", "line 11: id or destination is not valid"},
    {"copy 1aZ archive", "copy 1aZ .", "line 11: id or destination is not valid"},
    {"copy 1aZ archive", "copy 1aZ Archive", "line 11: id or destination is not valid"},
    {"copy 1aZ archive", "copy  archive", "line 11: id or destination is not valid"},
    {"copy 1aZ archive", "copy 1aZ", "line 11: expected \"copy\""},
    {"copy 1aZ", "copy 123456789012345678901234", "line 11: id or destination is too long"},
    {"archive 0000", "archive 00000", "line 11: attempts are not valid"},
    {"archive 0000", "archive 00 0", "line 11: attempts are not valid"},
    {"archive 0000", "archive -001", "line 11: attempts are not valid"},
    {"rcpt q", "rcpt x", "line 12: state is not valid"},
    {"rcpt q", "rcpt qq", "line 12: state is not valid"},
    {"rcpt q a+20b", "rcpt q a+2", "line 12: value is not xtext"},
    {"rcpt q a+20b@x.test ", "rcpt q ", "line 12: reason has the wrong width"},
    {"550 no", "550  no", "line 13: reason has the wrong width"},
    {"550 no", "550\1no", "line 13: reason is not printable"},
    {"550 no", "550\x7fno", "line 13: reason is not printable"},
    {"copy 1aa", "copy 1aa archive 0000\ncopy 1aa", "line 14: copy has no recipient"},
    {"copy 1aa", "rubbish", "line 14: expected \"copy\""},
    {"\nEND\n", "\nEND\nx", "line 16: text behind END"},
    {"\nEND\n", "\nEND", "line 16: no end of line"},
    {"\nEND\n", "\n", "line 16: no end of line"},
};

START_TEST(a_damaged_head_is_refused)
{
    struct spool_envelope e;

    format();
    char *at = strstr(head.data, faults[_i].old);
    ck_assert_ptr_nonnull(at);
    char *text = mem_printf("%.*s%s%s", (int)(at - head.data), head.data, faults[_i].new,
                            at + strlen(faults[_i].old));
    ck_assert_int_eq(spool_envelope_parse(text, strlen(text), NULL, &e, &err), -1);
    ck_assert_str_eq(err.text, faults[_i].error);
    free(text);
}
END_TEST

START_TEST(no_part_of_a_head_is_valid)
{
    struct spool_envelope e;

    format();
    for (size_t len = 0; len < head.len; len++) {
        char *part = mem_strndup(head.data, len); /* exactly that long: for the sanitizers */
        ck_assert_uint_eq(spool_envelope_length(part, len), 0);
        ck_assert_int_eq(spool_envelope_parse(part, len, NULL, &e, &err), -1);
        free(part);
    }
}
END_TEST

START_TEST(names_that_are_safe)
{
    static const char *const good_ids[] = {"1", "zZ09", "12345678901234567890123"};
    static const char *const bad_ids[] = {"",    ".", "..",  "a/b",
                                          "a.b", "-", "a b", "123456789012345678901234"};
    static const char *const good_names[] = {
        "a", "9", "new-mail", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"};
    static const char *const bad_names[] = {
        "",  ".",  "..", "a/b", "a.b",
        "A", "-a", "a-", "a_b", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"};

    for (size_t i = 0; i < UNIT_COUNT(good_ids); i++)
        ck_assert_msg(spool_id_is_valid(good_ids[i]), "%s", good_ids[i]);
    for (size_t i = 0; i < UNIT_COUNT(bad_ids); i++)
        ck_assert_msg(!spool_id_is_valid(bad_ids[i]), "%s", bad_ids[i]);
    for (size_t i = 0; i < UNIT_COUNT(good_names); i++)
        ck_assert_msg(spool_destination_is_valid(good_names[i]), "%s", good_names[i]);
    for (size_t i = 0; i < UNIT_COUNT(bad_names); i++)
        ck_assert_msg(!spool_destination_is_valid(bad_names[i]), "%s", bad_names[i]);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("spool_envelope");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, the_text_is_as_documented);
    tcase_add_test(tests, parsing_gives_back_what_was_formatted);
    tcase_add_loop_test(tests, flags_go_round, 0, 8);
    tcase_add_test(tests, odd_values_go_round);
    tcase_add_test(tests, only_the_copy_asked_for_is_kept);
    tcase_add_test(tests, a_patch_changes_one_section_in_place);
    tcase_add_test(tests, what_does_not_fit_is_refused);
    tcase_add_loop_test(tests, a_damaged_head_is_refused, 0, UNIT_COUNT(faults));
    tcase_add_test(tests, no_part_of_a_head_is_valid);
    tcase_add_test(tests, names_that_are_safe);
    return unit_run("spool_envelope", tests);
}
