/* SPDX-License-Identifier: ISC */
#include "ctl/status.h"
#include "config/config_units.h"
#include "base/mem.h"
#include "base/process.h"
#include "queue/spool.h"
#include "ctl/ctl.h"
#include "ctl/setup/files.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct status_group *status_group(struct status_groups *groups, const char *name)
{
    if (groups->count >= STATUS_GROUPS_MAX)
        name = "others";
    for (size_t i = 0; i < groups->count; i++)
        if (strcmp(groups->items[i].name, name) == 0)
            return &groups->items[i];
    groups->items = mem_grow(groups->items, groups->count + 1, sizeof *groups->items);
    struct status_group *g = &groups->items[groups->count++];
    memset(g, 0, sizeof *g);
    g->name = mem_strdup(name);
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

static void count_queued(const struct status *s, struct status_group *g,
                         const struct spool_entry *e, time_t arrival, time_t now)
{
    if (e->due > now)
        g->deferred++;
    else if (g->suspension.since != 0 || s->relay.run == SERVICE_STOPPED)
        g->waiting++;
    else
        g->active++;
    if (g->oldest_waiting == 0 || arrival < g->oldest_waiting)
        g->oldest_waiting = arrival;
}

static void count_copy(struct status *s, struct health *health, const struct spool_entry *e,
                       time_t now)
{
    struct status_group *g = status_group(&s->destinations, e->destination);
    time_t arrival = e->message == NULL ? now : e->message->arrival.tv_sec;
    const char *error = e->problem;

    g->suspension = *health_of(health, e->destination);
    if (e->base == SPOOL_DEAD)
        g->dead++;
    else if (e->base == SPOOL_HOLD)
        g->held++;
    else
        count_queued(s, g, e, arrival, now);
    for (size_t i = 0; i < e->recipient_count; i++)
        if (e->recipients[i].reason[0] != '\0' && e->recipients[i].state != QUEUE_SENT)
            error = e->recipients[i].reason;
    status_note(g, arrival, error);
}

/* What cannot be read is not said to be empty: then there are no destinations. */
static void read_spool(struct status *s)
{
    struct spool_entry e;
    time_t now = time(NULL);
    int rc;

    struct spool_walk *w =
        spool_walk_open(s->config->relay.spool_directory, NULL, &s->spool_problem);
    if (w == NULL)
        return;
    struct health *health = health_new(s->config);
    for (size_t i = 0; i < s->config->destination_count; i++) {
        const char *name = s->config->destinations[i].name;
        status_group(&s->destinations, name)->suspension = *health_of(health, name);
    }
    while ((rc = spool_walk_next(w, &e, &s->spool_problem)) == 1)
        count_copy(s, health, &e, now);
    if (rc == 0)
        s->spool_problem.text[0] = '\0';
    health_free(health);
    spool_walk_close(w);
}

static void clear(struct status *s)
{
    status_groups_clear(&s->destinations);
    for (size_t i = 0; i < s->instance_count; i++) {
        free(s->instances[i].name);
        free(s->instances[i].directory);
        status_groups_clear(&s->instances[i].ways);
    }
    free(s->instances);
    service_clear(&s->milter);
    service_clear(&s->relay);
    buf_clear(&s->reasons);
}

/* The whole number in text, at least 1; 0: there is none. */
static uint64_t parse_count(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);

    return text[0] < '0' || text[0] > '9' || *end != '\0' ? 0 : n;
}

struct request {
    const char *directory;
    bool is_json;
};

/* False: that is no command line. */
static bool parse(int argc, char **argv, struct status *s, struct request *out)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"postfix", required_argument, NULL, 'p'},
                                            {"warn-age", required_argument, NULL, 'a'},
                                            {"warn-dead", required_argument, NULL, 'd'},
                                            {0}};
    bool is_right = true;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'j')
            out->is_json = true;
        else if (c == 'p' && optarg[0] == '/')
            out->directory = optarg;
        else if (c == 'a')
            is_right &= config_units_parse_time(optarg, &s->warn_age_s) == 0 && s->warn_age_s > 0;
        else if (c == 'd')
            is_right &= (s->warn_dead = parse_count(optarg)) > 0;
        else
            is_right = false;
    }
    return is_right && optind == argc;
}

/* Nothing is said of what is not there. */
static bool is_instance(const char *directory)
{
    if (directory[0] == '\0' || files_is_there(directory, "main.cf"))
        return true;
    ctl_complain("--postfix: there is no main.cf in %s", directory);
    return false;
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
    s.config = config;
    service_find(SERVICE_MILTER, config, &s.milter);
    service_find(SERVICE_RELAY, config, &s.relay);
    read_spool(&s);
    status_read_postfix(&s, request.directory);
    status_judge(&s);
    if (request.is_json)
        status_print_json(&s);
    else
        status_print_human(&s);
    int code = (int)s.level;
    clear(&s);
    config_free(config);
    return code;
}
