/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "base/process.h"
#include "queue/spool.h"
#include "ctl/ctl.h"
#include "ctl/entry.h"
#include "ctl/health.h"
#include "ctl/json.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct totals {
    uint64_t copies, bytes, problems, quarantined;
};

struct output {
    struct totals *totals;
    bool is_json;
};

static void format_time(time_t t, char *out, size_t size)
{
    struct tm tm;

    if (localtime_r(&t, &tm) == NULL || strftime(out, size, "%a %b %e %H:%M:%S", &tm) == 0)
        snprintf(out, size, "%lld", (long long)t);
}

/* Recipients that share a reason stand below it. */
static void print_recipients(const struct spool_entry *e)
{
    const char *last = "";

    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct queue_recipient *r = &e->recipients[i];
        if (strcmp(r->reason, last) != 0 && r->reason[0] != '\0') {
            ctl_printf("    (%s)\n", r->reason);
        }
        last = r->reason;
        ctl_printf("%50s%s%s\n", "", r->address,
                   r->state == QUEUE_PENDING ? ""
                   : r->state == QUEUE_SENT  ? "  sent"
                                             : "  dead");
    }
}

static void print_human(const struct spool_entry *e, time_t next, time_t now, bool is_first)
{
    char id[QUEUE_ID_SIZE + 8], when[32];

    if (is_first)
        ctl_printf("%-21s %10s %-20s %s\n", "----Copy ID----", "--Size--", "---Arrival Time---",
                   "-Sender/Recipient-------");
    snprintf(id, sizeof id, "%.*s%s", QUEUE_ID_SIZE, e->id,
             e->base == SPOOL_HOLD   ? "!"
             : e->base == SPOOL_DEAD ? "#"
             : next <= now           ? "*"
                                     : "");
    if (e->message == NULL) {
        ctl_printf("%-21s dest=%s: cannot be read: %s\n", id, e->destination, e->problem);
        putchar('\n');
        return;
    }
    format_time(e->message->arrival.tv_sec, when, sizeof when);
    ctl_printf("%-21s %10" PRIu64 " %-18s  ", id, e->message->size_bytes, when);
    ctl_print(e->message->sender[0] == '\0' ? "<>" : e->message->sender);
    putchar('\n');
    ctl_printf("    dest=%s, attempts=%u", e->destination, e->attempts);
    if (e->message->mta_queue_id[0] != '\0') {
        ctl_printf(", queue_id=");
        ctl_print(e->message->mta_queue_id);
    }
    if (next > now) {
        format_time(next, when, sizeof when);
        ctl_printf(", next %s", when);
    }
    putchar('\n');
    print_recipients(e);
    putchar('\n');
}

static int walk(struct spool_walk *w, struct health *health, bool is_json, struct totals *totals)
{
    struct spool_entry e;
    struct err err;
    time_t now = time(NULL);
    int rc;

    while ((rc = spool_walk_next(w, &e, &err)) == 1) {
        time_t next = health_next_attempt(health, &e, now);
        if (is_json)
            ctl_json_line(ctl_entry_json(&e, next, now));
        else
            print_human(&e, next, now, totals->copies == 0);
        totals->copies++;
        totals->bytes += e.message == NULL ? 0 : e.message->size_bytes;
        totals->problems += e.message == NULL;
    }
    if (rc < 0)
        ctl_complain("%s", err.text);
    return rc;
}

static void print_quarantined(void *ctx, const char *name, uint64_t size_bytes, time_t since)
{
    const struct output *out = ctx;
    char when[32];

    out->totals->quarantined++;
    if (out->is_json) {
        json_t *o = json_object();
        ctl_json_set(o, "queue_name", ctl_json_text("quarantine"));
        ctl_json_set(o, "file", ctl_json_text(name));
        ctl_json_set(o, "size", json_integer((json_int_t)size_bytes));
        ctl_json_set(o, "since", json_integer(since));
        ctl_json_line(o);
        return;
    }
    if (out->totals->quarantined == 1)
        ctl_printf("In quarantine, since they are no copies (the log says why):\n");
    format_time(since, when, sizeof when);
    ctl_printf("%10" PRIu64 " %-18s  ", size_bytes, when);
    ctl_print(name);
    putchar('\n');
}

static int list(const struct config *config, const char *destination, bool is_json)
{
    struct totals totals = {0};
    struct output out = {&totals, is_json};
    const char *directory = config->relay.spool_directory;
    struct err err;
    struct spool_walk *w = spool_walk_open(directory, destination, &err);

    if (w == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    struct health *health = health_new(config);
    int rc = walk(w, health, is_json, &totals);
    health_free(health);
    spool_walk_close(w);
    if (rc == 0 && destination == NULL &&
        (rc = spool_walk_quarantine(directory, print_quarantined, &out, &err)) < 0)
        ctl_complain("%s", err.text);
    if (rc < 0)
        return EXIT_UNAVAILABLE;
    if (totals.copies == 0 && destination != NULL &&
        config_find_destination(config, destination) == NULL) {
        ctl_complain("there is no destination '%s'", destination);
        return EXIT_CHECK_FAILED;
    }
    if (!is_json && totals.copies == 0)
        ctl_printf("The queue is empty\n");
    else if (!is_json)
        ctl_printf("-- %" PRIu64 " kB in %" PRIu64 " cop%s.\n", (totals.bytes + 1023) / 1024,
                   totals.copies, totals.copies == 1 ? "y" : "ies");
    return totals.problems > 0 ? EXIT_CHECK_FAILED : EXIT_OK;
}

int ctl_queue(const struct ctl_command *self, const char *config_path, int argc, char **argv)
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
    if (argc - optind > 1)
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    int code = list(config, argv[optind], is_json);
    config_free(config);
    return code;
}
