/* SPDX-License-Identifier: ISC */
#include "net/sasl.h"
#include "base/utf8.h"
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns the length of the first line, or -1 if the line cannot be a password. */
static ssize_t first_line(const char *text, size_t len)
{
    const char *end = memchr(text, '\n', len);
    size_t n = end == NULL ? len : (size_t)(end - text);

    if (n > 0 && text[n - 1] == '\r')
        n--;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return -1;
    return n > 0 && n <= SASL_PASSWORD_MAX && utf8_is_valid(text, n) ? (ssize_t)n : -1;
}

struct sasl *sasl_open(const char *user, const char *password_file, struct err *err)
{
    char text[SASL_PASSWORD_MAX + 3];
    struct sasl *result = NULL;
    struct stat st;
    ssize_t n = -1;
    /* O_NONBLOCK: a FIFO without a writer must not block a reload. */
    int fd = open(password_file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd == -1 || fstat(fd, &st) != 0) {
        err_set_errno(err, "%s", password_file);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        err_set(err, "%s: is no regular file", password_file);
        goto out;
    }
    n = fdio_read_full(fd, text, sizeof text - 1);
    if (n < 0) {
        err_set_errno(err, "%s", password_file);
        goto out;
    }
    n = first_line(text, (size_t)n);
    if (n == -1) {
        err_set(err, "%s: the first line is no password: 1 to %d bytes of printable UTF-8",
                password_file, SASL_PASSWORD_MAX);
        goto out;
    }
    text[n] = '\0';
    result = sasl_new(user, text, err);
out:
    explicit_bzero(text, sizeof text);
    if (fd != -1)
        close(fd);
    return result;
}
