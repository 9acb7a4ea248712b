/* SPDX-License-Identifier: ISC */
#include "metrics/http_access.h"

#include "base/ascii.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/fdio.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX 65536
#define LINES_MAX 1000

struct http_access {
    char *values[LINES_MAX]; /* what clients send: NAME:PASSWORD in base64 */
    size_t count;
};

/* Is the line, of `len` bytes, "NAME:PASSWORD"? */
static bool is_entry(const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            return false;
    return colon != NULL && colon != line && colon != line + len - 1 && utf8_is_valid(line, len);
}

/* Take the lines of the file. -1 with `err`. */
static int take_lines(struct http_access *a, const char *path, const struct buf *text,
                      struct err *err)
{
    const char *line = buf_str(text), *end = line + text->len;

    for (unsigned number = 1; line < end; number++) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        size_t len = (size_t)((next == NULL ? end : next) - line);
        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (len > 0 && line[0] != '#') {
            if (!is_entry(line, len) || a->count == LINES_MAX) {
                err_set(err, "%s:%u: %s", path, number,
                        a->count == LINES_MAX ? "too many lines" : "not NAME:PASSWORD in UTF-8");
                return -1;
            }
            struct buf value = {0};
            base64_encode(line, len, &value);
            a->values[a->count++] = buf_take(&value);
        }
        line = next == NULL ? end : next + 1;
    }
    if (a->count > 0)
        return 0;
    err_set(err, "%s: no line NAME:PASSWORD", path);
    return -1;
}

/* Read the whole file. -1 with `err`. */
static int read_file(const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO without a writer must not block. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int rc = -1;

    if (fd == -1 || fstat(fd, &st) != 0) {
        err_set_errno(err, "%s", path);
    } else if (!S_ISREG(st.st_mode)) {
        err_set(err, "%s: is no regular file", path);
    } else {
        rc = fdio_read_rest(fd, out, FILE_BYTES_MAX);
        if (rc < 0)
            err_set_errno(err, "%s", path);
        else if (rc > 0)
            err_set(err, "%s: larger than %d bytes", path, FILE_BYTES_MAX);
    }
    if (fd != -1)
        close(fd);
    return rc == 0 ? 0 : -1;
}

struct http_access *http_access_open(const char *path, struct err *err)
{
    struct http_access *a = mem_zalloc(sizeof *a);
    struct buf text = {0};
    int rc = read_file(path, &text, err);

    if (rc == 0)
        rc = take_lines(a, path, &text, err);
    if (text.data != NULL)
        explicit_bzero(text.data, text.len);
    buf_clear(&text);
    if (rc == 0)
        return a;
    http_access_free(a);
    return NULL;
}

void http_access_free(struct http_access *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->count; i++) {
        explicit_bzero(a->values[i], strlen(a->values[i]));
        free(a->values[i]);
    }
    free(a);
}

/* Are the texts equal? All of `given` is compared, wherever the first difference is. */
static bool is_equal(const char *wanted, const char *given)
{
    size_t wanted_len = strlen(wanted), len = strlen(given);
    unsigned char difference = wanted_len != len;

    for (size_t i = 0; i < len; i++)
        difference |=
            (unsigned char)given[i] ^ (unsigned char)wanted[wanted_len == 0 ? 0 : i % wanted_len];
    return difference == 0;
}

bool http_access_allows(const struct http_access *a, const char *authorization)
{
    bool is_allowed = false;

    if (authorization == NULL || !ascii_equal_n(authorization, "Basic ", 6))
        return false;
    const char *given = authorization + 6 + strspn(authorization + 6, " ");
    for (size_t i = 0; i < a->count; i++)
        is_allowed |= is_equal(a->values[i], given);
    return is_allowed;
}
