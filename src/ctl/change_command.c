/* SPDX-License-Identifier: ISC */
/* The command lines of retry, hold, release, delete and requeue. */
#include "base/process.h"
#include "ctl/change.h"
#include "ctl/ctl.h"
#include "ctl/offline.h"
#include "ctl/select.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct request {
    struct select_request select;
    const char *to; /* of requeue: the new destination, or NULL */
};

/* Fill in the change from the command line. Names of destinations get the upper and lower case of
 * the configuration. Returns the exit code. */
static int complete(struct change *c, struct request *r)
{
    struct queue_change *change = &c->line.change;

    c->line.verb = CONTROL_CHANGE;
    if (r->to != NULL) {
        const struct config_destination *d = config_find_destination(c->config, r->to);
        if (d == NULL) {
            ctl_complain("there is no destination '%s'", r->to);
            return EXIT_CHECK_FAILED;
        }
        change->to = d->name;
    }
    select_destination(&r->select, c->config);
    change->selection = r->select.selection;
    c->is_all = r->select.is_all;
    return EXIT_OK;
}

static int run(struct change *c, struct request *r)
{
    int code = complete(c, r);

    if (code == EXIT_OK && !c->is_dry_run)
        code = offline_find(c->config, &c->offline);
    if (code != EXIT_OK)
        return code;
    change_catch_signals();
    code = r->select.id_count > 0 ? change_ids(c, r->select.id_count, r->select.ids)
                                  : change_selected(c);
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

/* Take an option. A value of requeue's --to with `@`, `*` or `<` is a pattern of recipients; any
 * other value is the name of the new destination. False: a message was printed. */
static bool take(const struct change *c, struct request *r, int option, const char *value)
{
    if (option == SELECT_TO && c->line.change.action == QUEUE_REQUEUE &&
        strpbrk(value, "@*<") == NULL) {
        r->to = value;
        return true;
    }
    return select_option(&r->select, option, value);
}

int ctl_change(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {SELECT_OPTIONS,
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
        if (c == '?')
            return ctl_usage(self);
        if (c >= SELECT_FROM && !take(&change, &request, c, optarg))
            return EXIT_USAGE;
        change.is_json |= c == 'j';
        change.is_dry_run |= c == 'n';
        change.is_yes |= c == 'y';
    }
    if (!select_words(&request.select, false, argc - optind, argv + optind))
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    change.config = config;
    int code = run(&change, &request);
    config_free(config);
    return code;
}
