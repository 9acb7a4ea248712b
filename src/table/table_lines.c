/* SPDX-License-Identifier: ISC */
#include "base/log.h"
#include "table/table_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void report(const struct table_lines *lines, unsigned number, const char *text)
{
    if (lines->faults != NULL)
        lines->faults->each(lines->faults->ctx, lines->path, number, text);
    else if (number > 0)
        log_warning("%s:%u: %s", lines->path, number, text);
    else
        log_warning("%s: %s", lines->path, text);
}

struct table_lines table_lines_of(const char *path, char *text, size_t size,
                                  const struct table_faults *faults)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t mark_len = sizeof mark - 1;
    struct table_lines lines = {.path = path, .in = text, .end = text + size, .faults = faults};

    if (size >= mark_len && memcmp(text, mark, mark_len) == 0) {
        lines.in += mark_len;
        table_lines_warn(&lines, 1,
                         "the file begins with a byte order mark (BOM): it is left out here, but "
                         "is a part of the first key for postmap");
    }
    return lines;
}

void table_lines_warn(struct table_lines *lines, unsigned number, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (lines->warnings++ >= TABLE_WARNINGS_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    report(lines, number, text);
}

void table_lines_finish(struct table_lines *lines)
{
    char text[64];

    if (lines->warnings <= TABLE_WARNINGS_MAX)
        return;
    snprintf(text, sizeof text, "%u further warnings", lines->warnings - TABLE_WARNINGS_MAX);
    report(lines, 0, text);
}

/* Join the physical lines of the next logical line into *out. False at the end of the file. */
static bool gather(struct table_lines *l, struct table_line *out)
{
    char *start = l->in;
    size_t len = 0;

    while (l->in < l->end) {
        char *piece = l->in;
        char *newline = memchr(piece, '\n', (size_t)(l->end - piece));
        char *piece_end = newline == NULL ? l->end : newline, *p = piece;
        l->in = newline == NULL ? l->end : newline + 1;
        l->number++;
        while (p < piece_end && table_is_space(*p))
            p++;
        if (p < piece_end && *p != '#') {
            size_t piece_len = (size_t)(piece_end - piece);
            if (len == 0) {
                start = piece;
                out->number = l->number;
            } else {
                memmove(start + len, piece, piece_len);
            }
            len += piece_len;
        }
        if (len > 0 && (l->in == l->end || (*l->in != '#' && !table_is_space(*l->in))))
            break;
    }
    while (len > 0 && table_is_space(start[len - 1]))
        len--;
    if (len == 0)
        return false;
    start[len] = '\0';
    out->text = start;
    out->len = len;
    return true;
}

int table_lines_next(struct table_lines *lines, struct table_line *line_out, struct err *err)
{
    while (gather(lines, line_out)) {
        if (line_out->len > TABLE_LINE_MAX) {
            err_set(err,
                    "%s:%u: line is too long: %zu bytes with its continuations, allowed are %d",
                    lines->path, line_out->number, line_out->len, TABLE_LINE_MAX);
            return -1;
        }
        if (memchr(line_out->text, '\0', line_out->len) != NULL)
            table_lines_warn(lines, line_out->number, "NUL in the line: ignoring this line");
        else if (table_is_space(line_out->text[0]))
            table_lines_warn(lines, line_out->number,
                             "logical line must not start with whitespace: \"%.30s%s\"",
                             line_out->text, line_out->len > 30 ? "..." : "");
        else
            return 1;
    }
    return 0;
}
