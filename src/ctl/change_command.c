/* SPDX-License-Identifier: ISC */
/* The command lines of retry, hold, release, delete and requeue. */
#include "base/process.h"
#include "ctl/change.h"
#include "ctl/ctl.h"
#include "ctl/offline.h"
#include "ctl/select.h"
#include "queue/queue_id.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct request {
    struct select_request select;
    const char *to;
    bool is_all;
    int word_count;
    char **words; /* IDs, or one destination */
};

static int run(struct change *c, const struct request *r)
{
    bool has_ids = !r->is_all && !r->select.has_condition;

    c->line.verb = CONTROL_CHANGE;
    c->line.change.selection = r->select.selection;
    if (r->to != NULL && config_find_destination(c->config, r->to) == NULL) {
        ctl_complain("there is no destination '%s'", r->to);
        return EXIT_CHECK_FAILED;
    }
    c->line.change.to = r->to;
    if (!has_ids && r->word_count > 0)
        c->line.change.selection.destination = r->words[0];
    if (c->is_dry_run)
        return has_ids ? change_ids(c, r->word_count, r->words) : change_tell_dry_run(c);
    int code = offline_find(c->config, &c->offline);
    if (code != EXIT_OK)
        return code;
    if (c->offline != NULL) {
        struct sigaction action = {.sa_handler = change_interrupt};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
    }
    code = has_ids ? change_ids(c, r->word_count, r->words) : change_selected(c, r->is_all);
    if (c->offline != NULL)
        c->offline->ops->close(c->offline);
    return code;
}

/* --- command line --- */

static void parse_action(const char *name, struct queue_change *change)
{
    for (enum queue_action a = QUEUE_RETRY; a <= QUEUE_REQUEUE; a++)
        if (strcmp(name, control_line_action(a)) == 0)
            change->action = a;
}

static bool are_ids(int word_count, char **words)
{
    for (int i = 0; i < word_count; i++)
        if (!ctl_is_id(words[i])) {
            ctl_complain("'%s' is not the id of a copy", words[i]);
            return false;
        }
    return word_count > 0;
}

/* --to of requeue names a destination, unless it is a pattern: that has a `@` or a `*`. */
static bool take(struct change *change, struct request *r, int option, const char *value)
{
    if (option == SELECT_TO && change->line.change.action == QUEUE_REQUEUE &&
        queue_destination_is_valid(value)) {
        r->to = value;
        return true;
    }
    /* --in alone limits --all, and is no selection. */
    bool had_condition = r->select.has_condition;
    if (!select_option(&r->select, option, value))
        return false;
    if (option == SELECT_IN)
        r->select.has_condition = had_condition;
    return true;
}

static bool is_complete(const struct request *r)
{
    if (r->is_all || r->select.has_condition)
        return r->word_count <= 1;
    return are_ids(r->word_count, r->words);
}

int ctl_change(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {SELECT_OPTIONS,
                                            {"all", no_argument, NULL, 'a'},
                                            {"dry-run", no_argument, NULL, 'n'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"yes", no_argument, NULL, 'y'},
                                            {0}};
    struct change change = {0};
    struct request request = {0};
    int c;

    parse_action(argv[0], &change.line.change);
    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c >= SELECT_FIRST && c <= SELECT_LAST) {
            if (!take(&change, &request, c, optarg))
                return EXIT_USAGE;
        } else if (c == '?') {
            return ctl_usage(self);
        }
        request.is_all |= c == 'a';
        change.is_json |= c == 'j';
        change.is_dry_run |= c == 'n';
        change.is_yes |= c == 'y';
    }
    request.word_count = argc - optind;
    request.words = argv + optind;
    if (!is_complete(&request))
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    change.config = config;
    int code = run(&change, &request);
    config_free(config);
    return code;
}
