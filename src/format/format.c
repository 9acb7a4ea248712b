/* SPDX-License-Identifier: ISC */
#include "format/format.h"

#include "base/mem.h"
#include "task/task.h"
#include "format/format_journal.h"
#include "format/format_scan.h"
#include "format/trace.h"
#include "mail/template.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_SIZE 65536

/* When X-Envelope-To is longer than this, further recipients go into another field of that name.
 * MTAs cut off a field that is much longer (Postfix: header_size_limit, 102400). */
#define FIELD_SIZE_MAX 8192

void format_clear(struct format *f)
{
    buf_clear(&f->trace);
    buf_clear(&f->head);
    buf_clear(&f->tail);
    format_journal_free(f->journal);
    f->journal = NULL;
}

const char *format_read(const struct queue_copy *copy, char *block, uint64_t offset, size_t len,
                        struct err *err)
{
    size_t have = 0;

    if (copy->content != NULL)
        return copy->content + offset;
    while (have < len) {
        ssize_t n = task_pread(copy->content_fd, block + have, len - have, (off_t)(offset + have));
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1) {
            err_set_errno(err, "cannot read the spool");
            return NULL;
        }
        if (n == 0) {
            err_set(err, "cannot read the spool: file too short");
            return NULL;
        }
        have += (size_t)n;
    }
    return block;
}

/* Read the whole content once, because its encoding has to be declared before it. */
static int scan_content(const struct queue_copy *copy, struct format_scan *scan, struct err *err)
{
    uint64_t size = copy->message.size_bytes;
    char *block = copy->content == NULL ? mem_grow(NULL, BLOCK_SIZE, 1) : NULL;
    int rc = 0;

    for (uint64_t offset = 0; rc == 0 && offset < size; offset += BLOCK_SIZE) {
        size_t len = size - offset < BLOCK_SIZE ? (size_t)(size - offset) : BLOCK_SIZE;
        const char *data = format_read(copy, block, offset, len, err);
        if (data != NULL)
            format_scan_feed(scan, data, len);
        else
            rc = -1;
        task_yield(); /* a large content takes a while */
    }
    format_scan_end(scan);
    free(block);
    return rc;
}

static int begin_journal(struct format *f, const char *hostname, struct err *err)
{
    char boundary[FORMAT_JOURNAL_BOUNDARY_SIZE];
    struct format_scan scan = {.wanted = boundary};

    format_journal_boundary(f->copy, boundary);
    if (scan_content(f->copy, &scan, err) == 0)
        f->journal = format_journal_new(&scan, f->copy, f->destination, hostname, err);
    format_scan_clear(&scan);
    return f->journal != NULL ? 0 : -1;
}

/* For all formats but journal: make the fields of trace.h, and what ends them (trace_end()), which
 * depends on the first byte of the content. */
static int begin_trace(struct format *f, const char *hostname, struct err *err)
{
    char block[1];

    trace_header(f->copy, hostname, &f->trace);
    if (f->copy->message.size_bytes == 0)
        return 0;
    const char *first = format_read(f->copy, block, 0, 1, err);
    if (first == NULL)
        return -1;
    trace_end(first, 1, &f->trace);
    return 0;
}

int format_begin(struct format *f, const struct queue_copy *copy,
                 const struct config_destination *d, const char *hostname, struct err *err)
{
    format_journal_free(f->journal);
    f->journal = NULL;
    f->copy = copy;
    f->destination = d;
    buf_reset(&f->trace);
    if (d->format != CONFIG_FORMAT_JOURNAL)
        return begin_trace(f, hostname, err);
    trace_header(copy, hostname, &f->trace); /* without trace_end(): more fields of ours follow */
    return begin_journal(f, hostname, err);
}

void format_address(const char *address, struct buf *out)
{
    buf_addc(out, '<');
    for (const char *p = address; *p != '\0'; p++)
        buf_addc(out, (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p);
    buf_addc(out, '>');
}

/* An address may be as long as a line (RFC 5322 2.1.1: 998), so each address has a line of its
 * own. */
static void add_recipients(const struct format *f, const bool *is_included, struct buf *out)
{
    static const char name[] = "X-Envelope-To: ";
    size_t begin = out->len;
    bool is_first = true;

    for (size_t i = 0; i < f->copy->recipient_count; i++) {
        if (!is_included[i])
            continue;
        if (!is_first && out->len - begin > FIELD_SIZE_MAX) {
            buf_adds(out, "\r\n");
            begin = out->len;
            is_first = true;
        }
        buf_adds(out, is_first ? name : ",\r\n\t");
        format_address(f->copy->recipients[i].address, out);
        is_first = false;
    }
    if (!is_first)
        buf_adds(out, "\r\n");
}

static bool has_8bit(const struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if ((unsigned char)b->data[i] >= 0x80)
            return true;
    return false;
}

static void add_sender(const struct format *f, struct buf *out)
{
    buf_adds(out, "X-Envelope-From: ");
    format_address(f->copy->message.sender, out);
    buf_adds(out, "\r\n");
}

void format_make(struct format *f, const bool *is_included)
{
    buf_reset(&f->head);
    buf_reset(&f->tail);
    f->is_8bit = f->copy->message.is_8bit;
    switch (f->destination->format) {
    case CONFIG_FORMAT_RAW:
        break;
    case CONFIG_FORMAT_ENVELOPE:
        add_sender(f, &f->head);
        add_recipients(f, is_included, &f->head);
        break;
    case CONFIG_FORMAT_JOURNAL:
        add_sender(f, &f->head);
        break;
    }
    f->has_utf8_header = has_8bit(&f->head);
    if (f->journal != NULL)
        f->is_8bit = format_journal_make(f->journal, &f->trace, is_included, &f->head, &f->tail);
    else
        buf_add(&f->head, buf_str(&f->trace), f->trace.len);
    f->is_8bit = f->is_8bit || f->has_utf8_header;
}

/* Append the address that stands for this one. option: its name. */
static int add_address(enum config_address kind, const char *text, const char *address,
                       const char *recipient, const char *option, struct buf *out, struct err *err)
{
    switch (kind) {
    case CONFIG_ADDRESS_NULL:
        return 0;
    case CONFIG_ADDRESS_FIXED:
        buf_adds(out, text);
        return 0;
    case CONFIG_ADDRESS_TEMPLATE:
        if (template_address(text, recipient, out, err) == 0)
            return 0;
        err_wrap(err, "the template of \"%s\" makes no address", option);
        return -1;
    case CONFIG_ADDRESS_ORIGINAL:
    case CONFIG_ADDRESS_CANONICAL:
        break;
    }
    buf_adds(out, address);
    return 0;
}

int format_sender(const struct config_destination *d, const char *sender, const char *recipient,
                  struct buf *out, struct err *err)
{
    return add_address(d->sender, d->sender_address, sender, recipient, "sender", out, err);
}

int format_recipient(const struct config_destination *d, const char *recipient, struct buf *out,
                     struct err *err)
{
    return add_address(d->recipient, d->recipient_address, recipient, recipient, "recipient", out,
                       err);
}

uint64_t format_size(const struct format *f)
{
    return f->head.len + f->copy->message.size_bytes + f->tail.len;
}
