/* SPDX-License-Identifier: ISC */
/* The commands suspend and resume. A suspension by an administrator is an order that nothing is
 * sent to a destination; the queue stores it. */
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "config/config_units.h"
#include "ctl/ctl.h"
#include "ctl/offline.h"
#include "queue/queue_id.h"
#include "relay/control.h"
#include "relay/control_line.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int ask_splitrelay(const struct config *config, const struct control_line *line,
                          bool *was_out, struct err *err)
{
    struct buf request = {0};
    char *text = NULL;

    control_line_format(line, &request);
    int rc = control_request(config->relay.spool_directory, buf_str(&request), CTL_REPLY_TIMEOUT_MS,
                             NULL, NULL, &text, err);
    buf_clear(&request);
    *was_out = rc == 0 && strcmp(text, "1") == 0;
    free(text);
    return rc;
}

static int change_queue(struct queue *q, const struct control_line *line, bool *was_out,
                        struct err *err)
{
    int rc = line->verb == CONTROL_SUSPEND ? q->ops->suspend(q, &line->suspension, err)
                                           : q->ops->resume(q, line->destination, err);

    *was_out = rc == 1;
    q->ops->close(q);
    return rc < 0 ? -1 : 0;
}

static void tell(const struct control_line *line, bool was_suspended)
{
    const struct queue_suspension *s = &line->suspension;
    char when[64];
    struct tm tm;

    if (line->verb == CONTROL_RESUME)
        ctl_printf("%s: %s\n", line->destination,
                   was_suspended ? "resumed" : "was not suspended by an administrator");
    else if (s->until == 0 || localtime_r(&s->until, &tm) == NULL ||
             strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        ctl_printf("%s: suspended until it is resumed\n", s->destination);
    else
        ctl_printf("%s: suspended until %s\n", s->destination, when);
}

static int run(const struct config *config, struct control_line *line, const char *destination)
{
    const struct config_destination *d = config_find_destination(config, destination);
    bool was_suspended = false;
    struct queue *offline;
    struct err err;

    /* A destination that is not in the configuration any more may still be suspended. */
    if (d == NULL && (line->verb == CONTROL_SUSPEND || !queue_destination_is_valid(destination))) {
        ctl_complain("there is no destination '%s'", destination);
        return EXIT_CHECK_FAILED;
    }
    mem_copy_string(line->suspension.destination, QUEUE_DESTINATION_SIZE,
                    d == NULL ? destination : d->name);
    mem_copy_string(line->destination, QUEUE_DESTINATION_SIZE, line->suspension.destination);
    int code = offline_find(config, &offline);
    if (code != EXIT_OK)
        return code;
    int rc = offline == NULL ? ask_splitrelay(config, line, &was_suspended, &err)
                             : change_queue(offline, line, &was_suspended, &err);
    if (rc != 0) {
        ctl_complain("%s", err.text);
        return EXIT_CHECK_FAILED;
    }
    tell(line, was_suspended);
    return EXIT_OK;
}

/* Take an option. False: the command line is not valid. */
static bool take_option(struct control_line *line, int option, const char *value)
{
    unsigned seconds;

    if (line->verb != CONTROL_SUSPEND)
        return false;
    if (option == 'r') {
        snprintf(line->suspension.reason, sizeof line->suspension.reason, "%s", value);
        log_sanitize(line->suspension.reason);
        return true;
    }
    if (option != 'f')
        return false;
    if (config_units_parse_time(value, &seconds) != 0 || seconds == 0) {
        ctl_complain("--for '%s': not a time as 90s, 5m, 2h or 7d", value);
        return false;
    }
    line->suspension.until = time(NULL) + (time_t)seconds;
    return true;
}

int ctl_suspend(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {
        {"for", required_argument, NULL, 'f'}, {"reason", required_argument, NULL, 'r'}, {0}};
    struct control_line line = {.verb = strcmp(argv[0], "resume") == 0 ? CONTROL_RESUME
                                                                       : CONTROL_SUSPEND};
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take_option(&line, c, optarg))
            return ctl_usage(self);
    if (argc - optind != 1)
        return ctl_usage(self);
    line.suspension.since = time(NULL);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    int code = run(config, &line, argv[optind]);
    config_free(config);
    return code;
}
