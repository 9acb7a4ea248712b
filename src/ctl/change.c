/* SPDX-License-Identifier: ISC */
/*
 * hold, release, delete, requeue, retry: by splitrelay, through its control socket; when it does
 * not run, by ourselves, with the lock of the spool.
 */
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "relay/control.h"
#include "relay/control_line.h"
#include "queue/spool.h"
#include "queue/spool_depth.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/offline.h"
#include "ctl/progress.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANGE_TIMEOUT_MS 120000 /* between two signs of life */

struct change {
    const struct config *config;
    struct queue *offline; /* NULL: splitrelay does it */
    struct control_line line;
    struct progress progress;
    bool is_json;
};

static volatile sig_atomic_t is_interrupted;

static void interrupt(int signal_number)
{
    (void)signal_number;
    is_interrupted = 1;
}

/* --- doing it --- */

static void on_progress(void *ctx, uint64_t changed)
{
    struct change *c = ctx;

    progress_show(&c->progress, changed);
}

static bool go_on(void *ctx, const struct queue_changed *so_far)
{
    on_progress(ctx, so_far->changed);
    return !is_interrupted;
}

static int change_online(struct change *c, struct queue_changed *out, struct err *err)
{
    struct buf line = {0};
    char *text = NULL;

    control_line_format(&c->line, &line);
    int rc = control_request(c->config->relay.spool_directory, buf_str(&line), CHANGE_TIMEOUT_MS,
                             on_progress, c, &text, err);
    if (rc == 0 && c->line.verb == CONTROL_RETRY) {
        out->changed = strtoull(text, NULL, 10);
    } else if (rc == 0 && control_line_parse_changed(text, out, err) < 0) {
        err_set(err, "splitrelay sent a reply that makes no sense");
        rc = -1;
    }
    free(text);
    buf_clear(&line);
    return rc;
}

static int change_offline(struct change *c, struct queue_changed *out, struct err *err)
{
    struct queue_change what = control_line_change(&c->line);

    if (c->line.verb == CONTROL_RETRY) {
        long moved = c->offline->ops->retry(c->offline, what.destination, what.id, err);
        out->changed = moved < 0 ? 0 : (uint64_t)moved;
        return moved < 0 ? -1 : 0;
    }
    what.go_on = go_on;
    what.ctx = c;
    return c->offline->ops->change(c->offline, &what, out, err);
}

/* --- telling it --- */

static const char *done_word(const struct control_line *line)
{
    static const char *const words[] = {[QUEUE_HOLD] = "held",
                                        [QUEUE_RELEASE] = "released",
                                        [QUEUE_DELETE] = "deleted",
                                        [QUEUE_REQUEUE] = "requeued"};

    return words[line->action];
}

static const char *verb_word(const struct control_line *line)
{
    return line->verb == CONTROL_RETRY ? "retry" : control_line_action(line->action);
}

static void tell_json(const struct change *c, const struct queue_changed *done,
                      const struct err *err)
{
    const struct control_line *line = &c->line;
    json_t *o = json_object();

    ctl_json_set(o, "action", ctl_json_text(verb_word(line)));
    ctl_json_set(o, "queue_id", line->is_all ? json_null() : ctl_json_text(line->id));
    ctl_json_set(o, "destination",
                 line->destination[0] == '\0' ? json_null() : ctl_json_text(line->destination));
    if (line->to[0] != '\0')
        ctl_json_set(o, "to", ctl_json_text(line->to));
    ctl_json_set(o, "changed", json_integer((json_int_t)done->changed));
    if (line->verb == CONTROL_CHANGE) {
        ctl_json_set(o, "in_delivery", json_integer((json_int_t)done->ordered));
        ctl_json_set(o, "failed", json_integer((json_int_t)done->failed));
    }
    ctl_json_set(o, "error", ctl_json_text(err->text));
    ctl_json_line(o);
}

static void tell_retry(const struct control_line *line, bool is_offline)
{
    const char *when =
        is_offline ? "will be tried when splitrelay runs: it does not" : "will be tried now";

    /* The number is of what was moved; what was due already is not in it. */
    if (!line->is_all)
        ctl_printf("retry %s: %s\n", line->id, when);
    else
        ctl_printf("retry --all%s%s: %s\n", line->destination[0] == '\0' ? "" : " ",
                   line->destination, when);
}

static void tell(const struct change *c, const struct queue_changed *done)
{
    const struct control_line *line = &c->line;
    const char *word = done_word(line);

    if (line->verb == CONTROL_RETRY) {
        tell_retry(line, c->offline != NULL);
    } else if (line->is_all) {
        ctl_printf("%" PRIu64 " cop%s %s\n", done->changed, done->changed == 1 ? "y" : "ies", word);
        if (done->ordered > 0)
            ctl_printf("%" PRIu64 " being delivered: %s afterwards, unless accepted\n",
                       done->ordered, word);
    } else if (done->changed > 0) {
        ctl_printf("%s: %s\n", line->id, word);
    } else if (done->ordered > 0) {
        ctl_printf("%s: is being delivered: %s afterwards, unless accepted\n", line->id, word);
    }
}

static void complain(const struct change *c, const struct queue_changed *done, const char *reason)
{
    const char *what = c->line.is_all ? "--all" : c->line.id;

    if (done->failed > 1)
        ctl_complain("%s %s: %" PRIu64 " copies failed: %s", verb_word(&c->line), what,
                     done->failed, reason);
    else
        ctl_complain("%s %s: %s", verb_word(&c->line), what, reason);
}

/* Carry out c->line and say so. */
static int carry_out(struct change *c)
{
    struct queue_changed done = {0};
    struct err err = {""};

    int rc = c->offline == NULL ? change_online(c, &done, &err) : change_offline(c, &done, &err);
    progress_show(&c->progress, done.changed);
    progress_end(&c->progress);
    if (rc == 0 && done.is_stopped)
        err_set(&err, "interrupted after %" PRIu64 " copies", done.changed);
    bool is_well = rc == 0 && done.failed == 0 && !done.is_stopped;
    if (is_well)
        err.text[0] = '\0';
    if (c->is_json)
        tell_json(c, &done, &err);
    else if (rc == 0)
        tell(c, &done);
    if (!is_well)
        complain(c, &done, err.text);
    return is_well ? EXIT_OK : EXIT_CHECK_FAILED;
}

/* --- who does it --- */

/* Somebody must be there to ask, or nobody must be there at all. */
static int find_way(struct change *c)
{
    struct err err, offline_err;
    char *text = NULL;

    if (control_request(c->config->relay.spool_directory, "ping", CTL_REPLY_TIMEOUT_MS, NULL, NULL,
                        &text, &err) == 0) {
        free(text);
        return EXIT_OK;
    }
    c->offline = offline_open(c->config, &offline_err);
    if (c->offline == NULL) {
        ctl_complain("%s; without it: %s", err.text, offline_err.text);
        return EXIT_UNAVAILABLE;
    }
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return EXIT_OK;
}

/* For the bar: how many there are. 0: unknown. */
static uint64_t count_all(const struct change *c)
{
    const struct control_line *line = &c->line;
    struct queue_depths depths;
    struct err err;
    uint64_t total = 0;

    if (!progress_is_wanted() || line->verb == CONTROL_RETRY)
        return 0;
    int fd = open(c->config->relay.spool_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    unsigned places = queue_change_places(line->action, line->places, line->to[0] != '\0', true);
    struct spool_depth *depth = spool_depth_new();
    if (spool_depth_read(depth, fd, time(NULL), NULL, &depths, &err) == 0) {
        for (size_t i = 0; i < depths.count; i++) {
            const struct queue_depth *d = &depths.items[i];
            if (line->destination[0] != '\0' && strcmp(line->destination, d->destination) != 0)
                continue;
            total += (places & QUEUE_IN_QUEUE) != 0 ? d->due.copies + d->deferred.copies : 0;
            total += (places & QUEUE_IN_HOLD) != 0 ? d->held.copies : 0;
            total += (places & QUEUE_IN_DEAD) != 0 ? d->dead.copies : 0;
        }
        free(depths.items);
    }
    spool_depth_free(depth);
    close(fd);
    return total;
}

static bool has_directory(const struct config *config, const char *destination)
{
    bool is_there = false;

    for (enum spool_base base = SPOOL_QUEUE; base < SPOOL_BASES; base++) {
        char *path = mem_printf("%s/%s/%s", config->relay.spool_directory, spool_base_name(base),
                                destination);
        is_there = is_there || access(path, F_OK) == 0;
        free(path);
    }
    return is_there;
}

/* A destination that is not configured may have copies all the same. */
static int name_destination(struct change *c, const char *name)
{
    const struct config_destination *d = config_find_destination(c->config, name);
    bool is_change = c->line.verb == CONTROL_CHANGE && spool_destination_is_valid(name);

    if (d != NULL) {
        name = d->name;
    } else if (!is_change || !has_directory(c->config, name)) {
        ctl_complain("there is no destination '%s'", name);
        return EXIT_CHECK_FAILED;
    }
    mem_copy_string(c->line.destination, sizeof c->line.destination, name);
    return EXIT_OK;
}

static int change_all(struct change *c, const char *destination)
{
    if (destination != NULL && name_destination(c, destination) != EXIT_OK)
        return EXIT_CHECK_FAILED;
    progress_begin(&c->progress, verb_word(&c->line), count_all(c));
    return carry_out(c);
}

static int change_ids(struct change *c, int count, char **ids)
{
    int code = EXIT_OK;

    for (int i = 0; i < count && !is_interrupted; i++) {
        mem_copy_string(c->line.id, sizeof c->line.id, ids[i]);
        if (carry_out(c) != EXIT_OK)
            code = EXIT_CHECK_FAILED;
    }
    return code;
}

static int run(struct change *c, const char *to, int count, char **words)
{
    int code = EXIT_OK;

    if (to != NULL) {
        const struct config_destination *d = config_find_destination(c->config, to);
        if (d == NULL) {
            ctl_complain("there is no destination '%s'", to);
            return EXIT_CHECK_FAILED;
        }
        mem_copy_string(c->line.to, sizeof c->line.to, d->name);
    }
    code = find_way(c);
    if (code != EXIT_OK)
        return code;
    code =
        c->line.is_all ? change_all(c, count > 0 ? words[0] : NULL) : change_ids(c, count, words);
    if (c->offline != NULL)
        c->offline->ops->close(c->offline);
    return code;
}

/* --- command line --- */

static int parse_verb(const char *name, struct control_line *line)
{
    line->verb = CONTROL_RETRY;
    if (strcmp(name, "retry") == 0)
        return 0;
    line->verb = CONTROL_CHANGE;
    for (enum queue_action a = QUEUE_HOLD; a <= QUEUE_REQUEUE; a++)
        if (strcmp(name, control_line_action(a)) == 0) {
            line->action = a;
            return 0;
        }
    return -1;
}

static bool are_ids(int count, char **words)
{
    for (int i = 0; i < count; i++)
        if (!ctl_is_id(words[i])) {
            ctl_complain("'%s' is not the id of a copy", words[i]);
            return false;
        }
    return count > 0;
}

int ctl_change(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {{"all", no_argument, NULL, 'a'},
                                            {"in", required_argument, NULL, 'i'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"to", required_argument, NULL, 't'},
                                            {0}};
    struct change change = {0};
    const char *to = NULL;
    bool is_wrong = parse_verb(argv[0], &change.line) < 0;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'a') {
            change.line.is_all = true;
        } else if (c == 'j') {
            change.is_json = true;
        } else if (c == 'i' && change.line.verb == CONTROL_CHANGE) {
            change.line.places = control_line_place(optarg);
            is_wrong |= change.line.places == 0;
        } else if (c == 't' && change.line.verb == CONTROL_CHANGE &&
                   change.line.action == QUEUE_REQUEUE) {
            to = optarg;
        } else {
            is_wrong = true;
        }
    }
    int count = argc - optind;
    char **words = argv + optind;
    if (is_wrong || (change.line.is_all ? count > 1 : !are_ids(count, words)))
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    change.config = config;
    int code = run(&change, to, count, words);
    config_free(config);
    return code;
}
