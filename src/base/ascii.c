/* SPDX-License-Identifier: ISC */
#include "base/ascii.h"

#include <stdint.h>

int ascii_hex_value(char c)
{
    if (ascii_is_digit(c))
        return c - '0';
    c = ascii_to_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ascii_equal(const char *a, const char *b)
{
    return ascii_equal_n(a, b, SIZE_MAX);
}

bool ascii_equal_n(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (ascii_to_lower(a[i]) != ascii_to_lower(b[i]))
            return false;
        if (a[i] == '\0')
            return true;
    }
    return true;
}
