/* SPDX-License-Identifier: ISC */
#include "status.h"
#include "../mem.h"
#include "../process.h"
#include "../relay/spool.h"
#include "ctl.h"

#include <errno.h>
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

static enum status_run find_owner(const char *lock_path, pid_t *pid_out)
{
    struct err err;

    errno = 0;
    pid_t pid = process_lock_owner(lock_path, &err);
    if (pid > 0)
        *pid_out = pid;
    if (pid != 0 && errno != ENOENT)
        return pid > 0 ? STATUS_RUNS : STATUS_UNKNOWN;
    return STATUS_STOPPED;
}

static void read_daemons(struct status *s)
{
    const struct config_milter *m = &s->config->milter;
    char *lock = ctl_relay_lock(s->config);
    struct err err;

    s->relay = find_owner(lock, &s->relay_pid);
    free(lock);
    if (m->pid_file[0] != '\0')
        s->milter = find_owner(m->pid_file, &s->milter_pid);
    else
        s->milter =
            ctl_probe(&m->socket, CTL_CONNECT_TIMEOUT_MS, &err) == 0 ? STATUS_RUNS : STATUS_STOPPED;
}

static void count_copy(struct status *s, const struct spool_entry *e, time_t now)
{
    struct status_group *g = status_group(&s->destinations, e->destination);
    const char *error = e->problem;

    if (e->base == SPOOL_DEAD)
        g->dead++;
    else if (e->base == SPOOL_HOLD)
        g->held++;
    else if (e->due > now)
        g->deferred++;
    else
        g->active++;
    for (size_t i = 0; i < e->recipient_count; i++)
        if (e->recipients[i].reason[0] != '\0' && e->recipients[i].state != QUEUE_SENT)
            error = e->recipients[i].reason;
    status_note(g, e->message == NULL ? now : e->message->arrival.tv_sec, error);
}

static void read_spool(struct status *s)
{
    struct spool_entry e;
    time_t now = time(NULL);
    int rc;

    for (size_t i = 0; i < s->config->destination_count; i++)
        (void)status_group(&s->destinations, s->config->destinations[i].name);
    struct spool_walk *w =
        spool_walk_open(s->config->relay.spool_directory, NULL, &s->spool_problem);
    if (w == NULL)
        return;
    while ((rc = spool_walk_next(w, &e, &s->spool_problem)) == 1)
        count_copy(s, &e, now);
    if (rc == 0)
        s->spool_problem.text[0] = '\0';
    spool_walk_close(w);
}

static bool is_well(const struct status *s)
{
    bool is =
        s->milter == STATUS_RUNS && s->relay == STATUS_RUNS && s->spool_problem.text[0] == '\0';

    for (size_t i = 0; i < s->instance_count; i++)
        is &= s->instances[i].run != STATUS_STOPPED && s->instances[i].problem.text[0] == '\0';
    return is;
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
}

int ctl_status(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"postfix", required_argument, NULL, 'p'}, {0}};
    struct status s = {0};
    const char *directory = "";
    bool is_json = false;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'j')
            is_json = true;
        else if (c == 'p' && optarg[0] == '/')
            directory = optarg;
        else
            return ctl_usage(self);
    }
    if (optind < argc)
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    s.config = config;
    read_daemons(&s);
    read_spool(&s);
    status_read_postfix(&s, directory);
    if (is_json)
        status_print_json(&s);
    else
        status_print_human(&s);
    int code = is_well(&s) ? EXIT_OK : EXIT_CHECK_FAILED;
    clear(&s);
    config_free(config);
    return code;
}
