/* SPDX-License-Identifier: ISC */
#include "format/format_scan.h"
#include "base/ascii.h"

#include <string.h>

void format_scan_clear(struct format_scan *s)
{
    buf_clear(&s->header);
}

/* Only the first character of `wanted` can begin a new occurrence, so no byte is looked at twice.
 */
static void search(struct format_scan *s, const char *data, size_t len)
{
    for (size_t i = 0; i < len && !s->has_wanted; i++) {
        s->wanted_len =
            data[i] == s->wanted[s->wanted_len] ? s->wanted_len + 1 : data[i] == s->wanted[0];
        s->has_wanted = s->wanted[s->wanted_len] == '\0';
    }
}

void format_scan_feed(struct format_scan *s, const char *data, size_t len)
{
    size_t room = FORMAT_SCAN_HEADER_MAX - s->header.len;

    buf_add(&s->header, data, len < room ? len : room);
    if (s->wanted != NULL)
        search(s, data, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (s->after_cr != (c == '\n')) /* a CR without LF, or an LF without CR */
            s->is_binary = true;
        s->after_cr = c == '\r';
        if (c == '\n') {
            s->line_len = 0;
        } else if (c != '\r') {
            s->is_8bit = s->is_8bit || c >= 0x80;
            if (c == '\0' || ++s->line_len > FORMAT_SCAN_LINE_MAX)
                s->is_binary = true;
        }
    }
}

void format_scan_end(struct format_scan *s)
{
    if (s->after_cr)
        s->is_binary = true;
}

const char *format_scan_encoding(bool is_8bit, bool is_binary)
{
    if (is_binary)
        return "binary";
    return is_8bit ? "8bit" : "7bit";
}

/* The length of the line at p, with its CRLF; 0 if it has none. */
static size_t line_len(const char *p, size_t len)
{
    const char *lf = p;

    while ((lf = memchr(lf, '\n', len - (size_t)(lf - p))) != NULL) {
        if (lf > p && lf[-1] == '\r')
            return (size_t)(lf - p) + 1;
        lf++;
    }
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_space(char c)
{
    return is_blank(c) || c == '\r' || c == '\n';
}

bool format_scan_next(const struct format_scan *s, size_t *at, struct format_field *out)
{
    const char *p = buf_str(&s->header) + *at;
    size_t left = s->header.len - *at;
    size_t len = line_len(p, left);
    size_t name = 0;

    while (name < len && p[name] > ' ' && p[name] < 0x7f && p[name] != ':')
        name++;
    size_t colon = name;
    while (colon < len && is_blank(p[colon]))
        colon++;
    if (name == 0 || colon >= len || p[colon] != ':')
        return false;
    while (len < left && is_blank(p[len])) {
        size_t more = line_len(p + len, left - len);
        if (more == 0)
            return false;
        len += more;
    }
    if (len == left && left == FORMAT_SCAN_HEADER_MAX - *at)
        return false;
    *out = (struct format_field){p, name, p + colon + 1, len - 2 - (colon + 1)};
    *at += len;
    return true;
}

bool format_field_is(const struct format_field *f, const char *name)
{
    return strlen(name) == f->name_len && ascii_equal_n(f->name, name, f->name_len);
}

void format_field_text(const struct format_field *f, struct buf *out)
{
    size_t begin = 0;
    size_t end = f->body_len;

    while (begin < end && is_space(f->body[begin]))
        begin++;
    while (end > begin && is_space(f->body[end - 1]))
        end--;
    for (size_t i = begin; i < end; i++) {
        char c = f->body[i];
        if (c == '\r' && i + 2 < end && f->body[i + 1] == '\n' && is_blank(f->body[i + 2]))
            i++; /* a fold: the blank behind it stays */
        else
            buf_addc(out, c == '\t' ? ' ' : c == '\0' ? '?' : c);
    }
}

bool format_scan_text(const struct format_scan *s, const char *name, struct buf *out)
{
    struct format_field f;
    size_t at = 0;

    while (format_scan_next(s, &at, &f)) {
        if (format_field_is(&f, name)) {
            format_field_text(&f, out);
            return true;
        }
    }
    return false;
}
