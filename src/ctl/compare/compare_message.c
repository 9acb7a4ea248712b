/* SPDX-License-Identifier: ISC */
#include "ctl/compare/compare_message.h"
#include "base/ascii.h"
#include "base/fdio.h"
#include "format/format_decode.h"

#include <string.h>

#define BLOCK_SIZE 4096

/* Give the scan these bytes with CRLF for each LF, as it reads headers. *last: the byte before. */
static void feed(struct compare_message *m, const char *data, size_t len, char *last)
{
    buf_reset(&m->lines);
    for (const char *p = data, *end = data + len; p < end;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *stop = lf == NULL ? end : lf;
        buf_add(&m->lines, p, (size_t)(stop - p));
        *last = stop > p ? stop[-1] : *last;
        p = stop;
        if (lf == NULL)
            continue;
        buf_adds(&m->lines, *last == '\r' ? "\n" : "\r\n");
        *last = '\n';
        p++;
    }
    format_scan_feed(&m->scan, buf_str(&m->lines), m->lines.len);
}

/* Is an empty line in what was read, in the bytes behind the first `from` or at their beginning? */
static bool has_end(const struct buf *header, size_t from)
{
    from = from < 3 ? 0 : from - 3;
    return memmem(header->data + from, header->len - from, "\r\n\r\n", 4) != NULL;
}

/* The length of the block up to the first empty line that is all in it, or all of the block. */
static size_t up_to_end(const char *block, size_t len)
{
    const char *lf = memmem(block, len, "\n\n", 2);
    size_t first = lf == NULL ? len : (size_t)(lf - block) + 2;

    lf = memmem(block, first, "\n\r\n", 3);
    return lf == NULL ? first : (size_t)(lf - block) + 3;
}

static void empty(struct compare_message *m)
{
    struct buf header = m->scan.header;

    buf_reset(&m->id);
    buf_reset(&m->value);
    buf_reset(&header);
    m->has_field = false;
    m->scan = (struct format_scan){.header = header};
}

enum compare_read compare_message_read(struct compare_message *m, int fd, const char *field)
{
    char block[BLOCK_SIZE], last = '\n';
    const struct buf *header = &m->scan.header;
    bool has_ended = false;

    empty(m);
    while (!has_ended && header->len < FORMAT_SCAN_HEADER_MAX) {
        size_t before = header->len;
        ssize_t n = fdio_read_full(fd, block, sizeof block);
        if (n < 0)
            return COMPARE_READ_FAILED;
        feed(m, block, up_to_end(block, (size_t)n), &last);
        has_ended = (size_t)n < sizeof block;
        if (has_ended && last != '\n')
            feed(m, "\n", 1, &last);
        has_ended = has_ended || has_end(header, before);
    }
    /* The scan drops what is beyond its limit. A header that ends exactly there is not told apart
     * from one that goes on. */
    if (header->len >= FORMAT_SCAN_HEADER_MAX && !has_end(header, 0))
        return COMPARE_READ_LARGE;
    (void)format_scan_text(&m->scan, "Message-ID", &m->id);
    m->has_field = format_scan_text(&m->scan, field, &m->value);
    return COMPARE_READ_DONE;
}

void compare_message_subject(const struct compare_message *m, struct buf *out)
{
    struct buf text = {0}, type = {0};

    (void)format_scan_text(&m->scan, "Subject", &text);
    (void)format_scan_text(&m->scan, "Content-Type", &type);
    format_decode(buf_str(&text), text.len, format_decode_charset_of(buf_str(&type)), out);
    buf_clear(&text);
    buf_clear(&type);
}

void compare_message_clear(struct compare_message *m)
{
    buf_clear(&m->id);
    buf_clear(&m->value);
    buf_clear(&m->lines);
    format_scan_clear(&m->scan);
}

static bool begins_with(const char *value, const char *word)
{
    size_t len = strlen(word);

    if (!ascii_equal_n(value, word, len))
        return false;
    char next = value[len];
    return next == '\0' ||
           !(ascii_is_alnum(next) || strchr("_-.", next) != NULL || (unsigned char)next >= 0x80);
}

bool compare_value_is_flagged(const char *value, const char *wanted)
{
    if (wanted != NULL)
        return begins_with(value, wanted);
    return begins_with(value, "yes") || begins_with(value, "true") || begins_with(value, "1");
}
