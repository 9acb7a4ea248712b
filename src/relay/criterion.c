/* SPDX-License-Identifier: ISC */
#include "relay/criterion.h"

#include "base/ascii.h"
#include "config/config_units.h"
#include "relay/control_line.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CRITERION_COUNT] = {
    [CRITERION_FROM] = "from",     [CRITERION_TO] = "to",
    [CRITERION_REASON] = "reason", [CRITERION_OLDER] = "older",
    [CRITERION_NEWER] = "newer",   [CRITERION_LARGER] = "larger",
    [CRITERION_MTA_ID] = "mta-id", [CRITERION_MESSAGE_ID] = "message-id",
    [CRITERION_LIMIT] = "limit",   [CRITERION_IN] = "in",
};

enum criterion criterion_find(const char *name)
{
    enum criterion word = CRITERION_FROM;

    while (word < CRITERION_COUNT && strcmp(names[word], name) != 0)
        word++;
    return word;
}

const char *criterion_name(enum criterion word)
{
    return names[word];
}

static int refuse(struct err *err, const char *why)
{
    err_set(err, "%s", why);
    return -1;
}

/* The database compares a pattern by a recursion for each wildcard. Successive ones count as one.
 */
static bool has_too_many_wildcards(const char *pattern)
{
    unsigned count = 0;

    for (const char *p = pattern; *p != '\0'; p++)
        count += *p == '*' && p[1] != '*';
    return count > CRITERION_WILDCARDS_MAX;
}

/* Take the pattern of from or to. A text with a dot, but without '@' and '*', looks like a domain
 * and is refused: a domain is written as @example.com. Other texts without '@' are addresses
 * without domain (postmaster). */
static int take_pattern(const char **out, const char *value, struct err *err)
{
    *out = value;
    if (value[0] == '\0')
        return refuse(err, "not an address, @domain, <>, or a text with *");
    if (strpbrk(value, "@*<") == NULL && strchr(value, '.') != NULL)
        return refuse(err, "not an address; a domain is written as @example.com");
    if (strlen(value) > CRITERION_TEXT_MAX)
        return refuse(err, "too long");
    return has_too_many_wildcards(value) ? refuse(err, "too many *") : 0;
}

static int take_text(const char **out, const char *value, struct err *err)
{
    *out = value;
    if (strlen(value) > CRITERION_TEXT_MAX)
        return refuse(err, "too long");
    return value[0] != '\0' ? 0 : refuse(err, "empty");
}

static int take_age(time_t *out, const char *value, time_t now, struct err *err)
{
    unsigned seconds;

    if (config_units_parse_time(value, &seconds) != 0)
        return refuse(err, "not an age as 90s, 5m, 2h or 7d");
    *out = now > (time_t)seconds ? now - (time_t)seconds : 1;
    return 0;
}

static int take_size(uint64_t *out, const char *value, struct err *err)
{
    return config_units_parse_size(value, out) == 0 && *out > 0
               ? 0
               : refuse(err, "not a size as 500k, 10M or 1G");
}

static int take_limit(uint64_t *out, const char *value, struct err *err)
{
    size_t len = 0;

    while (ascii_is_digit(value[len]))
        len++;
    *out = strtoull(value, NULL, 10);
    return len > 0 && len < 16 && value[len] == '\0' && *out > 0
               ? 0
               : refuse(err, "not a number from 1 on");
}

static int take_places(unsigned *out, const char *value, struct err *err)
{
    *out = control_line_places(value);
    return *out != 0 ? 0 : refuse(err, "not queue, hold or dead");
}

int criterion_take(struct queue_selection *selection, enum criterion word, const char *value,
                   time_t now, struct err *err)
{
    switch (word) {
    case CRITERION_FROM:
        return take_pattern(&selection->from, value, err);
    case CRITERION_TO:
        return take_pattern(&selection->to, value, err);
    case CRITERION_REASON:
        return take_text(&selection->reason, value, err);
    case CRITERION_OLDER:
        return take_age(&selection->arrived_before, value, now, err);
    case CRITERION_NEWER:
        return take_age(&selection->arrived_after, value, now, err);
    case CRITERION_LARGER:
        return take_size(&selection->larger_bytes, value, err);
    case CRITERION_MTA_ID:
        return take_text(&selection->mta_id, value, err);
    case CRITERION_MESSAGE_ID:
        return take_text(&selection->message_id, value, err);
    case CRITERION_LIMIT:
        return take_limit(&selection->limit, value, err);
    case CRITERION_IN:
        return take_places(&selection->places, value, err);
    case CRITERION_COUNT:
        break;
    }
    return refuse(err, "no such condition");
}
