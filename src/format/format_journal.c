/* SPDX-License-Identifier: ISC */
#include "format/format_journal.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/format_class.h"
#include "format/format_decode.h"
#include "format/format_word.h"
#include "format/trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALUE_MAX 900    /* bytes of a value in the report, so that it fits on a line (998) */
#define SUBJECT_MAX 8192 /* bytes of a subject that are decoded: VALUE_MAX bytes in small words */
#define BOUNDARY_BYTES 16

struct format_journal {
    const struct queue_copy *copy;
    const struct config_destination *destination;
    char hostname[TRACE_HOSTNAME_SIZE];
    char *sender, *on_behalf_of, *subject, *message_id; /* one line each, "" where there is none */
    struct format_class *classes;                       /* of the recipients */
    char boundary[FORMAT_JOURNAL_BOUNDARY_SIZE];
    bool is_8bit, is_binary; /* of the content */
};

/* Take the content of `text`, and return it as one line of valid UTF-8, cut to VALUE_MAX bytes. The
 * caller frees the line. */
static char *printable(struct buf *text)
{
    char *out = buf_take(text);

    log_sanitize(out);
    if (strlen(out) > VALUE_MAX)
        out[log_whole_characters(out, VALUE_MAX)] = '\0';
    return out;
}

static char *decoded_subject(const struct format_scan *scan)
{
    struct buf raw = {0}, type = {0}, text = {0};

    format_scan_text(scan, "Subject", &raw);
    format_scan_text(scan, "Content-Type", &type);
    format_decode(buf_str(&raw), raw.len < SUBJECT_MAX ? raw.len : SUBJECT_MAX,
                  format_decode_charset_of(buf_str(&type)), &text);
    buf_clear(&raw);
    buf_clear(&type);
    return printable(&text);
}

/* The Message-ID, or one made from the copy's id, because readers need one (MS-XJRNL 2.1). */
static char *message_id(const struct format_scan *scan, const struct format_journal *j)
{
    struct buf text = {0};

    format_scan_text(scan, "Message-ID", &text);
    if (text.len == 0)
        buf_addf(&text, "<%s@%s>", j->copy->id, j->hostname);
    return printable(&text);
}

static char *printable_copy(const char *text)
{
    struct buf copy = {0};

    buf_adds(&copy, text);
    return printable(&copy);
}

static void set_authors(struct format_journal *j, const struct format_scan *scan)
{
    char *from = format_class_first(scan, "From");
    char *sender = format_class_first(scan, "Sender");
    const char *envelope = j->copy->message.sender;

    if (sender[0] == '\0') {
        const char *author = from[0] == '\0' ? envelope : from;
        j->sender = printable_copy(author[0] == '\0' ? "<>" : author);
        j->on_behalf_of = mem_strdup("");
    } else {
        bool is_same = format_class_is_same(sender, from);
        j->sender = printable_copy(sender);
        j->on_behalf_of = printable_copy(is_same ? "" : from);
    }
    free(from);
    free(sender);
}

static void format_boundary(const unsigned char bytes[BOUNDARY_BYTES],
                            char out[FORMAT_JOURNAL_BOUNDARY_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    *out++ = '=';
    *out++ = '_';
    for (size_t i = 0; i < BOUNDARY_BYTES; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

void format_journal_boundary(const struct queue_copy *copy, char out[FORMAT_JOURNAL_BOUNDARY_SIZE])
{
    unsigned char bytes[BOUNDARY_BYTES];

    for (uint64_t i = 0; i < 2; i++) {
        const uint64_t key[2] = {i, 0};
        uint64_t half = hash_siphash(key, copy->id, strlen(copy->id));
        memcpy(bytes + i * sizeof half, &half, sizeof half);
    }
    format_boundary(bytes, out);
}

static int choose_boundary(struct format_journal *j, const struct format_scan *scan,
                           struct err *err)
{
    unsigned char random[BOUNDARY_BYTES];

    format_journal_boundary(j->copy, j->boundary);
    if (scan->wanted != NULL && strcmp(scan->wanted, j->boundary) == 0 && !scan->has_wanted)
        return 0;
    if (getentropy(random, sizeof random) != 0) {
        err_set_errno(err, "no random numbers");
        return -1;
    }
    format_boundary(random, j->boundary);
    return 0;
}

struct format_journal *format_journal_new(const struct format_scan *scan,
                                          const struct queue_copy *copy,
                                          const struct config_destination *d, const char *hostname,
                                          struct err *err)
{
    struct format_journal *j = mem_zalloc(sizeof *j);

    j->copy = copy;
    if (choose_boundary(j, scan, err) != 0) {
        free(j);
        return NULL;
    }
    j->destination = d;
    trace_hostname(hostname, j->hostname);
    j->is_8bit = scan->is_8bit;
    j->is_binary = scan->is_binary;
    j->subject = decoded_subject(scan);
    j->message_id = message_id(scan, j);
    set_authors(j, scan);
    j->classes = format_class_new(scan, copy);
    return j;
}

void format_journal_free(struct format_journal *j)
{
    if (j == NULL)
        return;
    format_class_free(j->classes);
    free(j->sender);
    free(j->on_behalf_of);
    free(j->subject);
    free(j->message_id);
    free(j);
}

static void add_line(struct buf *out, const char *name, const char *value)
{
    buf_addf(out, "%s: %s\r\n", name, value);
}

static void add_recipient(const struct format_journal *j, size_t i, struct buf *out)
{
    char *address = mem_strdup(j->copy->recipients[i].address);
    char *original = mem_strdup(format_class_original(j->classes, i));

    log_sanitize(address);
    log_sanitize(original);
    buf_addf(out, "%s: %s%s%s\r\n", format_class_name(j->classes, i), address,
             original[0] != '\0' ? ", Forwarded: " : "", original);
    free(address);
    free(original);
}

static void add_report(const struct format_journal *j, const bool *is_included, struct buf *out)
{
    add_line(out, "Sender", j->sender);
    if (j->on_behalf_of[0] != '\0')
        add_line(out, "On-Behalf-Of", j->on_behalf_of);
    add_line(out, "Subject", j->subject);
    add_line(out, "Message-Id", j->message_id);
    for (size_t i = 0; i < j->copy->recipient_count; i++)
        if (is_included[i])
            add_recipient(j, i, out);
}

/* The same for the same recipients. Reports on a copy that is sent in several transactions need
 * different Message-IDs: archives drop a message whose Message-ID they have. */
static uint32_t hash_of_recipients(const struct format_journal *j, const bool *is_included)
{
    uint32_t hash = HASH_FNV1A_32_START;

    for (size_t i = 0; i < j->copy->recipient_count; i++) {
        const char *address = j->copy->recipients[i].address;
        if (is_included[i])
            hash = hash_fnv1a_32(hash, address, strlen(address) + 1);
    }
    return hash;
}

/* Add the header of the report message, and that of its first part. Fields with recipients are
 * above X-MS-Journal-Report: piler takes those below it for recipients of the message. */
static void add_header(const struct format_journal *j, const struct format_scan *report,
                       uint32_t hash, struct buf *head)
{
    const struct config_destination *d = j->destination;
    char date[TRACE_DATE_SIZE];

    trace_date(j->copy->message.arrival.tv_sec, date);
    if (d->journal_from[0] != '\0')
        buf_addf(head, "From: <%s>\r\n", d->journal_from);
    else
        buf_addf(head, "From: <postmaster@%s>\r\n", j->hostname);
    if (d->recipient == CONFIG_ADDRESS_FIXED)
        buf_addf(head, "To: <%s>\r\n", d->recipient_address);
    else
        buf_adds(head, "To: undisclosed-recipients:;\r\n");
    buf_adds(head, "Subject: ");
    format_word_encode(j->subject, strlen("Subject: "), head);
    buf_addf(head, "\r\nDate: %s\r\nMessage-ID: <%s.%08" PRIx32 ".journal@%s>\r\n", date,
             j->copy->id, hash, j->hostname);
    buf_addf(
        head,
        "MIME-Version: 1.0\r\nX-MS-Journal-Report:\r\nAuto-Submitted: auto-generated\r\n"
        "Content-Type: multipart/mixed;\r\n\tboundary=\"%s\"\r\n"
        "Content-Transfer-Encoding: %s\r\n\r\n",
        j->boundary,
        format_scan_encoding(j->is_8bit || report->is_8bit, j->is_binary || report->is_binary));
    buf_addf(head,
             "--%s\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n"
             "Content-Transfer-Encoding: %s\r\n\r\n",
             j->boundary, format_scan_encoding(report->is_8bit, report->is_binary));
}

bool format_journal_make(const struct format_journal *j, const struct buf *trace,
                         const bool *is_included, struct buf *head, struct buf *tail)
{
    struct format_scan scan = {0};
    struct buf report = {0};
    bool is_8bit;

    add_report(j, is_included, &report);
    format_scan_feed(&scan, buf_str(&report), report.len);
    buf_add(head, buf_str(trace), trace->len);
    add_header(j, &scan, hash_of_recipients(j, is_included), head);
    buf_add(head, buf_str(&report), report.len);
    buf_addf(head,
             "\r\n--%s\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n"
             "Content-Transfer-Encoding: %s\r\n\r\n",
             j->boundary, format_scan_encoding(j->is_8bit, j->is_binary));
    buf_addf(tail, "\r\n--%s--\r\n", j->boundary);
    is_8bit = j->is_8bit || scan.is_8bit;
    format_scan_clear(&scan);
    buf_clear(&report);
    return is_8bit;
}
