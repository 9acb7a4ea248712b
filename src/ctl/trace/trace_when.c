/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_when.h"
#include "base/ascii.h"
#include "config/config_units.h"

#include <string.h>

/* Read a number of `digits` digits. False: there are others. */
static bool number(const char **at, int digits, int *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++, ++*at) {
        if (!ascii_is_digit(**at))
            return false;
        *out = *out * 10 + (**at - '0');
    }
    return true;
}

static bool character(const char **at, char c)
{
    bool is = **at == c;

    *at += is;
    return is;
}

/* Read "HH:MM" or "HH:MM:SS" up to the end of the text. */
static bool time_of_day(const char *at, struct tm *tm)
{
    tm->tm_sec = 0;
    if (!number(&at, 2, &tm->tm_hour) || !character(&at, ':') || !number(&at, 2, &tm->tm_min))
        return false;
    if (character(&at, ':') && !number(&at, 2, &tm->tm_sec))
        return false;
    return *at == '\0' && tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec < 61;
}

/* Read a date, and a time if there is one. */
static bool date_and_time(const char *at, struct tm *tm)
{
    int year, month;

    if (!number(&at, 4, &year) || !character(&at, '-') || !number(&at, 2, &month) ||
        !character(&at, '-') || !number(&at, 2, &tm->tm_mday))
        return false;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    if (month < 1 || month > 12 || tm->tm_mday < 1 || tm->tm_mday > 31)
        return false;
    if (*at == '\0')
        return true;
    return (character(&at, ' ') || character(&at, 'T')) && time_of_day(at, tm);
}

bool trace_when_parse(const char *text, time_t now, time_t *out)
{
    struct tm tm = {0}, today;
    unsigned seconds;

    if (localtime_r(&now, &today) == NULL)
        return false;
    tm.tm_isdst = -1;
    if (date_and_time(text, &tm)) {
        *out = mktime(&tm);
        return *out != -1;
    }
    memset(&tm, 0, sizeof tm);
    if (time_of_day(text, &tm)) {
        tm.tm_year = today.tm_year;
        tm.tm_mon = today.tm_mon;
        tm.tm_mday = today.tm_mday;
        tm.tm_isdst = -1;
        *out = mktime(&tm);
        if (*out > now) {
            tm.tm_mday--;
            tm.tm_isdst = -1;
            *out = mktime(&tm);
        }
        return *out != -1;
    }
    size_t len = strlen(text);
    if (len == 0 || ascii_is_digit(text[len - 1]) || config_units_parse_time(text, &seconds) != 0)
        return false;
    *out = now > (time_t)seconds ? now - (time_t)seconds : 1;
    return true;
}
