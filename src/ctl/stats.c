/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "base/process.h"
#include "queue/queue_count.h"
#include "queue/queue_reader.h"
#include "ctl/columns.h"
#include "ctl/ctl.h"
#include "ctl/health.h"
#include "ctl/json.h"
#include "ctl/progress.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AGE_SIZE 24

static struct queue_amount total_of(const struct queue_depth *d)
{
    struct queue_amount total = d->due;

    queue_amount_add(&total, &d->deferred);
    queue_amount_add(&total, &d->held);
    queue_amount_add(&total, &d->dead);
    return total;
}

/* Write an age in the largest unit in which it is at least 2, or else in seconds. */
static const char *age_text(time_t oldest, time_t now, char out[AGE_SIZE])
{
    static const struct {
        char unit;
        long long seconds;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    long long age = now > oldest ? (long long)(now - oldest) : 0;
    size_t i = 0;

    if (oldest == 0)
        return "-";
    while (i < 3 && age < 2 * units[i].seconds)
        i++;
    snprintf(out, AGE_SIZE, "%lld%c", age / units[i].seconds, units[i].unit);
    return out;
}

static bool is_suspended(struct health *health, const char *destination, time_t now)
{
    return health_order(health, destination, now) != NULL ||
           health_of(health, destination)->since != 0;
}

/* Add a number, in this style if it is not 0. */
static void add_number(struct columns *c, enum terminal_style style, uint64_t n)
{
    columns_add(c, n == 0 ? TERMINAL_PLAIN : style, "%" PRIu64, n);
}

static void print_human(const struct queue_depths *depths, const struct config *config,
                        struct health *health, time_t now)
{
    static const char *const heads[] = {"destination", "due", "deferred", "held",
                                        "dead",        "kB",  "oldest"};
    static const int widths[] = {24, 9, 9, 9, 9, 12, 8};
    enum { COUNT = sizeof widths / sizeof widths[0] };
    struct columns *c = columns_new(widths, COUNT, false);
    char age[AGE_SIZE];

    for (size_t i = 0; i < COUNT; i++)
        columns_add(c, TERMINAL_HEAD, "%s", heads[i]);
    for (size_t i = 0; i < depths->count; i++) {
        const struct queue_depth *d = &depths->items[i];
        struct queue_amount total = total_of(d);
        columns_add(c, TERMINAL_PLAIN, "%s", d->destination);
        add_number(c, TERMINAL_PLAIN, d->due.copies);
        add_number(c, TERMINAL_NOTICE, d->deferred.copies);
        add_number(c, TERMINAL_NOTICE, d->held.copies);
        add_number(c, TERMINAL_BAD, d->dead.copies);
        add_number(c, TERMINAL_PLAIN, (total.bytes + 1023) / 1024);
        columns_add(c, TERMINAL_PLAIN, "%s", age_text(total.oldest, now, age));
        if (config_find_destination(config, d->destination) == NULL)
            columns_note(c, TERMINAL_NOTICE, "  not configured");
        else if (is_suspended(health, d->destination, now))
            columns_note(c, TERMINAL_BAD, "  suspended");
    }
    columns_print(c);
    columns_free(c);
}

static json_t *amount_json(const struct queue_amount *a)
{
    json_t *o = json_object();

    ctl_json_set(o, "copies", json_integer((json_int_t)a->copies));
    ctl_json_set(o, "bytes", json_integer((json_int_t)a->bytes));
    ctl_json_set(o, "oldest", a->oldest == 0 ? json_null() : json_integer(a->oldest));
    return o;
}

static void print_json(const struct queue_depths *depths, const struct config *config,
                       struct health *health, time_t now)
{
    json_t *o;

    for (size_t i = 0; i < depths->count; i++) {
        const struct queue_depth *d = &depths->items[i];
        struct queue_amount total = total_of(d);
        o = json_object();
        ctl_json_set(o, "destination", ctl_json_text(d->destination));
        ctl_json_set(o, "configured",
                     json_boolean(config_find_destination(config, d->destination) != NULL));
        ctl_json_set(o, "suspended", json_boolean(is_suspended(health, d->destination, now)));
        ctl_json_set(o, "due", amount_json(&d->due));
        ctl_json_set(o, "deferred", amount_json(&d->deferred));
        ctl_json_set(o, "held", amount_json(&d->held));
        ctl_json_set(o, "dead", amount_json(&d->dead));
        ctl_json_set(o, "total", amount_json(&total));
        ctl_json_line(o);
    }
}

static bool is_listed(const struct queue_depths *depths, const char *name)
{
    for (size_t i = 0; i < depths->count; i++)
        if (strcmp(depths->items[i].destination, name) == 0)
            return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct queue_depth *)a)->destination,
                  ((const struct queue_depth *)b)->destination);
}

/* Add the configured destinations that have no copies, and sort all by name. */
static void add_configured(struct queue_depths *depths, const struct config *config)
{
    for (size_t i = 0; i < config->destination_count; i++) {
        const char *name = config->destinations[i].name;
        if (is_listed(depths, name))
            continue;
        depths->items = mem_grow(depths->items, depths->count + 1, sizeof *depths->items);
        struct queue_depth *d = &depths->items[depths->count++];
        memset(d, 0, sizeof *d);
        mem_copy_string(d->destination, sizeof d->destination, name);
    }
    if (depths->count > 1)
        qsort(depths->items, depths->count, sizeof *depths->items, by_name);
}

static int stats(const struct config *config, bool is_json)
{
    struct queue_depths depths = {0};
    struct progress progress;
    struct err err;
    time_t now = time(NULL);
    struct queue_reader *reader =
        queue_reader_open(config->relay.spool_directory, config->relay.queue, &err);

    if (reader == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    progress_begin(&progress, "counting", 0);
    int rc = queue_reader_depths(reader, now, progress_of_reading(), &progress, &depths, &err);
    progress_end(&progress);
    if (rc != 0) {
        ctl_complain("%s", err.text);
        queue_reader_close(reader);
        return EXIT_UNAVAILABLE;
    }
    add_configured(&depths, config);
    struct health *health = health_new(config, reader);
    if (is_json)
        print_json(&depths, config, health, now);
    else
        print_human(&depths, config, health, now);
    health_free(health);
    queue_reader_close(reader);
    free(depths.items);
    return EXIT_OK;
}

int ctl_stats(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    bool is_json = false;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c != 'j')
            return ctl_usage(self);
        is_json = true;
    }
    if (optind < argc)
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    int code = stats(config, is_json);
    config_free(config);
    return code;
}
