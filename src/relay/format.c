/* SPDX-License-Identifier: ISC */
#include "format.h"

#include "trace.h"

#include <string.h>

/* MTAs cut off what is longer (Postfix: header_size_limit, 102400); further recipients go into
 * another field of the same name. */
#define FIELD_SIZE_MAX 8192

void format_clear(struct format *f)
{
    buf_clear(&f->trace);
    buf_clear(&f->head);
    buf_clear(&f->tail);
}

int format_begin(struct format *f, const struct queue_copy *copy,
                 const struct config_destination *d, const char *hostname, struct err *err)
{
    (void)err;
    f->copy = copy;
    f->destination = d;
    buf_reset(&f->trace);
    trace_header(copy, hostname, &f->trace);
    return 0;
}

static void add_address(const char *address, struct buf *out)
{
    buf_addc(out, '<');
    for (const char *p = address; *p != '\0'; p++)
        buf_addc(out, (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p);
    buf_addc(out, '>');
}

/* An address may be as long as a line (RFC 5322 2.1.1: 998): one on each. */
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
        add_address(f->copy->recipients[i].address, out);
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

void format_make(struct format *f, const bool *is_included)
{
    buf_reset(&f->head);
    buf_reset(&f->tail);
    switch (f->destination->format) {
    case CONFIG_FORMAT_RAW:
        break;
    case CONFIG_FORMAT_JOURNAL:
    case CONFIG_FORMAT_ENVELOPE:
        buf_adds(&f->head, "X-Envelope-From: ");
        add_address(f->copy->message.sender, &f->head);
        buf_adds(&f->head, "\r\n");
        add_recipients(f, is_included, &f->head);
        break;
    }
    f->has_utf8_header = has_8bit(&f->head);
    f->is_8bit = f->copy->message.is_8bit || f->has_utf8_header;
    buf_add(&f->head, buf_str(&f->trace), f->trace.len);
}

uint64_t format_size(const struct format *f)
{
    return f->head.len + f->copy->message.size_bytes + f->tail.len;
}
