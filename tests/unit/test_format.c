/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "base/utf8.h"
#include "format/format.h"
#include "format/format_journal.h"
#include "format/format_scan.h"
#include "format/format_word.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- the encoding and the header of a content --- */

static char long_line[1010];

static const struct {
    const char *content;
    size_t len; /* 0: strlen */
    const char *encoding;
} encodings[] = {
    {"", 0, "7bit"},
    {"a\r\n\r\nb\r\n", 0, "7bit"},
    {"no end", 0, "7bit"},
    {"\x7f\x01\t\r\n", 0, "7bit"},
    {"a\x80\r\n", 0, "8bit"},
    {"a\0b\r\n", 5, "binary"},
    {"a\nb\r\n", 0, "binary"},
    {"\n", 0, "binary"},
    {"a\rb\r\n", 0, "binary"},
    {"a\r\r\n", 0, "binary"},
    {"a\r\n\r", 0, "binary"},
    {"\xff\r", 0, "binary"},
    {long_line, 1000, "7bit"},       /* 998 and CRLF */
    {long_line + 1, 1001, "binary"}, /* 999 */
};

/* The result is the same for a content in one piece, and byte by byte. */
START_TEST(encoding_of_content)
{
    const char *content = encodings[_i].content;
    size_t len = encodings[_i].len;

    memset(long_line, 'x', sizeof long_line);
    memcpy(long_line + 998, "\r\n", 2);
    if (len == 1001) {
        memset(long_line + 1, 'x', 999);
        memcpy(long_line + 1000, "\r\n", 2);
    }
    if (len == 0)
        len = strlen(content);
    for (size_t step = 1; step <= len + 1; step += len + 1 > 2 ? len : 1) {
        struct format_scan scan = {0};
        for (size_t at = 0; at < len; at += step)
            format_scan_feed(&scan, content + at, len - at < step ? len - at : step);
        format_scan_end(&scan);
        ck_assert_str_eq(format_scan_encoding(scan.is_8bit, scan.is_binary),
                         encodings[_i].encoding);
        format_scan_clear(&scan);
    }
}
END_TEST

static const struct {
    const char *header, *fields; /* "name=text|" of each */
} headers[] = {
    {"", ""},
    {"\r\nSubject: body\r\n", ""},
    {"Subject: a\r\n\r\nTo: body\r\n", "Subject=a|"},
    {"a:\r\nB : \t c  d \t\r\n", "a=|B=c  d|"},
    {"S: a\r\n b\r\n\tc\r\n \r\nT: d\r\n", "S=a b c|T=d|"},
    {"S: a\nX: b\r\n", "S=a\nX: b|"}, /* one field, whose text is made printable later */
    {"S: a\rX: b\r\n\r\n", "S=a\rX: b|"},
    {"S: a\r\n\rb\r\nT: c\r\n", "S=a|"},
    {"S: a\r\nno field\r\nT: b\r\n", "S=a|"},
    {"From someone Fri Nov 20\r\nT: b\r\n", ""},
    {" starts with a fold\r\nT: b\r\n", ""},
    {"S: no end", ""},
    {"S: a\r\n no end", ""},
    {": b\r\n", ""},
    {"S\x80: b\r\n", ""},
};

START_TEST(fields_of_header)
{
    struct format_scan scan = {0};
    struct format_field field;
    struct buf found = {0};
    size_t at = 0;

    format_scan_feed(&scan, headers[_i].header, strlen(headers[_i].header));
    format_scan_end(&scan);
    while (format_scan_next(&scan, &at, &field)) {
        buf_add(&found, field.name, field.name_len);
        buf_addc(&found, '=');
        format_field_text(&field, &found);
        buf_addc(&found, '|');
    }
    ck_assert_str_eq(buf_str(&found), headers[_i].fields);
    buf_clear(&found);
    format_scan_clear(&scan);
}
END_TEST

START_TEST(header_is_read_up_to_a_limit)
{
    struct format_scan scan = {0};
    struct format_field field;
    size_t at = 0;
    unsigned count = 0;

    for (int i = 0; i < 100000; i++)
        format_scan_feed(&scan, "X: 3456\r\n", 9);
    format_scan_end(&scan);
    ck_assert_uint_eq(scan.header.len, FORMAT_SCAN_HEADER_MAX);
    while (format_scan_next(&scan, &at, &field)) {
        ck_assert_uint_eq(field.body_len, 5);
        count++;
    }
    ck_assert_uint_eq(count, FORMAT_SCAN_HEADER_MAX / 9);
    format_scan_clear(&scan);
}
END_TEST

static const struct {
    const char *text, *encoded;
} words[] = {
    {"", ""},
    {"plain = text?", "plain = text?"},
    {"=?utf-8?Q?x?=", "=?utf-8?B?PT91dGYtOD9RP3g/PQ==?="}, /* not decoded twice */
    {"\xc3\xa4", "=?utf-8?B?w6Q=?="},
    {"a\xc3\xa4", "=?utf-8?B?YcOk?="},
    {"aa\xc3\xa4", "=?utf-8?B?YWHDpA==?="},
    /* no character is cut in two; a line has 76 columns */
    {"01234567890123456789012345678901234567\xc3\xa4\xc3\xb6\xe2\x82\xac",
     "=?utf-8?B?MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc=?=\r\n "
     "=?utf-8?B?w6TDtuKCrA==?="},
};

START_TEST(words_of_a_header)
{
    struct buf out = {0};

    format_word_encode(words[_i].text, strlen("Subject: "), &out);
    ck_assert_str_eq(buf_str(&out), words[_i].encoded);
    buf_clear(&out);
}
END_TEST

/* --- whole formats --- */

static char nothing[] = "";

struct setup {
    struct config_destination destination;
    struct queue_copy copy;
    struct format format;
    bool included[64];
};

static void setup_init(struct setup *s, enum config_format format, const char *content, size_t len)
{
    memset(s, 0, sizeof *s);
    s->destination = (struct config_destination){
        .format = format, .journal_from = nothing, .recipient_address = nothing};
    s->copy = (struct queue_copy){.id = "ID1", .destination = "archive"};
    s->copy.message = (struct queue_message){.sender = nothing,
                                             .client_name = nothing,
                                             .client_addr = nothing,
                                             .helo = nothing,
                                             .protocol = nothing,
                                             .mta_queue_id = nothing,
                                             .message_id = nothing,
                                             .size_bytes = len};
    s->copy.content_fd = memfd_create("copy", MFD_CLOEXEC);
    ck_assert_int_ne(s->copy.content_fd, -1);
    ck_assert_int_eq(write(s->copy.content_fd, content, len), (ssize_t)len);
}

/* A recipient; orcpt may be "". */
static void add_recipient(struct setup *s, const char *address, const char *orcpt)
{
    size_t n = s->copy.recipient_count++;

    s->copy.recipients = mem_grow(s->copy.recipients, n + 1, sizeof *s->copy.recipients);
    s->copy.recipients[n] = (struct queue_recipient){
        .address = mem_strdup(address), .orcpt = mem_strdup(orcpt), .state = QUEUE_PENDING};
    s->included[n] = true;
}

static void make(struct setup *s)
{
    struct err err;

    ck_assert_int_eq(format_begin(&s->format, &s->copy, &s->destination, "me.test", &err), 0);
    format_make(&s->format, s->included);
}

static void setup_clear(struct setup *s)
{
    format_clear(&s->format);
    for (size_t i = 0; i < s->copy.recipient_count; i++) {
        free(s->copy.recipients[i].address);
        free(s->copy.recipients[i].orcpt);
    }
    free(s->copy.recipients);
    close(s->copy.content_fd);
}

/* The text part, for the caller to free. */
static char *report_of(const struct setup *s)
{
    static const char mark[] = "charset=\"utf-8\"\r\n";
    const char *begin = strstr(buf_str(&s->format.head), mark);

    ck_assert_ptr_nonnull(begin);
    begin = strstr(begin, "\r\n\r\n");
    ck_assert_ptr_nonnull(begin);
    const char *end = strstr(begin, "\r\n--=_");
    ck_assert_ptr_nonnull(end);
    return mem_strndup(begin + 4, (size_t)(end - begin) - 4);
}

static const struct {
    const char *header, *sender, *address, *orcpt;
    const char *report;
} reports[] = {
    {"From: A <a@x.test>\r\nTo: B <b@x.test>\r\nSubject: s\r\nMessage-ID: <i@x>\r\n", "e@x.test",
     "b@x.test", "", "Sender: a@x.test\r\nSubject: s\r\nMessage-Id: <i@x>\r\nTo: b@x.test\r\n"},
    {"from: a@x.test\r\nSENDER: c@x.test\r\nCc: b@x.test\r\n", "", "b@x.test", "",
     "Sender: c@x.test\r\nOn-Behalf-Of: a@x.test\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nCc: "
     "b@x.test\r\n"},
    {"From: A@x.test\r\nSender: a@X.TEST\r\nBcc: \"b\"@X.test\r\n", "", "b@x.test", "",
     "Sender: a@X.TEST\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nBcc: b@x.test\r\n"},
    {"X: y\r\n", "e@x.test", "b@x.test", "",
     "Sender: e@x.test\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nRecipient: b@x.test\r\n"},
    /* the first class that matches, in any order of the fields */
    {"Cc: x@y, b@x.test\r\nTo: g: c@x.test, (b) b@x.test;\r\n", "", "b@x.test", "",
     "Sender: <>\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nTo: b@x.test\r\n"},
    /* by its original recipient */
    {"Cc: old+1@x.test\r\n", "", "new@y.test", "rfc822;old+2B1@x.test",
     "Sender: <>\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nCc: new@y.test, Forwarded: "
     "old+1@x.test\r\n"},
    {"", "", "b@x.test", "RFC822;B@x.test",
     "Sender: <>\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nRecipient: b@x.test\r\n"},
    {"", "", "b@x.test", "utf-8;\\x{e4}@x.test",
     "Sender: <>\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nRecipient: b@x.test, Forwarded: "
     "\xc3\xa4@x.test\r\n"},
    {"To: \xc3\xa4@x.test\r\n", "", "b@x.test", "utf-8;\xc3\xa4@x.test",
     "Sender: <>\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nTo: b@x.test, Forwarded: "
     "\xc3\xa4@x.test\r\n"},
    {"To: \xc3\xa4@x.test\r\n", "", "b@x.test", "rfc822;+C3+A4@x.test",
     "Sender: <>\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nTo: b@x.test, Forwarded: "
     "\xc3\xa4@x.test\r\n"},
    {"", "", "b@x.test", "utf-8;\\x{0d}\\x{0a}X:y@x.test",
     "Sender: <>\r\nSubject: \r\nMessage-Id: <ID1@me.test>\r\nRecipient: b@x.test, Forwarded: "
     "??X:y@x.test\r\n"},
    /* subjects in other charsets; see test_format_decode.c */
    {"Subject: =?koi8-r?B?8NLJ18XU?=\r\n =?iso-8859-1?q?_=FC?=\r\n", "e@x.test", "b@x.test", "",
     "Sender: e@x.test\r\nSubject: \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xc3\xbc\r\n"
     "Message-Id: <ID1@me.test>\r\nRecipient: b@x.test\r\n"},
    {"Subject: a\xfc\r\nContent-type: text/plain; format=flowed;\r\n\tcharset=\"ISO-8859-1\"\r\n",
     "e@x.test", "b@x.test", "",
     "Sender: e@x.test\r\nSubject: a\xc3\xbc\r\nMessage-Id: <ID1@me.test>\r\n"
     "Recipient: b@x.test\r\n"},
    {"Subject: =?utf-8?B?4oCuAABhYg==?= =?x?Q?y?=\r\nMessage-ID:\r\n", "e@x.test", "b@x.test", "",
     "Sender: e@x.test\r\nSubject: ?"
     "?"
     "???ab =?x?Q?y?=\r\nMessage-Id: <ID1@me.test>\r\n"
     "Recipient: b@x.test\r\n"},
    /* bytes that are not printable UTF-8 */
    {"Subject: a\rTo: evil@x\nCc: \x01\xff\xc3\xa4\r\n b\t\xe2\x80\xa8\r\n", "e\r\nTo: f@x",
     "b\n@x.test", "rfc822;c+0D+0AX@y",
     "Sender: e??To: f@x\r\nSubject: a?To: evil@x?Cc: ??\xc3\xa4 b ???\r\nMessage-Id: "
     "<ID1@me.test>\r\n"
     "Recipient: b?@x.test, Forwarded: c??X@y\r\n"},
    {"Subject: =?utf-8?Q?=0D=0ATo:_evil?=\r\n", "", "b@x.test", "",
     "Sender: <>\r\nSubject: ??To: evil\r\nMessage-Id: <ID1@me.test>\r\nRecipient: b@x.test\r\n"},
};

START_TEST(journal_report)
{
    struct setup s;
    char *content = mem_printf("%s\r\nTo: b@x.test\r\n", reports[_i].header);
    char *sender = mem_strdup(reports[_i].sender);

    setup_init(&s, CONFIG_FORMAT_JOURNAL, content, strlen(content));
    s.copy.message.sender = sender;
    add_recipient(&s, reports[_i].address, reports[_i].orcpt);
    make(&s);
    char *report = report_of(&s);
    ck_assert_str_eq(report, reports[_i].report);
    free(report);
    setup_clear(&s);
    free(sender);
    free(content);
}
END_TEST

START_TEST(journal_is_one_message_around_another)
{
    static const char content[] = "Subject: \xc3\xa4\r\n\r\n\xff\r\n";
    struct setup s;
    char boundary[40], *rest = nothing;

    setup_init(&s, CONFIG_FORMAT_JOURNAL, content, sizeof content - 1);
    s.destination.recipient = CONFIG_ADDRESS_FIXED;
    s.destination.recipient_address = (char *)"journal@x.test";
    s.copy.message.arrival.tv_sec = 1700000000;
    add_recipient(&s, "a@x.test", "");
    add_recipient(&s, "b@x.test", "");
    s.included[0] = false;
    setenv("TZ", "UTC", 1);
    make(&s);
    const char *head = buf_str(&s.format.head);
    ck_assert_int_eq(sscanf(s.format.tail.data, "\r\n--%39s", boundary), 1);
    boundary[34] = '\0'; /* =_ and 32 digits */
    char *tail = mem_printf("\r\n--%s--\r\n", boundary);
    ck_assert_str_eq(buf_str(&s.format.tail), tail);
    char *expected = mem_printf(
        "X-Envelope-From: <>\r\n%s"
        "From: <postmaster@me.test>\r\nTo: <journal@x.test>\r\nSubject: =?utf-8?B?w6Q=?=\r\n"
        "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <ID1.18372cab.journal@me.test>\r\n"
        "MIME-Version: 1.0\r\nX-MS-Journal-Report:\r\nAuto-Submitted: auto-generated\r\n"
        "Content-Type: multipart/mixed;\r\n\tboundary=\"%s\"\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n"
        "--%s\r\nContent-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: "
        "8bit\r\n\r\n"
        "Sender: <>\r\nSubject: \xc3\xa4\r\nMessage-Id: <ID1@me.test>\r\nRecipient: b@x.test\r\n"
        "\r\n--%s\r\nContent-Type: message/rfc822\r\nContent-Disposition: "
        "attachment\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
        buf_str(&s.format.trace), boundary, boundary, boundary);
    ck_assert_str_eq(head, expected);
    ck_assert(s.format.is_8bit && !s.format.has_utf8_header);
    ck_assert_uint_eq(format_size(&s.format), strlen(head) + strlen(tail) + sizeof content - 1);
    free(expected);
    /* the next copy has another boundary; journal_from sets the author */
    rest = mem_strdup(boundary);
    snprintf(s.copy.id, sizeof s.copy.id, "ID2");
    s.destination.journal_from = (char *)"archive@y.test";
    s.destination.recipient = CONFIG_ADDRESS_ORIGINAL;
    make(&s);
    ck_assert_ptr_null(strstr(buf_str(&s.format.head), rest));
    ck_assert_ptr_nonnull(strstr(buf_str(&s.format.head),
                                 "\r\nFrom: <archive@y.test>\r\nTo: undisclosed-recipients:;\r\n"));
    free(rest);
    free(tail);
    setup_clear(&s);
}
END_TEST

/* The boundary is that of the copy, unless the content contains it: in one piece, over the blocks
 * that are read, or behind a part of it. */
START_TEST(journal_boundary_is_not_in_the_content)
{
    static const size_t places[] = {0, 65535, 65536 + 20};
    char own[FORMAT_JOURNAL_BOUNDARY_SIZE], *tail = NULL;
    struct buf content = {0};
    struct setup s;

    setup_init(&s, CONFIG_FORMAT_JOURNAL, "", 0);
    format_journal_boundary(&s.copy, own);
    setup_clear(&s);
    for (size_t n = 0; n < 2 * sizeof places / sizeof places[0]; n++) {
        bool has_all = n % 2 == 0;
        buf_reset(&content);
        while (content.len < places[n / 2])
            buf_addc(&content, 'x');
        buf_addf(&content, "--=_%.5s=%.*s\r\n", own, has_all ? 34 : 33, own);
        setup_init(&s, CONFIG_FORMAT_JOURNAL, content.data, content.len);
        add_recipient(&s, "a@x.test", "");
        make(&s);
        tail = mem_printf("\r\n--%s--\r\n", own);
        ck_assert_uint_eq(s.format.tail.len, strlen(tail));
        ck_assert((strcmp(buf_str(&s.format.tail), tail) == 0) == !has_all);
        free(tail);
        setup_clear(&s);
    }
    buf_clear(&content);
}
END_TEST

/* The Message-ID of a report depends on its recipients, and on nothing else that changes. */
START_TEST(journal_has_a_message_id_of_its_own)
{
    static const bool included[][3] = {{true, true, true}, {true, true, false}, {true, true, true}};
    char *ids[UNIT_COUNT(included)];
    struct setup s;

    setup_init(&s, CONFIG_FORMAT_JOURNAL, "S: x\r\n", 6);
    add_recipient(&s, "a@x.test", "");
    add_recipient(&s, "b@x.test", "");
    add_recipient(&s, "c@x.test", "");
    for (size_t i = 0; i < UNIT_COUNT(included); i++) {
        memcpy(s.included, included[i], sizeof included[i]);
        make(&s);
        const char *field = strstr(buf_str(&s.format.head), "\r\nMessage-ID: <ID1.");
        ck_assert_ptr_nonnull(field);
        ids[i] = mem_strndup(field, strcspn(field + 2, "\r") + 2);
    }
    ck_assert_str_ne(ids[0], ids[1]);
    ck_assert_str_eq(ids[0], ids[2]);
    for (size_t i = 0; i < UNIT_COUNT(included); i++)
        free(ids[i]);
    setup_clear(&s);
}
END_TEST

/* However long the subject is, its line is short, and ends with a whole character. */
START_TEST(journal_of_a_long_subject)
{
    static const char *const units[] = {"x", "\xe4\xb8\x96", "=?utf-8?Q?=E4=B8=96?= ", "\x80",
                                        "=?big5?B?pEA=?= =?gbk?B?ytE=?= "};
    struct setup s;
    struct buf content = {0};

    buf_adds(&content, "Subject: ");
    while (content.len < 100000)
        buf_adds(&content, units[_i]);
    buf_adds(&content, "\r\n\r\n");
    setup_init(&s, CONFIG_FORMAT_JOURNAL, content.data, content.len);
    add_recipient(&s, "a@x.test", "");
    make(&s);
    char *report = report_of(&s), *subject = strstr(report, "\nSubject: ");
    ck_assert_ptr_nonnull(subject);
    size_t len = strcspn(subject + 1, "\r");
    ck_assert_uint_ge(len, strlen("Subject: ") + 897);
    ck_assert_uint_le(len, strlen("Subject: ") + 900);
    ck_assert(utf8_is_valid(report, strlen(report)));
    free(report);
    buf_clear(&content);
    setup_clear(&s);
}
END_TEST

static const struct {
    const char *content;
    size_t len;
    const char *whole, *text, *message;
    bool is_8bit;
} labels[] = {
    {"S: x\r\n\r\ny\r\n", 11, "7bit", "7bit", "7bit", false},
    {"S: x\r\n\r\n\xff\r\n", 11, "8bit", "7bit", "8bit", true},
    {"S: x\r\n\r\n\0\r\n", 11, "binary", "7bit", "binary", false},
    {"Subject: \xc3\xa4\r\n\ry", 15, "binary", "8bit", "binary", true},
    {"", 0, "7bit", "7bit", "7bit", false},
};

START_TEST(journal_is_labelled)
{
    static const char field[] = "Content-Transfer-Encoding: ";
    const char *wanted[] = {labels[_i].whole, labels[_i].text, labels[_i].message};
    struct setup s;

    setup_init(&s, CONFIG_FORMAT_JOURNAL, labels[_i].content, labels[_i].len);
    add_recipient(&s, "a@x.test", "");
    make(&s);
    const char *at = buf_str(&s.format.head);
    for (size_t i = 0; i < 3; i++) {
        at = strstr(at, field);
        ck_assert_ptr_nonnull(at);
        at += sizeof field - 1;
        ck_assert_int_eq(strncmp(at, wanted[i], strlen(wanted[i])), 0);
    }
    ck_assert(s.format.is_8bit == labels[_i].is_8bit);
    setup_clear(&s);
}
END_TEST

START_TEST(journal_of_a_file_that_is_cut_off)
{
    struct setup s;
    struct err err;

    setup_init(&s, CONFIG_FORMAT_JOURNAL, "S: x\r\n", 6);
    s.copy.message.size_bytes = 7;
    add_recipient(&s, "a@x.test", "");
    ck_assert_int_eq(format_begin(&s.format, &s.copy, &s.destination, "me.test", &err), -1);
    ck_assert_str_eq(err.text, "cannot read the spool: file too short");
    setup_clear(&s);
}
END_TEST

/* Its size is more than what is scanned at a time. */
START_TEST(content_in_memory_is_as_in_a_file)
{
    static const char *const texts[] = {" no field\r\n",
                                        "S: \xc3\xa4\r\nMessage-ID: <1@x>\r\n\r\n"};
    struct setup s;
    struct buf content = {0};
    char block[100];
    struct err err;

    buf_adds(&content, texts[_i % 2]);
    while (content.len < 200000)
        buf_addf(&content, "%zu\r\n", content.len);
    setup_init(&s, _i < 2 ? CONFIG_FORMAT_RAW : CONFIG_FORMAT_JOURNAL, content.data, content.len);
    add_recipient(&s, "a@x.test", "");
    make(&s);
    char *in_file = mem_strdup(buf_str(&s.format.head));
    bool was_8bit = s.format.is_8bit;
    const char *read = format_read(&s.copy, block, 150000, sizeof block, &err);
    ck_assert_ptr_eq(read, block);
    s.copy.content = content.data;
    make(&s);
    ck_assert_str_eq(buf_str(&s.format.head), in_file);
    ck_assert(s.format.is_8bit == was_8bit);
    read = format_read(&s.copy, NULL, 150000, sizeof block, &err);
    ck_assert_ptr_eq(read, content.data + 150000);
    ck_assert_int_eq(memcmp(read, block, sizeof block), 0);
    free(in_file);
    buf_clear(&content);
    setup_clear(&s);
}
END_TEST

START_TEST(envelope_of_many_is_several_fields)
{
    struct setup s;
    char address[300];
    unsigned fields = 0, addresses = 0;

    setup_init(&s, CONFIG_FORMAT_ENVELOPE, "S: x\r\n", 6);
    for (int i = 0; i < 60; i++) {
        snprintf(address, sizeof address, "%0250d@x.test", i);
        add_recipient(&s, address, "");
    }
    s.included[7] = false;
    make(&s);
    for (const char *p = buf_str(&s.format.head); (p = strstr(p, "X-Envelope-To: <")) != NULL; p++)
        fields++;
    for (const char *p = buf_str(&s.format.head); (p = strstr(p, "@x.test>")) != NULL; p++)
        addresses++;
    ck_assert_uint_eq(fields, 2);
    ck_assert_uint_eq(addresses, 59);
    ck_assert_ptr_null(strstr(buf_str(&s.format.head), "07@x.test"));
    ck_assert_ptr_null(strstr(buf_str(&s.format.head), ",\r\nX"));
    setup_clear(&s);
}
END_TEST

START_TEST(envelope_cannot_forge_a_field)
{
    struct setup s;
    char sender[] = "a\r\nSubject: x@y";

    setup_init(&s, CONFIG_FORMAT_ENVELOPE, "S: x\r\n", 6);
    s.copy.message.sender = sender;
    add_recipient(&s, "b\n\tc\x7f@x.test", "");
    make(&s);
    static const char expected[] =
        "X-Envelope-From: <a??Subject: x@y>\r\nX-Envelope-To: <b??c?@x.test>\r\nReceived: ";
    ck_assert_int_eq(strncmp(buf_str(&s.format.head), expected, sizeof expected - 1), 0);
    setup_clear(&s);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("format");

    tcase_add_loop_test(t, encoding_of_content, 0, UNIT_COUNT(encodings));
    tcase_add_loop_test(t, fields_of_header, 0, UNIT_COUNT(headers));
    tcase_add_test(t, header_is_read_up_to_a_limit);
    tcase_add_loop_test(t, words_of_a_header, 0, UNIT_COUNT(words));
    tcase_add_loop_test(t, journal_report, 0, UNIT_COUNT(reports));
    tcase_add_test(t, journal_is_one_message_around_another);
    tcase_add_test(t, journal_boundary_is_not_in_the_content);
    tcase_add_test(t, journal_has_a_message_id_of_its_own);
    tcase_add_loop_test(t, journal_of_a_long_subject, 0, 5);
    tcase_add_loop_test(t, journal_is_labelled, 0, UNIT_COUNT(labels));
    tcase_add_test(t, journal_of_a_file_that_is_cut_off);
    tcase_add_loop_test(t, content_in_memory_is_as_in_a_file, 0, 4);
    tcase_add_test(t, envelope_of_many_is_several_fields);
    tcase_add_test(t, envelope_cannot_forge_a_field);
    return unit_run("format", t);
}
