/* SPDX-License-Identifier: ISC */
#include "table_private.h"
#include "log.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often a file that changes while it is read is read again. */
enum { READ_ATTEMPTS = 5 };

static bool is_same_state(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Fill text with exactly size bytes from the start of the file: 1; 0 if it has fewer; -1 with errno
 * set. */
static int read_exactly(int fd, char *text, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = pread(fd, text + got, size - got, (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -1 : 0;
        got += (size_t)n;
    }
    return 1;
}

/* One attempt: 1 with *text_out, 0 if the file changed meanwhile, -1 with `err`. */
static int read_once(int fd, const char *path, uint64_t max, char **text_out, size_t *size_out,
                     struct err *err)
{
    struct stat before, after;

    if (fstat(fd, &before) < 0) {
        err_set_errno(err, "cannot stat %s", path);
        return -1;
    }
    if (!S_ISREG(before.st_mode)) {
        err_set(err, "%s is not a regular file", path);
        return -1;
    }
    if ((uint64_t)before.st_size > max) {
        err_set(err, "%s is too large: %lld bytes, allowed are %llu", path,
                (long long)before.st_size, (unsigned long long)max);
        return -1;
    }
    size_t size = (size_t)before.st_size;
    char *text = mem_grow(NULL, size + 1, 1);
    int rc = read_exactly(fd, text, size);
    if (rc < 0 || fstat(fd, &after) < 0) {
        err_set_errno(err, "cannot read %s", path);
        free(text);
        return -1;
    }
    if (rc == 0 || !is_same_state(&before, &after)) {
        free(text);
        return 0;
    }
    text[size] = '\0';
    *text_out = text;
    *size_out = size;
    return 1;
}

char *table_read_file(const char *path, uint64_t max, size_t *size_out, struct err *err)
{
    char *text = NULL;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        err_set_errno(err, "cannot open %s", path);
        return NULL;
    }
    for (int i = 0; i < READ_ATTEMPTS && rc == 0; i++)
        rc = read_once(fd, path, max, &text, size_out, err);
    if (rc == 0)
        err_set(err, "%s keeps changing while it is read", path);
    close(fd);
    return text;
}

struct table_lines table_lines_of(const char *path, char *text, size_t size)
{
    return (struct table_lines){.path = path, .in = text, .end = text + size};
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
    log_warning("%s:%u: %s", lines->path, number, text);
}

void table_lines_finish(struct table_lines *lines)
{
    if (lines->warnings > TABLE_WARNINGS_MAX)
        log_warning("%s: %u further warnings", lines->path, lines->warnings - TABLE_WARNINGS_MAX);
}

/* Put the next logical line together. False at the end of the file. */
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
