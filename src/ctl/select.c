/* SPDX-License-Identifier: ISC */
#include "ctl/select.h"

#include "base/ascii.h"
#include "config/config_units.h"
#include "ctl/ctl.h"
#include "relay/control_line.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* All ids of this century have this number of digits (queue_id.h). A shorter word of hexadecimal
 * digits may be the name of a destination. */
#define ID_DIGITS 16

static bool refuse(const char *option, const char *value, const char *why)
{
    ctl_complain("%s '%s': %s", option, value, why);
    return false;
}

/* Take the pattern of --from or --to. A text with a dot, but without '@' and '*', looks like a
 * domain and is refused: a domain is written as @example.com. Other texts without '@' are addresses
 * without domain (postmaster). */
static bool take_pattern(const char **out, const char *option, const char *value)
{
    *out = value;
    if (value[0] == '\0')
        return refuse(option, value, "not an address, @domain, <>, or a text with *");
    if (strpbrk(value, "@*<") == NULL && strchr(value, '.') != NULL)
        return refuse(option, value, "not an address; a domain is written as @example.com");
    return true;
}

static bool take_text(const char **out, const char *option, const char *value)
{
    *out = value;
    return value[0] != '\0' || refuse(option, value, "empty");
}

static bool take_age(time_t *out, const char *option, const char *value)
{
    const time_t now = time(NULL);
    unsigned seconds;

    if (config_units_parse_time(value, &seconds) != 0)
        return refuse(option, value, "not an age as 90s, 5m, 2h or 7d");
    *out = now > (time_t)seconds ? now - (time_t)seconds : 1;
    return true;
}

static bool take_size(uint64_t *out, const char *option, const char *value)
{
    return (config_units_parse_size(value, out) == 0 && *out > 0) ||
           refuse(option, value, "not a size as 500k, 10M or 1G");
}

static bool take_limit(uint64_t *out, const char *option, const char *value)
{
    size_t len = 0;

    while (ascii_is_digit(value[len]))
        len++;
    *out = strtoull(value, NULL, 10);
    return (len > 0 && len < 16 && value[len] == '\0' && *out > 0) ||
           refuse(option, value, "not a number from 1 on");
}

static bool take_places(unsigned *out, const char *option, const char *value)
{
    *out = control_line_places(value);
    return *out != 0 || refuse(option, value, "not queue, hold or dead");
}

bool select_option(struct select_request *s, int option, const char *value)
{
    struct queue_selection *q = &s->selection;
    enum select_word word = (enum select_word)option;

    s->is_all |= word == SELECT_ALL;
    s->has_condition |= word != SELECT_ALL && word != SELECT_LIMIT && word != SELECT_IN;
    switch (word) {
    case SELECT_FROM:
        return take_pattern(&q->from, "--from", value);
    case SELECT_TO:
        return take_pattern(&q->to, "--to", value);
    case SELECT_REASON:
        return take_text(&q->reason, "--reason", value);
    case SELECT_OLDER:
        return take_age(&q->arrived_before, "--older", value);
    case SELECT_NEWER:
        return take_age(&q->arrived_after, "--newer", value);
    case SELECT_LARGER:
        return take_size(&q->larger_bytes, "--larger", value);
    case SELECT_MTA_ID:
        return take_text(&q->mta_id, "--mta-id", value);
    case SELECT_MESSAGE_ID:
        return take_text(&q->message_id, "--message-id", value);
    case SELECT_LIMIT:
        return take_limit(&q->limit, "--limit", value);
    case SELECT_IN:
        return take_places(&q->places, "--in", value);
    case SELECT_ALL:
        return true;
    }
    return false;
}

/* Return true if the words are ids. may_be_name: a destination may be given instead; a word of
 * hexadecimal digits that is shorter than an id then counts as its name. */
static bool are_ids(int count, char **words, bool may_be_name)
{
    for (int i = 0; i < count; i++)
        if (!ctl_is_id(words[i]) || (may_be_name && strlen(words[i]) < ID_DIGITS))
            return false;
    return count > 0;
}

bool select_words(struct select_request *s, bool is_all_usual, int count, char **words)
{
    const bool is_selection = s->is_all || s->has_condition;

    if (!is_selection && are_ids(count, words, is_all_usual)) {
        s->id_count = count;
        s->ids = words;
        return true;
    }
    if (!is_selection && !is_all_usual) {
        for (int i = 0; i < count; i++)
            if (!ctl_is_id(words[i]))
                ctl_complain("'%s' is not the id of a copy", words[i]);
        return false;
    }
    s->selection.destination = count > 0 ? words[0] : NULL;
    return count <= 1;
}

void select_destination(struct select_request *s, const struct config *config)
{
    const char *name = s->selection.destination;
    const struct config_destination *d =
        name == NULL ? NULL : config_find_destination(config, name);

    if (d != NULL)
        s->selection.destination = d->name;
}
