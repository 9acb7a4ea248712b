/* SPDX-License-Identifier: ISC */
/* Parses results of tables. The same rules apply when tables are opened, checked and searched. */
#include "policy/policy_choice.h"
#include "policy/policy_private.h"
#include "base/utf8.h"
#include "base/ascii.h"

#include <string.h>

const struct config_filter *policy_find_filter(const struct config *c, const char *name)
{
    const struct config_filter *f = config_find_filter(c, name);

    return f != NULL ? f : config_find_nexthop(c, name);
}

/* Is `value` this transport, without a next hop? "smtp", "smtp:". */
static bool is_transport(const char *value, const char *name)
{
    size_t len = strlen(name);

    return strncmp(value, name, len) == 0 && strcmp(value + len, value[len] == ':' ? ":" : "") == 0;
}

bool policy_is_unfiltered(const struct config *config, const char *value,
                          bool *takes_effect_there_out)
{
    static const char *const deliveries[] = {"smtp", "relay", "lmtp", "local", "virtual"};
    static const char *const verdicts[] = {"error", "discard", "retry"};

    *takes_effect_there_out = false;
    if (strcmp(value, ":") == 0 || config_is_unfiltered_nexthop(config, value))
        return true;
    for (size_t i = 0; i < sizeof deliveries / sizeof deliveries[0]; i++)
        if (is_transport(value, deliveries[i]))
            return true;
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
        size_t len = strlen(verdicts[i]);
        if (strncmp(value, verdicts[i], len) == 0 && (value[len] == ':' || value[len] == '\0')) {
            *takes_effect_there_out = true;
            return true;
        }
    }
    return false;
}

/* Check the name of one choice. */
static int check_choice(const struct config *config, const char *name, struct err *err)
{
    bool ignored;

    if (ascii_equal(name, "none") || policy_find_filter(config, name) != NULL ||
        policy_is_unfiltered(config, name, &ignored))
        return 0;
    err_set(err, "\"%s\" is neither a declared filter, nor the nexthop of one, nor none%s", name,
            strchr(name, ':') == NULL
                ? ""
                : "; if Postfix delivers there without a filter, add it to unfiltered_nexthops");
    return -1;
}

int policy_parse_filters(const struct config *config, const char *value,
                         const struct config_filter **whole_out, struct policy_choices *choices,
                         struct err *err)
{
    bool ignored;

    choices->count = 0;
    *whole_out = policy_find_filter(config, value);
    if (*whole_out != NULL || policy_is_unfiltered(config, value, &ignored))
        return 0;
    if (policy_choices_parse(value, choices, err) != 0)
        return -1;
    for (size_t i = 0; i < choices->count; i++) {
        if (check_choice(config, choices->items[i].name, err) != 0) {
            policy_choices_clear(choices);
            return -1;
        }
    }
    return 0;
}

/* Check the name of a destination in a map of copies. */
static int check_destination(const struct config *config, enum policy_map map, const char *name,
                             struct err *err)
{
    const struct config_destination *d = config_find_destination(config, name);

    if (d == NULL) {
        err_set(err, "\"%s\" is not a declared destination", name);
        return -1;
    }
    return map == POLICY_LISTENER_COPIES ? config_listener_copy_check(d, err) : 0;
}

int policy_parse_copies(const struct config *config, enum policy_map map, const char *value,
                        struct policy_choices *choices, struct err *err)
{
    if (policy_choices_parse(value, choices, err) != 0)
        return -1;
    for (size_t i = 0; i < choices->count; i++) {
        if (check_destination(config, map, choices->items[i].name, err) != 0) {
            policy_choices_clear(choices);
            return -1;
        }
    }
    return 0;
}

int policy_canonical_check(const struct config *config, const struct address *end, struct err *err)
{
    if (!address_leads_into(end->text, strlen(end->text), config->tag_domain))
        return 0;
    err_set(err, "\"%.300s\" leads into the tag domain, %s", end->text, config->tag_domain);
    return -1;
}

static int check_canonical(const struct config *config, const char *value, struct err *err)
{
    struct address sample;

    return lookup_check_canonical(value, &sample, err) == 0
               ? policy_canonical_check(config, &sample, err)
               : -1;
}

int policy_value_check(const struct config *config, enum policy_map map, const char *value,
                       struct err *err)
{
    const struct config_filter *whole;
    struct policy_choices choices = {.count = 0};
    int rc = -1;

    if (value[0] == '\0') {
        err_set(err, "it is an empty string");
        return -1;
    }
    if (!utf8_is_valid(value, strlen(value))) {
        err_set(err, "it is not UTF-8");
        return -1;
    }
    switch (map) {
    case POLICY_CANONICAL:
    case POLICY_ORCPT:
        return check_canonical(config, value, err);
    case POLICY_FILTERS:
    case POLICY_SENDER_FILTERS:
        rc = policy_parse_filters(config, value, &whole, &choices, err);
        break;
    case POLICY_COPIES:
    case POLICY_SENDER_COPIES:
    case POLICY_LISTENER_COPIES:
        rc = policy_parse_copies(config, map, value, &choices, err);
        break;
    }
    if (rc == 0)
        policy_choices_clear(&choices);
    return rc;
}
