/* SPDX-License-Identifier: ISC */
#include "ctl/trace/trace_stamp.h"
#include "base/ascii.h"

#include <stdbool.h>
#include <string.h>

#define CLASSIC_LEN 15 /* "Nov 30 05:41:12" */
#define MINUTE_LEN 12
#define RFC3339_LEN 19 /* "2026-11-30T05:41:12" */
#define DAY_S 86400
#define DISORDER_S 120 /* lines of several programs may be that much out of order */
#define YEARS_BACK 8   /* there is a leap year among so many */

void trace_stamp_init(struct trace_stamp *s, time_t now)
{
    memset(s, 0, sizeof *s);
    s->now = s->latest = now;
}

void trace_stamp_begin_file(struct trace_stamp *s, time_t written)
{
    s->last_s = 0;
    s->latest = written != 0 && written < s->now ? written : s->now;
    s->minute[0] = '\0';
}

void trace_stamp_go_on(struct trace_stamp *s, time_t now)
{
    s->now = s->latest = now;
    s->minute[0] = '\0';
}

/* The number in `count` digits, of which the first may be a space if may_be_padded; -1: another
 * character. */
static int digits(const char *at, int count, bool may_be_padded)
{
    int value = 0;

    for (int i = 0; i < count; i++) {
        if (i == 0 && may_be_padded && at[0] == ' ')
            continue;
        if (!ascii_is_digit(at[i]))
            return -1;
        value = value * 10 + (at[i] - '0');
    }
    return value;
}

/* Parse "HH:MM:SS"; -1: it is not a time of day. */
static int time_of_day(const char *at)
{
    int h = digits(at, 2, false), m = digits(at + 3, 2, false), s = digits(at + 6, 2, false);

    if (h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 60 || at[2] != ':' || at[5] != ':')
        return -1;
    return h * 3600 + m * 60 + s;
}

/* Parse a fraction of a second, such as ".25". Returns its length, 0 if there is none. */
static size_t fraction(const char *at, size_t len, int64_t *us_out)
{
    int64_t unit = 100000;
    size_t n = 1;

    *us_out = 0;
    if (len < 2 || (at[0] != '.' && at[0] != ',') || !ascii_is_digit(at[1]))
        return 0;
    for (; n < len && ascii_is_digit(at[n]); n++) {
        *us_out += unit * (at[n] - '0');
        unit /= 10;
    }
    return n;
}

/* The month 0 to 11; -1: these three letters are no English month. */
static int month_of(const char *at)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    for (int i = 0; i < 12; i++)
        if (memcmp(names + 3 * i, at, 3) == 0)
            return i;
    return -1;
}

/* The same local time with the other value of tm_isdst; `t` if there is none. */
static time_t twin_of(time_t t)
{
    struct tm tm, other;

    if (localtime_r(&t, &tm) == NULL)
        return t;
    other = tm;
    other.tm_isdst = tm.tm_isdst > 0 ? 0 : 1;
    time_t twin = mktime(&other);
    bool is_same = twin != -1 && other.tm_isdst != tm.tm_isdst && other.tm_hour == tm.tm_hour &&
                   other.tm_min == tm.tm_min && other.tm_mday == tm.tm_mday;
    return is_same ? twin : t;
}

/* Set the beginning of this minute in the latest possible year. False: there is no such day. */
static bool set_minute(struct trace_stamp *s, const char *at)
{
    int month = month_of(at), day = digits(at + 4, 2, true);
    int hour = digits(at + 7, 2, false), minute = digits(at + 10, 2, false);
    struct tm latest;

    if (month < 0 || day < 1 || localtime_r(&s->latest, &latest) == NULL)
        return false;
    for (int back = -1; back < YEARS_BACK; back++) {
        struct tm tm = {.tm_year = latest.tm_year - back,
                        .tm_mon = month,
                        .tm_mday = day,
                        .tm_hour = hour,
                        .tm_min = minute,
                        .tm_isdst = -1};
        time_t t = mktime(&tm);
        if (t != -1 && tm.tm_mon == month && tm.tm_mday == day && t <= s->latest + DAY_S) {
            time_t twin = twin_of(t);
            s->minute_s = t < twin ? t : twin;
            s->second_minute_s = t < twin ? twin : t;
            memcpy(s->minute, at, MINUTE_LEN);
            return true;
        }
    }
    return false;
}

static size_t classic(struct trace_stamp *s, const char *at, size_t len, int64_t *us_out)
{
    int64_t us;

    if (len < CLASSIC_LEN || at[3] != ' ' || at[6] != ' ')
        return 0;
    int second = time_of_day(at + 7);
    if (second < 0)
        return 0;
    if (memcmp(s->minute, at, MINUTE_LEN) != 0 && !set_minute(s, at))
        return 0;
    size_t n = fraction(at + CLASSIC_LEN, len - CLASSIC_LEN, &us);
    int64_t t = s->minute_s + second % 60;
    if (s->second_minute_s != s->minute_s && t + DISORDER_S < s->last_s)
        t = s->second_minute_s + second % 60;
    s->last_s = t;
    *us_out = t * 1000000 + us;
    return CLASSIC_LEN + n;
}

/* Parse a zone. Returns its length and sets *s_out to its seconds east of UTC; 0: no zone. */
static size_t zone(const char *at, size_t len, int *s_out)
{
    *s_out = 0;
    if (len >= 1 && (at[0] == 'Z' || at[0] == 'z'))
        return 1;
    if (len < 5 || (at[0] != '+' && at[0] != '-'))
        return 0;
    size_t colon = at[3] == ':';
    if (len < 5 + colon)
        return 0;
    int h = digits(at + 1, 2, false), m = digits(at + 3 + colon, 2, false);
    if (h < 0 || h > 23 || m < 0 || m > 59)
        return 0;
    *s_out = (at[0] == '-' ? -1 : 1) * (h * 3600 + m * 60);
    return 5 + colon;
}

static size_t rfc3339(const char *at, size_t len, int64_t *us_out)
{
    int64_t us;
    int zone_s;

    if (len < RFC3339_LEN || at[4] != '-' || at[7] != '-' || at[10] != 'T')
        return 0;
    int year = digits(at, 4, false), month = digits(at + 5, 2, false);
    int day = digits(at + 8, 2, false), second = time_of_day(at + 11);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || second < 0)
        return 0;
    size_t n = RFC3339_LEN + fraction(at + RFC3339_LEN, len - RFC3339_LEN, &us);
    size_t zone_len = zone(at + n, len - n, &zone_s);
    if (zone_len == 0)
        return 0;
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    *us_out = ((int64_t)timegm(&tm) + second - zone_s) * 1000000 + us;
    return n + zone_len;
}

size_t trace_stamp_parse(struct trace_stamp *s, const char *text, size_t len, int64_t *us_out)
{
    if (len > 0 && ascii_is_digit(text[0]))
        return rfc3339(text, len, us_out);
    return classic(s, text, len, us_out);
}
