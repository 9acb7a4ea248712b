/* SPDX-License-Identifier: ISC */
/*
 * retry, hold, release, delete, requeue: by splitrelay, through its control socket; when it does
 * not run, by this process, with the lock of the spool.
 */
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "relay/control.h"
#include "queue/queue_id.h"
#include "queue/queue_reader.h"
#include "ctl/change.h"
#include "ctl/ctl.h"
#include "ctl/json.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANGE_TIMEOUT_MS 120000 /* between two signs of life */

static volatile sig_atomic_t is_interrupted;

void change_interrupt(int signal_number)
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
    if (rc == 0 && control_line_parse_changed(text, out, err) < 0) {
        err_set(err, "splitrelay sent a reply that makes no sense");
        rc = -1;
    }
    free(text);
    buf_clear(&line);
    return rc;
}

static int change_offline(struct change *c, struct queue_changed *out, struct err *err)
{
    struct queue_change what = c->line.change;

    what.go_on = go_on;
    what.ctx = c;
    return c->offline->ops->change(c->offline, &what, out, err);
}

/* --- telling it --- */

static const char *done_word(enum queue_action action)
{
    static const char *const words[] = {[QUEUE_RETRY] = "to be tried now",
                                        [QUEUE_HOLD] = "held",
                                        [QUEUE_RELEASE] = "released",
                                        [QUEUE_DELETE] = "deleted",
                                        [QUEUE_REQUEUE] = "requeued"};

    return words[action];
}

static json_t *text_or_null(const char *text)
{
    return text == NULL ? json_null() : ctl_json_text(text);
}

static void tell_json(const struct change *c, const struct queue_changed *done,
                      const struct err *err)
{
    const struct queue_change *change = &c->line.change;
    json_t *o = json_object();

    ctl_json_set(o, "action", ctl_json_text(control_line_action(change->action)));
    ctl_json_set(o, "queue_id", text_or_null(change->selection.id));
    ctl_json_set(o, "destination", text_or_null(change->selection.destination));
    if (change->to != NULL)
        ctl_json_set(o, "to", ctl_json_text(change->to));
    ctl_json_set(o, "dry_run", json_boolean(c->is_dry_run));
    ctl_json_set(o, "changed", json_integer((json_int_t)done->changed));
    ctl_json_set(o, "in_delivery", json_integer((json_int_t)done->ordered));
    ctl_json_set(o, "failed", json_integer((json_int_t)done->failed));
    ctl_json_set(o, "error", ctl_json_text(err->text));
    ctl_json_line(o);
}

static void tell(const struct change *c, const struct queue_changed *done)
{
    const struct queue_change *change = &c->line.change;
    const char *word = done_word(change->action);
    const char *would = c->is_dry_run ? "would be " : "";
    const char *note = change->action == QUEUE_RETRY && c->offline != NULL
                           ? " when splitrelay runs: it does not"
                           : "";

    if (change->selection.id == NULL) {
        ctl_printf("%" PRIu64 " cop%s %s%s%s\n", done->changed, done->changed == 1 ? "y" : "ies",
                   would, word, note);
        if (done->ordered > 0)
            ctl_printf("%" PRIu64 " being delivered: %s afterwards, unless accepted\n",
                       done->ordered, word);
    } else if (done->changed > 0) {
        ctl_printf("%s: %s%s%s\n", change->selection.id, would, word, note);
    } else if (done->ordered > 0) {
        ctl_printf("%s: is being delivered: %s afterwards, unless accepted\n", change->selection.id,
                   word);
    }
}

static void complain(const struct change *c, const struct queue_changed *done, const char *reason)
{
    const char *id = c->line.change.selection.id;
    const char *word = control_line_action(c->line.change.action);

    if (done->failed > 1)
        ctl_complain("%s: %" PRIu64 " copies failed: %s", word, done->failed, reason);
    else
        ctl_complain("%s%s%s: %s", word, id == NULL ? "" : " ", id == NULL ? "" : id, reason);
}

/* --- what would be done --- */

static unsigned places_of(const struct queue_change *change)
{
    return queue_change_places(change->action, change->selection.places, change->to != NULL,
                               change->selection.id == NULL);
}

static bool count_entry(void *ctx, const struct queue_entry *e)
{
    struct change *c = ctx;

    if (c->is_dry_run && !c->is_json)
        ctl_printf("%s: dest=%s, from=<%s>, would be %s\n", e->id, e->destination,
                   e->message->sender, done_word(c->line.change.action));
    return !is_interrupted;
}

static bool show_count(void *ctx, uint64_t looked_at)
{
    (void)ctx;
    (void)looked_at;
    return !is_interrupted;
}

/* How many copies are meant, as the queue is now. -1: complained. */
static int64_t count(struct change *c, struct err *err)
{
    struct queue_selection selection = c->line.change.selection;
    struct queue_reader *reader =
        queue_reader_open(c->config->relay.spool_directory, c->config->relay.queue, err);

    if (reader == NULL)
        return -1;
    selection.places = places_of(&c->line.change);
    int64_t n = queue_reader_list(reader, &selection, count_entry, show_count, c, err);
    queue_reader_close(reader);
    return n;
}

int change_tell_dry_run(struct change *c)
{
    struct queue_changed done = {0};
    struct err err = {""};
    int64_t n = count(c, &err);

    if (n < 0) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    if (n == 0 && c->line.change.selection.id != NULL) {
        err_set(&err, "no such copy, or it is in a place where that makes no sense");
        complain(c, &done, err.text);
        return EXIT_CHECK_FAILED;
    }
    done.changed = (uint64_t)n;
    err_clear(&err);
    if (c->is_json)
        tell_json(c, &done, &err);
    else if (c->line.change.selection.id == NULL)
        tell(c, &done);
    return EXIT_OK;
}

/* Before much is done, or what cannot be undone: a question, where there is a terminal. */
static bool is_agreed(struct change *c, bool is_all)
{
    const enum queue_action action = c->line.change.action;
    struct err err;
    char answer[16] = "";

    if (c->is_yes || (action != QUEUE_DELETE && !is_all) || !isatty(STDIN_FILENO) ||
        !isatty(STDERR_FILENO))
        return true;
    int64_t n = count(c, &err);
    if (n < 0) {
        ctl_complain("%s", err.text);
        return false;
    }
    fprintf(stderr, "%s %lld cop%s? [y/N] ", control_line_action(action), (long long)n,
            n == 1 ? "y" : "ies");
    if (fgets(answer, sizeof answer, stdin) == NULL || (answer[0] != 'y' && answer[0] != 'Y')) {
        fprintf(stderr, "nothing was done\n");
        return false;
    }
    return true;
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

/* --- all of it --- */

/* For the bar: how many there are. 0: unknown. */
static uint64_t count_all(const struct change *c)
{
    const struct queue_selection *s = &c->line.change.selection;
    unsigned places = places_of(&c->line.change);
    struct queue_depths depths;
    uint64_t total = 0;
    struct err err;
    struct queue_reader *reader =
        progress_is_wanted()
            ? queue_reader_open(c->config->relay.spool_directory, c->config->relay.queue, &err)
            : NULL;

    if (reader == NULL)
        return 0;
    if (queue_reader_depths(reader, time(NULL), &depths, &err) == 0) {
        for (size_t i = 0; i < depths.count; i++) {
            const struct queue_depth *d = &depths.items[i];
            if (s->destination != NULL && strcmp(s->destination, d->destination) != 0)
                continue;
            total += (places & QUEUE_IN_QUEUE) != 0 ? d->due.copies + d->deferred.copies : 0;
            total += (places & QUEUE_IN_HOLD) != 0 ? d->held.copies : 0;
            total += (places & QUEUE_IN_DEAD) != 0 ? d->dead.copies : 0;
        }
        free(depths.items);
    }
    queue_reader_close(reader);
    return total;
}

/* A destination that is not configured may have copies all the same. */
static int check_destination(const struct change *c, const char *name)
{
    if (config_find_destination(c->config, name) != NULL)
        return EXIT_OK;
    if (queue_destination_is_valid(name) && c->line.change.action != QUEUE_RETRY) {
        struct change probe = *c;
        struct err err;
        probe.line.change.selection = (struct queue_selection){.destination = name, .limit = 1};
        probe.line.change.selection.places = QUEUE_IN_QUEUE | QUEUE_IN_HOLD | QUEUE_IN_DEAD;
        probe.is_dry_run = false;
        if (count(&probe, &err) > 0)
            return EXIT_OK;
    }
    ctl_complain("there is no destination '%s'", name);
    return EXIT_CHECK_FAILED;
}

int change_selected(struct change *c, bool is_all)
{
    const struct queue_selection *s = &c->line.change.selection;

    if (s->destination != NULL && check_destination(c, s->destination) != EXIT_OK)
        return EXIT_CHECK_FAILED;
    if (!is_agreed(c, is_all))
        return EXIT_CHECK_FAILED;
    progress_begin(&c->progress, control_line_action(c->line.change.action),
                   is_all ? count_all(c) : 0);
    return carry_out(c);
}

int change_ids(struct change *c, int id_count, char **ids)
{
    int code = EXIT_OK;

    for (int i = 0; i < id_count && !is_interrupted; i++) {
        c->line.change.selection.id = ids[i];
        int done = c->is_dry_run         ? change_tell_dry_run(c)
                   : is_agreed(c, false) ? carry_out(c)
                                         : EXIT_CHECK_FAILED;
        code = done == EXIT_OK ? code : done;
    }
    return code;
}
