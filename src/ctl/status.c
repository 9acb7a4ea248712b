/* SPDX-License-Identifier: ISC */
#include "ctl/status.h"
#include "config/config_units.h"
#include "base/mem.h"
#include "base/process.h"
#include "queue/queue_count.h"
#include "queue/queue_reader.h"
#include "ctl/ctl.h"
#include "ctl/progress.h"
#include "ctl/setup/files.h"

#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct status_group *status_find(const struct status_groups *groups, const char *name)
{
    for (size_t i = 0; i < groups->count; i++)
        if (strcmp(groups->items[i].name, name) == 0)
            return &groups->items[i];
    return NULL;
}

struct status_group *status_group(struct status_groups *groups, const char *name)
{
    struct status_group *g = status_find(groups, name);

    if (g != NULL)
        return g;
    groups->items = mem_grow(groups->items, groups->count + 1, sizeof *groups->items);
    g = &groups->items[groups->count++];
    memset(g, 0, sizeof *g);
    g->name = mem_strdup(name);
    g->target = g->name;
    g->way = STATUS_TO_OTHER;
    g->error = mem_strdup("");
    return g;
}

void status_note(struct status_group *g, time_t arrival, const char *error)
{
    if (g->oldest == 0 || arrival < g->oldest)
        g->oldest = arrival;
    if (error[0] == '\0' || arrival < g->error_arrival)
        return;
    free(g->error);
    g->error = mem_strdup(error);
    g->error_arrival = arrival;
}

void status_groups_clear(struct status_groups *groups)
{
    for (size_t i = 0; i < groups->count; i++) {
        free(groups->items[i].name);
        free(groups->items[i].error);
    }
    free(groups->items);
    memset(groups, 0, sizeof *groups);
}

/* Set the numbers of a destination. Due copies count as waiting while the destination is suspended
 * or splitrelay does not run, otherwise as active. */
static void count_group(struct status *s, struct status_group *g, const struct queue_depth *d)
{
    const struct queue_amount *amounts[] = {&d->due, &d->deferred, &d->held, &d->dead};
    struct queue_amount all = {0}, waiting = {0};

    if (g->suspension.since != 0 || g->order.since != 0 || s->relay.run == SERVICE_STOPPED)
        g->waiting = d->due.copies;
    else
        g->active = d->due.copies;
    g->deferred = d->deferred.copies;
    g->held = d->held.copies;
    g->dead = d->dead.copies;
    for (size_t i = 0; i < 4; i++)
        queue_amount_add(&all, amounts[i]);
    queue_amount_add(&waiting, &d->due);
    queue_amount_add(&waiting, &d->deferred);
    g->oldest = all.oldest;
    g->oldest_waiting = waiting.oldest;
}

bool status_needs_spool(const struct status *s)
{
    return s->relay.belongs_here || access(s->config->relay.spool_directory, F_OK) == 0;
}

static int read_depths(struct status *s, struct queue_reader *reader, struct health *health)
{
    time_t now = time(NULL);
    struct queue_depths depths;
    struct progress progress;
    char reason[QUEUE_REASON_SIZE];
    int rc = 0;

    for (size_t i = 0; i < s->config->destination_count; i++)
        (void)status_group(&s->destinations, s->config->destinations[i].name);
    progress_begin(&progress, "counting", 0);
    rc = queue_reader_depths(reader, now, progress_of_reading(), &progress, &depths,
                             &s->spool_problem);
    progress_end(&progress);
    if (rc != 0)
        return -1;
    for (size_t i = 0; i < depths.count; i++)
        (void)status_group(&s->destinations, depths.items[i].destination);
    for (size_t i = 0; i < s->destinations.count && rc == 0; i++) {
        struct status_group *g = &s->destinations.items[i];
        const struct queue_suspension *order = health_order(health, g->name, now);
        g->suspension = *health_of(health, g->name);
        if (order != NULL)
            g->order = *order;
        for (size_t k = 0; k < depths.count && rc == 0; k++) {
            if (strcmp(depths.items[k].destination, g->name) != 0)
                continue;
            count_group(s, g, &depths.items[k]);
            rc = queue_reader_last_reason(reader, depths.items[k].tried, reason, &s->spool_problem);
            if (rc == 0)
                status_note(g, g->oldest, reason[0] != '\0' ? reason : g->suspension.reason);
        }
    }
    free(depths.items);
    return rc;
}

/* Read the queue of splitrelay. If it cannot be read, the list of destinations is empty, so that no
 * destination is shown with 0 copies. */
static void read_spool(struct status *s)
{
    struct queue_reader *reader = queue_reader_open(s->config->relay.spool_directory,
                                                    s->config->relay.queue, &s->spool_problem);

    if (reader == NULL)
        return;
    struct health *health = health_new(s->config, reader);
    if (read_depths(s, reader, health) != 0 ||
        queue_reader_nodes(reader, &s->nodes, &s->spool_problem) != 0)
        status_groups_clear(&s->destinations);
    else if (health_problem(health)[0] != '\0')
        err_set(&s->spool_problem, "%s", health_problem(health));
    else
        s->spool_problem.text[0] = '\0';
    health_free(health);
    queue_reader_close(reader);
}

static void clear(struct status *s)
{
    status_groups_clear(&s->destinations);
    queue_nodes_clear(&s->nodes);
    for (size_t i = 0; i < s->instance_count; i++) {
        free(s->instances[i].name);
        free(s->instances[i].directory);
        status_groups_clear(&s->instances[i].ways);
    }
    free(s->instances);
    for (size_t i = 0; i <= s->config->other_milter_count; i++)
        service_clear(&s->milters[i]);
    free(s->milters);
    service_clear(&s->relay);
    buf_clear(&s->reasons);
}

/* Parse a whole number of at least 1. 0: the text is not such a number. */
static uint64_t parse_count(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);

    return text[0] < '0' || text[0] > '9' || *end != '\0' ? 0 : n;
}

#define WATCH_S 2

struct request {
    const char *directory;
    const char *metrics; /* file for the metrics, NULL: none */
    bool is_json, is_watch;
};

/* Parse the command line. False: it is not valid. */
static bool parse(int argc, char **argv, struct status *s, struct request *out)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"postfix", required_argument, NULL, 'p'},
                                            {"metrics", required_argument, NULL, 'm'},
                                            {"warn-age", required_argument, NULL, 'a'},
                                            {"warn-dead", required_argument, NULL, 'd'},
                                            {"watch", no_argument, NULL, 'w'},
                                            {0}};
    bool is_right = true;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'j')
            out->is_json = true;
        else if (c == 'w')
            out->is_watch = true;
        else if (c == 'm' && optarg[0] != '\0')
            out->metrics = optarg;
        else if (c == 'p' && optarg[0] == '/')
            out->directory = optarg;
        else if (c == 'a')
            is_right &= config_units_parse_time(optarg, &s->warn_age_s) == 0 && s->warn_age_s > 0;
        else if (c == 'd')
            is_right &= (s->warn_dead = parse_count(optarg)) > 0;
        else
            is_right = false;
    }
    return is_right && optind == argc && out->is_json + out->is_watch + (out->metrics != NULL) <= 1;
}

/* Check that the directory given with --postfix has a main.cf. False: a message was printed. */
static bool is_instance(const char *directory)
{
    if (directory[0] == '\0' || files_is_there(directory, "main.cf"))
        return true;
    ctl_complain("--postfix: there is no main.cf in %s", directory);
    return false;
}

static int write_metrics(const struct status *s, const char *path)
{
    struct err err;

    if (status_write_metrics(s, path, &err) == 0)
        return EXIT_OK;
    ctl_complain("%s", err.text);
    return EXIT_CHECK_FAILED;
}

/* Read the whole status once, and print it. Returns the exit code. */
static int look(const struct config *config, const struct request *request,
                const struct status *limits)
{
    struct status s = {
        .config = config, .warn_age_s = limits->warn_age_s, .warn_dead = limits->warn_dead};

    s.milters = mem_zalloc((config->other_milter_count + 1) * sizeof *s.milters);
    for (size_t i = 0; i <= config->other_milter_count; i++) {
        struct config view = config_of_milter(config, i);
        service_find(SERVICE_MILTER, &view, &s.milters[i]);
    }
    service_find(SERVICE_RELAY, config, &s.relay);
    read_spool(&s);
    if (s.relay.run != SERVICE_RUNS || health_refuses(config, &s.refusal) == 0)
        s.refusal.text[0] = '\0';
    status_read_postfix(&s, request->directory);
    status_judge(&s);
    if (request->is_watch && isatty(STDOUT_FILENO))
        fputs("\033[H\033[J", stdout); /* go to the upper left corner, and clear the screen */
    int code = request->metrics == NULL ? (int)s.level : write_metrics(&s, request->metrics);
    if (request->is_json)
        status_print_json(&s);
    else if (request->metrics == NULL)
        status_print_human(&s);
    clear(&s);
    return code;
}

/* Print the status repeatedly, until the process is interrupted or the output is closed. */
static int watch(const struct config *config, const struct request *request,
                 const struct status *limits)
{
    int code;

    (void)setvbuf(stdout, NULL, _IOFBF, BUFSIZ * 8); /* a screen in one write does not flicker */
    do {
        code = look(config, request, limits);
        if (!isatty(STDOUT_FILENO))
            putchar('\n');
    } while (fflush(stdout) == 0 && poll(NULL, 0, WATCH_S * 1000) == 0);
    return code;
}

int ctl_status(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    struct status s = {0};
    struct request request = {.directory = ""};

    if (!parse(argc, argv, &s, &request))
        return ctl_usage(self);
    if (!is_instance(request.directory))
        return EXIT_USAGE;
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    int code = request.is_watch ? watch(config, &request, &s) : look(config, &request, &s);
    config_free(config);
    return code;
}
