/* SPDX-License-Identifier: ISC */
#include "ctl/select.h"

#include "base/ascii.h"
#include "config/config_units.h"
#include "ctl/ctl.h"
#include "relay/control_line.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum select_word {
    OPTION_FROM = SELECT_FIRST,
    OPTION_TO,
    OPTION_REASON,
    OPTION_OLDER,
    OPTION_NEWER,
    OPTION_LARGER,
    OPTION_MTA_ID,
    OPTION_MESSAGE_ID,
    OPTION_LIMIT,
    OPTION_IN,
};

static bool refuse(const char *option, const char *value, const char *allowed)
{
    ctl_complain("%s %s: %s", option, value, allowed);
    return false;
}

static bool take_pattern(const char **out, const char *option, const char *value)
{
    *out = value;
    if (strcmp(value, "<>") == 0 || strchr(value, '@') != NULL || strchr(value, '*') != NULL)
        return true;
    return refuse(option, value, "not an address, @domain, or a text with *");
}

static bool take_text(const char **out, const char *option, const char *value)
{
    *out = value;
    return value[0] != '\0' || refuse(option, value, "empty");
}

static bool take_age(time_t *out, const char *option, const char *value)
{
    unsigned seconds;

    if (config_units_parse_time(value, &seconds) != 0)
        return refuse(option, value, "not an age as 90s, 5m, 2h or 7d");
    *out = time(NULL) - (time_t)seconds;
    return true;
}

static bool take_limit(uint64_t *out, const char *value)
{
    size_t len = 0;

    while (ascii_is_digit(value[len]))
        len++;
    *out = strtoull(value, NULL, 10);
    return (len > 0 && len < 16 && value[len] == '\0' && *out > 0) ||
           refuse("--limit", value, "not a number from 1 on");
}

bool select_option(struct select_request *s, int option, const char *value)
{
    struct queue_selection *q = &s->selection;

    s->has_condition = true;
    switch ((enum select_word)option) {
    case OPTION_FROM:
        return take_pattern(&q->from, "--from", value);
    case OPTION_TO:
        return take_pattern(&q->to, "--to", value);
    case OPTION_REASON:
        return take_text(&q->reason, "--reason", value);
    case OPTION_OLDER:
        return take_age(&q->arrived_before, "--older", value);
    case OPTION_NEWER:
        return take_age(&q->arrived_after, "--newer", value);
    case OPTION_LARGER:
        return config_units_parse_size(value, &q->larger_bytes) == 0 ||
               refuse("--larger", value, "not a size as 500k, 10M or 1G");
    case OPTION_MTA_ID:
        return take_text(&q->mta_id, "--mta-id", value);
    case OPTION_MESSAGE_ID:
        return take_text(&q->message_id, "--message-id", value);
    case OPTION_LIMIT:
        return take_limit(&q->limit, value);
    case OPTION_IN:
        q->places = control_line_places(value);
        return q->places != 0 || refuse("--in", value, "not queue, hold or dead");
    }
    return false;
}
