/* SPDX-License-Identifier: ISC */
#include "base/utf8.h"
#include "net/sasl.h"
#include "net/secret.h"

#include <string.h>

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
    ssize_t n = secret_read(password_file, text, sizeof text - 1, err);

    if (n >= 0) {
        n = first_line(text, (size_t)n);
        if (n == -1)
            err_set(err, "%s: the first line is no password: 1 to %d bytes of printable UTF-8",
                    password_file, SASL_PASSWORD_MAX);
    }
    if (n >= 0) {
        text[n] = '\0';
        result = sasl_new(user, text, err);
    }
    explicit_bzero(text, sizeof text);
    return result;
}
