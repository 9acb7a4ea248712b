/* SPDX-License-Identifier: ISC */
#include "ctl/compare/compare_message.h"
#include "ctl/compare/compare_table.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- values --- */

static const struct {
    const char *value, *wanted;
    bool is_flagged;
} values[] = {
    {"YES", NULL, true},
    {"yes", NULL, true},
    {"Yes, score=7.1 required=5.0", NULL, true},
    {"true", NULL, true},
    {"1", NULL, true},
    {"1;", NULL, true},
    {"", NULL, false},
    {"NO", NULL, false},
    {"No, yes", NULL, false},
    {"yesterday", NULL, false},
    {"yes-not", NULL, false},
    {"yes\xc3\xa9", NULL, false},
    {"1.5", NULL, false},
    {"10", NULL, false},
    {"ye", NULL, false},
    {"Reject (7.1)", "reject", true},
    {"rejected", "reject", false},
    {"reject_soft", "reject", false},
    {"YES", "reject", false},
    {"default: True [15.00 / 6.00]", "default: true", true},
};

START_TEST(values_are_judged)
{
    ck_assert_msg(compare_value_is_flagged(values[_i].value, values[_i].wanted) ==
                      values[_i].is_flagged,
                  "'%s', '%s'", values[_i].value, values[_i].wanted);
}
END_TEST

/* --- messages --- */

/* A file with this text, at its beginning. */
static int file_with(const char *text, size_t len)
{
    int fd = memfd_create("message", MFD_CLOEXEC);

    ck_assert(fd != -1);
    ck_assert(write(fd, text, len) == (ssize_t)len);
    ck_assert(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static enum compare_read read_text(struct compare_message *m, const char *text, size_t len)
{
    int fd = file_with(text, len);
    enum compare_read rc = compare_message_read(m, fd, "X-Spam-Flag");

    close(fd);
    return rc;
}

static const struct {
    const char *text, *id, *value; /* value NULL: there is no field */
    const char *subject;
} messages[] = {
    {"Message-ID: <1@x>\nX-Spam-Flag: YES\nSubject: s\n\nbody\n", "<1@x>", "YES", "s"},
    {"Message-ID: <1@x>\r\nX-Spam-Flag: YES\r\nSubject: s\r\n\r\nbody\r\n", "<1@x>", "YES", "s"},
    {"message-id:<1@x>\nX-SPAM-FLAG \t:\tYES \t\n\n", "<1@x>", "YES", ""},
    {"Message-ID:\n <1@x>\nX-Spam-Flag: Yes,\n\tscore=1\n\n", "<1@x>", "Yes, score=1", ""},
    /* the first of several */
    {"X-Spam-Flag: NO\nMessage-ID: <1@x>\nX-Spam-Flag: YES\nMessage-ID: <2@x>\n\n", "<1@x>", "NO",
     ""},
    /* an empty value is a value */
    {"X-Spam-Flag:\nMessage-ID: <1@x>\n\n", "<1@x>", "", ""},
    /* other fields with this beginning or end */
    {"X-Spam-Flag-2: YES\nX-X-Spam-Flag: YES\nMessage-ID: <1@x>\n\n", "<1@x>", NULL, ""},
    /* what is in the body, or below a line that is no field, is not the header */
    {"Message-ID: <1@x>\n\nX-Spam-Flag: YES\n", "<1@x>", NULL, ""},
    {"Message-ID: <1@x>\nno field\nX-Spam-Flag: YES\n\n", "<1@x>", NULL, ""},
    {"\nMessage-ID: <1@x>\n", "", NULL, ""},
    /* no body, no line end */
    {"Message-ID: <1@x>\nX-Spam-Flag: YES", "<1@x>", "YES", ""},
    {"Message-ID: <1@x>\nX-Spam-Flag: YES\r", "<1@x>", "YES", ""},
    {"", "", NULL, ""},
    {"X-Spam-Flag: YES\nMessage-ID: \n\n", "", "YES", ""},
    {"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <1@x>\n\n", "<1@x>", NULL,
     "Gr\xc3\xbc\xc3\x9f"
     "e"},
    {"Content-Type: text/plain; charset=iso-8859-1\nSubject: Gr\xfc\xdf"
     "e\n\n",
     "", NULL,
     "Gr\xc3\xbc\xc3\x9f"
     "e"},
};

START_TEST(messages_are_read)
{
    struct compare_message m = {0};
    static const char old[] = "Message-ID: <0>\nX-Spam-Flag: old\nSubject: old\n\n";
    struct buf subject = {0};

    /* the state of another message is not left */
    ck_assert(read_text(&m, old, strlen(old)) == COMPARE_READ_DONE);
    ck_assert(read_text(&m, messages[_i].text, strlen(messages[_i].text)) == COMPARE_READ_DONE);
    ck_assert_str_eq(buf_str(&m.id), messages[_i].id);
    ck_assert(m.has_field == (messages[_i].value != NULL));
    ck_assert_str_eq(buf_str(&m.value), messages[_i].value == NULL ? "" : messages[_i].value);
    compare_message_subject(&m, &subject);
    ck_assert_str_eq(buf_str(&subject), messages[_i].subject);
    buf_clear(&subject);
    compare_message_clear(&m);
}
END_TEST

/* A header is found wherever the blocks end in which it is read: at each place of its end, and of
 * the field. */
START_TEST(blocks_may_end_anywhere)
{
    struct compare_message m = {0};

    for (size_t fill = 4096 - 60; fill < 4096 + 10; fill++)
        for (int crlf = 0; crlf < 2; crlf++) {
            const char *end = crlf != 0 ? "\r\n" : "\n";
            struct buf text = {0};
            buf_addf(&text, "X: %0*d%s", (int)fill - 20, 0, end);
            buf_addf(&text, "Message-ID: <1@x>%sX-Spam-Flag: YES%s%sX-Spam-Flag: NO%s", end, end,
                     end, end);
            for (int i = 0; i < 1000; i++)
                buf_addf(&text, "Message-ID: <2@x>%s", end);
            ck_assert(read_text(&m, buf_str(&text), text.len) == COMPARE_READ_DONE);
            ck_assert_str_eq(buf_str(&m.id), "<1@x>");
            ck_assert_str_eq(buf_str(&m.value), "YES");
            buf_clear(&text);
        }
    compare_message_clear(&m);
}
END_TEST

START_TEST(large_headers_are_told_apart)
{
    struct compare_message m = {0};
    struct buf text = {0};

    buf_adds(&text, "Message-ID: <1@x>\n");
    while (text.len < FORMAT_SCAN_HEADER_MAX / 2)
        buf_adds(&text, "X: this is a line of a header\n");
    size_t half = text.len;
    buf_adds(&text, "\nbody\n");
    ck_assert(read_text(&m, buf_str(&text), text.len) == COMPARE_READ_DONE);
    ck_assert_str_eq(buf_str(&m.id), "<1@x>");
    buf_truncate(&text, half);
    while (text.len < FORMAT_SCAN_HEADER_MAX)
        buf_adds(&text, "X: this is a line of a header\n");
    buf_adds(&text, "X-Spam-Flag: YES\n\n");
    ck_assert(read_text(&m, buf_str(&text), text.len) == COMPARE_READ_LARGE);
    /* a body does not count */
    buf_reset(&text);
    buf_adds(&text, "Message-ID: <1@x>\n\n");
    while (text.len < 2 * FORMAT_SCAN_HEADER_MAX)
        buf_adds(&text, "body\n");
    ck_assert(read_text(&m, buf_str(&text), text.len) == COMPARE_READ_DONE);
    buf_clear(&text);
    compare_message_clear(&m);
}
END_TEST

START_TEST(what_cannot_be_read_is_a_failure)
{
    struct compare_message m = {0};
    int fds[2];

    ck_assert(pipe(fds) == 0);
    ck_assert(compare_message_read(&m, fds[1], "X") == COMPARE_READ_FAILED);
    close(fds[0]);
    close(fds[1]);
    compare_message_clear(&m);
}
END_TEST

/* --- classes --- */

static void add(struct compare_table *t, enum compare_side side, const char *id, bool is_flagged,
                bool is_first)
{
    const struct compare_found f = {.side = side,
                                    .id = id,
                                    .id_len = strlen(id),
                                    .file = 1,
                                    .is_flagged = is_flagged,
                                    .is_in_time = true};

    ck_assert(compare_table_add(t, &f) == is_first);
}

static const struct {
    const char *a, *b; /* what each side says: Flagged, plain */
    enum compare_class class;
} classes[] = {
    {"F", "F", COMPARE_BOTH},      {"p", "p", COMPARE_NEITHER},  {"F", "p", COMPARE_ONLY_A},
    {"p", "F", COMPARE_ONLY_B},    {"", "F", COMPARE_MISSING_A}, {"", "p", COMPARE_MISSING_A},
    {"F", "", COMPARE_MISSING_B},  {"FF", "F", COMPARE_BOTH},    {"p", "ppp", COMPARE_NEITHER},
    {"Fp", "F", COMPARE_DIFFERS},  {"p", "pF", COMPARE_DIFFERS}, {"pF", "Fp", COMPARE_DIFFERS},
    {"Fp", "", COMPARE_MISSING_B},
};

START_TEST(classes_follow_from_both_sides)
{
    struct compare_table t = {0};

    for (size_t i = 0; classes[_i].a[i] != '\0'; i++)
        add(&t, COMPARE_A, "<1@x>", classes[_i].a[i] == 'F', i == 0);
    for (size_t i = 0; classes[_i].b[i] != '\0'; i++)
        add(&t, COMPARE_B, "<1@x>", classes[_i].b[i] == 'F', i == 0);
    ck_assert_uint_eq(t.count, 1);
    ck_assert_int_eq(compare_entry_class(&t.entries[0]), classes[_i].class);
    compare_table_clear(&t);
}
END_TEST

/* Message-IDs are compared as they are, and all are found again in a table that has grown. */
START_TEST(many_messages_are_joined)
{
    enum { COUNT = 5000 };
    struct compare_table t = {0};
    char id[32];

    for (int side = COMPARE_A; side < COMPARE_SIDES; side++)
        for (int i = 0; i < COUNT; i++) {
            snprintf(id, sizeof id, "<%d@x>", i);
            add(&t, (enum compare_side)side, id, false, true);
        }
    ck_assert_uint_eq(t.count, COUNT);
    add(&t, COMPARE_B, "<1@X>", false, true);
    ck_assert_uint_eq(t.count, COUNT + 1);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(compare_entry_class(&t.entries[i]), COMPARE_NEITHER);
    compare_table_clear(&t);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("compare");

    tcase_add_loop_test(tests, values_are_judged, 0, (int)UNIT_COUNT(values));
    tcase_add_loop_test(tests, messages_are_read, 0, (int)UNIT_COUNT(messages));
    tcase_add_test(tests, blocks_may_end_anywhere);
    tcase_add_test(tests, large_headers_are_told_apart);
    tcase_add_test(tests, what_cannot_be_read_is_a_failure);
    tcase_add_loop_test(tests, classes_follow_from_both_sides, 0, (int)UNIT_COUNT(classes));
    tcase_add_test(tests, many_messages_are_joined);
    return unit_run("compare", tests);
}
