/* SPDX-License-Identifier: ISC */
/* Predicts the effect of a change from the present state of the queue, for --dry-run and for the
 * question that comes before a change. */
#include "ctl/change.h"

#include "base/process.h"
#include "ctl/ctl.h"
#include "queue/queue_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *change_word(enum queue_action action)
{
    static const char *const words[] = {[QUEUE_RETRY] = "tried now",
                                        [QUEUE_HOLD] = "held",
                                        [QUEUE_RELEASE] = "released",
                                        [QUEUE_DELETE] = "deleted",
                                        [QUEUE_REQUEUE] = "requeued"};

    return words[action];
}

static bool show_progress(void *ctx, uint64_t looked_at, uint64_t total)
{
    struct change *c = ctx;

    c->progress.total = total;
    if (looked_at < total || c->progress.is_drawn)
        progress_show(&c->progress, looked_at);
    return !change_is_interrupted();
}

static struct queue_reader *open_reader(struct change *c, struct err *err)
{
    progress_begin(&c->progress, "counting", 0);
    return queue_reader_open(c->config->relay.spool_directory, c->config->relay.queue, err);
}

static queue_reader_progress *wanted_progress(void)
{
    return progress_is_wanted() ? show_progress : NULL;
}

int64_t change_count(struct change *c, struct err *err)
{
    struct queue_change narrowed = c->line.change;
    struct queue_reader *reader = open_reader(c, err);

    if (reader == NULL)
        return -1;
    queue_change_narrow(&narrowed, time(NULL));
    int64_t n = queue_reader_count(reader, &narrowed.selection, wanted_progress(), c, err);
    queue_reader_close(reader);
    progress_end(&c->progress);
    return n;
}

/* --- dry run --- */

/* Place and destination of the copy whose id is in the selection. */
struct named {
    unsigned place; /* QUEUE_IN_...; 0: there is no such copy */
    char destination[QUEUE_DESTINATION_SIZE];
};

static bool note(void *ctx, const struct queue_entry *e)
{
    struct named *named = ctx;

    named->place = e->place;
    snprintf(named->destination, sizeof named->destination, "%s", e->destination);
    return false;
}

static const char *place_word(unsigned place)
{
    return place == QUEUE_IN_QUEUE  ? "in the queue"
           : place == QUEUE_IN_HOLD ? "held"
                                    : "a dead letter";
}

/* Predict the effect on the copy whose id is in the selection. Returns 1 if the copy would be
 * changed; 0 if not, with the same reason in `err` that queue_ops.change would give; -1 with `err`
 * if the queue cannot be read. */
static int judge(struct change *c, struct queue_reader *reader, struct err *err)
{
    struct queue_change narrowed = c->line.change;
    const char *id = narrowed.selection.id;
    const struct queue_selection alone = {.id = id};
    struct named named = {0};

    queue_change_narrow(&narrowed, time(NULL));
    if (queue_reader_list(reader, &alone, note, NULL, &named, err) < 0)
        return -1;
    if (named.place == 0)
        err_set(err, "no copy %s", id);
    else if ((named.place & narrowed.selection.places) == 0)
        err_set(err, "copy %s is %s", id, place_word(named.place));
    else if (narrowed.to != NULL && strcmp(named.destination, narrowed.to) == 0)
        err_set(err, "the copy is for %s already", narrowed.to);
    else
        return 1;
    return 0;
}

static int dry_run_id(struct change *c, struct queue_reader *reader)
{
    struct err err = {""};
    int rc = judge(c, reader, &err);
    const struct queue_changed done = {.changed = rc == 1};

    if (rc == 1)
        err_clear(&err);
    if (c->is_json)
        change_tell_json(c, &done, &err);
    else if (rc == 1)
        (void)change_tell(c, &done);
    if (rc != 1)
        ctl_complain("%s %s: %s", control_line_action(c->line.change.action),
                     c->line.change.selection.id, err.text);
    return rc == 1 ? EXIT_OK : rc == 0 ? EXIT_CHECK_FAILED : EXIT_UNAVAILABLE;
}

static bool print_entry(void *ctx, const struct queue_entry *e)
{
    struct change *c = ctx;

    progress_end(&c->progress);
    if (!c->is_json)
        ctl_printf("%s: dest=%s, from=<%s>, would be %s\n", e->id, e->destination,
                   e->message->sender, change_word(c->line.change.action));
    return !ferror(stdout) && !change_is_interrupted();
}

static int dry_run_selection(struct change *c, struct queue_reader *reader)
{
    struct queue_change narrowed = c->line.change;
    struct queue_changed done = {0};
    struct err err = {""};

    queue_change_narrow(&narrowed, time(NULL));
    int64_t n =
        queue_reader_list(reader, &narrowed.selection, print_entry, wanted_progress(), c, &err);
    progress_end(&c->progress);
    if (n < 0) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    if (change_is_interrupted()) {
        ctl_complain("interrupted");
        return EXIT_CHECK_FAILED;
    }
    done.changed = (uint64_t)n;
    if (c->is_json)
        change_tell_json(c, &done, &err);
    else
        (void)change_tell(c, &done);
    return EXIT_OK;
}

int change_dry_run(struct change *c, int id_count, char **ids)
{
    struct err err;
    struct queue_reader *reader = open_reader(c, &err);
    int code = EXIT_OK;

    if (reader == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    if (ids == NULL)
        code = dry_run_selection(c, reader);
    for (int i = 0; i < id_count && ids != NULL; i++) {
        c->line.change.selection.id = ids[i];
        int done = dry_run_id(c, reader);
        code = done == EXIT_OK ? code : done;
    }
    queue_reader_close(reader);
    return code;
}

/* --- the question --- */

bool change_needs_question(const struct change *c)
{
    return !c->is_yes && (c->line.change.action == QUEUE_DELETE || c->is_all) &&
           isatty(STDIN_FILENO);
}

bool change_is_agreed(const struct change *c, int64_t count)
{
    const struct queue_change *change = &c->line.change;
    char answer[16] = "";

    if (!change_needs_question(c))
        return true;
    fprintf(stderr, "%s %" PRId64 " cop%s%s%s? [y/N] ", control_line_action(change->action), count,
            count == 1 ? "y" : "ies", change->to == NULL ? "" : " to destination ",
            change->to == NULL ? "" : change->to);
    if (fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
        return true;
    fputs("nothing was done\n", stderr);
    return false;
}
