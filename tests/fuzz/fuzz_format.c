/* SPDX-License-Identifier: ISC */
/*
 * Journal reports. The first line of the input is the sender, the second a recipient, the third an
 * ORCPT; the rest is the content, which is fed in two pieces. For any input the report has only the
 * lines that a report may have.
 */
#include "base/mem.h"
#include "format/format_journal.h"
#include "base/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

/* Take one line, up to its first NUL. */
static char *take_line(const char **data, size_t *size)
{
    const char *lf = memchr(*data, '\n', *size);
    size_t len = lf != NULL ? (size_t)(lf - *data) : *size;
    char *line = mem_strndup(*data, len);

    *data += len + (lf != NULL);
    *size -= len + (lf != NULL);
    return line;
}

/* Check that each line ends in CRLF, has no other control character and is valid UTF-8. Returns the
 * number of lines that begin with the mark. */
static int check_lines(const char *text, const char *mark)
{
    int count = 0;

    while (*text != '\0') {
        const char *end = strstr(text, "\r\n");
        require(end != NULL);
        require(utf8_is_valid(text, (size_t)(end - text)));
        for (const char *p = text; p < end; p++)
            require((unsigned char)*p >= ' ' || (*p == '\t' && p == text));
        count += strncmp(text, mark, strlen(mark)) == 0;
        text = end + 2;
    }
    return count;
}

/* Check the lines of the text part, and their order. */
static void check_report(const char *report)
{
    static const char *const names[] = {"Sender: ", "On-Behalf-Of: ", "Subject: ", "Message-Id: "};
    const char *end = strstr(report, "\r\n\r\n--=_");

    require(end != NULL);
    for (size_t i = 0; i < 4; i++) {
        if (strncmp(report, names[i], strlen(names[i])) == 0)
            report = strstr(report, "\r\n") + 2;
        else
            require(i == 1);
    }
    require(strstr(report, "\r\n") == end);
    require(strncmp(report, "To: ", 4) == 0 || strncmp(report, "Cc: ", 4) == 0 ||
            strncmp(report, "Bcc: ", 5) == 0 || strncmp(report, "Recipient: ", 11) == 0);
}

static void check(const struct format_scan *scan, const struct queue_copy *copy)
{
    const struct config_destination d = {.journal_from = (char *)"",
                                         .recipient_address = (char *)""};
    const bool is_included[] = {true};
    const struct buf trace = {0};
    struct buf head = {0}, tail = {0};
    struct err err;

    struct format_journal *j = format_journal_new(scan, copy, &d, "me.test", &err);
    require(j != NULL);
    (void)format_journal_make(j, &trace, is_included, &head, &tail);
    const char *text = buf_str(&head);
    require(strlen(text) == head.len);
    require(check_lines(text, "--=_") == 2);
    require(check_lines(text, "Subject: ") == 2);
    require(check_lines(buf_str(&tail), "--=_") == 1);
    text = strstr(text, "\r\n--=_");
    require(text != NULL && (text = strstr(text, "\r\n\r\n")) != NULL);
    check_report(text + 4);
    format_journal_free(j);
    buf_clear(&head);
    buf_clear(&tail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    char *sender = take_line(&p, &size), *address = take_line(&p, &size);
    char *orcpt = take_line(&p, &size);
    struct queue_recipient recipient = {.address = address, .orcpt = orcpt, .state = QUEUE_PENDING};
    struct queue_copy copy = {
        .id = "ID", .destination = "d", .recipients = &recipient, .recipient_count = 1};
    char boundary[FORMAT_JOURNAL_BOUNDARY_SIZE];
    struct format_scan scan = {.wanted = boundary}, whole = {.wanted = boundary};

    format_journal_boundary(&copy, boundary);
    copy.message.sender = sender;
    format_scan_feed(&scan, p, size / 2);
    format_scan_feed(&scan, p + size / 2, size - size / 2);
    format_scan_end(&scan);
    format_scan_feed(&whole, p, size);
    format_scan_end(&whole);
    require(scan.is_8bit == whole.is_8bit && scan.is_binary == whole.is_binary);
    require(scan.has_wanted == (memmem(p, size, boundary, strlen(boundary)) != NULL));
    require(scan.has_wanted == whole.has_wanted);
    check(&scan, &copy);
    format_scan_clear(&scan);
    format_scan_clear(&whole);
    free(sender);
    free(address);
    free(orcpt);
    return 0;
}
