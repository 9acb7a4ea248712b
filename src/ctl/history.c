/* SPDX-License-Identifier: ISC */
/* history: print the history of copies, the newest event first. */
#include "base/process.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/progress.h"
#include "ctl/select.h"
#include "queue/queue_reader.h"
#include "relay/entry.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

struct telling {
    struct progress progress; /* the first member, for progress_of_reading() */
    bool is_json;
};

static void print_event(const struct queue_event *e)
{
    char when[64];
    struct tm tm;

    if (localtime_r(&e->time, &tm) == NULL ||
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(when, sizeof when, "%lld", (long long)e->time);
    ctl_printf("%s %s: dest=%s, from=<%s>, to=%s, size=%" PRIu64 ", attempts=%u, result=%s", when,
               e->id, e->destination, e->sender, e->recipients, e->size_bytes, e->attempts,
               e->result);
    if (e->relay[0] != '\0')
        ctl_printf(", relay=%s", e->relay);
    if (e->mta_queue_id[0] != '\0')
        ctl_printf(", queue_id=%s", e->mta_queue_id);
    if (e->message_id[0] != '\0')
        ctl_printf(", message-id=%s", e->message_id);
    if (e->reply[0] != '\0')
        ctl_printf(" (%s)", e->reply);
    putchar('\n');
}

static bool tell(void *ctx, const struct queue_event *e)
{
    struct telling *t = ctx;

    progress_end(&t->progress);
    if (t->is_json)
        ctl_json_line(entry_json_event(e));
    else
        print_event(e);
    return !ferror(stdout);
}

/* Print the history of each id, or of the selection. Returns the exit code. */
static int tell_all(struct telling *t, struct queue_reader *reader, const struct select_request *s)
{
    struct queue_selection selection = s->selection;
    int code = EXIT_OK;
    struct err err;

    for (int i = 0; i < (s->id_count == 0 ? 1 : s->id_count); i++) {
        selection.id = s->id_count == 0 ? NULL : s->ids[i];
        progress_begin(&t->progress, "reading", 0);
        int64_t count =
            queue_reader_history(reader, &selection, tell, progress_of_reading(), t, &err);
        progress_end(&t->progress);
        if (count < 0) {
            ctl_complain("%s", err.text);
            return EXIT_UNAVAILABLE;
        }
        if (count == 0 && selection.id != NULL) {
            ctl_complain("the history has nothing of copy %s", selection.id);
            code = EXIT_CHECK_FAILED;
        } else if (count == 0 && !t->is_json) {
            ctl_printf("Nothing in the history\n");
        }
    }
    return code;
}

static int history(const struct config *config, const struct select_request *s, bool is_json)
{
    struct telling t = {.is_json = is_json};
    struct err err;
    struct queue_reader *reader =
        queue_reader_open(config->relay.spool_directory, config->relay.queue, &err);

    if (reader == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_UNAVAILABLE;
    }
    if (config->relay.history_s == 0)
        ctl_complain("no history is kept: history of section relay is 0");
    int code = tell_all(&t, reader, s);
    queue_reader_close(reader);
    return code;
}

int ctl_history(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {SELECT_OPTIONS, {"json", no_argument, NULL, 'j'}, {0}};
    struct select_request request = {0};
    bool is_json = false;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == '?')
            return ctl_usage(self);
        if (c == SELECT_IN) {
            ctl_complain("the history has no places: --in is for copies in the queue");
            return EXIT_USAGE;
        }
        if (c >= SELECT_FROM && !select_option(&request, c, optarg))
            return EXIT_USAGE;
        is_json |= c == 'j';
    }
    if (!select_words(&request, true, argc - optind, argv + optind))
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    select_destination(&request, config);
    int code = history(config, &request, is_json);
    config_free(config);
    return code;
}
