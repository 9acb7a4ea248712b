/* SPDX-License-Identifier: ISC */
/* compare: the command `splitctl compare`. */
#include "ctl/compare/compare.h"
#include "base/ascii.h"
#include "base/process.h"
#include "ctl/ctl.h"
#include "ctl/trace/trace_when.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 100

void compare_clear(struct compare *c)
{
    for (int side = COMPARE_A; side < COMPARE_SIDES; side++)
        free(c->places[side].path);
    for (size_t i = 0; i < c->listed_count; i++) {
        struct compare_listed *l = &c->listed[i];
        free(l->id);
        free(l->values[COMPARE_A]);
        free(l->values[COMPARE_B]);
        free(l->subject);
    }
    free(c->listed);
    compare_table_clear(&c->table);
}

/* Compare. config: NULL if both places are paths. Returns the exit code. */
static int compare(struct compare *c, const struct config *config)
{
    for (int side = COMPARE_A; side < COMPARE_SIDES; side++) {
        int code = compare_place_find(&c->places[side], config);
        if (code != EXIT_OK)
            return code;
    }
    int code = compare_read_all(c);
    if (code != EXIT_OK)
        return code;
    if (compare_list(c) != 0)
        return EXIT_UNAVAILABLE;
    (c->is_json ? compare_print_json : compare_print)(c);
    bool is_all_read = c->places[COMPARE_A].unreadable == 0 && c->places[COMPARE_B].unreadable == 0;
    return is_all_read ? EXIT_OK : EXIT_UNAVAILABLE;
}

/* --- command line --- */

static bool is_field_name(const char *text)
{
    const char *p = text;

    while (*p > ' ' && *p < '\x7f' && *p != ':')
        p++;
    return p != text && *p == '\0';
}

static bool parse_limit(const char *text, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return ascii_is_digit(text[0]) && *end == '\0' && errno == 0;
}

enum { HEADER = 256, VALUE, SINCE, UNTIL, LIMIT, MISSING, JSON };

/* Take the value of an option. Returns NULL, or what the value should have been. */
static const char *take_value(struct compare *c, int option, const char *value)
{
    switch (option) {
    case HEADER:
        c->field = value;
        return is_field_name(value) ? NULL : "the name of a header field";
    case VALUE:
        c->wanted = value;
        return value[0] != '\0' ? NULL : "a text";
    case SINCE:
    case UNTIL:
        return trace_when_parse(value, time(NULL), option == SINCE ? &c->since : &c->until)
                   ? NULL
                   : "a time such as 10:00, \"2026-11-30 10:00\" or 2h";
    default:
        return parse_limit(value, &c->limit) ? NULL : "a number";
    }
}

/* Returns false if the command line is not valid. */
static bool read_arguments(struct compare *c, int argc, char **argv)
{
    static const struct option options[] = {
        {"header", required_argument, NULL, HEADER}, {"value", required_argument, NULL, VALUE},
        {"since", required_argument, NULL, SINCE},   {"until", required_argument, NULL, UNTIL},
        {"limit", required_argument, NULL, LIMIT},   {"missing", no_argument, NULL, MISSING},
        {"json", no_argument, NULL, JSON},           {0}};
    int option, at = 0;

    optind = 0;
    while ((option = getopt_long(argc, argv, "", options, &at)) != -1) {
        if (option == MISSING || option == JSON) {
            *(option == JSON ? &c->is_json : &c->has_missing) = true;
            continue;
        }
        if (option < HEADER || option > LIMIT)
            return false;
        const char *expected = take_value(c, option, optarg);
        if (expected != NULL) {
            ctl_complain("--%s '%s': not %s", options[at].name, optarg, expected);
            return false;
        }
    }
    if (argc - optind != COMPARE_SIDES)
        return false;
    c->places[COMPARE_A].given = argv[optind];
    c->places[COMPARE_B].given = argv[optind + 1];
    return true;
}

int ctl_compare(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    struct compare c = {.field = "X-Spam-Flag", .limit = LIMIT_DEFAULT};
    struct config *config = NULL;

    if (!read_arguments(&c, argc, argv))
        return ctl_usage(self);
    if (!compare_is_path(c.places[COMPARE_A].given) ||
        !compare_is_path(c.places[COMPARE_B].given)) {
        config = ctl_load(config_path);
        if (config == NULL)
            return EXIT_CONFIG;
    }
    int code = compare(&c, config);
    compare_clear(&c);
    if (config != NULL)
        config_free(config);
    return code;
}
