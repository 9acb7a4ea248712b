/* SPDX-License-Identifier: ISC */
#include "ctl/change.h"

#include "base/buf.h"
#include "base/process.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "queue/queue_id.h"
#include "relay/control.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define CHANGE_TIMEOUT_MS 120000 /* the longest wait for a line of the reply */

/* --- interruption by a signal --- */

static volatile sig_atomic_t is_interrupted;

static void interrupt(int signal_number)
{
    (void)signal_number;
    is_interrupted = 1;
}

void change_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool change_is_interrupted(void)
{
    return is_interrupted != 0;
}

/* --- the change itself --- */

struct doing {
    struct change *change;
    struct queue_changed *done;
};

static bool on_progress(void *ctx, uint64_t changed)
{
    struct doing *doing = ctx;

    doing->done->changed = changed;
    progress_show(&doing->change->progress, changed);
    return !is_interrupted;
}

static bool go_on(void *ctx, const struct queue_changed *so_far)
{
    struct doing *doing = ctx;

    progress_show(&doing->change->progress, so_far->changed);
    return !is_interrupted;
}

static int change_online(struct change *c, struct queue_changed *out, struct err *err)
{
    struct doing doing = {c, out};
    struct buf line = {0};
    char *text = NULL;

    control_line_format(&c->line, &line);
    int rc = control_request(c->config->relay.spool_directory, buf_str(&line), CHANGE_TIMEOUT_MS,
                             on_progress, &doing, &text, err);
    if (rc == 0 && control_line_parse_changed(text, out, err) < 0) {
        err_set(err, "splitrelay sent a reply that makes no sense");
        rc = -1;
    }
    if (rc != 0 && is_interrupted)
        err_set(err, "interrupted after %" PRIu64 " copies or a few more", out->changed);
    free(text);
    buf_clear(&line);
    return rc;
}

static int change_offline(struct change *c, struct queue_changed *out, struct err *err)
{
    struct doing doing = {c, out};
    struct queue_change what = c->line.change;

    what.go_on = go_on;
    what.ctx = &doing;
    int rc = c->offline->ops->change(c->offline, &what, out, err);
    if (rc == 0 && out->is_stopped) {
        err_set(err, "interrupted after %" PRIu64 " copies", out->changed);
        return -1;
    }
    return rc;
}

/* --- output --- */

static json_t *text_or_null(const char *text)
{
    return text == NULL ? json_null() : ctl_json_text(text);
}

void change_tell_json(const struct change *c, const struct queue_changed *done,
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

static bool tell_one(const struct change *c, const struct queue_changed *done, const char *word)
{
    const char *id = c->line.change.selection.id;

    if (done->ordered > 0)
        ctl_printf("%s: is being delivered: %s afterwards, unless accepted\n", id, word);
    else if (done->changed > 0 || c->line.change.action == QUEUE_RETRY)
        ctl_printf("%s: %s%s\n", id, c->is_dry_run ? "would be " : "", word);
    else if (done->failed == 0)
        ctl_complain("%s: not %s: it has changed meanwhile, or has another order", id, word);
    return done->changed + done->ordered > 0 || c->line.change.action == QUEUE_RETRY;
}

bool change_tell(const struct change *c, const struct queue_changed *done)
{
    const struct queue_change *change = &c->line.change;
    const char *word = change_word(change->action);

    if (change->action == QUEUE_RETRY && c->offline != NULL)
        word = "to be tried when splitrelay runs (it does not)";
    else if (change->action == QUEUE_RETRY && !c->is_dry_run)
        word = "to be tried now";
    if (change->selection.id != NULL)
        return tell_one(c, done, word);
    ctl_printf("%" PRIu64 " %scop%s %s%s\n", done->changed,
               change->action == QUEUE_RETRY ? "deferred " : "", done->changed == 1 ? "y" : "ies",
               c->is_dry_run ? "would be " : "", word);
    if (done->ordered > 0)
        ctl_printf("%" PRIu64 " being delivered: %s afterwards, unless accepted\n", done->ordered,
                   word);
    return true;
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

/* Carry out the change in c->line, and print the result. Returns the exit code. */
static int carry_out(struct change *c)
{
    struct queue_changed done = {0};
    struct err err = {""};

    int rc = c->offline == NULL ? change_online(c, &done, &err) : change_offline(c, &done, &err);
    if (c->line.change.selection.id == NULL)
        progress_show(&c->progress, done.changed);
    progress_end(&c->progress);
    bool is_well = rc == 0 && done.failed == 0;
    if (is_well)
        err_clear(&err);
    if (c->is_json)
        change_tell_json(c, &done, &err);
    else if (rc == 0)
        is_well &= change_tell(c, &done);
    if (rc != 0 || done.failed > 0)
        complain(c, &done, err.text);
    return is_well ? EXIT_OK : EXIT_CHECK_FAILED;
}

/* --- a change of a selection, and one of ids --- */

/* Check that the destination is configured. All changes but retry also accept a destination that is
 * not configured, if the queue has copies for it. Returns the exit code. */
static int check_destination(const struct change *c, const char *name)
{
    struct change probe = *c;
    struct err err = {""};
    int64_t count = 0;

    if (config_find_destination(c->config, name) != NULL)
        return EXIT_OK;
    probe.line.change.selection = (struct queue_selection){.destination = name, .limit = 1};
    probe.line.change.selection.places = QUEUE_IN_QUEUE | QUEUE_IN_HOLD | QUEUE_IN_DEAD;
    if (queue_destination_is_valid(name) && c->line.change.action != QUEUE_RETRY)
        count = change_count(&probe, &err);
    if (count > 0)
        return EXIT_OK;
    if (count < 0)
        ctl_complain("%s", err.text);
    else
        ctl_complain("there is no destination '%s'", name);
    return EXIT_CHECK_FAILED;
}

int change_selected(struct change *c)
{
    const struct queue_selection *s = &c->line.change.selection;
    struct err err;
    int64_t count = 0;

    if (s->destination != NULL && check_destination(c, s->destination) != EXIT_OK)
        return EXIT_CHECK_FAILED;
    if (c->is_dry_run)
        return change_dry_run(c, 0, NULL);
    if (change_needs_question(c) || progress_is_wanted())
        count = change_count(c, &err);
    if (count < 0) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    if (!change_is_agreed(c, count))
        return EXIT_CHECK_FAILED;
    progress_begin(&c->progress, control_line_action(c->line.change.action), (uint64_t)count);
    progress_show(&c->progress, 0);
    return carry_out(c);
}

int change_ids(struct change *c, int id_count, char **ids)
{
    int code = EXIT_OK;

    if (c->is_dry_run)
        return change_dry_run(c, id_count, ids);
    if (!change_is_agreed(c, id_count))
        return EXIT_CHECK_FAILED;
    for (int i = 0; i < id_count && !is_interrupted; i++) {
        c->line.change.selection.id = ids[i];
        if (carry_out(c) != EXIT_OK)
            code = EXIT_CHECK_FAILED;
    }
    return is_interrupted ? EXIT_CHECK_FAILED : code;
}
