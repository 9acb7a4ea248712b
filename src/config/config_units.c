/* SPDX-License-Identifier: ISC */
#include "config/config_units.h"
#include "base/ascii.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct unit {
    char letter;
    uint64_t factor;
};

/* In ascending order; the last entry has the letter NUL. */
static const struct unit time_units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'\0', 0}};
static const struct unit size_units[] = {{'k', 1 << 10}, {'m', 1 << 20}, {'g', 1 << 30}, {'\0', 0}};

static int parse(const char *text, const struct unit *units, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = text;

    for (; ascii_is_digit(*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (max - digit) / 10)
            return -1;
        value = value * 10 + digit;
    }
    if (p == text)
        return -1;
    if (*p != '\0') {
        const struct unit *u = units;
        while (u->letter != '\0' && u->letter != ascii_to_lower(*p))
            u++;
        if (u->letter == '\0' || p[1] != '\0' || value > max / u->factor)
            return -1;
        value *= u->factor;
    }
    *out = value;
    return 0;
}

int config_units_parse_time(const char *text, unsigned *seconds_out)
{
    uint64_t value;

    if (parse(text, time_units, UINT_MAX, &value) < 0)
        return -1;
    *seconds_out = (unsigned)value;
    return 0;
}

int config_units_parse_size(const char *text, uint64_t *bytes_out)
{
    return parse(text, size_units, UINT64_MAX, bytes_out);
}

/* The largest unit that divides the value. NULL: none does, or the value is 0. */
static const struct unit *best_unit(uint64_t value, const struct unit *units)
{
    const struct unit *best = NULL;

    for (; units->letter != '\0'; units++)
        if (value != 0 && value % units->factor == 0)
            best = units;
    return best;
}

void config_units_format_time(unsigned seconds, char *out, size_t size)
{
    const struct unit *u = best_unit(seconds, time_units);

    if (u == NULL)
        snprintf(out, size, "%us", seconds);
    else
        snprintf(out, size, "%" PRIu64 "%c", seconds / u->factor, u->letter);
}

void config_units_format_size(uint64_t bytes, char *out, size_t size)
{
    const struct unit *u = best_unit(bytes, size_units);

    if (u == NULL)
        snprintf(out, size, "%" PRIu64, bytes);
    else
        snprintf(out, size, "%" PRIu64 "%c", bytes / u->factor,
                 u->letter == 'k' ? 'k' : ascii_to_upper(u->letter));
}
